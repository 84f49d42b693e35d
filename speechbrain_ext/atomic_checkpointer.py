"""A SpeechBrain checkpointer whose checkpoints exist whole or not at all."""

import logging
import os
import shutil

from speechbrain.utils.checkpoints import Checkpoint, Checkpointer
from speechbrain.utils.distributed import ddp_barrier, if_main_process

INCOMPLETE = "incomplete"


class AtomicCheckpointer(Checkpointer):
    """Saves a checkpoint aside and moves it into place when it is complete.

    SpeechBrain's own writes the list entry first and the weights after it: a process that is killed meanwhile leaves a
    newest checkpoint that cannot be loaded, and the run cannot be resumed. Arguments are those of `Checkpointer`.

    Example
    -------
    >>> import torch
    >>> folder = getfixture("tmp_path")
    >>> checkpointer = AtomicCheckpointer(folder, {"model": torch.nn.Linear(1, 1)})
    >>> checkpointer.save_checkpoint().path.parent == folder
    True
    """

    def save_checkpoint(self, meta={}, end_of_epoch=True, name=None, verbosity=logging.INFO):  # noqa: B006
        """Save a checkpoint; arguments and return value are those of `Checkpointer.save_checkpoint`."""
        folder = self.checkpoints_dir
        if if_main_process():
            target = self._new_checkpoint_dirpath() if name is None else self._custom_checkpoint_dirpath(name)
            shutil.rmtree(folder / INCOMPLETE, ignore_errors=True)
        self.checkpoints_dir = folder / INCOMPLETE
        try:
            saved = super().save_checkpoint(meta, end_of_epoch, name, verbosity)
        finally:
            self.checkpoints_dir = folder
        ddp_barrier()  # every process has saved its part
        if not if_main_process():
            ddp_barrier()
            return None
        os.replace(saved.path, target)
        ddp_barrier()
        paramfiles = {key: target / path.name for key, path in saved.paramfiles.items()}
        return Checkpoint(target, saved.meta, paramfiles)
