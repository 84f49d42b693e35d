"""A device's name is checked before anything is moved; "auto" takes bf16 where the hardware has it."""

import pytest
import torch

from speechbrain_ext import device as device_module
from speechbrain_ext.device import check_device, check_precision, cpu_has_bf16, resolve_precision
from speechbrain_ext.errors import InputError


def test_a_device_that_is_here_passes():
    check_device("cpu")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "", 0, None])
def test_others_are_refused_with_those_that_are_here(device):
    with pytest.raises(InputError, match=r"^device .* cannot be used: .*Devices here: cpu"):
        check_device(device)


@pytest.mark.parametrize("capability, has_it", [("avx512_bf16", True), ("amx_bf16", True), ("avx512_f", False)])
def test_a_cpu_has_bf16_by_its_instructions(capability, has_it, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {capability: True}, raising=False)
    assert cpu_has_bf16() == has_it
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not cpu_has_bf16()


def test_auto_takes_bf16_on_a_cpu_for_inference_only(monkeypatch):
    monkeypatch.setattr(device_module, "cpu_has_bf16", lambda: True)
    assert resolve_precision("auto", "cpu", inference=True) == "bf16"
    assert resolve_precision("auto", "cpu") == "fp32"
    assert resolve_precision("fp32", "cpu", inference=True) == "fp32"
    monkeypatch.setattr(device_module, "cpu_has_bf16", lambda: False)
    assert resolve_precision("auto", "cpu", inference=True) == "fp32"


def test_auto_takes_bf16_where_the_card_has_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert resolve_precision("auto", "cuda:0") == "bf16"
    assert resolve_precision("fp32", "cuda") == "fp32"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert resolve_precision("auto", "cuda") == "fp32"


def test_fp16_is_for_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cpu", None):
        check_precision("bf16", device)
        with pytest.raises(InputError, match="fp16 needs a GPU. Choose fp32 or bf16"):
            check_precision("fp16", device)
    check_precision("fp16", "cuda:0")
