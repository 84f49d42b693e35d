"""Independent seeds from one experiment seed, so that no result depends on the order in which things are drawn."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """Make a seed out of whatever identifies a draw, the same on every machine and Python version.

    Arguments
    ---------
    *parts
        What the draw belongs to, such as the experiment's seed, the epoch and the utterance's id.

    Returns
    -------
    int
        In [0, 2**32), as `random`, `numpy` and `torch` all accept it.

    Example
    -------
    >>> derive_seed(1, 2, "Ses01F_impro01_F000") == derive_seed(1, 2, "Ses01F_impro01_F000")
    True
    >>> derive_seed(1, 23) == derive_seed(12, 3)
    False
    """
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")
