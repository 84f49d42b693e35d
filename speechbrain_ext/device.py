"""The check of a device's name, before anything is moved to it, and the precision that suits it."""

from collections.abc import Mapping
from typing import Any, Optional

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


def check_precision(precision: str, device: Optional[str] = None) -> None:
    """Refuse fp16 on a CPU, where PyTorch does not train in it.

    Arguments
    ---------
    precision
        Such as "fp32".
    device
        As in `resolve_precision`.

    Raises
    ------
    InputError
        Says what there is.

    Example
    -------
    >>> check_precision("fp16", "cpu")
    Traceback (most recent call last):
    speechbrain_ext.errors.InputError: precision and eval_precision: fp16 needs a GPU. Choose fp32 or bf16.
    """
    if precision == "fp16" and (device == "cpu" or (not device and not torch.cuda.is_available())):
        raise InputError("precision and eval_precision: fp16 needs a GPU. Choose fp32 or bf16.")


def resolve_precision(precision: str, device: Optional[str] = None, inference: bool = False) -> str:
    """Choose bf16 where "auto" meets hardware that multiplies in it, else fp32.

    Arguments
    ---------
    precision
        "auto", or what is wanted.
    device
        Such as "cuda:0"; None for a CUDA card where there is one.
    inference
        Whether nothing is trained: only then does a CPU take bf16.

    Example
    -------
    >>> resolve_precision("auto", "cpu"), resolve_precision("fp16", "cuda")
    ('fp32', 'fp16')
    """
    if precision != "auto":
        return precision
    on_cuda = device.startswith("cuda") if device else torch.cuda.is_available()
    has_bf16 = torch.cuda.is_bf16_supported() if on_cuda else inference and cpu_has_bf16()
    return "bf16" if has_bf16 else "fp32"


def cpu_has_bf16() -> bool:
    """Tell whether this machine's processor has instructions for products in bf16: without them bf16 is slower."""
    found: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # a torch that does not tell has fp32
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
