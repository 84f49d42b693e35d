"""The numbers of every epoch, kept in the checkpoints so that a resumed run has them all."""

import json
from pathlib import Path
from typing import Any

from speechbrain.utils.checkpoints import mark_as_loader, mark_as_saver, register_checkpoint_hooks

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.errors import InputError
from speechbrain_ext.json_reader import read_json
from speechbrain_ext.rules import shown
from speechbrain_ext.training.checkpoint_files import read_meta
from speechbrain_ext.training.hparams_file import PathLike

EPOCHS_FILE = "epochs.json"
HINT = "Resume the run: it goes on from a whole checkpoint, and writes the epochs again."


@register_checkpoint_hooks
class EpochHistory:
    """A list of one dict an epoch, saved and recovered with a SpeechBrain checkpoint.

    Attributes
    ----------
    epochs : list of dict
        What was added, in order.

    Example
    -------
    >>> history = EpochHistory()
    >>> history.add(epoch=1, valid_WA=0.5)
    >>> history.epochs
    [{'epoch': 1, 'valid_WA': 0.5}]
    """

    def __init__(self) -> None:
        self.epochs: list[dict[str, Any]] = []

    def add(self, **numbers: Any) -> None:
        """Add one epoch's numbers."""
        self.epochs.append(numbers)

    @mark_as_saver
    def save(self, path: PathLike) -> None:
        """Write the history into a checkpoint."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.epochs, file)

    @mark_as_loader
    def load(self, path: PathLike, end_of_epoch: bool) -> None:
        """Read the history of a checkpoint."""
        del end_of_epoch  # an epoch is added at its end only
        self.epochs = read_epochs(path)


def write_epochs(folder: PathLike, epochs: list[dict[str, Any]]) -> None:
    """Write the numbers of all epochs so far into a run's folder, for whoever watches it."""
    write_json(epochs, Path(folder) / EPOCHS_FILE)


def read_epochs(path: PathLike) -> list[dict[str, Any]]:
    """Read the numbers of epochs, of a checkpoint or from a run's folder.

    Raises
    ------
    InputError
        If the file holds something else.
    """
    epochs = read_json(path, HINT, list)
    for epoch in epochs:
        if not isinstance(epoch, dict) or not all(type(number) in (int, float) for number in epoch.values()):
            raise InputError(f"{path} holds an epoch that is no object of numbers: {shown(epoch)}. {HINT}")
    return epochs


def check_epochs(folder: PathLike, number_of_epochs: int) -> None:
    """Refuse a run's folder that has been trained for more epochs than are asked for.

    Raises
    ------
    InputError
        Says both numbers.
    """
    metas = [read_meta(checkpoint) or {} for checkpoint in Path(folder).glob("save/CKPT*")]
    n_epochs = max((meta["epoch"] for meta in metas if type(meta.get("epoch")) is int), default=0)
    if n_epochs > number_of_epochs:
        raise InputError(
            f"{folder} has been trained for {n_epochs} epochs, more than number_of_epochs ({number_of_epochs}). Raise "
            "it, or choose another --output_folder."
        )
