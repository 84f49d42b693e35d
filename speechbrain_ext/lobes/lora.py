"""LoRA in an encoder's Transformer layers: low-rank updates are trained, the weights below them stay as they are.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022; the layers are SpeechBrain's.
"""

from collections.abc import Mapping, Sequence
from typing import Optional

import torch
from speechbrain.nnet.adapters import AdaptedModel, LoRA, replace_module
from torch import nn

from speechbrain_ext.errors import InputError, check_whole_number


def add_lora(
    model: nn.Module,
    layers: nn.Module,
    rank: int,
    projections: Sequence[str],
    aliases: Optional[Mapping[str, str]] = None,
) -> None:
    """Add B A x to W x in the chosen projections, and freeze everything else in the model.

    B is zero at first, so that the model begins as it was. The update is not scaled (alpha = rank): the learning rate
    decides how fast it grows.

    Arguments
    ---------
    model : torch.nn.Module
        The encoder; it is changed in place.
    layers : torch.nn.Module
        The part of it that holds its Transformer layers.
    rank : int
        Rows of A [rank, D] and columns of B [D', rank].
    projections : list of str
        The last words of the names of linear layers within `layers`, such as q_proj.
    aliases : dict, optional
        Other words for them -> the words in this model.

    Raises
    ------
    InputError
        If a name does not exist, with those that do, or if the rank is no whole number from 1 to the size of the
        smallest chosen projection.

    Example
    -------
    >>> layers = nn.ModuleList([nn.ModuleDict({"q_proj": nn.Linear(8, 8), "v_proj": nn.Linear(8, 8)})])
    >>> add_lora(layers, layers, rank=2, projections=["q_proj"])
    >>> [name for name, parameter in layers.named_parameters() if parameter.requires_grad]
    ['0.q_proj.adapter_down_proj.weight', '0.q_proj.adapter_up_proj.weight']
    """
    inside = set(layers.modules())
    linear = [
        (name, module) for name, module in model.named_modules() if type(module) is nn.Linear and module in inside
    ]
    known = sorted({name.rpartition(".")[2] for name, _ in linear})
    words = {(aliases or {}).get(word, word) for word in projections}
    if isinstance(projections, str) or not words or not words <= set(known):
        raise InputError(
            f"lora_projections must be a list of the encoder's linear layers, got {projections!r}. "
            f"This encoder has {', '.join(known)}."
        )
    chosen = [(name, module) for name, module in linear if name.rpartition(".")[2] in words]
    smallest = min(min(module.weight.shape) for _, module in chosen)
    check_whole_number("lora_rank", rank, 1)
    if rank > smallest:
        raise InputError(f"lora_rank must be at most {smallest}, the size of the smallest projection, got {rank}.")
    AdaptedModel(
        model, LoRA, target_layers=[name for name, _ in chosen], adapter_kwargs={"rank": rank, "alpha": float(rank)}
    )


@torch.no_grad()
def merge_lora(model: nn.Module) -> None:
    """Put W + B A in the place of each adapted projection: the same outputs from an ordinary encoder.

    Arguments
    ---------
    model : torch.nn.Module
        Any module; it is changed in place. One without LoRA stays as it is.

    Example
    -------
    >>> layers = nn.ModuleDict({"q_proj": nn.Linear(8, 8)})
    >>> add_lora(layers, layers, rank=2, projections=["q_proj"])
    >>> merge_lora(layers)
    >>> layers
    ModuleDict(
      (q_proj): Linear(in_features=8, out_features=8, bias=True)
    )
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, LoRA):
            linear = module.pretrained_module
            down, up = module.adapter_down_proj.weight, module.adapter_up_proj.weight  # A [R, D], B [D', R]
            linear.weight.add_(module.scaling * (up.double() @ down.double()).to(linear.weight.dtype))
            replace_module(model, name, linear)
