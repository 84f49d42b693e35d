"""InputError is a ValueError, so that callers need not know it."""

import pytest

from speechbrain_ext.errors import InputError


def test_input_error_is_caught_as_value_error():
    with pytest.raises(ValueError, match="fold must be 1 to 5"):
        raise InputError("fold must be 1 to 5, got 6.")


def test_a_line_break_in_a_name_makes_no_line_of_its_own():
    error = InputError("2 of 3 cannot be used:", "a\ntrain.py: done.wav is empty.", "b\r\x1b[2Kc.wav is empty.")
    assert str(error) == ("2 of 3 cannot be used:\na\\ntrain.py: done.wav is empty.\nb\\r\\x1b[2Kc.wav is empty.")
