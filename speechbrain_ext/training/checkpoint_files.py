"""The files of a checkpoint: on the disk before it is in place, and whole when they are read."""

import functools
import os
from pathlib import Path
from typing import Any, Optional

import yaml
from speechbrain.utils.checkpoints import METAFNAME, PARAMFILE_EXT

from speechbrain_ext.atomic_write import sync
from speechbrain_ext.checksums import sha256_of
from speechbrain_ext.errors import InputError
from speechbrain_ext.rules import OBJECT, TRUTH, Rule, check_values, number, optional, whole
from speechbrain_ext.storage import check_regular

OWNER = "run"  # the key in a checkpoint's meta data; what has it has sums as well
SUMS_FILE = "SHA256SUMS"  # as `sha256sum --check` reads it

PARTS = (PARAMFILE_EXT, Path(METAFNAME).suffix)  # other files are none of ours
RULES = {
    "unixtime": number(0, 1e12),
    "end-of-epoch": TRUTH,
    "epoch": whole(1, 10**9),
    "best_epoch": optional(whole(0, 10**9)),
    "error": Rule("a number", lambda value: type(value) in (int, float)),
    OWNER: OBJECT,
}


def seal_checkpoint(folder: Path) -> None:
    """Write the SHA-256 of each file into `SHA256SUMS`, and wait until all of them are on the disk."""
    names = sorted(path.name for path in folder.iterdir())
    text = "".join(f"{sha256_of(folder / name)}  {name}\n" for name in names)
    (folder / SUMS_FILE).write_text(text, encoding="utf-8")
    for name in (*names, SUMS_FILE):
        sync(folder / name)
    sync(folder)


def read_meta(folder: Path) -> Optional[dict[str, Any]]:
    """Read what a checkpoint says of itself; None where that cannot be read."""
    try:
        check_regular(folder / METAFNAME)
        meta = _load_yaml((folder / METAFNAME).read_bytes())
        if not isinstance(meta, dict):
            return None
        check_values({key: meta[key] for key in RULES if key in meta}, RULES, ("unixtime", "end-of-epoch"))
        return {**meta}
    except (InputError, OSError, ValueError, TypeError, yaml.YAMLError, RecursionError):
        return None


@functools.lru_cache(maxsize=16)  # SpeechBrain lists all checkpoints four times to delete one
def _load_yaml(content: bytes) -> Any:
    return yaml.safe_load(content)


def find_damage(folder: Path) -> Optional[str]:
    """Say what is wrong with a checkpoint's files.

    Arguments
    ---------
    folder : pathlib.Path
        The checkpoint.

    Returns
    -------
    str, optional
        The file and its fault; None where all is as it was written. Checkpoints of earlier versions have no sums, and
        name no run: of them, only what they say of themselves is checked.
    """
    meta = read_meta(folder)
    if meta is None:
        return f"{METAFNAME} cannot be read"
    if not os.path.lexists(folder / SUMS_FILE):
        return f"{SUMS_FILE} is missing" if OWNER in meta else None
    try:
        check_regular(folder / SUMS_FILE)
        sums = (folder / SUMS_FILE).read_text(encoding="utf-8").splitlines()
        listed = {name: digest for digest, _, name in (line.partition("  ") for line in sums)}
    except (InputError, OSError, ValueError):
        listed = {}
    if not listed:
        return f"{SUMS_FILE} cannot be read"
    for name in sorted(path.name for path in folder.glob("*.*") if path.suffix in PARTS):
        if name not in listed:
            return f"{SUMS_FILE} lacks {name}"
    for name, digest in listed.items():
        path = folder / Path(name).name
        if not path.is_file():
            return f"{path.name} is missing"
        if sha256_of(path) != digest:
            return f"{path.name} is not as it was written (its SHA-256 differs)"
    return None
