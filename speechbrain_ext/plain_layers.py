"""Transformer layers as functions of their weights: the numbers of their modules without the time that modules take."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from transformers.models.hubert.modeling_hubert import HubertFeedForward
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2FeedForward

NARROW_BYTES = 2**20  # of queries', keys' and values' weights in a layer; with more of them three products are faster


class Weights(NamedTuple):
    """What one layer computes with: arguments of `F.layer_norm` and `F.linear`, each without its input."""

    norm: tuple
    projections: tuple
    joint: tuple | None  # the three projections as one, where their weights are one block of memory
    n_heads: int
    out: tuple
    final_norm: tuple
    inner: tuple
    activation: nn.Module
    outer: tuple


class PlainLayers:
    """Transformer layers of HuBERT or wav2vec 2.0 without gradients, dropout or hooks.

    Modules are looked up and called in Python: 0.1 ms a layer, which is a tenth of the time of a single clip in a
    narrow encoder. Here that is done once. Weights may change in place; for all else there are `stale` and `usable`.

    Arguments
    ---------
    layers : torch.nn.ModuleList
        Layers of a `transformers.HubertModel` or `Wav2Vec2Model`.
    stable : bool
        Whether LayerNorms stand before what they norm (`do_stable_layer_norm`), rather than after it.
    """

    def __init__(self, layers, stable):
        self.stable = stable
        self.modules = list(layers.modules())  # the list of layers first
        self.types = [type(module) for module in self.modules]
        self.attributes = [vars(module) for module in self.modules]
        self.parts = [
            (places, name, part)
            for module in self.modules
            for places in (module._modules, module._parameters)
            for name, part in places.items()
        ]
        self.hooks = [hooks for module in self.modules for hooks in (module._forward_hooks, module._forward_pre_hooks)]
        self.dropouts = [module for module in self.modules if isinstance(module, nn.Dropout)]
        self.weights = [_weights(layer) for layer in layers] if all(map(_is_known, layers)) else None
        self.joined = [
            (part, part.data_ptr())
            for layer in self.weights or ()
            if layer.joint
            for projection in layer.projections
            for part in projection
        ]

    def stale(self, layers):
        """Tell whether a layer, a module or a parameter has been replaced since, or joint weights have moved apart.

        Arguments
        ---------
        layers : torch.nn.ModuleList
            The layers as they are now.
        """
        return (
            layers is not self.modules[0]
            or [*map(type, self.modules)] != self.types
            or any(places.get(name) is not part for places, name, part in self.parts)
            or any(part.data_ptr() != address or not part.is_contiguous() for part, address in self.joined)
        )

    def usable(self):
        """Tell whether the modules would now compute just this: known ones, without hooks and active dropout."""
        return (
            self.weights is not None
            and not any(self.hooks)
            and not any(module.training for module in self.dropouts)
            and not any("forward" in attributes for attributes in self.attributes)
        )

    def run(self, i, hidden, frames):
        """Compute layer i.

        Arguments
        ---------
        i : int
            Which layer.
        hidden : torch.Tensor
            Frames as they lie in `frames`, [N, D] or [B, F, D].
        frames : PackedFrames or PaddedFrames
            Where clips begin and end.

        Returns
        -------
        torch.Tensor
            Of the same shape.
        """
        layer = self.weights[i]
        normed = F.layer_norm(hidden, *layer.norm) if self.stable else hidden
        if layer.joint:
            projected = F.linear(normed, *layer.joint).chunk(3, -1)
        else:
            projected = [F.linear(normed, *projection) for projection in layer.projections]
        hidden = _add(hidden, F.linear(frames.attend(*projected, layer.n_heads), *layer.out))
        if not self.stable:
            hidden = F.layer_norm(hidden, *layer.norm)
        normed = F.layer_norm(hidden, *layer.final_norm) if self.stable else hidden
        hidden = _add(hidden, F.linear(layer.activation(F.linear(normed, *layer.inner)), *layer.outer))
        return hidden if self.stable else F.layer_norm(hidden, *layer.final_norm)


def _add(hidden, update):
    """Add what a block has made, in its own memory, unless autocast has made it in a lower precision."""
    return update.add_(hidden) if update.dtype == hidden.dtype else hidden + update


@torch.no_grad()
def join_projections(layers):
    """Put the weights of queries, keys and values next to each other in memory, where a layer is narrow.

    Without gradients they are then one product. Values, shapes and names stay; weights that are moved or replaced later
    lie apart again, which costs time and nothing else.

    Arguments
    ---------
    layers : iterable of torch.nn.Module
        Layers of a `transformers.HubertModel` or `Wav2Vec2Model`.
    """
    for layer in layers:
        projections = _projections(layer.attention)
        if any(type(module) is not nn.Linear or module.bias is None for module in projections):
            continue
        n_bytes = sum(module.weight.nbytes for module in projections)
        if n_bytes > NARROW_BYTES or _joint(projections):
            continue
        for parts in zip(*map(_linear, projections)):
            for part, place in zip(parts, torch.cat([part.data for part in parts]).chunk(3)):
                part.data = place


def _joint(projections):
    """Return the weight, [3 D, D], and bias, [3 D], of three projections as they lie in memory; None if apart."""
    joint = []
    for parts in zip(*map(_linear, projections)):
        first = parts[0]
        if first is None or first.untyped_storage().nbytes() != 3 * first.nbytes:
            return None
        for i, part in enumerate(parts):
            # Within a block that is in use, an address is enough to tell that a part lies there.
            if part.data_ptr() != first.untyped_storage().data_ptr() + i * first.nbytes:
                return None
            if part.shape != first.shape or part.dtype != first.dtype or not part.is_contiguous():
                return None
        joint.append(first.as_strided((3 * len(first), *first.shape[1:]), first.stride()))
    return tuple(joint)


def _is_known(layer):
    """Tell whether a layer is what `run` computes, with nothing in place of its parts."""
    attention, feed_forward = layer.attention, layer.feed_forward
    if type(feed_forward) not in (HubertFeedForward, Wav2Vec2FeedForward):
        return False
    if getattr(layer, "adapter_layer", None) is not None:  # of wav2vec 2.0 with adapter_attn_dim
        return False
    linears = [*_projections(attention), attention.out_proj]
    linears += [feed_forward.intermediate_dense, feed_forward.output_dense]
    norms = [layer.layer_norm, layer.final_layer_norm]
    dropouts = [layer.dropout, feed_forward.intermediate_dropout, feed_forward.output_dropout]
    expected = ((linears, nn.Linear), (norms, nn.LayerNorm), (dropouts, nn.Dropout))
    return all(type(part) is kind for parts, kind in expected for part in parts)


def _weights(layer):
    attention, feed_forward = layer.attention, layer.feed_forward
    projections = _projections(attention)
    return Weights(
        norm=_norm(layer.layer_norm),
        projections=tuple(map(_linear, projections)),
        joint=_joint(projections),
        n_heads=attention.num_heads,
        out=_linear(attention.out_proj),
        final_norm=_norm(layer.final_layer_norm),
        inner=_linear(feed_forward.intermediate_dense),
        activation=feed_forward.intermediate_act_fn,
        outer=_linear(feed_forward.output_dense),
    )


def _projections(attention):
    return attention.q_proj, attention.k_proj, attention.v_proj


def _norm(module):
    return module.normalized_shape, module.weight, module.bias, module.eps


def _linear(module):
    return module.weight, module.bias
