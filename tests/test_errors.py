"""InputError is a ValueError, so that callers need not know it."""

import pytest

from speechbrain_ext.errors import InputError


def test_input_error_is_caught_as_value_error():
    with pytest.raises(ValueError, match="fold must be 1 to 5"):
        raise InputError("fold must be 1 to 5, got 6.")
