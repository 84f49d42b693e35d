"""A run's folder: the run that it belongs to, the settings it was started with, and the refusal to mix two runs."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Optional

from speechbrain_ext.atomic_write import atomic_write, write_json
from speechbrain_ext.errors import InputError
from speechbrain_ext.json_reader import read_object, with_checksum
from speechbrain_ext.rules import ANY_TEXT, ANY_TEXTS, whole
from speechbrain_ext.training.hparams_file import (
    HYPERPARAMS_FILE,
    RUN_FILE,
    PathLike,
    hparams_text,
    plain_settings,
    sealed,
)
from speechbrain_ext.training.run_lock import LOCK_FILE

ADDED_IDENTITY = ("samples",)  # what runs of earlier versions do not say
HINT = "Choose another --output_folder, or delete that one."
DAMAGED_HINT = f"Copy that file again from where it is whole. {HINT}"
WRITTEN = (".csv", ".json", ".log", ".png", ".txt", ".yaml")  # how the names of a run's files end
BEFORE_TRAINING = {RUN_FILE, HYPERPARAMS_FILE, LOCK_FILE, "manifest.json", "env.log", "log.txt", "train.py", "save"}
RULES = {  # of run.json
    "corpus": ANY_TEXT,
    "fold": whole(1, 10**9),
    "seed": whole(0, 10**18),
    "manifest": ANY_TEXT,
    "samples": ANY_TEXT,
    "corpus_faults": ANY_TEXTS,
    "n_processes": whole(1, 10**6),
}


def claim_run_folder(
    folder: PathLike,
    identity: Mapping[str, Any],
    text: str,
    resumable_keys: Collection[str] = (),
    facts: Optional[Mapping[str, Any]] = None,
    explain: Optional[Mapping[str, Callable[[], str]]] = None,
) -> None:
    """Take a folder for a run, and save the settings there: a new folder, or the one that the same run has begun.

    Until there is a checkpoint the settings may still be corrected; a folder of which nothing was trained is free for
    any run. Whoever claims it holds it (`hold_run_folder`).

    Arguments
    ---------
    folder : str or pathlib.Path
        The run's folder.
    identity : dict
        What makes the run this one, such as fold, seed and the manifest's fingerprint.
    text : str
        The whole hyperparameter file with the overrides in it, as `hparams_text` writes it. It is saved below a line
        with its SHA-256; its references stay, so it can be run with further overrides.
    resumable_keys : tuple of str
        Top-level keys in which a resumed run may differ.
    facts : dict, optional
        What else run.json says of the run.
    explain : dict, optional
        Key of the identity -> function that says in words what differs.

    Raises
    ------
    InputError
        If the folder belongs to another run, with what differs. Nothing in it has been changed then.
    """
    check_run_folder(folder, identity, text, resumable_keys, explain)
    # First, and at once: it says whose folder this is.
    write_json(with_checksum({**identity, **(facts or {})}), Path(folder) / RUN_FILE)
    with atomic_write(Path(folder) / HYPERPARAMS_FILE) as file:
        file.write(sealed(text))


def check_run_folder(
    folder: PathLike,
    identity: Mapping[str, Any],
    text: str,
    resumable_keys: Collection[str] = (),
    explain: Optional[Mapping[str, Callable[[], str]]] = None,
) -> None:
    """Refuse a folder that belongs to another run, as `claim_run_folder` does, and write nothing."""
    folder = Path(folder)
    run_file, saved_file = folder / RUN_FILE, folder / HYPERPARAMS_FILE
    for path in folder.glob("*.*"):
        if path.suffix in WRITTEN and path.is_dir():  # else it is found after the work
            raise InputError(f"{path} is a folder, where the run has to write a file. Move it away. {HINT}")
    if run_file.exists():
        before = read_run(folder)
        for key, value in identity.items():
            if before.get(key) != value and (key in before or key not in ADDED_IDENTITY) and _has_begun(folder):
                words = (explain or {}).get(key)
                what = words() if words else f"{key} is {before.get(key)!r} there, {value!r} now"
                raise InputError(f"{folder} holds another run: {what}. {HINT}")
        if has_checkpoints(folder):
            if not saved_file.exists():
                raise InputError(
                    f"{saved_file} is missing, without which it is not known with which settings the checkpoints "
                    f"beside it were trained. {DAMAGED_HINT}"
                )
            changed = _changed_settings(saved_file, text, resumable_keys)
            if changed:
                raise InputError(f"{folder} holds a run with other settings: {'; '.join(changed)}. {HINT}")
    elif saved_file.exists() or (folder / "save").exists():
        raise InputError(f"{folder} holds a run that this program did not start. {HINT}")


def read_run(folder: PathLike) -> dict[str, Any]:
    """Read what makes a folder's run this one; an empty dict where there is none.

    Raises
    ------
    InputError
        If run.json names no run.
    """
    path = Path(folder) / RUN_FILE
    return read_object(path, DAMAGED_HINT, RULES, needed=()) if path.exists() else {}


def processes_of(folder: PathLike, n_processes: int, test_only: bool = False) -> int:
    """Return with how many processes a fold is trained; refuse to resume it with another number of them.

    Each process takes `batch_size` clips of a batch, so with another number the batches would be others.

    Raises
    ------
    InputError
        Says both numbers.
    """
    if not has_checkpoints(folder):
        return n_processes
    begun = read_run(folder).get("n_processes", n_processes)
    if begun != n_processes and not test_only:
        raise InputError(
            f"{folder} is trained by {begun} {'process' if begun == 1 else 'processes'}, of batch_size clips each, and "
            f"this is a run of {n_processes}. Start {begun}, or choose another --output_folder."
        )
    return begun


def has_checkpoints(folder: PathLike) -> bool:
    """Tell whether a run has saved anything that it can be resumed from."""
    return any(Path(folder).glob("save/CKPT*"))


def _has_begun(folder: Path) -> bool:
    """Tell whether a run has left more than what is written before its first step: a refused one has not."""
    found = {path.name for path in folder.iterdir()}
    return not found <= BEFORE_TRAINING or ("save" in found and any((folder / "save").iterdir()))


def _changed_settings(saved_file: Path, text: str, resumable_keys: Collection[str]) -> list[str]:
    """Say in which settings a text differs from the saved one."""
    before, now = plain_settings(hparams_text(saved_file)), plain_settings(text)
    changed = [key for key in {**before, **now} if key not in resumable_keys and before.get(key) != now.get(key)]
    return [f"{key} is {before.get(key, 'missing')} there, {now.get(key, 'missing')} now" for key in changed[:3]]
