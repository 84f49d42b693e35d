"""What class weights may be."""

import pytest

from speechbrain_ext.errors import InputError
from speechbrain_ext.nnet.class_weights import check_class_weights


@pytest.mark.parametrize("weights", [None, "balanced", [1, 2.5, 0.1], (1.0, 1.0, 1.0)])
def test_weights_that_can_be_used_pass(weights):
    check_class_weights(weights)
    check_class_weights(weights, n_classes=3)


@pytest.mark.parametrize("weights", ["rare", 2.0, [], [1, 0], [1, -1], [1, True], [1, float("inf")], [float("nan")]])
def test_what_are_no_weights_is_refused(weights):
    with pytest.raises(InputError, match="must be null, balanced, or a list of positive numbers, got ") as error:
        check_class_weights(weights)
    assert str(error.value).endswith(f"got {weights!r}.")


def test_another_number_of_weights_than_of_classes_is_refused():
    with pytest.raises(InputError, match=r"one number for each of the 4 emotions, in their order, got 2: \[1, 2\]"):
        check_class_weights([1, 2], n_classes=4)
