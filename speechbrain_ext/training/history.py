"""The numbers of every epoch, kept in the checkpoints so that a resumed run has them all."""

import json

from speechbrain.utils.checkpoints import mark_as_loader, mark_as_saver, register_checkpoint_hooks


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

    def __init__(self):
        self.epochs = []

    def add(self, **numbers):
        """Add one epoch's numbers."""
        self.epochs.append(numbers)

    @mark_as_saver
    def save(self, path):
        """Write the history into a checkpoint."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.epochs, file)

    @mark_as_loader
    def load(self, path, end_of_epoch):
        """Read the history of a checkpoint."""
        del end_of_epoch  # an epoch is added at its end only
        with open(path, encoding="utf-8") as file:
            self.epochs = json.load(file)
