"""Rules: what a value has to be, in words and as a test.

The ground of every place that takes values from outside: bundles, and the configurations of encoders.
"""

import reprlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Optional

from speechbrain_ext.errors import InputError
from speechbrain_ext.limits import LONGEST_TEXT
from speechbrain_ext.outside_text import CONTROLS

_repr = reprlib.Repr()  # short, whatever the value's size and depth
_repr.maxstring = _repr.maxlong = 100
shown = _repr.repr


class Rule(NamedTuple):
    """What a value has to be: in words, and as a test."""

    text: str
    allows: Callable[[Any], bool]


def whole(low: int, high: int) -> Rule:
    """Take whole numbers, and no truth values."""
    return Rule(f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high)


def number(low: float, high: float) -> Rule:
    """Take numbers, and no truth values."""
    return Rule(
        f"a number from {low:g} to {high:g}", lambda value: type(value) in (int, float) and low <= value <= high
    )


def one_of(*known: Any) -> Rule:
    """Take the values that are listed, each of its own type."""
    return Rule(f"one of {known}", lambda value: any(type(value) is type(one) and value == one for one in known))


def optional(rule: Rule) -> Rule:
    """Take null as well."""
    return Rule(f"{rule.text}, or null", lambda value: value is None or rule.allows(value))


def list_of(rule: Rule, shortest: int, longest: int) -> Rule:
    """Take lists of values that all keep a rule."""
    return Rule(
        f"a list of {shortest} to {longest} values, each {rule.text}",
        lambda value: isinstance(value, list) and shortest <= len(value) <= longest and all(map(rule.allows, value)),
    )


def mapping_of(rule: Rule) -> Rule:
    """Take mappings of texts to values that all keep a rule."""
    return Rule(
        f"a mapping of at most 100 names to values, each {rule.text}",
        lambda value: (
            isinstance(value, dict)
            and len(value) <= 100
            and all(map(TEXT.allows, value))
            and all(map(rule.allows, value.values()))
        ),
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_TEXT and not CONTROLS.search(value)


TEXT = Rule(f"a printable text of at most {LONGEST_TEXT} characters", _is_text)
ANY_TEXT = Rule("a text", lambda value: isinstance(value, str))
ANY_TEXTS = Rule("a list of texts", lambda value: isinstance(value, list) and all(map(ANY_TEXT.allows, value)))
OBJECT = Rule("an object", lambda value: isinstance(value, dict))
TRUTH = one_of(True, False)
PLAIN = Rule(
    "a text, a number, true, false or null",
    lambda value: value is None or any(rule.allows(value) for rule in (TEXT, TRUTH, number(-1e15, 1e15))),
)


def check_values(
    values: Mapping[str, Any], rules: Mapping[str, Rule], needed: Optional[Iterable[str]] = None, prefix: str = ""
) -> None:
    """Refuse keys that are not known or missing, and values that break their rule.

    Arguments
    ---------
    values : dict
        What was given.
    rules : dict
        Key -> rule.
    needed : iterable of str, optional
        The keys that must be there; by default all that have a rule.
    prefix : str
        What stands before a key in messages.

    Raises
    ------
    InputError
        Names the key, its rule and the value.
    """
    for key in rules if needed is None else needed:
        if key not in values:
            raise InputError(f"{prefix}{key} is missing.")
    for key, value in values.items():
        if key not in rules:
            raise InputError(f"{prefix}{shown(key)[1:-1]} is unknown. Known are {', '.join(rules)}.")
        if not rules[key].allows(value):
            raise InputError(f"{prefix}{key} must be {rules[key].text}, got {shown(value)}.")
