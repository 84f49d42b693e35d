"""FixedLabelEncoder: SpeechBrain's label encoder with an order that is given, not found in data."""

from collections.abc import Sequence

from speechbrain.dataio.encoder import CategoricalEncoder

from speechbrain_ext.errors import InputError


class FixedLabelEncoder(CategoricalEncoder):
    """A `CategoricalEncoder` that knows its labels, in order, from the start.

    Arguments
    ---------
    labels : list of str
        The labels; the first has index 0.

    Raises
    ------
    InputError
        If a label stands there twice.

    Example
    -------
    >>> FixedLabelEncoder(["ang", "hap"]).decode_ndim([1, 0])
    ['hap', 'ang']
    """

    def __init__(self, labels: Sequence[str]):
        super().__init__()
        if len(set(labels)) < len(labels):
            raise InputError(f"labels must differ from one another, got {labels}.")
        self.update_from_iterable(labels)
        self.expect_len(len(labels))
