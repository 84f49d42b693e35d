"""TruncatedHuBERT: the first layers of a HuBERT or wav2vec 2.0 encoder as a SpeechBrain lobe (Sec. 2.2)."""

import logging

import torch
import torch.nn.functional as F
from speechbrain.dataio.dataio import length_to_mask
from torch import nn
from torch.nn.utils.parametrize import is_parametrized
from torch.utils.checkpoint import checkpoint

from speechbrain_ext.channels_last_stem import has_layer_norms, stem_features
from speechbrain_ext.errors import InputError, check_number
from speechbrain_ext.hubert_checkpoint import (
    ARCHITECTURES,
    config_from_dict,
    config_from_source,
    load_weights,
    truncate_config,
)
from speechbrain_ext.waveform_scale import SCALES, num_samples, scale_waveforms

logger = logging.getLogger(__name__)

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


class TruncatedHuBERT(nn.Module):
    """The first `num_layers` Transformer layers of a self-supervised speech encoder, with feature reduction.

    The output is the raw residual stream after the last kept layer: no final LayerNorm follows. Layers above it are
    neither allocated nor read. With "first", the last kept layer computes its query, output projection and
    feed-forward for frame 0 alone, which gives the same numbers. Encoders with LayerNorm in their convolutional stem
    (HuBERT-Large, wav2vec 2.0 LV-60, XLS-R) give a clip the same output alone and in any batch.

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
        if model_config.feat_extract_norm == "group":
            logger.warning(
                "%s has GroupNorm in its convolutional stem: its statistics run over the whole padded row, so a clip's "
                "output changes with padding. Use batches of one clip where that matters.",
                name,
            )

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
        self._position_kernel = None
        self.min_samples = 1
        for kernel, stride in zip(reversed(model_config.conv_kernel), reversed(model_config.conv_stride)):
            self.min_samples = (self.min_samples - 1) * stride + kernel
        if freeze_feature_extractor or freeze:
            self.model.feature_extractor._freeze_parameters()
        if freeze:
            self.requires_grad_(False)
            self.eval()

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
        wavs = scale_waveforms(wavs, wav_lens, self.waveform_scale)
        feats = self._stem(wavs)  # [B, T] -> [B, F, C]
        hidden = self.model.feature_projection(feats)  # [B, F, C] -> [B, F, D]
        if isinstance(hidden, tuple):  # wav2vec 2.0 also gives what it projected
            hidden = hidden[0]

        own_frames = length_to_mask(self.frame_lengths(n_samples), max_len=hidden.shape[1], dtype=torch.bool)  # [B, F]
        attention_mask = None
        if padded:
            hidden = hidden.masked_fill(~own_frames.unsqueeze(-1), 0.0)
            attention_mask = self._attention_mask(own_frames, hidden.dtype)
        encoder = self.model.encoder
        hidden = hidden + self._position_embedding(hidden)
        if not self.model.config.do_stable_layer_norm:
            hidden = encoder.layer_norm(hidden)

        for layer in encoder.layers[:-1]:
            hidden = self._run(self._layer, layer, hidden, attention_mask)
        if self.feature_reduction == "first":
            return self._run(self._first_frame, encoder.layers[-1], hidden, attention_mask)  # [B, F, D] -> [B, D]
        hidden = self._run(self._layer, encoder.layers[-1], hidden, attention_mask)
        hidden = hidden.masked_fill(~own_frames.unsqueeze(-1), 0.0)
        if self.feature_reduction == "mean":
            return hidden.sum(dim=1) / own_frames.sum(dim=1, keepdim=True)  # [B, F, D] -> [B, D]
        return hidden

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

    def _stem(self, wavs):
        """Compute the convolutional stem, [B, T] -> [B, F, C]."""
        stem = self.model.feature_extractor
        if has_layer_norms(stem) and not torch.compiler.is_exporting():  # onnxruntime lays out memory by itself
            return stem_features(stem, wavs)
        return stem(wavs).transpose(1, 2)  # [B, T] -> [B, C, F] -> [B, F, C]

    def _position_embedding(self, hidden):
        """Compute the positional convolution, [B, F, D] -> [B, F, D]."""
        embed = self.model.encoder.pos_conv_embed
        conv = embed.conv
        if not is_parametrized(conv) or torch.compiler.is_exporting():
            return embed(hidden)
        if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in conv.parameters()):
            self._position_kernel = None  # a fused optimizer changes weights without raising their version
            return embed(hidden)
        # The kernel is a direction times a length, and the same product in every batch until one of them changes.
        factors = list(conv.parametrizations.weight.parameters())
        state = [(factor.data_ptr(), None if factor.is_inference() else factor._version) for factor in factors]
        if self._position_kernel is None or self._position_kernel[0] != state:
            with torch.inference_mode(False), torch.no_grad():  # a tensor that may be used outside as well
                self._position_kernel = state, conv.weight
        hidden = hidden.transpose(1, 2)  # [B, F, D] -> [B, D, F]
        hidden = F.conv1d(hidden, self._position_kernel[1], conv.bias, padding=conv.padding, groups=conv.groups)
        return embed.activation(embed.padding(hidden)).transpose(1, 2)  # [B, D, F] -> [B, F, D]

    def _attention_mask(self, own_frames, dtype):
        mask = own_frames[:, None, None, :]  # [B, F] -> [B, heads, queries, F]
        if self.model.config._attn_implementation == "eager":  # it is added to the scores there
            return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)
        return mask

    def _run(self, function, *args):
        """Call a function of a layer, and keep what going back needs, or compute it once more then."""
        if self.checkpoint_activations and torch.is_grad_enabled():
            return checkpoint(function, *args, use_reentrant=False)
        return function(*args)

    @staticmethod
    def _layer(layer, hidden, attention_mask):
        output = layer(hidden, attention_mask=attention_mask)
        return output[0] if isinstance(output, tuple) else output  # transformers 4 returns a tuple

    def _first_frame(self, layer, hidden, attention_mask):
        """Compute frame 0 of a layer's output alone, [B, F, D] -> [B, D], with the very numbers of the whole layer."""
        stable = self.model.config.do_stable_layer_norm
        residual = hidden[:, :1]  # [B, 1, D]
        attended = layer.layer_norm(hidden) if stable else hidden
        first = layer.attention(attended[:, :1], key_value_states=attended, attention_mask=attention_mask)[0]
        if self.training and layer.dropout.p > 0:
            # The whole layer's mask is drawn, so that the random numbers are those of the whole layer.
            first = first * layer.dropout(torch.ones_like(hidden))[:, :1].to(first.dtype)
        first = residual + first
        if stable:
            first = first + layer.feed_forward(layer.final_layer_norm(first))
        else:
            first = layer.layer_norm(first)
            first = layer.final_layer_norm(first + layer.feed_forward(first))
        return first.squeeze(1)  # [B, 1, D] -> [B, D]
