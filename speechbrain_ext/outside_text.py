"""Text from outside, such as names, labels and messages about files, made safe for a terminal, Markdown, a spreadsheet.

Terminals obey control characters, and some Unicode characters turn a line around: they are shown as escapes.
"""

import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO, cast

_CONTROLS = "\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff"  # the last: half characters
CONTROLS = re.compile(f"[{_CONTROLS}]")
_NO_WIDTH = "\u00ad\u061c\u200b\u200e\u200f\u2060-\u2064\ufeff"  # by which two names look like one
UNSEEN = re.compile(f"[{_CONTROLS}{_NO_WIDTH}]")
PROGRESS = re.compile(r"(\A\r|\x1b\[[\d;]*m)")  # where a progress bar begins again, and its colours
MARKS = r"""[&<>"`*\[\]\\|#~$]|(?<![^\W_])_|_(?![^\W_])"""  # what Markdown would take for its own
FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # what a spreadsheet takes for the first character of a formula


def printable(text: str, keep: str = "") -> str:
    r"""Write control characters, those that turn a line around, and those of no width as escapes.

    Example
    -------
    >>> print(printable("a\x1b[31mb\nc\u202ed"))
    a\x1b[31mb\nc\u202ed
    """
    return UNSEEN.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)


def escape_markdown(value: Any) -> Any:
    """Write all texts in nested data so that Markdown shows them as they are: names come from outside."""
    if isinstance(value, dict):
        return {escape_markdown(key): escape_markdown(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [escape_markdown(one) for one in value]
    if not isinstance(value, str):
        return value
    return re.sub(MARKS, lambda found: f"&#{ord(found[0])};", printable(" ".join(value.split())))


def escape_formula(value: Any) -> Any:
    """Write an apostrophe before a text that a spreadsheet would take for a formula.

    Example
    -------
    >>> escape_formula("=1+1"), escape_formula("happy"), escape_formula(-0.5)
    ("'=1+1", 'happy', -0.5)
    """
    return f"'{value}" if _is_formula(value) else value


def unescape_formula(value: Any) -> Any:
    """Take that apostrophe away again."""
    return value[1:] if _is_formula(value) and value[0] == "'" else value


def _is_formula(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip("'").startswith(FORMULA)


class PlainStream:
    """A stream that writes what is printed with `printable`, and leaves line ends, tabs and progress bars as they are.

    Arguments
    ---------
    stream : io.TextIOBase
        Such as sys.stdout; what is asked of it but to write, it answers itself.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write a text. Returns its length."""
        parts = PROGRESS.split(text) if text[:1] == "\r" else [text]  # every second one is a mark of the bar's own
        self.stream.write("".join(part if i % 2 else printable(part, "\n\t") for i, part in enumerate(parts)))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)


def guard_terminal() -> None:
    """Let nothing that this program prints, logs or warns of reach the terminal with control characters."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, PlainStream):
            setattr(sys, name, cast(TextIO, PlainStream(stream)))
