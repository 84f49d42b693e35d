"""The numbers of every epoch, kept in the checkpoints so that a resumed run has them all."""

import json
from pathlib import Path
from typing import Any

from speechbrain.utils.checkpoints import mark_as_loader, mark_as_saver, register_checkpoint_hooks

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.errors import InputError
from speechbrain_ext.training.hparams_file import PathLike

EPOCHS_FILE = "epochs.json"


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
        with open(path, encoding="utf-8") as file:
            self.epochs = json.load(file)


def write_epochs(folder: PathLike, epochs: list[dict[str, Any]]) -> None:
    """Write the numbers of all epochs so far into a run's folder, for whoever watches it."""
    write_json(epochs, Path(folder) / EPOCHS_FILE)


def read_epochs(folder: PathLike) -> list[dict[str, Any]]:
    """Read the numbers of a run's epochs; an empty list where none has ended, or none can be read."""
    try:
        epochs = json.loads((Path(folder) / EPOCHS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    return epochs if isinstance(epochs, list) and all(isinstance(epoch, dict) for epoch in epochs) else []


def check_epochs(folder: PathLike, number_of_epochs: int) -> None:
    """Refuse a run's folder that has been trained for more epochs than are asked for.

    Raises
    ------
    InputError
        Says both numbers.
    """
    n_epochs = len(read_epochs(folder))
    if n_epochs > number_of_epochs:
        raise InputError(
            f"{folder} has been trained for {n_epochs} epochs, more than number_of_epochs ({number_of_epochs}). Raise "
            "it, or choose another --output_folder."
        )
