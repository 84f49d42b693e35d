"""TruncatedHuBERT: the first layers of a HuBERT or wav2vec 2.0 encoder as a SpeechBrain lobe (Sec. 2.2)."""

import functools

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrize import is_parametrized
from torch.utils.checkpoint import checkpoint

from speechbrain_ext.dataio.waveform_scale import SCALES, num_samples, scale_waveforms
from speechbrain_ext.errors import InputError, check_number
from speechbrain_ext.lobes.feature_encoder import (
    clip_features,
    group_norm_features,
    has_layer_norms,
    raise_malloc_threshold,
    stem_features,
)
from speechbrain_ext.lobes.frames import PackedFrames, PaddedFrames
from speechbrain_ext.lobes.plain_layers import PlainLayers
from speechbrain_ext.lobes.pretrained import (
    ARCHITECTURES,
    config_from_dict,
    config_from_source,
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
DENSE = 0.8  # share of own frames in a batch from which training on a CPU keeps the padding


class TruncatedHuBERT(nn.Module):
    """The first `num_layers` Transformer layers of a self-supervised speech encoder, with feature reduction.

    The output is the raw residual stream after the last kept layer: no final LayerNorm follows. Layers above it are
    neither allocated nor read. With "first", the last kept layer computes its query, output projection and
    feed-forward for frame 0 alone, which gives the same numbers. A clip has the same output alone and in any batch,
    also where the stem has GroupNorm (HuBERT-Base, wav2vec 2.0 Base), whose averages leave padding out here.

    Layers are computed part by part: hooks on a whole Transformer layer or its attention are not called (those on its
    projections are), nor, without gradients, hooks on all modules at once (`register_module_forward_hook`).
    `checkpoint_activations` stands for transformers' gradient checkpointing.

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
        Whether the convolutional stem keeps its weights.
    freeze : bool
        Whether the whole encoder keeps its weights; it then stays in evaluation mode, also after `.train()`.
    waveform_scale : str, optional
        Scaling of each clip before the encoder: "peak", "layer" or None, see `scale_waveforms`.
    attn_implementation : str
        "sdpa" or "eager".
    checkpoint_activations : bool
        Whether training keeps of each layer only its input, and computes the rest once more when it goes back: less
        memory for some more time, and the same numbers.
    compile_layers : bool
        Whether `torch.compile` makes kernels of what stands around attention, once for all layers and lengths. The
        first batches then take a minute or so, numbers differ by rounding, and dropout by its draw.

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
        source=None,
        save_path=None,
        config=None,
        num_layers=22,
        projection_dropout=0.4,
        feature_reduction="first",
        freeze_feature_extractor=True,
        freeze=False,
        waveform_scale="peak",
        attn_implementation="sdpa",
        checkpoint_activations=False,
        compile_layers=False,
    ):
        super().__init__()
        for name, value, known in (
            ("feature_reduction", feature_reduction, REDUCTIONS),
            ("waveform_scale", waveform_scale, SCALES),
            ("attn_implementation", attn_implementation, ATTENTIONS),
        ):
            if value not in known:
                raise InputError(f"{name} must be one of {known}, got {value!r}.")
        check_number("projection_dropout", projection_dropout, 0, 1)
        if source is None and config is None:
            raise InputError("TruncatedHuBERT needs a source (Hub id or folder) or a config (dict).")

        name = "the config" if source is None else repr(str(source))
        model_config = config_from_dict(config) if source is None else config_from_source(source, save_path)
        truncate_config(model_config, num_layers, name)
        model_config._attn_implementation = attn_implementation
        model_class = ARCHITECTURES[model_config.model_type][1]
        if source is None:
            self.model = model_class(model_config)
        else:
            self.model = load_weights(model_class, model_config, source, save_path)
        encoder = self.model.encoder
        if model_config.do_stable_layer_norm:
            encoder.layer_norm = nn.Identity()  # it stands after the last layer, and the raw output is wanted
        for layer in encoder.layers:
            layer.dropout = nn.Dropout(projection_dropout)
        self.embedding_dim = model_config.hidden_size
        self.num_layers = num_layers
        self.feature_reduction = feature_reduction
        self.waveform_scale = waveform_scale
        self.freeze = freeze
        self.checkpoint_activations = checkpoint_activations
        self.compile_layers = compile_layers
        self._position_kernel = self._plain_layers = None
        raise_malloc_threshold()
        self.min_samples = 1
        for kernel, stride in zip(reversed(model_config.conv_kernel), reversed(model_config.conv_stride)):
            self.min_samples = (self.min_samples - 1) * stride + kernel
        if freeze_feature_extractor or freeze:
            self.model.feature_extractor._freeze_parameters()
        if freeze:
            self.requires_grad_(False)
            self.eval()

    def __getstate__(self):
        """Copy without what is kept of the weights beside them."""
        return {**self.__dict__, "_position_kernel": None, "_plain_layers": None}

    def train(self, mode=True):
        """Set training mode, unless the whole encoder is frozen."""
        self._position_kernel = None
        return super().train(mode and not self.freeze)

    def architecture(self):
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

    def frame_lengths(self, n_samples):
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

    def forward(self, wavs, wav_lens=None):
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
        wavs = wavs.to(self.model.feature_projection.projection.weight.dtype)
        if padded or self.waveform_scale is not None:
            wavs = scale_waveforms(wavs, wav_lens, self.waveform_scale)
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
        if plain := self._plain():
            hidden = plain.run(hidden, frames, first_frame)
        else:
            for layer in encoder.layers[:-1]:
                hidden = self._run(layer, hidden, frames)
            hidden = self._run(encoder.layers[-1], hidden, frames, first_frame)
        if self.feature_reduction == "mean":
            return frames.mean(hidden)  # [B, F, D] -> [B, D]
        return hidden if first_frame else frames.pad(hidden)

    def _check_lengths(self, n_samples, n_times):
        """Refuse clips that are too short or longer than the batch, and tell whether any is padded."""
        if torch.compiler.is_exporting():  # a graph cannot raise; see onnx_export for what it gives instead
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

    def _features(self, wavs, n_samples, padded):
        """Compute the convolutional stem; return its frames, and how they lie.

        A CPU takes them packed: work on padding costs there what work on speech does. A GPU would rather compute the
        padding than start many small pieces, and so would a CPU that has to go back through them all.
        """
        lengths = self.frame_lengths(n_samples)
        eager = self.model.config._attn_implementation == "eager"
        if not self._packs(wavs):
            rows = self._stem(wavs, n_samples)
            return rows, PaddedFrames(lengths, rows.shape[1], padded, eager)
        frames = PackedFrames(lengths, int(self.frame_lengths(wavs.shape[1])), eager)
        if has_layer_norms(self.model.feature_extractor):
            feats = clip_features(self.model.feature_extractor, wavs, n_samples.tolist())  # [B, T] -> [N, C]
        else:
            feats = frames.pack(self._stem(wavs, n_samples))
        if torch.is_grad_enabled() and frames.density > DENSE:
            return frames.pad(feats), PaddedFrames(lengths, frames.n_frames, padded, eager)
        return feats, frames

    @staticmethod
    def _packs(wavs):
        """Tell whether frames are packed; a graph that is traced must not hold the lengths of its example."""
        return wavs.device.type == "cpu" and not torch.compiler.is_exporting() and not torch.jit.is_tracing()

    def _stem(self, wavs, n_samples):
        """Compute the convolutional stem, [B, T] -> [B, F, C]."""
        stem = self.model.feature_extractor
        if not has_layer_norms(stem):
            return group_norm_features(stem, wavs, n_samples)
        if torch.compiler.is_exporting():  # onnxruntime lays out memory by itself
            return stem(wavs).transpose(1, 2)  # [B, T] -> [B, C, F] -> [B, F, C]
        return stem_features(stem, wavs)

    def _position_embedding(self, rows, frames):
        """Compute the positional convolution, [B, F, D] -> [B, F, D]."""
        embed = self.model.encoder.pos_conv_embed
        conv = embed.conv
        if getattr(embed, "batch_norm", None) is not None:  # in place of the weight norm; it must not fill the padding
            own = frames.pack(rows)
            rows = frames.pad(embed.batch_norm(own.reshape(-1, own.shape[-1])).view_as(own))
        kernel = self._position_kernel_of(conv)
        rows = rows.transpose(1, 2)  # [B, F, D] -> [B, D, F]
        if rows.device.type == "cpu":
            rows = rows.contiguous()  # oneDNN's convolution takes longer to copy it
        if kernel is None:
            rows = conv(rows)
        else:
            rows = F.conv1d(rows, kernel, conv.bias, padding=conv.padding, groups=conv.groups)
        return embed.activation(embed.padding(rows)).transpose(1, 2)  # [B, D, F] -> [B, F, D]

    def _position_kernel_of(self, conv):
        """Return the kernel of the positional convolution where it can be kept; None where it may be learning."""
        if not is_parametrized(conv) or torch.compiler.is_exporting():
            return None
        if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in conv.parameters()):
            self._position_kernel = None  # a fused optimizer changes weights without raising their version
            return None
        # The kernel is a direction times a length, and the same product in every batch until one of them changes.
        factors = list(conv.parametrizations.weight.parameters())
        state = [(factor.data_ptr(), None if factor.is_inference() else factor._version) for factor in factors]
        if self._position_kernel is None or self._position_kernel[0] != state:
            with torch.inference_mode(False), torch.no_grad():  # a tensor that may be used outside as well
                self._position_kernel = state, conv.weight
        return self._position_kernel[1]

    def _plain(self):
        """Return the layers as functions of their weights, where they are no more than that now; None elsewhere."""
        if self.compile_layers or torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing():
            return None
        layers, stable = self.model.encoder.layers, self.model.config.do_stable_layer_norm
        plain = self._plain_layers
        if plain is None or plain.stale(layers, stable):
            self._plain_layers = plain = PlainLayers(layers, stable)
        return plain if plain.usable() else None

    def _run(self, layer, *args):
        """Compute a layer, and keep what going back needs, or compute it once more then."""
        if self.checkpoint_activations and torch.is_grad_enabled():
            return checkpoint(self._layer, layer, *args, use_reentrant=False)
        return self._layer(layer, *args)

    def _layer(self, layer, hidden, frames, first_frame=False):
        """Compute a Transformer layer, or frame 0 of its output alone, with the very numbers of the whole layer."""
        stable, attention = self.model.config.do_stable_layer_norm, layer.attention
        if not first_frame:
            project, finish = (_project, _finish) if not self.compile_layers else _compiled()
            attended = frames.attend(*project(layer, hidden, stable), attention.num_heads)
            return finish(layer, hidden, attended, stable)
        keys = layer.layer_norm(hidden) if stable else hidden
        queries, keys, values = attention.q_proj(frames.first(keys)), attention.k_proj(keys), attention.v_proj(keys)
        attended = frames.attend(queries, keys, values, attention.num_heads)
        mask = None
        if self.training and layer.dropout.p > 0:
            # The whole layer's mask is drawn, so that the random numbers are those of the whole layer.
            mask = frames.first(layer.dropout(torch.ones_like(hidden)))
        return _finish(layer, frames.first(hidden), attended, stable, mask)


def _project(layer, hidden, stable):
    """Compute a layer's queries, keys and values."""
    hidden = layer.layer_norm(hidden) if stable else hidden
    return layer.attention.q_proj(hidden), layer.attention.k_proj(hidden), layer.attention.v_proj(hidden)


def _finish(layer, hidden, attended, stable, dropout_mask=None):
    """Compute what follows a layer's attention."""
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
def _compiled():
    """Compile the two halves of a layer, for all layers and lengths: attention, between them, is a kernel already."""
    return tuple(torch.compile(function, dynamic=True) for function in (_project, _finish))
