"""TruncatedHuBERT: the first layers of a HuBERT or wav2vec 2.0 encoder as a SpeechBrain lobe (Sec. 2.2)."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from speechbrain_ext.dataio.audio import WAVEFORM_SCALES
from speechbrain_ext.dataio.waveform_scale import num_samples, scale_waveforms
from speechbrain_ext.errors import InputError, check_number
from speechbrain_ext.lobes.encoder_checkpoint import EncoderCheckpoint
from speechbrain_ext.lobes.feature_encoder import (
    clip_features,
    group_norm_features,
    has_layer_norms,
    layer_norm_features,
    raise_malloc_threshold,
)
from speechbrain_ext.lobes.frames import PackedFrames, PaddedFrames
from speechbrain_ext.lobes.lora import add_lora
from speechbrain_ext.lobes.pretrained import (
    ARCHITECTURES,
    config_from_dict,
    config_from_folder,
    find_checkpoint,
    load_weights,
    truncate_config,
)

# What decides what a model computes, given its weights; the rest of a config is about training, or off here.
ARCHITECTURE_KEYS = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "layer_norm_eps",
    "conv_dim",
    "conv_kernel",
    "conv_stride",
    "conv_bias",
    "feat_extract_norm",
    "feat_extract_activation",
    "feat_proj_layer_norm",  # HuBERT's alone
    "conv_pos_batch_norm",  # HuBERT's alone
    "num_conv_pos_embeddings",
    "num_conv_pos_embedding_groups",
    "do_stable_layer_norm",
)
REDUCTIONS = ("first", "mean", None)
ATTENTIONS = ("sdpa", "eager")
Layer = Any  # transformers' Transformer layer: nn.Module does not say which attributes it has
Frames = PackedFrames | PaddedFrames
DENSE = 0.8  # share of own frames in a batch from which training on a CPU keeps the padding


class TruncatedHuBERT(EncoderCheckpoint):
    """The first `num_layers` Transformer layers of a self-supervised speech encoder, with feature reduction.

    The output is the raw residual stream after the last kept layer: no final LayerNorm follows. Layers above it are
    neither allocated nor read. With "first", the last kept layer computes its query, output projection and
    feed-forward for frame 0 alone, which gives the same numbers. A clip has the same output alone and in any batch,
    also where the feature encoder has GroupNorm (HuBERT-Base, wav2vec 2.0 Base), whose statistics leave padding out.

    Layers are computed part by part: hooks on a whole Transformer layer, on its attention or on the convolutions of a
    feature encoder with LayerNorm are not called; those on projections, norms, activations and dropouts are.
    `checkpoint_activations` replaces transformers' gradient checkpointing.

    Arguments
    ---------
    source : str, optional
        Hub id or folder of a HuBERT or wav2vec 2.0 checkpoint.
    save_path : str, optional
        Folder in which a downloaded checkpoint is kept; by default the Hub's own cache.
    config : dict, optional
        Values of `transformers.HubertConfig` (or, with `model_type: wav2vec2`, `Wav2Vec2Config`) from which an
        encoder without trained weights is built. Used only without `source`.
    num_layers : int
        How many Transformer layers are kept.
    projection_dropout : float
        Dropout between self-attention and feed-forward in every kept layer. All other dropouts are off.
    feature_reduction : str, optional
        "first" takes the first frame (F_e^0), "mean" averages a clip's own frames, None keeps all frames.
    freeze_feature_extractor : bool
        Whether the convolutional feature encoder keeps its weights.
    freeze : bool
        Whether the whole encoder keeps its weights; it then stays in evaluation mode, also after `.train()`.
    waveform_scale : str, optional
        Scaling of each clip before the encoder: "peak", "layer" or None, see `scale_waveforms`.
    attn_implementation : str
        "sdpa" or "eager".
    checkpoint_activations : bool
        Whether training stores only each layer's input and computes the rest again in the backward pass: less memory,
        more time, the same numbers.
    compile_layers : bool
        Whether `torch.compile` compiles the two parts of a layer around attention, once for all layers and lengths.
        The first batches then take about a minute, numbers differ by rounding, and dropout by its draw.
    lora_rank : int
        Above 0, only low-rank updates of this rank are trained, see `add_lora`, and with
        `freeze_feature_extractor=False` the feature encoder; all other weights stay as they are.
    lora_projections : list of str
        The linear layers within a Transformer layer that are updated.

    Attributes
    ----------
    embedding_dim : int
        Size D of the output.
    num_layers : int
        Number of kept layers.
    min_samples : int
        Shortest waveform that gives one frame (400 for HuBERT).

    Raises
    ------
    InputError
        If the source holds no usable checkpoint, has fewer layers than asked for, or an argument is unknown.

    Example
    -------
    >>> config = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "num_hidden_layers": 4,
    ...           "conv_dim": [16] * 7, "feat_extract_norm": "layer", "do_stable_layer_norm": True,
    ...           "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    >>> encoder = TruncatedHuBERT(config=config, num_layers=3)
    >>> encoder(torch.randn(2, 16000), torch.tensor([1.0, 0.5])).shape
    torch.Size([2, 32])
    >>> encoder.frame_lengths(torch.tensor([16000, 8000]))
    tensor([49, 24])
    """

    def __init__(
        self,
        source: str | Path | None = None,
        save_path: str | Path | None = None,
        config: dict[str, Any] | None = None,
        num_layers: int = 22,
        projection_dropout: float = 0.4,
        feature_reduction: str | None = "first",
        freeze_feature_extractor: bool = True,
        freeze: bool = False,
        waveform_scale: str | None = "peak",
        attn_implementation: str = "sdpa",
        checkpoint_activations: bool = False,
        compile_layers: bool = False,
        lora_rank: int = 0,
        lora_projections: Sequence[str] = ("q_proj", "v_proj"),
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("feature_reduction", feature_reduction, REDUCTIONS),
            ("waveform_scale", waveform_scale, WAVEFORM_SCALES),
            ("attn_implementation", attn_implementation, ATTENTIONS),
        ):
            if value not in known:
                raise InputError(f"{name} must be one of {known}, got {value!r}.")
        check_number("projection_dropout", projection_dropout, 0, 1)
        if source is None and config is None:
            raise InputError("TruncatedHuBERT needs a source (Hub id or folder) or a config (dict).")
        if freeze and lora_rank:
            raise InputError(f"freeze=True keeps all weights, and lora_rank is {lora_rank}: leave one of them out.")

        name = "the config" if source is None else repr(str(source))
        folder = None if source is None else find_checkpoint(source, save_path)
        model_config = config_from_dict(config or {}) if folder is None else config_from_folder(folder)
        truncate_config(model_config, num_layers, name)
        model_config._attn_implementation = attn_implementation
        model_class = ARCHITECTURES[model_config.model_type][1]
        self.model: Any = (
            model_class(model_config) if folder is None else load_weights(model_class, model_config, folder)
        )
        encoder = self.model.encoder
        if model_config.do_stable_layer_norm:
            encoder.layer_norm = nn.Identity()  # the final LayerNorm; the output is the raw residual stream
        for layer in encoder.layers:
            layer.dropout = nn.Dropout(projection_dropout)
        self.embedding_dim = model_config.hidden_size
        self.num_layers = num_layers
        self.feature_reduction = feature_reduction
        self.waveform_scale = waveform_scale
        self.freeze = freeze
        self.checkpoint_activations = checkpoint_activations
        self.compile_layers = compile_layers
        raise_malloc_threshold()
        self.min_samples = 1
        for kernel, stride in zip(reversed(model_config.conv_kernel), reversed(model_config.conv_stride)):
            self.min_samples = (self.min_samples - 1) * stride + kernel
        if lora_rank:
            add_lora(self.model, encoder.layers, lora_rank, lora_projections)
            self.model.feature_extractor.requires_grad_(True)
        if freeze or lora_rank:
            self.base_source = None if source is None else str(source)
        if freeze_feature_extractor or freeze:
            self.model.feature_extractor._freeze_parameters()
        if freeze:
            self.requires_grad_(False)
            self.eval()

    def train(self, mode: bool = True) -> "TruncatedHuBERT":
        """Set training mode, unless the whole encoder is frozen."""
        return super().train(mode and not self.freeze)

    def architecture(self) -> dict[str, Any]:
        """Return the `config` from which an encoder of the same architecture is built without any checkpoint.

        Returns
        -------
        dict
            Plain values, with `num_hidden_layers` as kept.
        """
        found = self.model.config.to_dict()
        values = {key: found[key] for key in ARCHITECTURE_KEYS if key in found}
        values = {key: list(value) if isinstance(value, (list, tuple)) else value for key, value in values.items()}
        return {"model_type": self.model.config.model_type, **values}

    def frame_lengths(self, n_samples: torch.Tensor | int) -> torch.Tensor:
        """Count the frames of clips.

        Arguments
        ---------
        n_samples : torch.Tensor or int
            Lengths in samples.

        Returns
        -------
        torch.Tensor
            Lengths in frames, int64, of the same shape.
        """
        lengths = torch.as_tensor(n_samples)
        for kernel, stride in zip(self.model.config.conv_kernel, self.model.config.conv_stride):
            lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        return lengths.clamp(min=0)

    def forward(self, wavs: torch.Tensor, wav_lens: torch.Tensor | None = None) -> torch.Tensor:
        """Encode waveforms.

        Arguments
        ---------
        wavs : torch.Tensor
            Padded waveforms at the checkpoint's sample rate (16 kHz), [B, T].
        wav_lens : torch.Tensor, optional
            Relative lengths in (0, 1], [B]. Without it every clip is T samples long.

        Returns
        -------
        torch.Tensor
            [B, D] for "first" and "mean"; [B, F, D] for None, where frames beyond a clip's `frame_lengths` are zero.

        Raises
        ------
        InputError
            If a clip is shorter than `min_samples`, or a relative length is above 1.
        """
        n_samples = num_samples(wavs, wav_lens)
        padded = self._check_lengths(n_samples, wavs.shape[1])
        wavs = wavs.to(torch.promote_types(wavs.dtype, torch.float32))  # scaled before it is rounded to half precision
        if padded or self.waveform_scale is not None:
            wavs = scale_waveforms(wavs, wav_lens, self.waveform_scale)
        wavs = wavs.to(self.model.feature_extractor.conv_layers[0].conv.weight.dtype)
        feats, frames = self._features(wavs, n_samples, padded)
        hidden = self.model.feature_projection(feats)  # [B, F, C] -> [B, F, D], or packed, [N, C] -> [N, D]
        if isinstance(hidden, tuple):  # wav2vec 2.0 also gives what it projected
            hidden = hidden[0]
        rows = frames.pad(hidden)
        hidden = frames.pack(rows + self._position_embedding(rows, frames))
        encoder = self.model.encoder
        if not self.model.config.do_stable_layer_norm:
            hidden = encoder.layer_norm(hidden)

        first_frame = self.feature_reduction == "first"
        for layer in encoder.layers[:-1]:
            hidden = self._run(layer, hidden, frames)
        hidden = self._run(encoder.layers[-1], hidden, frames, first_frame)
        if self.feature_reduction == "mean":
            return frames.mean(hidden)  # [B, F, D] -> [B, D]
        return hidden if first_frame else frames.pad(hidden)

    def _check_lengths(self, n_samples: torch.Tensor, n_times: int) -> bool:
        """Refuse clips that are too short or longer than the batch, and tell whether any is padded."""
        if torch.compiler.is_exporting():  # a graph cannot raise; see inference.onnx for what it does instead
            return True
        shortest, longest = torch.stack(n_samples.aminmax()).tolist()  # one wait for the device
        if longest > n_times:
            raise InputError(
                f"wav_lens must be relative, in (0, 1]: clip {int(n_samples.argmax())} of the batch would have "
                f"{longest} of {n_times} samples. Divide lengths in samples by the padded length."
            )
        if shortest < self.min_samples:
            raise InputError(
                f"clip {int(n_samples.argmin())} of the batch has {shortest} samples; the encoder needs at least "
                f"{self.min_samples}. Leave it out, or pad it with silence and count the silence as its own."
            )
        return shortest < n_times

    def _features(self, wavs: torch.Tensor, n_samples: torch.Tensor, padded: bool) -> tuple[torch.Tensor, Frames]:
        """Compute the feature encoder; return its frames, and their layout in memory.

        On a CPU frames are packed: padding costs as much time there as speech. On a GPU, computing the padding is
        faster than many small operations, and so it is on a CPU in the backward pass.
        """
        lengths = self.frame_lengths(n_samples)
        eager = self.model.config._attn_implementation == "eager"
        if not self._packs(wavs):
            rows = self._padded_features(wavs, n_samples)
            return rows, PaddedFrames(lengths, rows.shape[1], padded, eager)
        frames = PackedFrames(lengths, int(self.frame_lengths(wavs.shape[1])), eager)
        if has_layer_norms(self.model.feature_extractor):
            feats = clip_features(self.model.feature_extractor, wavs, n_samples.tolist())  # [B, T] -> [N, C]
        else:
            feats = frames.pack(self._padded_features(wavs, n_samples))
        if torch.is_grad_enabled() and frames.density > DENSE:
            return frames.pad(feats), PaddedFrames(lengths, frames.n_frames, padded, eager)
        return feats, frames

    @staticmethod
    def _packs(wavs: torch.Tensor) -> bool:
        """Tell whether frames are packed; a traced graph must not hold the lengths of its example."""
        return wavs.device.type == "cpu" and not torch.compiler.is_exporting() and not torch.jit.is_tracing()

    def _padded_features(self, wavs: torch.Tensor, n_samples: torch.Tensor) -> torch.Tensor:
        """Compute the feature encoder on padded rows, [B, T] -> [B, F, C]."""
        feature_extractor = self.model.feature_extractor
        if not has_layer_norms(feature_extractor):
            return group_norm_features(feature_extractor, wavs, n_samples)
        if torch.compiler.is_exporting():  # onnxruntime chooses the memory layout by itself
            return feature_extractor(wavs).transpose(1, 2)  # [B, T] -> [B, C, F] -> [B, F, C]
        return layer_norm_features(feature_extractor, wavs)

    def _position_embedding(self, rows: torch.Tensor, frames: Frames) -> torch.Tensor:
        """Compute the positional convolution, [B, F, D] -> [B, F, D].

        Its kernel is weight-normed, direction times length, and is computed from the two in every forward pass: a
        kernel that is kept cannot notice every way in which weights change (`.data`, fused optimisers, replicas).
        """
        embed = self.model.encoder.pos_conv_embed
        if getattr(embed, "batch_norm", None) is not None:  # replaces the weight norm; padding has to stay zero
            own = frames.pack(rows)
            rows = frames.pad(embed.batch_norm(own.reshape(-1, own.shape[-1])).view_as(own))
        rows = rows.transpose(1, 2)  # [B, F, D] -> [B, D, F]
        if rows.device.type == "cpu":
            rows = rows.contiguous()  # oneDNN's own copy takes longer
        return embed.activation(embed.padding(embed.conv(rows))).transpose(1, 2)  # [B, D, F] -> [B, F, D]

    def _run(self, layer: Layer, *args: Any) -> torch.Tensor:
        """Compute a layer; with `checkpoint_activations`, store only its input for the backward pass."""
        if self.checkpoint_activations and torch.is_grad_enabled():
            return checkpoint(self._layer, layer, *args, use_reentrant=False)
        return self._layer(layer, *args)

    def _layer(self, layer: Layer, hidden: torch.Tensor, frames: Frames, first_frame: bool = False) -> torch.Tensor:
        """Compute a Transformer layer, or only frame 0 of its output: the same numbers as the whole layer's."""
        stable, attention = self.model.config.do_stable_layer_norm, layer.attention
        if not first_frame:
            project, finish = (_project, _finish) if not self.compile_layers else _compiled()
            queries, keys, values = project(layer, hidden, stable)
            attended = frames.attend(queries, keys, values, attention.num_heads)
            return finish(layer, hidden, attended, stable)
        keys = layer.layer_norm(hidden) if stable else hidden
        queries, keys, values = attention.q_proj(frames.first(keys)), attention.k_proj(keys), attention.v_proj(keys)
        attended = frames.attend(queries, keys, values, attention.num_heads)
        mask = None
        if self.training and layer.dropout.p > 0:
            # Drawn for all frames, so that the random numbers are those of the whole layer.
            mask = frames.first(layer.dropout(torch.ones_like(hidden)))
        return _finish(layer, frames.first(hidden), attended, stable, mask)


