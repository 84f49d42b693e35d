"""The check of a device's name, before anything is moved to it, and the precision that suits it."""

from typing import Optional

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


def resolve_precision(precision: str, device: Optional[str] = None) -> str:
    """Choose bf16 where "auto" meets a CUDA card that has it, else fp32.

    Arguments
    ---------
    precision
        "auto", or what is wanted.
    device
        Such as "cuda:0"; None for a CUDA card where there is one.

    Example
    -------
    >>> resolve_precision("auto", "cpu"), resolve_precision("fp16", "cuda")
    ('fp32', 'fp16')
    """
    if precision != "auto":
        return precision
    on_cuda = device.startswith("cuda") if device else torch.cuda.is_available()
    return "bf16" if on_cuda and torch.cuda.is_bf16_supported() else "fp32"
