"""A SpeechBrain checkpointer whose checkpoints exist whole or not at all, and may be written while training goes on."""

import concurrent.futures
import copy
import logging
import os
import pickle
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Optional

import torch
from speechbrain.utils.checkpoints import (
    DEFAULT_SAVE_HOOKS,
    PARAMFILE_EXT,
    Checkpoint,
    Checkpointer,
    ckpt_recency,
    get_default_hook,
    torch_save,
)
from speechbrain.utils.distributed import ddp_barrier, ddp_broadcast, if_main_process, is_distributed_initialized

from speechbrain_ext.atomic_write import sync
from speechbrain_ext.errors import InputError
from speechbrain_ext.rules import shown
from speechbrain_ext.storage import describe_fault
from speechbrain_ext.training.checkpoint_files import OWNER, find_damage, read_meta, seal_checkpoint

INCOMPLETE = "incomplete"
DAMAGED = "damaged-"  # what the name of a checkpoint begins with that was set aside
UNLOADABLE = (LookupError, TypeError, ValueError, RuntimeError, AttributeError, EOFError, pickle.UnpicklingError)
logger = logging.getLogger(__name__)
# What of the owner a file of the encoder's checkpoint says, which may change under a run.
ENCODER_FILES = {"encoder_config": "config.json", "waveform_scale": "preprocessor_config.json"}


def architecture_of(encoder: Any) -> dict[str, Any]:
    """Return what an encoder says of its architecture; one from elsewhere, which has no such method, its class.

    Example
    -------
    >>> import torch
    >>> architecture_of(torch.nn.Identity())
    {'model_type': 'torch.nn.modules.linear.Identity'}
    """
    if hasattr(encoder, "architecture"):
        return encoder.architecture()
    return {"model_type": f"{type(encoder).__module__}.{type(encoder).__qualname__}"}


