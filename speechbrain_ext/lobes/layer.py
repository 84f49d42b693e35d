"""One Transformer layer of any family, or only frame 0 of its output: the same numbers as the whole layer's."""

import functools
from collections.abc import Callable
from typing import Optional

import torch

from speechbrain_ext.lobes.family import Family, Layer
from speechbrain_ext.lobes.frames import Frames


def compute_layer(
    family: Family,
    layer: Layer,
    hidden: torch.Tensor,
    frames: Frames,
    positions: Optional[torch.Tensor] = None,
    first_frame: bool = False,
    compiles: bool = False,
) -> torch.Tensor:
    """Compute a layer.

    Arguments
    ---------
    family
        Computes the parts of the layer.
    layer
        The layer.
    hidden
        Its input: packed [N, D] or padded [B, F, D] frames.
    frames
        How they lie.
    positions
        What `Family.positions` gives.
    first_frame
        Whether only frame 0 is wanted: query, output projection and what follows are computed for it alone.
    compiles
        Whether the parts before and after attention are compiled.

    Returns
    -------
    torch.Tensor
        As `hidden`; frame 0 alone is [B, D].
    """
    if not first_frame:
        project, finish = _compiled() if compiles else (_project, _finish)
        residual, normed, queries, keys, values = project(family, layer, hidden)
        bias = family.bias(layer, normed, queries, positions)
        attended = frames.attend(queries, keys, values, family.n_heads, *bias)
        return finish(family, layer, residual, attended, frames)
    residual, normed = family.attention_input(layer, hidden)
    first = frames.first(normed)
    queries, (keys, values) = family.queries(layer, first), family.keys_and_values(layer, normed)
    bias = family.bias(layer, first, queries, positions)
    attended = frames.attend(queries, keys, values, family.n_heads, *bias)
    mask, dropout = None, family.projection_dropout(layer)
    if dropout.training and dropout.p > 0:
        # Drawn for all frames, so that the random numbers are those of the whole layer.
        mask = frames.first(dropout(torch.ones_like(hidden, memory_format=torch.contiguous_format)))
    return family.finish(layer, frames.first(residual), attended, None, mask)


def _project(family: Family, layer: Layer, hidden: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Compute the part of a layer before its attention: (residual, normed, queries, keys, values)."""
    residual, normed = family.attention_input(layer, hidden)
    return residual, normed, family.queries(layer, normed), *family.keys_and_values(layer, normed)


def _finish(
    family: Family, layer: Layer, residual: torch.Tensor, attended: torch.Tensor, frames: Frames
) -> torch.Tensor:
    """Compute the part of a layer after its attention."""
    return family.finish(layer, residual, attended, frames)


@functools.cache
def _compiled() -> tuple[Callable, Callable]:
    """Compile the two parts of a layer, for all layers and lengths; attention, between them, is one kernel already."""
    return torch.compile(_project, dynamic=True), torch.compile(_finish, dynamic=True)
