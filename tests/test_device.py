"""A device's name is checked before anything is moved."""

import pytest

from speechbrain_ext.device import check_device
from speechbrain_ext.errors import InputError


def test_a_device_that_is_here_passes():
    check_device("cpu")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "", 0, None])
def test_others_are_refused_with_those_that_are_here(device):
    with pytest.raises(InputError, match=r"^device .* cannot be used: .*Devices here: cpu"):
        check_device(device)
