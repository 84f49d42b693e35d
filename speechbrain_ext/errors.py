"""What a user gave wrong: one exception, and the checks and words that many messages share."""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from speechbrain_ext.outside_text import printable


class InputError(ValueError):
    """An argument, a file or a corpus that cannot be used; the message says which, why and what to do.

    The recipes print the message alone, without a traceback. Each argument is a line of it: a line break within one, as
    a file's name may hold, is written as an escape.

    Example
    -------
    >>> str(InputError("fold must be 1 to 5, got 6."))
    'fold must be 1 to 5, got 6.'
    """

    def __str__(self) -> str:
        return "\n".join(printable(str(line), "\t") for line in self.args)


def in_one_line(error: BaseException) -> str:
    """Write an error of another library's, which may have several lines, in one."""
    return " ".join(str(error).split())


def check_number(name: str, value: Any, low: float, high: float, inclusive: bool = True) -> None:
    """Refuse a value that is no number within its bounds.

    Arguments
    ---------
    name
        The argument's name, for the message.
    value
        What was given.
    low, high
        The bounds.
    inclusive
        Whether the bounds themselves are allowed.

    Raises
    ------
    InputError
        Names the argument, the bounds and the value.

    Example
    -------
    >>> check_number("prob", 0.5, 0, 1)
    >>> check_number("prob", "often", 0, 1)
    Traceback (most recent call last):
    speechbrain_ext.errors.InputError: prob must be a number from 0 to 1, got 'often'.
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and (low <= value <= high if inclusive else low < value < high):
        return
    bounds = f"from {low} to {high}" if inclusive else f"between {low} and {high}"
    raise InputError(f"{name} must be a number {bounds}, got {value!r}.")


def check_whole_number(name: str, value: Any, low: int) -> None:
    """Refuse a value that is no whole number, or below its bound.

    Arguments
    ---------
    name
        The argument's name, for the message.
    value
        What was given.
    low
        The lowest that is allowed.

    Raises
    ------
    InputError
        Names the argument, the bound and the value.

    Example
    -------
    >>> check_whole_number("seed", 0, 0)
    >>> check_whole_number("batch_size", 1.5, 1)
    Traceback (most recent call last):
    speechbrain_ext.errors.InputError: batch_size must be a whole number from 1, got 1.5.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value < 2**63:
        raise InputError(f"{name} must be a whole number from {low}, got {value!r}.")


def parse_numbers(name: str, text: str) -> list[int]:
    """Read an option of whole numbers and ranges.

    Arguments
    ---------
    name
        The option's name, for the message.
    text
        Such as "1-3,5".

    Raises
    ------
    InputError
        Names the option and what was given.

    Example
    -------
    >>> parse_numbers("--folds", "1-3,5")
    [1, 2, 3, 5]
    """
    numbers: list[int] = []
    for part in text.split(","):
        low, dash, high = (word.strip() for word in part.partition("-"))
        bounds = [word for word in (low, high) if word or dash] or [""]
        if not all(re.fullmatch("[0-9]{1,9}", word) for word in bounds) or int(bounds[-1]) < int(bounds[0]):
            raise InputError(f"{name} must be whole numbers such as 1-5 or 1,3, got {text!r}.")
        if int(bounds[-1]) - int(bounds[0]) > 9999:
            raise InputError(f"{name} names more than 10,000 numbers: {text!r}.")
        numbers += range(int(bounds[0]), int(bounds[-1]) + 1)
    if len(set(numbers)) < len(numbers):
        raise InputError(f"{name} names a number twice: {text!r}.")
    return numbers


def first_few(names: Sequence[str], most: int = 3) -> str:
    """List the first of some names.

    Example
    -------
    >>> first_few(["a", "b", "c", "d"]), first_few(["a"])
    ('a, b, c, ...', 'a')
    """
    return ", ".join(names[:most]) + ", ..." * (len(names) > most)


def did_you_mean(word: Any, known: Iterable[str], prefix: str = "", most: int = 1) -> str:
    """Suggest known words that are near one: " Did you mean --fold?", or nothing.

    Example
    -------
    >>> did_you_mean("flod", ["fold", "seed"], prefix="--")
    ' Did you mean --fold?'
    """
    near = difflib.get_close_matches(str(word), list(known), n=most)
    return f" Did you mean {' or '.join(prefix + name for name in near)}?" if near else ""
