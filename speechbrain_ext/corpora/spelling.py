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
    plain = as_seen(as_seen(name).casefold())
    words = re.findall(r"\d+|(?:[^\W\d_]|[\u0300-\u036f])+", plain)
    return tuple(word.lstrip("0") or "0" if word.isdecimal() else word for word in words) or (plain,)


def as_seen(text: str) -> str:
    """Reduce a text to what a reader sees: accents in one form, no invisible characters."""
    return "".join(char for char in unicodedata.normalize("NFKC", text) if unicodedata.category(char) != "Cf")
