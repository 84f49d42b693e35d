"""Whisper's encoder, on the log-mel spectrogram of each clip at its own length."""

from collections.abc import Iterable, Mapping
from typing import Any, Optional

import torch
import torch.nn.functional as F
from speechbrain.dataio.dataio import length_to_mask
from torch import nn

from speechbrain_ext.errors import InputError
from speechbrain_ext.lobes.family import SIZES, Config, Family, Layer, Model, pack_rows
from speechbrain_ext.lobes.frames import Frames
from speechbrain_ext.lobes.log_mel import FRAME, HOP, whisper_log_mel, whisper_tables
from speechbrain_ext.rules import TRUTH, one_of, whole


class Whisper(Family):
    """Whisper's encoder (openai/whisper-large-v3); the decoder is neither built nor read.

    Clips are never padded to 30 s: each has its own frames, 20 ms apart, and the first of the position embeddings.
    Longer ones than these (30 s) are refused.
    """

    model_type = "whisper"
    config_class = "WhisperConfig"
    model_class = "models.whisper.modeling_whisper.WhisperEncoder"
    bounds = {
        **{key: rule for key, rule in SIZES.items() if key != "layer_norm_eps"},
        "num_mel_bins": one_of(80, 128),
        "max_source_positions": whole(1, 100_000),
        "scale_embedding": TRUTH,
    }
    aliases = {
        "hidden_size": "d_model",
        "num_hidden_layers": "encoder_layers",
        "num_attention_heads": "encoder_attention_heads",
        "intermediate_size": "encoder_ffn_dim",
        "hidden_act": "activation_function",
    }
    deterministic = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "encoder_layerdrop": 0.0}
    prefixes = ("model.encoder.", "encoder.")
    takes_log_mel = True
    preprocessor = {"hop_length": HOP, "n_fft": FRAME}
    min_samples = FRAME // 2 + 1  # a clip is reflected at its ends

    def __init__(self, config: Config, eager: bool = False) -> None:
        super().__init__(config, eager)
        self.n_mels = config.num_mel_bins
        self.tables = whisper_tables(self.n_mels, torch.device("cpu"))
        self.max_samples = 2 * HOP * config.max_source_positions

    @classmethod
    def check_config(cls, config: Mapping[str, Any], name: str) -> None:
        """Refuse a checkpoint of the decoder alone, and widths that sinusoids do not have."""
        if "WhisperForCausalLM" in (config.get("architectures") or ()):
            raise InputError(
                f"{name} is of Whisper's decoder alone (WhisperForCausalLM). Give a checkpoint with the encoder, such "
                "as openai/whisper-base."
            )
        if config["d_model"] % 2 or config["d_model"] < 4:
            raise InputError(f"{name}: d_model must be even and at least 4, got {config['d_model']}.")

    @staticmethod
    def unused_weights(config: Config) -> tuple[str, ...]:
        """Return the final LayerNorm's prefix."""
        return ("layer_norm.",)

    def frame_lengths(self, n_samples: torch.Tensor) -> torch.Tensor:
        """Count the frames of clips: two of 10 ms each, rounded up."""
        n_mel_frames = torch.div(n_samples, HOP, rounding_mode="floor")
        return torch.div(n_mel_frames + 1, 2, rounding_mode="floor")

    def layers(self, model: Model) -> nn.ModuleList:
        """Return the Transformer layers."""
        return model.layers

    def prepare(self, model: Model) -> None:
        """Remove the LayerNorm after the last layer, and freeze the position embeddings, which are sinusoids."""
        model.layer_norm = nn.Identity()
        model.embed_positions.requires_grad_(False)

    def feature_encoder(self, model: Model) -> Iterable[nn.Module]:
        """Return the two convolutions."""
        return model.conv1, model.conv2

    def embed(
        self, model: Model, wavs: torch.Tensor, n_samples: torch.Tensor, padded: bool, packs: bool
    ) -> tuple[torch.Tensor, Frames]:
        """Compute the log-mel spectrogram and two convolutions, and add the position embeddings."""
        tables = self.tables if torch.compiler.is_exporting() else None
        feats = whisper_log_mel(wavs, n_samples, self.n_mels, tables).to(model.conv1.weight.dtype)  # [B, T, M]
        hidden = F.gelu(model.conv1(feats.transpose(1, 2)))  # [B, T, M] -> [B, M, T] -> [B, D, T]
        if padded:  # beyond a clip there is nothing for the second convolution, as if the clip were alone
            n_mel_frames = torch.div(n_samples, HOP, rounding_mode="floor")
            own = length_to_mask(n_mel_frames, max_len=hidden.shape[2], dtype=torch.bool)
            hidden = hidden.masked_fill(~own.unsqueeze(1), 0.0)
        rows = F.gelu(model.conv2(hidden)).transpose(1, 2).contiguous()  # [B, D, T] -> [B, D, F] -> [B, F, D]
        table = model.embed_positions.weight
        places = torch.arange(rows.shape[1], device=table.device).clamp(max=len(table) - 1)  # a row may be longer
        rows = rows + table[places]
        return pack_rows(rows, self.frame_lengths(n_samples), padded, packs, self.eager)

    def attention_input(self, layer: Layer, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the residual stream, and it normalised."""
        return hidden, layer.self_attn_layer_norm(hidden)

    def feed_forward(self, layer: Layer, hidden: torch.Tensor, frames: Optional[Frames]) -> torch.Tensor:
        """Compute the feed-forward."""
        return hidden + layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(hidden))))


FAMILY = Whisper
