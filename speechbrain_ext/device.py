"""The check of a device's name, before anything is moved to it."""

import torch

from speechbrain_ext.errors import InputError


def check_device(device: str) -> None:
    """Refuse a device that PyTorch does not know or does not find here.

    Arguments
    ---------
    device
        Such as "cpu" or "cuda:0".

    Raises
    ------
    InputError
        Says which devices there are.

    Example
    -------
    >>> check_device("cpu")
    >>> check_device("gpu")
    Traceback (most recent call last):
    speechbrain_ext.errors.InputError: device 'gpu' cannot be used: ...
    """
    try:
        if not isinstance(device, str):
            raise RuntimeError("it has to be a text")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch without CUDA asserts
        here = ", ".join(["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        why = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"device {device!r} cannot be used: {why}. Devices here: {here}.") from error
