"""Rules: which values each takes, and what is said of those that it does not."""

import pytest

from speechbrain_ext.errors import InputError
from speechbrain_ext.rules import PLAIN, TEXT, TRUTH, check_values, list_of, mapping_of, number, one_of, optional, whole

NAN = float("nan")


@pytest.mark.parametrize(
    ("rule", "taken", "refused"),
    [
        (whole(1, 3), [1, 3], [0, 4, 2.0, True, "2", None]),
        (number(0, 1), [0, 1, 0.5], [-0.1, 1.1, NAN, float("inf"), True, "0.5", None]),
        (one_of(1, "a"), [1, "a"], [True, 1.0, "b", None]),
        (optional(whole(1, 3)), [None, 2], [4, ""]),
        (list_of(whole(1, 3), 1, 2), [[1], [1, 3]], [[], [1, 2, 3], [4], (1,), "1", None]),
        (mapping_of(TRUTH), [{}, {"a": True}], [{1: True}, {"a": 1}, {str(i): True for i in range(101)}, [True]]),
        (TEXT, ["", "Ännä"], ["a\x1b[2J", "a\u202eb", "\ud800", 1, "x" * 1_000_000]),
        (PLAIN, [None, True, "a", -1.5], [NAN, 1e16, [], {}, "a\n"]),
    ],
)
def test_rules_take_what_their_words_say(rule, taken, refused):
    assert all(rule.allows(value) for value in taken)
    assert not any(rule.allows(value) for value in refused)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "bundle: a is missing."),
        ({"a": 1, "b": 2}, "bundle: b is unknown. Known are a."),
        ({"a": 4}, "bundle: a must be a whole number from 1 to 3, got 4."),
    ],
)
def test_keys_and_values_that_break_a_rule_are_named(values, message):
    with pytest.raises(InputError) as error:
        check_values(values, {"a": whole(1, 3)}, prefix="bundle: ")
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("value", "longest"),
    [("x" * 1_000_000, 200), ([[10**200] * 1000] * 1000, 4000)],  # of a list 6 items, of each text or number 100
)
def test_a_value_is_shown_short_whatever_its_size(value, longest):
    with pytest.raises(InputError) as error:
        check_values({"a": value}, {"a": TRUTH})
    assert len(str(error.value)) < longest
