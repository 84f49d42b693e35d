"""WaveformFamily: encoders of wav2vec 2.0's design, a convolutional feature encoder below Transformer layers."""

import itertools
import math
import operator
from collections.abc import Iterable
from typing import Any, Optional

import torch
from torch import nn

from speechbrain_ext.errors import InputError
from speechbrain_ext.limits import LARGEST_CONVOLUTION, MOST_CONVOLUTIONS, MOST_VALUES_A_SAMPLE, SAMPLES_A_FRAME
from speechbrain_ext.lobes.family import (
    ACTIVATION,
    SIZES,
    Config,
    Family,
    Layer,
    Model,
    keeps_padding,
    pack_rows,
)
from speechbrain_ext.lobes.feature_encoder import (
    clip_features,
    group_norm_features,
    has_layer_norms,
    layer_norm_features,
)
from speechbrain_ext.lobes.frames import Frames, PackedFrames, PaddedFrames
from speechbrain_ext.rules import TRUTH, list_of, one_of, whole


class WaveformFamily(Family):
    """Encoders with a convolutional feature encoder, a positional convolution and Transformer layers.

    With `do_stable_layer_norm` (the large models) each layer normalises its inputs, else its outputs.
    """

    bounds = {
        **SIZES,
        "conv_dim": list_of(whole(1, LARGEST_CONVOLUTION), 1, MOST_CONVOLUTIONS),
        "conv_kernel": list_of(whole(1, LARGEST_CONVOLUTION), 1, MOST_CONVOLUTIONS),
        "conv_stride": list_of(whole(1, LARGEST_CONVOLUTION), 1, MOST_CONVOLUTIONS),
        "conv_bias": TRUTH,
        "feat_extract_norm": one_of("group", "layer"),
        "feat_extract_activation": ACTIVATION,
        "num_conv_pos_embeddings": whole(1, LARGEST_CONVOLUTION),
        "num_conv_pos_embedding_groups": whole(1, LARGEST_CONVOLUTION),
        "do_stable_layer_norm": TRUTH,
    }
    attention_name = "attention"
    needed = ("hidden_size", "num_hidden_layers", "conv_dim", "conv_kernel", "conv_stride")

    def __init__(self, config: Config, eager: bool = False) -> None:
        super().__init__(config, eager)
        self.stable: bool = getattr(config, "do_stable_layer_norm", False)
        self.convolutions = list(zip(config.conv_kernel, config.conv_stride))  # (kernel, stride) of each
        self.values_a_sample = config.conv_dim[0] / config.conv_stride[0]
        self.min_samples = 1
        for kernel, stride in reversed(self.convolutions):
            self.min_samples = (self.min_samples - 1) * stride + kernel

    @classmethod
    def check_config(cls, config: Any, name: str) -> None:
        """Refuse a feature encoder whose lists are of different lengths, or that makes frames of an absurd length."""
        for key in ("conv_kernel", "conv_stride"):
            if len(config[key]) != len(config["conv_dim"]):
                raise InputError(
                    f"{name} has {len(config['conv_dim'])} values in conv_dim, but {len(config[key])} in {key}: the "
                    "feature encoder needs as many of each."
                )
        n_samples, (lowest, highest) = math.prod(config["conv_stride"]), SAMPLES_A_FRAME
        if not lowest <= n_samples <= highest:
            raise InputError(
                f"{name}: conv_stride must make a frame of {lowest} to {highest} samples, got {n_samples}."
            )
        sizes = [*config["conv_dim"], max(config["hidden_size"], config["intermediate_size"])]
        hops = [*itertools.accumulate(config["conv_stride"], operator.mul), n_samples]
        n_values = max(size / hop for size, hop in zip(sizes, hops))
        if n_values > MOST_VALUES_A_SAMPLE:
            raise InputError(
                f"{name}: a layer may compute at most {MOST_VALUES_A_SAMPLE} values for each sample of the waveform; "
                f"conv_dim, hidden_size or intermediate_size make {n_values:g} with this conv_stride."
            )

    @staticmethod
    def unused_weights(config: Config) -> tuple[str, ...]:
        """Return the final LayerNorm's prefix, where there is one."""
        return ("encoder.layer_norm.",) if getattr(config, "do_stable_layer_norm", False) else ()

    def frame_lengths(self, n_samples: torch.Tensor) -> torch.Tensor:
        """Count the frames of clips."""
        lengths = n_samples
        for kernel, stride in self.convolutions:
            lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        return lengths.clamp(min=0)

    def layers(self, model: Model) -> nn.ModuleList:
        """Return the Transformer layers."""
        return model.encoder.layers

    def prepare(self, model: Model) -> None:
        """Remove the LayerNorm after the last layer; without `do_stable_layer_norm` it stands before the first.

        What replaces masked frames is never used here: trainable, it would stop DistributedDataParallel.
        """
        if self.stable:
            model.encoder.layer_norm = nn.Identity()
        if getattr(model, "masked_spec_embed", None) is not None:
            model.masked_spec_embed.requires_grad_(False)

    def feature_encoder(self, model: Model) -> Iterable[nn.Module]:
        """Return the convolutional feature encoder."""
        return (model.feature_extractor,)

    def embed(
        self, model: Model, wavs: torch.Tensor, n_samples: torch.Tensor, padded: bool, packs: bool
    ) -> tuple[torch.Tensor, Frames]:
        """Compute the feature encoder, its projection and the positional convolution."""
        wavs = wavs.to(model.feature_extractor.conv_layers[0].conv.weight.dtype)
        feats, frames = self._features(model.feature_extractor, wavs, n_samples, padded, packs)
        hidden = model.feature_projection(feats)  # [B, F, C] -> [B, F, D], or packed, [N, C] -> [N, D]
        if isinstance(hidden, tuple):  # all but HuBERT's also give what they projected
            hidden = hidden[0]
        rows = frames.pad(hidden)
        hidden = frames.pack(rows + self.position_embedding(model.encoder.pos_conv_embed, rows, frames))
        return hidden if self.stable else model.encoder.layer_norm(hidden), frames

    def _features(
        self, feature_extractor: Model, wavs: torch.Tensor, n_samples: torch.Tensor, padded: bool, packs: bool
    ) -> tuple[torch.Tensor, Frames]:
        """Compute the feature encoder; return its frames, and their layout in memory (see `pack_rows`)."""
        lengths = self.frame_lengths(n_samples)
        if not packs or not has_layer_norms(feature_extractor):
            rows = self._padded_features(feature_extractor, wavs, n_samples)
            return pack_rows(rows, lengths, padded, packs, self.eager)
        frames = PackedFrames(lengths, int(self.frame_lengths(torch.tensor(wavs.shape[1]))), self.eager)
        feats = clip_features(feature_extractor, wavs, n_samples.tolist())  # [B, T] -> [N, C]
        if keeps_padding(frames):
            return frames.pad(feats), PaddedFrames(lengths, frames.n_frames, padded, self.eager)
        return feats, frames

    @staticmethod
    def _padded_features(feature_extractor: Model, wavs: torch.Tensor, n_samples: torch.Tensor) -> torch.Tensor:
        """Compute the feature encoder on padded rows, [B, T] -> [B, F, C]."""
        if not has_layer_norms(feature_extractor):
            return group_norm_features(feature_extractor, wavs, n_samples)
        if torch.compiler.is_exporting():  # onnxruntime chooses the memory layout by itself
            return feature_extractor(wavs).transpose(1, 2)  # [B, T] -> [B, C, F] -> [B, F, C]
        return layer_norm_features(feature_extractor, wavs)

    def position_embedding(self, embed: Model, rows: torch.Tensor, frames: Frames) -> torch.Tensor:
        """Compute the positional convolution, [B, F, D] -> [B, F, D].

        Its kernel is weight-normed, direction times length, and is computed from the two in every forward pass: a
        kernel that is kept cannot notice every way in which weights change (`.data`, fused optimisers, replicas).
        """
        rows = rows.transpose(1, 2)  # [B, F, D] -> [B, D, F]
        if rows.device.type == "cpu":
            rows = rows.contiguous()  # oneDNN's own copy takes longer
        return embed.activation(embed.padding(embed.conv(rows))).transpose(1, 2)  # [B, D, F] -> [B, F, D]

    def attention_input(self, layer: Layer, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the residual stream, and it normalised where the layer normalises its inputs."""
        return hidden, layer.layer_norm(hidden) if self.stable else hidden

    def feed_forward(self, layer: Layer, hidden: torch.Tensor, frames: Optional[Frames]) -> torch.Tensor:
        """Compute the feed-forward."""
        if self.stable:
            hidden = hidden + layer.feed_forward(layer.final_layer_norm(hidden))
            adapter = getattr(layer, "adapter_layer", None)  # of wav2vec 2.0 with adapter_attn_dim
            return hidden if adapter is None else hidden + adapter(hidden)
        hidden = layer.layer_norm(hidden)
        return layer.final_layer_norm(hidden + layer.feed_forward(hidden))
