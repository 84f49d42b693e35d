"""Fonts for pictures: labels and names may be in any script, and no font has all characters."""

import contextlib
import functools
import logging
from collections.abc import Iterable, Iterator

import matplotlib
from matplotlib import font_manager

logging.getLogger("matplotlib").setLevel(logging.INFO)  # it logs every font that it looks at

# Fonts that have a box for every character, and fonts of colour bitmaps, which matplotlib cannot draw.
UNFIT = ("last resort", ".lastresort", "adobe blank", "color emoji", "colour emoji")


@contextlib.contextmanager
def fonts_for(texts: Iterable[str]) -> Iterator[set[str]]:
    r"""Let pictures made in this context draw texts with all installed fonts that these need.

    Arguments
    ---------
    texts : iterable of str
        What will be written.

    Yields
    ------
    set of str
        The characters that no installed font has; write them with `escape_characters`.

    Example
    -------
    >>> with fonts_for(["anger", "wrath\U0010ffff"]) as missing:
    ...     [escape_characters(text, missing) for text in ("anger", "wrath\U0010ffff")]
    ['anger', 'wrath\\U0010ffff']
    """
    wanted = set("".join(texts)) - set(" \n")
    families = list(matplotlib.rcParams["font.family"])
    missing = wanted - _characters(font_manager.findfont(font_manager.FontProperties()))
    if missing:
        families += _find_families(missing)
        if missing and _add_new_fonts():
            families += _find_families(missing)
    with matplotlib.rc_context({"font.family": families}):
        yield missing


def _find_families(missing: set[str]) -> list[str]:
    """Name the known fonts that have some of these characters, and take those out of the set."""
    upright = [font for font in font_manager.fontManager.ttflist if (font.style, font.weight) == ("normal", 400)]
    names = sorted({font.name for font in upright if not any(word in font.name.lower() for word in UNFIT)})
    covered = {name: missing & _characters(font_manager.findfont(name)) for name in names}
    families = []
    while best := max(covered, key=lambda name: len(covered[name] & missing), default=None):
        if not covered[best] & missing:
            break
        families.append(best)
        missing -= covered[best]
    return families


def _add_new_fonts() -> bool:
    """Let matplotlib know fonts that were installed after it listed them; tell whether there are any."""
    known = {str(font.fname) for font in font_manager.fontManager.ttflist}
    new = sorted(set(font_manager.findSystemFonts()) - known)
    for path in new:
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            font_manager.fontManager.addfont(path)
    return bool(new)


def escape_characters(text: str, characters: set[str]) -> str:
    r"""Write some characters of a text by their numbers, as Python does: \u60b2."""
    return "".join(_number(character) if character in characters else character for character in text)


def _number(character: str) -> str:
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"


@functools.cache
def _characters(path: str) -> frozenset[str]:
    """Return what a font can draw; nothing for a file that is no font that matplotlib can draw."""
    try:
        return frozenset(map(chr, font_manager.get_font(path).get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()