def _project(layer: Layer, hidden: torch.Tensor, stable: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute a layer's queries, keys and values."""
    hidden = layer.layer_norm(hidden) if stable else hidden
    return layer.attention.q_proj(hidden), layer.attention.k_proj(hidden), layer.attention.v_proj(hidden)


def _finish(
    layer: Layer,
    hidden: torch.Tensor,
    attended: torch.Tensor,
    stable: bool,
    dropout_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute the part of a layer after its attention."""
    attended = layer.attention.out_proj(attended)
    attended = layer.dropout(attended) if dropout_mask is None else attended * dropout_mask.to(attended.dtype)
    hidden = hidden + attended
    if stable:
        hidden = hidden + layer.feed_forward(layer.final_layer_norm(hidden))
        adapter = getattr(layer, "adapter_layer", None)  # of wav2vec 2.0 with adapter_attn_dim
        return hidden if adapter is None else hidden + adapter(hidden)
    hidden = layer.layer_norm(hidden)
    return layer.final_layer_norm(hidden + layer.feed_forward(hidden))


@functools.cache
def _compiled() -> tuple[Callable, Callable]:
    """Compile the two parts of a layer, for all layers and lengths; attention, between them, is one kernel already."""
    return torch.compile(_project, dynamic=True), torch.compile(_finish, dynamic=True)
