"""What a user gave wrong: one exception, and two checks that many arguments share."""

from typing import Any


class InputError(ValueError):
    """An argument, a file or a corpus that cannot be used; the message says which, why and what to do.

    The recipes print the message alone, without a traceback.

    Example
    -------
    >>> str(InputError("fold must be 1 to 5, got 6."))
    'fold must be 1 to 5, got 6.'
    """


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
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise InputError(f"{name} must be a whole number from {low}, got {value!r}.")
