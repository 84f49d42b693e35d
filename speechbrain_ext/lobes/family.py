"""Family: what one family of encoders (HuBERT, WavLM, Whisper, ...) does in its own way.

`TruncatedEncoder` holds what all have in common; each family is a file in `families/`. A family holds plain values of a
configuration and no weights: its methods are given the model of transformers that they compute.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Optional

import torch
import transformers
from torch import nn

from speechbrain_ext.limits import LARGEST_HIDDEN_SIZE, LARGEST_INTERMEDIATE_SIZE, MOST_HEADS, MOST_LAYERS
from speechbrain_ext.lobes.frames import Bias, Frames, PackedFrames, PaddedFrames
from speechbrain_ext.rules import Rule, number, one_of, whole

Config = transformers.PretrainedConfig
Model = Any  # transformers' modules: nn.Module does not say which attributes they have
Layer = Any

DENSE = 0.8  # share of own frames in a batch from which training on a CPU keeps the padding
ACTIVATION = one_of("gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu", "swish")
SIZES: dict[str, Rule] = {
    "hidden_size": whole(1, LARGEST_HIDDEN_SIZE),
    "num_hidden_layers": whole(1, MOST_LAYERS),
    "num_attention_heads": whole(1, MOST_HEADS),
    "intermediate_size": whole(1, LARGEST_INTERMEDIATE_SIZE),
    "hidden_act": ACTIVATION,
    "layer_norm_eps": number(0, 1),
}


class Family(ABC):
    """One family of encoders.

    Arguments
    ---------
    config : transformers.PretrainedConfig
        The configuration, cut to the kept layers.
    eager : bool
        Whether attention is computed step by step, as in `PackedFrames`.

    Attributes
    ----------
    model_type : str
        The family's name in a checkpoint's config.json.
    config_class, model_class : str
        Names of transformers' classes, looked up when they are needed: importing them takes time.
    bounds : dict
        The keys of a configuration that decide what a model computes, each with the values that a bundle may have.
    needed : tuple of str
        Those of them that have no default.
    aliases : dict
        Keys of `bounds` that transformers calls otherwise in this family -> transformers' names.
    deterministic : dict
        Values that switch off all that is random, and all that is not part of the encoder.
    prefixes : tuple of str
        What may stand before the names of the model's weights in a checkpoint; by default the model's own.
    values_a_sample : float
        How many values the widest layer computes for a sample of the waveform: a measure of the memory of a batch.
    takes_log_mel : bool
        Whether the encoder's input is computed from the waveform by a feature extractor that scales by itself.
    preprocessor : dict
        What such a feature extractor is: keys of preprocessor_config.json, where they stand there, and their values.
    attention_name, projection_names, dropout_name : str, tuple of str, str
        What transformers calls a layer's attention, its linear layers for queries, keys, values and output, and the
        layer's dropout of that output.
    """

    model_type: ClassVar[str]
    config_class: ClassVar[str]
    model_class: ClassVar[str]
    bounds: ClassVar[Mapping[str, Rule]]
    needed: ClassVar[tuple[str, ...]] = ("hidden_size", "num_hidden_layers")
    aliases: ClassVar[Mapping[str, str]] = {}
    # Saved checkpoints carry dropouts and SpecAugment of their own pretraining; the published model has none of them.
    deterministic: ClassVar[Mapping[str, Any]] = {
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "feat_proj_dropout": 0.0,
        "final_dropout": 0.0,
        "layerdrop": 0.0,
        "mask_time_prob": 0.0,
        "mask_feature_prob": 0.0,
        "add_adapter": False,
    }
    prefixes: ClassVar[tuple[str, ...]] = ()
    takes_log_mel: ClassVar[bool] = False
    preprocessor: ClassVar[Mapping[str, int]] = {}
    attention_name: ClassVar[str] = "self_attn"
    projection_names: ClassVar[tuple[str, ...]] = ("q_proj", "k_proj", "v_proj", "out_proj")
    dropout_name: ClassVar[str] = "dropout"

    def __init__(self, config: Config, eager: bool = False) -> None:
        self.n_heads: int = config.num_attention_heads
        # Frames are about 320 samples apart; log-mel features are windows of 400 samples each 160, as float64.
        intermediate_size = getattr(config, self.aliases.get("intermediate_size", "intermediate_size"))
        self.values_a_sample = max(2 * 400 / 160, intermediate_size / 320)
        self.eager = eager

    # ---- Configuration and checkpoint ----

    @classmethod
    def check_config(cls, config: Mapping[str, Any], name: str) -> None:
        """Refuse a variant that is not supported.

        Arguments
        ---------
        config
            All values of the configuration.
        name
            What it is called in messages.

        Raises
        ------
        InputError
            Says what is supported.
        """
        return

    @staticmethod
    def unused_weights(config: Config) -> tuple[str, ...]:
        """Return the prefixes of the model's weights that no forward pass uses: a checkpoint may lack them."""
        return ()

    # ---- Sizes ----

    min_samples: int
    max_samples: Optional[int] = None

    @abstractmethod
    def frame_lengths(self, n_samples: torch.Tensor) -> torch.Tensor:
        """Count the frames of clips, from their lengths in samples, int64."""

    # ---- Parts of the model ----

    @abstractmethod
    def layers(self, model: Model) -> nn.ModuleList:
        """Return the Transformer layers."""

    @abstractmethod
    def prepare(self, model: Model) -> None:
        """Remove a LayerNorm that follows the last layer, and freeze what is not trained."""

    def set_projection_dropout(self, layer: Layer, probability: float) -> None:
        """Set the dropout after the output projection of attention; transformers has a number there in some."""
        setattr(layer, self.dropout_name, nn.Dropout(probability))

    def projection_dropout(self, layer: Layer) -> nn.Dropout:
        """Return the dropout after the output projection of attention."""
        return getattr(layer, self.dropout_name)

    def _project(self, layer: Layer, which: int, hidden: torch.Tensor) -> torch.Tensor:
        return getattr(getattr(layer, self.attention_name), self.projection_names[which])(hidden)

    def feature_encoder(self, model: Model) -> Iterable[nn.Module]:
        """Return the convolutions that `freeze_feature_extractor` freezes."""
        return ()

    # ---- The forward pass ----

    @abstractmethod
    def embed(
        self, model: Model, wavs: torch.Tensor, n_samples: torch.Tensor, padded: bool, packs: bool
    ) -> tuple[torch.Tensor, Frames]:
        """Compute the input of the first layer.

        Arguments
        ---------
        model
            The model.
        wavs
            Padded waveforms, scaled, their padding zero, at least in float32, [B, T].
        n_samples
            Length of each clip in samples, [B].
        padded
            Whether any clip is shorter than T.
        packs
            Whether frames may be packed.

        Returns
        -------
        tuple
            (packed [N, D] or padded [B, F, D] frames, how they lie).
        """

    def positions(self, model: Model, n_frames: int) -> Optional[torch.Tensor]:
        """Compute once what the attention biases of all layers share."""
        return None

    @abstractmethod
    def attention_input(self, layer: Layer, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute (the residual stream at a layer's attention, what its attention reads), both as `hidden` lies."""

    def queries(self, layer: Layer, normed: torch.Tensor) -> torch.Tensor:
        """Project what attention reads to queries."""
        return self._project(layer, 0, normed)

    def keys_and_values(self, layer: Layer, normed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Project what attention reads to keys and values."""
        return self._project(layer, 1, normed), self._project(layer, 2, normed)

    def bias(
        self, layer: Layer, normed: torch.Tensor, queries: torch.Tensor, positions: Optional[torch.Tensor]
    ) -> tuple[Optional[Bias], Optional[torch.Tensor]]:
        """Return what attention adds to its scores, as `frames.attend` takes it: the bias, and its basis."""
        return None, None

    def finish(
        self,
        layer: Layer,
        residual: torch.Tensor,
        attended: torch.Tensor,
        frames: Optional[Frames],
        dropout_mask: Optional[torch.Tensor] = None,
    ) -> torch.Tensor:
        """Compute the part of a layer after its attention.

        Arguments
        ---------
        layer
            The layer.
        residual
            The residual stream at the attention.
        attended
            What attention gives, of the same shape.
        frames
            How they lie; None for frame 0 of each clip alone, [B, D].
        dropout_mask
            Factors in place of the layer's projection dropout.
        """
        attended = drop(self._project(layer, 3, attended), self.projection_dropout(layer), dropout_mask)
        return self.feed_forward(layer, residual + attended, frames)

    @abstractmethod
    def feed_forward(self, layer: Layer, hidden: torch.Tensor, frames: Optional[Frames]) -> torch.Tensor:
        """Compute the part of a layer after its attention was added to the residual stream."""


def keeps_padding(packed: PackedFrames) -> bool:
    """Tell whether training on a CPU is faster with the padding of these frames: little of it, and fewer operations."""
    return torch.is_grad_enabled() and packed.density > DENSE


def pack_rows(
    rows: torch.Tensor, lengths: torch.Tensor, padded: bool, packs: bool, eager: bool
) -> tuple[torch.Tensor, Frames]:
    """Choose how the frames of padded rows lie in memory, and lay them out so.

    On a CPU frames are packed: padding costs as much time there as speech. On a GPU, computing the padding is faster
    than many small operations, and so it is on a CPU in the backward pass where little is padded.

    Arguments
    ---------
    rows
        Frames, [B, F, D]; what stands in the padding does not matter.
    lengths
        Frames of each clip, [B].
    padded, packs
        As in `Family.embed`.
    eager
        As in `PackedFrames`.

    Returns
    -------
    tuple
        (packed [N, D] or padded [B, F, D] frames, how they lie).
    """
    if packs:
        packed = PackedFrames(lengths, rows.shape[1], eager)
        if not keeps_padding(packed):
            return packed.pack(rows), packed
    return rows, PaddedFrames(lengths, rows.shape[1], padded, eager)


def drop(hidden: torch.Tensor, dropout: nn.Module, mask: Optional[torch.Tensor]) -> torch.Tensor:
    """Apply a dropout, or a mask of factors that was drawn for it."""
    return dropout(hidden) if mask is None else hidden * mask.to(hidden.dtype)