class AtomicCheckpointer(Checkpointer):
    """Saves a checkpoint aside and moves it into place when it is complete.

    SpeechBrain's own writes the list entry first and the weights after it: a process that is killed meanwhile leaves a
    newest checkpoint that cannot be loaded, and the run cannot be resumed.

    Arguments
    ---------
    checkpoints_dir, recoverables, *args, **kwargs
        As `Checkpointer` takes them.
    in_background : bool
        Whether `save_and_keep_only` only copies weights and optimizers' states into host memory, where they take as
        much room once more, and a thread writes them. A process that dies meanwhile goes on from the checkpoint
        before. Whoever lists, finds or loads checkpoints waits for the thread; of several processes only the main one
        knows it, and all of them call `wait`.

    Example
    -------
    >>> import torch
    >>> folder = getfixture("tmp_path")
    >>> checkpointer = AtomicCheckpointer(folder, {"model": torch.nn.Linear(1, 1)}, in_background=True)
    >>> checkpointer.save_checkpoint().path.parent == folder
    True
    >>> checkpointer.save_and_keep_only(meta={"epoch": 2})
    >>> checkpointer.recover_if_possible().meta["epoch"]
    2
    """

    checkpoints_dir: Path
    custom_save_hooks: dict[str, Callable]

    def __init__(
        self,
        checkpoints_dir: str | Path,
        recoverables: Optional[Mapping[str, Any]] = None,
        *args: Any,
        in_background: bool = False,
        **kwargs: Any,
    ):
        super().__init__(checkpoints_dir, recoverables, *args, **kwargs)
        self.in_background = in_background
        self.owner: dict[str, Any] = {}  # what makes the run this one: it is saved in each checkpoint, and compared
        # (the writing of the last checkpoint, in the main process; what is kept beside it)
        self._pending: Optional[tuple[Optional[concurrent.futures.Future], dict[str, Any]]] = None
        self._snapshot = Snapshot()

    def save_checkpoint(
        self,
        meta: Mapping[str, Any] = {},  # noqa: B006
        end_of_epoch: bool = True,
        name: Optional[str] = None,
        verbosity: int = logging.INFO,
    ) -> Optional[Checkpoint]:
        """Save a checkpoint at once; arguments and return value are those of `Checkpointer.save_checkpoint`."""
        self.wait()
        saved, target = self._save_aside(meta, end_of_epoch, name)
        if not if_main_process():
            ddp_barrier()
            return None
        _put_in_place(saved.path, target, verbosity)
        ddp_barrier()
        paramfiles = {key: target / path.name for key, path in saved.paramfiles.items()}
        return Checkpoint(target, saved.meta, paramfiles)

    def save_and_keep_only(
        self,
        meta: Mapping[str, Any] = {},  # noqa: B006
        end_of_epoch: bool = True,
        name: Optional[str] = None,
        num_to_keep: int = 1,
        keep_recent: bool = True,
        importance_keys: Iterable[Callable] = (),
        max_keys: Iterable[str] = (),
        min_keys: Iterable[str] = (),
        ckpt_predicate: Optional[Callable] = None,
        verbosity: int = logging.INFO,
        when_saved: Optional[Callable[[], None]] = None,
    ) -> None:
        """Save a checkpoint, then delete the least important ones; arguments are those of `Checkpointer`'s, and one.

        Where the background could not write the last one, this one is written at once: what was in the way for a
        moment costs one checkpoint, and what stays in the way is raised.

        Arguments
        ---------
        meta, end_of_epoch, name, num_to_keep, keep_recent, importance_keys, max_keys, min_keys, ckpt_predicate, \
verbosity
            As `Checkpointer.save_and_keep_only` takes them.
        when_saved : callable, optional
            Called without arguments in the main process once the checkpoint is in place.
        """
        kept = {
            "num_to_keep": num_to_keep,
            "importance_keys": [*importance_keys, ckpt_recency] if keep_recent else list(importance_keys),
            "max_keys": max_keys,
            "min_keys": min_keys,
            "ckpt_predicate": ckpt_predicate,
            "verbosity": verbosity,
        }
        in_background = self.in_background
        try:
            self.wait()
        except (OSError, RuntimeError) as error:  # torch has the latter for a full disk
            fault = describe_fault(error, self.checkpoints_dir) or error
            logger.warning("The last checkpoint could not be written (%s) This one is written at once.", fault)
            in_background = False
        if not in_background:
            self.save_checkpoint(meta, end_of_epoch, name, verbosity)
            self.delete_checkpoints(**kept)
            if when_saved and if_main_process():
                when_saved()
            return
        custom_hooks = self.custom_save_hooks
        self.custom_save_hooks = {**self._snapshot.hooks(self.recoverables), **custom_hooks}
        try:
            saved, target = self._save_aside(meta, end_of_epoch, name)
        finally:
            self.custom_save_hooks = custom_hooks
        writing = None
        if if_main_process():
            thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
            writing = thread.submit(_write, self._snapshot.states, saved.path, target, kept, when_saved)
            thread.shutdown(wait=False)
        self._pending = writing, kept

    def wait(self) -> None:
        """Wait until the last checkpoint is in place and the less important ones are deleted; all processes call it.

        Raises
        ------
        Exception
            What kept the checkpoint from being written, such as an `OSError`, once. The ones before are still there.
        """
        if self._pending is None:
            return
        writing, kept = self._pending
        error = ddp_broadcast(None if writing is None else writing.exception())
        self._pending = None  # not before: an interrupted wait can be called again
        if error is not None:
            raise error
        if is_distributed_initialized():
            self.delete_checkpoints(**kept)

    def close(self) -> None:
        """Let the thread end what it is writing, and log what went wrong; each process may call it by itself."""
        if self._pending and self._pending[0] and (error := self._pending[0].exception()):
            fault = describe_fault(error, self.checkpoints_dir) or error
            logger.error("The last checkpoint could not be written: %s", fault)

    def recover_if_possible(self, *args: Any, **kwargs: Any) -> Optional[Checkpoint]:
        """Load a checkpoint; arguments and return value are those of `Checkpointer.recover_if_possible`."""
        self.wait()
        return super().recover_if_possible(*args, **kwargs)

    def load_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Load a checkpoint.

        Raises
        ------
        InputError
            If one of its files is missing, not as it was written, or holds something else than it should; or if
            another run has saved it.
        """
        check_whole(checkpoint.path)
        check_owner(checkpoint, self.owner)
        try:
            super().load_checkpoint(checkpoint)
        except (InputError, torch.OutOfMemoryError):  # they say themselves what is wrong
            raise
        except UNLOADABLE as error:
            raise _damaged(checkpoint.path, f"it cannot be loaded ({shown(' '.join(str(error).split()))})") from error

    def list_checkpoints(self) -> list[Checkpoint]:
        """List all checkpoints, the one that is being written as well, once it is in place."""
        if self._pending and self._pending[0]:
            concurrent.futures.wait([self._pending[0]])
        metas = {folder: read_meta(folder) for folder in self._list_checkpoint_dirs()}
        return [
            Checkpoint(folder, meta, {path.stem: path for path in folder.glob(f"*{PARAMFILE_EXT}")})
            for folder, meta in metas.items()
            if meta
        ]

    def set_aside_damaged(self) -> None:
        """Rename checkpoints that are damaged or rely on a damaged one, so that a run goes on without them.

        A checkpoint relies on that of the epoch `best_epoch` in its meta data, without which its run could not end as
        it would have. One that is older than a whole one, and not relied on, is what a kill has left of a deletion, and
        is deleted. The main process does it; all processes call it.
        """
        if if_main_process():
            damages = {folder: find_damage(folder) for folder in sorted(self.checkpoints_dir.glob("CKPT+*"))}
            whole = [read_meta(folder) or {} for folder, damage in damages.items() if damage is None]
            epochs = {meta.get("epoch") for meta in whole}
            for folder, damage in damages.items():
                best = (read_meta(folder) or {}).get("best_epoch")
                if damage is None and best is not None and best not in epochs:
                    damages[folder] = f"the checkpoint of epoch {best}, the best until then, is missing or damaged"
            newest = max((folder for folder, damage in damages.items() if damage is None), default=None)
            for folder, damage in damages.items():
                if damage is not None and newest and folder < newest:
                    shutil.rmtree(folder)
                elif damage is not None:
                    aside = folder.with_name(DAMAGED + folder.name)
                    shutil.rmtree(aside, ignore_errors=True)
                    os.replace(folder, aside)
                    logger.warning(
                        "The checkpoint %s cannot be used: %s. It is kept as %s, and the run goes on from the one "
                        "before it, or from its beginning.", folder, damage, aside.name,
                    )  # fmt: skip
        ddp_barrier()

    def _save_aside(self, meta: Mapping[str, Any], end_of_epoch: bool, name: Optional[str]) -> tuple[Checkpoint, Path]:
        """Save what is to become a checkpoint; return it, and in the main process the path at which it will stand."""
        folder = target = self.checkpoints_dir
        if if_main_process():
            target = self._new_checkpoint_dirpath() if name is None else self._custom_checkpoint_dirpath(name)
            shutil.rmtree(folder / INCOMPLETE, ignore_errors=True)
        self.checkpoints_dir = folder / INCOMPLETE
        meta = {**meta, OWNER: self.owner} if self.owner else meta
        try:
            saved = super().save_checkpoint(meta, end_of_epoch, name, logging.DEBUG)
        finally:
            self.checkpoints_dir = folder
        ddp_barrier()  # every process has saved its part
        return saved, target


class Snapshot:
    """Copies in host memory of what a checkpoint saves as a state_dict; their memory is used again by the next one.

    Attributes
    ----------
    states : dict
        Path that SpeechBrain would write -> copied state, of the last checkpoint.
    """

    def __init__(self) -> None:
        self.states: dict[Path, Any] = {}
        self._copies: dict[str, Any] = {}  # file name -> state; new memory costs many times what the copying does

    def hooks(self, recoverables: Mapping[str, Any]) -> dict[str, Callable[[Any, Path], None]]:
        """Make saving hooks that copy instead of writing, for the recoverables that `torch.save` would write.

        A recoverable whose `checkpoint_state` says what is saved of it is copied as that.
        """
        self.states = {}
        return {
            name: self._copy
            for name, obj in recoverables.items()
            if hasattr(obj, "checkpoint_state") or get_default_hook(obj, DEFAULT_SAVE_HOOKS) is torch_save
        }

    def _copy(self, obj: Any, path: Path) -> None:
        if if_main_process():
            state = obj.checkpoint_state() if hasattr(obj, "checkpoint_state") else obj.state_dict()
            self._copies[path.name] = self.states[path] = _to_host(state, self._copies.get(path.name))


def _write(
    states: Mapping[Path, Any], folder: Path, target: Path, kept: Mapping[str, Any], when_saved: Optional[Callable]
) -> None:
    """Write states into the folder of a checkpoint, move it into place, and delete what is not kept beside it."""
    for path, state in states.items():
        torch.save(state, path)
    _put_in_place(folder, target, kept["verbosity"])
    if not is_distributed_initialized():  # else the processes do it together
        AtomicCheckpointer(target.parent).delete_checkpoints(**kept)
    if when_saved:
        when_saved()


def _put_in_place(folder: Path, target: Path, verbosity: int) -> None:
    """Move a complete checkpoint to its place; one of the same name gives way."""
    seal_checkpoint(folder)
    if target.exists():
        shutil.rmtree(target)
    os.replace(folder, target)
    sync(target.parent)
    logger.log(verbosity, "Saved a checkpoint in %s", target)


def check_whole(folder: Path) -> None:
    """Refuse a checkpoint of which a file is missing, or not as it was written."""
    if damage := find_damage(folder):
        raise _damaged(folder, damage)


def _damaged(folder: Path, damage: str) -> InputError:
    return InputError(
        f"the checkpoint {folder} is damaged: {damage}. Copy the run's folder again from where it is whole; or run "
        "train.py on it without --test_only, which goes on from the checkpoint before."
    )


def check_owner(checkpoint: Checkpoint, owner: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of another run: its weights may have been trained on what this run tests."""
    saved = checkpoint.meta.get(OWNER) or {}  # checkpoints of earlier versions do not say it
    differing = [key for key in saved if key in owner and saved[key] != owner[key]]
    if differing:
        key = differing[0]
        if key in ENCODER_FILES:
            raise InputError(
                f"the checkpoint {checkpoint.path} was trained with another {ENCODER_FILES[key]} of the encoder: "
                f"{_difference(key, saved[key], owner[key])}. Put that file back into encoder_source as it was, or "
                "choose another --output_folder."
            )
        raise InputError(
            f"the checkpoint {checkpoint.path} is another run's: {key} is {saved[key]!r} there, {owner[key]!r} here. "
            "Its weights may know what is tested here. Copy this run's own checkpoints back, or choose another "
            "--output_folder."
        )


