"""Transformer layers as functions of their weights: the numbers of their modules without the time that modules take."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from transformers.models.hubert.modeling_hubert import HubertFeedForward
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2FeedForward

FORWARDS = {kind: kind.forward for kind in (nn.Linear, nn.LayerNorm, HubertFeedForward, Wav2Vec2FeedForward)}


class Linear(NamedTuple):
    """What a linear layer computes with."""

    weight: nn.Parameter
    bias: nn.Parameter | None


class Norm(NamedTuple):
    """What a LayerNorm computes with."""

    module: nn.LayerNorm
    weight: nn.Parameter | None
    bias: nn.Parameter | None


class Layer(NamedTuple):
    """What a Transformer layer computes with."""

    norm: Norm
    attention: nn.Module
    queries: Linear
    keys: Linear
    values: Linear
    out: Linear
    final_norm: Norm
    feed_forward: nn.Module
    inner: Linear
    outer: Linear


class PlainLayers:
    """Transformer layers of HuBERT or wav2vec 2.0 without gradients, dropout or hooks.

    Modules are looked up and called in Python: 0.1 ms a layer, a tenth of the time of a single clip in a narrow
    encoder. Here that is done once. Parameters may change in place and be moved; `stale` tells whether they or
    modules have been replaced or added, `usable` whether the modules would do more than this.

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
        places = [place for module in self.modules for place in (module._modules, module._parameters) if place]
        self.parts = [(place, [*map(id, place.values())]) for place in places]
        self.kept = [part for place in places for part in place.values()]  # no other may get one of their ids
        self.attributes = [vars(module) for module in self.modules]
        self.dropouts = [module for module in self.modules if isinstance(module, nn.Dropout)]
        self.layers = [_read(layer) for layer in layers] if all(map(_is_known, layers)) else None

    def stale(self, layers, stable):
        """Tell whether a layer, a module or a parameter has been replaced, added or taken away since.

        Arguments
        ---------
        layers, stable
            As they are now.
        """
        return (
            layers is not self.modules[0]
            or stable != self.stable
            or [*map(type, self.modules)] != self.types
            or any([*map(id, place.values())] != ids for place, ids in self.parts)
        )

    def usable(self):
        """Tell whether the modules would now compute just this: known ones, without hooks and active dropout."""
        return (
            self.layers is not None
            and not any(module.training for module in self.dropouts)
            and all(kind.forward is forward for kind, forward in FORWARDS.items())
            and not any(
                own["_forward_hooks"] or own["_forward_pre_hooks"] or "forward" in own for own in self.attributes
            )
        )

    def run(self, hidden, frames, first_frame):
        """Compute all layers.

        Arguments
        ---------
        hidden : torch.Tensor
            Frames as they lie in `frames`, [N, D] or [B, F, D].
        frames : PackedFrames or PaddedFrames
            Where clips begin and end.
        first_frame : bool
            Whether frame 0 of the last layer's output is wanted alone.

        Returns
        -------
        torch.Tensor
            Of the same shape, or [B, D], in memory of its own.
        """
        hidden = hidden.clone()
        in_place = _adds_in_place(hidden)
        for layer in self.layers:
            normed = _normalize(hidden, layer.norm) if self.stable else hidden
            keys, values = _project(normed, layer.keys, in_place), _project(normed, layer.values, in_place)
            if first_frame and layer is self.layers[-1]:
                hidden, normed = frames.first(hidden), frames.first(normed)
            queries = _project(normed, layer.queries, in_place)
            attended = frames.attend(queries, keys, values, layer.attention.num_heads)
            hidden = _add_projection(hidden, attended, layer.out, in_place)
            if not self.stable:
                hidden = _normalize(hidden, layer.norm)
            normed = _normalize(hidden, layer.final_norm) if self.stable else hidden
            inner = layer.feed_forward.intermediate_act_fn(_project(normed, layer.inner, in_place))
            hidden = _add_projection(hidden, inner, layer.outer, in_place)
            if not self.stable:
                hidden = _normalize(hidden, layer.final_norm)
        return hidden


def _normalize(hidden, norm):
    module, weight, bias = norm
    return F.layer_norm(hidden, module.normalized_shape, weight, bias, module.eps)


def _adds_in_place(hidden):
    """Tell whether biases and residuals are added in place: on a CPU, where a product else begins with copies of them.

    Not in low precision, where a product that is rounded before its bias is added would be another number.
    """
    on_cpu = hidden.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    return on_cpu and hidden.dim() == 2 and hidden.dtype in (torch.float32, torch.float64)


def _project(hidden, linear, in_place):
    weight, bias = linear
    if not in_place or bias is None:
        return F.linear(hidden, weight, bias)
    return torch.mm(hidden, weight.t()).add_(bias)


def _add_projection(hidden, inner, linear, in_place):
    """Add the projection of what a block has made, [N, E] -> [N, D], to hidden frames, [N, D], where these lie."""
    if not in_place:
        return hidden + F.linear(inner, *linear)
    weight, bias = linear
    hidden.addmm_(inner, weight.t())
    return hidden if bias is None else hidden.add_(bias)


def _is_known(layer):
    """Tell whether a layer is what `run` computes, with nothing in place of its parts."""
    attention, feed_forward = layer.attention, layer.feed_forward
    if type(feed_forward) not in (HubertFeedForward, Wav2Vec2FeedForward):
        return False
    if getattr(layer, "adapter_layer", None) is not None:  # of wav2vec 2.0 with adapter_attn_dim
        return False
    linears = [attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj]
    linears += [feed_forward.intermediate_dense, feed_forward.output_dense]
    norms = [layer.layer_norm, layer.final_layer_norm]
    dropouts = [layer.dropout, feed_forward.intermediate_dropout, feed_forward.output_dropout]
    expected = ((linears, nn.Linear), (norms, nn.LayerNorm), (dropouts, nn.Dropout))
    return all(type(part) is kind for parts, kind in expected for part in parts)


def _read(layer):
    attention, feed_forward = layer.attention, layer.feed_forward
    return Layer(
        norm=_norm(layer.layer_norm),
        attention=attention,
        queries=_linear(attention.q_proj),
        keys=_linear(attention.k_proj),
        values=_linear(attention.v_proj),
        out=_linear(attention.out_proj),
        final_norm=_norm(layer.final_layer_norm),
        feed_forward=feed_forward,
        inner=_linear(feed_forward.intermediate_dense),
        outer=_linear(feed_forward.output_dense),
    )


def _norm(module):
    return Norm(module, module.weight, module.bias)


def _linear(module):
    return Linear(module.weight, module.bias)
