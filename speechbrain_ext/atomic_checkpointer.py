"""A SpeechBrain checkpointer whose checkpoints exist whole or not at all, and may be written while training goes on."""

import copy
import logging
import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import torch
from speechbrain.utils.checkpoints import (
    DEFAULT_SAVE_HOOKS,
    Checkpoint,
    Checkpointer,
    ckpt_recency,
    get_default_hook,
    torch_save,
)
from speechbrain.utils.distributed import ddp_barrier, if_main_process

INCOMPLETE = "incomplete"


class AtomicCheckpointer(Checkpointer):
    """Saves a checkpoint aside and moves it into place when it is complete.

    SpeechBrain's own writes the list entry first and the weights after it: a process that is killed meanwhile leaves a
    newest checkpoint that cannot be loaded, and the run cannot be resumed.

    Arguments
    ---------
    checkpoints_dir, recoverables, *args
        As `Checkpointer` takes them.
    in_background : bool
        Whether `save_and_keep_only` only copies weights and optimizers' states into host memory, where they take as
        much room once more, and a thread writes them. What a copy could not be made of is written at once. The
        checkpoint is in place when `wait` returns, which `recover_if_possible` and the next save call first; an error
        of the thread is raised there. A process that dies before resumes from the checkpoint before.
    **kwargs
        As `Checkpointer` takes them.

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

    def __init__(self, checkpoints_dir, recoverables=None, *args, in_background=False, **kwargs):
        super().__init__(checkpoints_dir, recoverables, *args, **kwargs)
        self.in_background = in_background
        self._writer = ThreadPoolExecutor(max_workers=1)
        self._pending = None  # (the writing of the last checkpoint, what is kept once it is in place)
        self._copies = {}

    def save_checkpoint(self, meta={}, end_of_epoch=True, name=None, verbosity=logging.INFO):  # noqa: B006
        """Save a checkpoint; arguments and return value are those of `Checkpointer.save_checkpoint`."""
        self.wait()
        saved, target = self._save_aside(meta, end_of_epoch, name, verbosity)
        if not if_main_process():
            ddp_barrier()
            return None
        os.replace(saved.path, target)
        ddp_barrier()
        paramfiles = {key: target / path.name for key, path in saved.paramfiles.items()}
        return Checkpoint(target, saved.meta, paramfiles)

    def save_and_keep_only(
        self,
        meta={},  # noqa: B006
        end_of_epoch=True,
        name=None,
        num_to_keep=1,
        keep_recent=True,
        importance_keys=(),
        max_keys=(),
        min_keys=(),
        ckpt_predicate=None,
        verbosity=logging.INFO,
    ):
        """Save a checkpoint, then delete the least important ones; arguments are those of `Checkpointer`'s."""
        kept = {
            "num_to_keep": num_to_keep,
            "importance_keys": [*importance_keys, ckpt_recency] if keep_recent else list(importance_keys),
            "max_keys": max_keys,
            "min_keys": min_keys,
            "ckpt_predicate": ckpt_predicate,
            "verbosity": verbosity,
        }
        if not self.in_background:
            self.save_checkpoint(meta, end_of_epoch, name, verbosity)
            self.delete_checkpoints(**kept)
            return
        self.wait()
        states, custom_hooks = {}, self.custom_save_hooks
        self.custom_save_hooks = {**self._copying_hooks(states), **custom_hooks}
        try:
            saved, target = self._save_aside(meta, end_of_epoch, name, verbosity)
        finally:
            self.custom_save_hooks = custom_hooks
        writing = self._writer.submit(_write, states, saved.path, target) if if_main_process() else None
        self._pending = writing, kept

    def wait(self):
        """Wait until the last checkpoint is in place, and delete the less important ones; all processes call it.

        Raises
        ------
        Exception
            What kept the checkpoint from being written, such as an `OSError`. The ones before are still there.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            return
        writing, kept = pending
        if writing is not None:
            writing.result()
        ddp_barrier()
        self.delete_checkpoints(**kept)

    def close(self):
        """Let the thread end what it is writing. A process that stops for an error calls it without the others."""
        self._writer.shutdown()

    def recover_if_possible(self, *args, **kwargs):
        """Load a checkpoint; arguments and return value are those of `Checkpointer.recover_if_possible`."""
        self.wait()
        return super().recover_if_possible(*args, **kwargs)

    def _save_aside(self, meta, end_of_epoch, name, verbosity):
        """Save what is to become a checkpoint; return it, and in the main process the path at which it will stand."""
        folder, target = self.checkpoints_dir, None
        if if_main_process():
            target = self._new_checkpoint_dirpath() if name is None else self._custom_checkpoint_dirpath(name)
            shutil.rmtree(folder / INCOMPLETE, ignore_errors=True)
        self.checkpoints_dir = folder / INCOMPLETE
        try:
            saved = super().save_checkpoint(meta, end_of_epoch, name, verbosity)
        finally:
            self.checkpoints_dir = folder
        ddp_barrier()  # every process has saved its part
        return saved, target

    def _copying_hooks(self, states):
        """Make hooks that copy into `states`, {path: state}, what SpeechBrain would write as a state_dict."""

        def copy_state(obj, path):
            if if_main_process():
                self._copies[path.name] = states[path] = _to_host(obj.state_dict(), self._copies.get(path.name))

        return {
            name: copy_state
            for name, obj in self.recoverables.items()
            if get_default_hook(obj, DEFAULT_SAVE_HOOKS) is torch_save
        }


def _write(states, folder, target):
    """Write states into the folder of a checkpoint, and move it into place."""
    for path, state in states.items():
        torch.save(state, path)
    os.replace(folder, target)


def _to_host(value, room=None):
    """Copy a state with all its tensors into host memory; into the tensors of `room`, a copy of before, where they fit.

    Memory that is new to the process costs many times what the copying does.
    """
    if isinstance(value, torch.Tensor):
        if not isinstance(room, torch.Tensor) or (room.shape, room.dtype) != (value.shape, value.dtype):
            room = _host_room(value)
        return room.copy_(value)
    if isinstance(value, dict):
        room = room if isinstance(room, dict) else {}
        copied = copy.copy(value)  # also the versions that modules leave on their state_dict
        copied.update((key, _to_host(item, room.get(key))) for key, item in value.items())
        return copied
    if isinstance(value, list):
        room = room if isinstance(room, list) and len(room) == len(value) else [None] * len(value)
        return [_to_host(item, old) for item, old in zip(value, room)]
    return copy.deepcopy(value)


def _host_room(value):
    """Make host memory for a tensor; page-locked for a GPU's, which copies several times as fast into it."""
    try:
        return torch.empty_like(value, device="cpu", pin_memory=value.is_cuda)
    except RuntimeError:  # so much of it cannot be had everywhere
        return torch.empty_like(value, device="cpu")