def _difference(key: str, before: Any, now: Any) -> str:
    """Say what differs, of two mappings the first item."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        key = next(item for item in {**before, **now} if before.get(item) != now.get(item))
        before, now = before.get(key), now.get(key)
    return f"{key} was {before!r} and is {now!r}"


def _to_host(value: Any, room: Any = None) -> Any:
    """Copy a state with its tensors into host memory; into the tensors of `room`, an earlier copy, where they fit."""
    if isinstance(value, torch.Tensor):
        if not isinstance(room, torch.Tensor) or (room.shape, room.dtype) != (value.shape, value.dtype):
            room = _host_room(value)
        return room.copy_(value.detach())
    if isinstance(value, dict):
        room = room if isinstance(room, dict) else {}
        copied = copy.copy(value)  # also the versions that modules leave on their state_dict
        copied.update((key, _to_host(item, room.get(key))) for key, item in value.items())
        return copied
    if type(value) in (list, tuple):
        room = room if type(room) is type(value) and len(room) == len(value) else [None] * len(value)
        return type(value)(_to_host(item, old) for item, old in zip(value, room))
    return copy.deepcopy(value)


def _host_room(value: torch.Tensor) -> torch.Tensor:
    """Make host memory for a tensor; page-locked for a GPU's, which copies several times as fast into it."""
    try:
        return torch.empty_like(value, device="cpu", pin_memory=value.is_cuda)
    except RuntimeError:  # so much of it cannot be had everywhere
        return torch.empty_like(value, device="cpu")
