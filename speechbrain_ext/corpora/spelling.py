"""Spelling: which names are most likely one name that was written in several ways."""

import re
import unicodedata


def spelling_key(name: str) -> tuple[str, ...]:
    """Reduce a name to what all ways to write it have in common: its words and numbers.

    Capitals, the form of accents, leading zeros and the marks between words do not count.

    Example
    -------
    >>> spelling_key("Spk_01"), spelling_key("spk 1"), spelling_key("1-11")
    (('spk', '1'), ('spk', '1'), ('1', '11'))
    """
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    plain = "".join(char for char in plain if unicodedata.category(char) != "Cf")
    words = re.findall(r"\d+|(?:[^\W\d_]|[\u0300-\u036f])+", plain)
    return tuple(word.lstrip("0") or "0" if word.isdecimal() else word for word in words) or (plain,)
