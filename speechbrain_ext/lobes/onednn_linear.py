"""Wide linear layers by oneDNN at inference, on AMD's processors, where torch's own are slower."""

from pathlib import Path

import torch
from torch import nn

# From 1024 x 1024 weights on, all lengths new, what oneDNN gains is more than what a plan for each length costs.
MIN_WEIGHTS = 2**20


class OneDNNLinear(nn.Linear):
    """A linear layer with the same weights, whose products without gradients are oneDNN's.

    On a CPU torch multiplies float32 matrices by MKL, which has 0.75 to 0.9 times oneDNN's speed on AMD's processors,
    and bfloat16 ones by oneDNN, but onto a copy of the bias for each frame. An operator of torch's compiler does
    neither. Where gradients are wanted, where a product is in another precision than its weights, and on other devices
    it is an `nn.Linear`.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Compute x W^T + b, [..., D] -> [..., D']."""
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else input.dtype
        if (
            torch.is_grad_enabled()
            or input.device.type != "cpu"
            or dtype not in (torch.float32, torch.bfloat16)
            or {input.dtype, self.weight.dtype} != {dtype}
            or torch.compiler.is_exporting()
            or not input.is_contiguous()
        ):
            return super().forward(input)
        return torch.ops.mkldnn._linear_pointwise(input, self.weight, self.bias, "none", [], "")


def use_onednn(model: nn.Module) -> None:
    """Compute a model's wide linear layers by oneDNN, where that is faster; parameters and their names stay.

    Arguments
    ---------
    model : torch.nn.Module
        Any module; it is changed in place.
    """
    if not has_slow_products():
        return
    for name, module in list(model.named_modules()):
        if name and type(module) is nn.Linear and module.weight.numel() >= MIN_WEIGHTS:
            faster = OneDNNLinear(module.in_features, module.out_features, module.bias is not None, device="meta")
            faster.weight, faster.bias = module.weight, module.bias
            model.set_submodule(name, faster.train(module.training))


def has_slow_products() -> bool:
    """Tell whether this is an AMD processor, and torch has the operator."""
    try:
        is_amd = "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return is_amd and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
