"""w2v-BERT 2.0: Conformer layers on log-mel filterbanks."""

from collections.abc import Mapping
from typing import Any, Optional

import torch
import torch.nn.functional as F
from torch import nn

from speechbrain_ext.errors import InputError
from speechbrain_ext.lobes.family import SIZES, Config, Family, Layer, Model, pack_rows
from speechbrain_ext.lobes.frames import Bias, Frames
from speechbrain_ext.lobes.log_mel import FRAME, HOP, N_KALDI_MELS, kaldi_log_mel, kaldi_tables
from speechbrain_ext.rules import one_of, whole

STACKED = 2  # frames of 10 ms that make one of the encoder's


class Wav2Vec2Bert(Family):
    """w2v-BERT 2.0 (facebook/w2v-bert-2.0), with relative positions by keys' distances.

    A layer is a Conformer block, x + ffn/2, + attention, + convolution, + ffn/2, and a LayerNorm that belongs to the
    layer. The convolution looks back only, so that frame 0 can be computed alone.
    """

    model_type = "wav2vec2-bert"
    config_class = "Wav2Vec2BertConfig"
    model_class = "Wav2Vec2BertModel"
    bounds = {
        **SIZES,
        "feature_projection_input_dim": one_of(STACKED * N_KALDI_MELS),
        "position_embeddings_type": one_of("relative_key"),
        "left_max_position_embeddings": whole(0, 4096),
        "right_max_position_embeddings": whole(0, 4096),
        "conv_depthwise_kernel_size": whole(1, 1001),
    }
    deterministic = {
        **Family.deterministic,
        "conformer_conv_dropout": 0.0,
        "use_intermediate_ffn_before_adapter": False,
    }
    projection_names = ("linear_q", "linear_k", "linear_v", "linear_out")
    dropout_name = "self_attn_dropout"
    takes_log_mel = True
    preprocessor = {"feature_size": N_KALDI_MELS, "num_mel_bins": N_KALDI_MELS, "stride": STACKED}
    min_samples = FRAME + (STACKED - 1) * HOP

    def __init__(self, config: Config, eager: bool = False) -> None:
        super().__init__(config, eager)
        self.tables = kaldi_tables(torch.device("cpu"))
        self.furthest = (-config.left_max_position_embeddings, config.right_max_position_embeddings)

    @classmethod
    def check_config(cls, config: Mapping[str, Any], name: str) -> None:
        """Refuse even kernels."""
        if config["conv_depthwise_kernel_size"] % 2 == 0:
            raise InputError(
                f"{name}: conv_depthwise_kernel_size must be odd, got {config['conv_depthwise_kernel_size']}."
            )

    def frame_lengths(self, n_samples: torch.Tensor) -> torch.Tensor:
        """Count the frames of clips: pairs of 10 ms."""
        n_mel_frames = torch.div(n_samples - FRAME, HOP, rounding_mode="floor") + 1
        return torch.div(n_mel_frames, STACKED, rounding_mode="floor").clamp(min=0)

    def layers(self, model: Model) -> nn.ModuleList:
        """Return the Conformer layers."""
        return model.encoder.layers

    def prepare(self, model: Model) -> None:
        """Leave the model as it is: no norm follows its last layer."""

    def embed(
        self, model: Model, wavs: torch.Tensor, n_samples: torch.Tensor, padded: bool, packs: bool
    ) -> tuple[torch.Tensor, Frames]:
        """Compute log-mel filterbanks, stack two frames, and project them."""
        tables = self.tables if torch.compiler.is_exporting() else None
        feats = kaldi_log_mel(wavs, n_samples, tables)  # [B, F, M]
        # Not by a slice and unflatten: an exported graph takes for granted that F is even, as it is in its example.
        feats = feats.unfold(1, STACKED, STACKED).transpose(2, 3).flatten(2)  # [B, F, M] -> [B, F // 2, 2M]
        feats = feats.to(model.feature_projection.projection.weight.dtype)
        feats, frames = pack_rows(feats, self.frame_lengths(n_samples), padded, packs, self.eager)
        return model.feature_projection(feats)[0], frames

    def positions(self, model: Model, n_frames: int) -> torch.Tensor:
        """Find the distance embeddings of all pairs of frames by their numbers, [F, F]: queries, then keys."""
        places = torch.arange(n_frames, device=model.feature_projection.projection.weight.device)
        nearest, furthest = self.furthest
        return (places.unsqueeze(0) - places.unsqueeze(1)).clamp(nearest, furthest) - nearest

    def attention_input(self, layer: Layer, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the first feed-forward, and the normalised residual stream after it."""
        hidden = hidden + 0.5 * layer.ffn1(layer.ffn1_layer_norm(hidden))
        return hidden, layer.self_attn_layer_norm(hidden)

    def bias(
        self, layer: Layer, normed: torch.Tensor, queries: torch.Tensor, positions: Optional[torch.Tensor]
    ) -> tuple[Bias, torch.Tensor]:
        """Return the products of queries and distance embeddings, and their basis: the queries."""
        assert positions is not None
        embedding = layer.self_attn.distance_embedding.weight  # [distances, D / H]

        def by_distance(queries: torch.Tensor, n_keys: int) -> torch.Tensor:
            heads = queries.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # [B, Q, D] -> [B, H, Q, D / H]
            products = heads @ embedding.to(heads.dtype).t() * heads.shape[-1] ** -0.5  # [B, H, Q, distances]
            places = positions[: heads.shape[2], :n_keys]
            return products.gather(-1, places.expand(*heads.shape[:2], -1, -1))  # [B, H, Q, K]

        return by_distance, queries

    def feed_forward(self, layer: Layer, hidden: torch.Tensor, frames: Optional[Frames]) -> torch.Tensor:
        """Compute the convolution, second feed-forward and the layer's norm."""
        hidden = hidden + self._convolve(layer.conv_module, hidden, frames)
        hidden = hidden + 0.5 * layer.ffn2(layer.ffn2_layer_norm(hidden))
        return layer.final_layer_norm(hidden)

    @staticmethod
    def _convolve(module: Model, hidden: torch.Tensor, frames: Optional[Frames]) -> torch.Tensor:
        """Compute the convolution of a Conformer block; before frame 0 there is nothing but zeros."""
        hidden = module.layer_norm(hidden)
        hidden = F.glu(F.linear(hidden, module.pointwise_conv1.weight.squeeze(-1)), dim=-1)
        rows = hidden.unsqueeze(1) if frames is None else frames.pad(hidden)  # [B, D] -> [B, 1, D]
        rows = F.pad(rows.transpose(1, 2), (module.depthwise_conv.kernel_size[0] - 1, 0))  # [B, F, D] -> [B, D, F + K]
        rows = module.depthwise_conv(rows).transpose(1, 2)
        hidden = rows.squeeze(1) if frames is None else frames.pack(rows)
        hidden = module.activation(module.depthwise_layer_norm(hidden))
        return module.dropout(F.linear(hidden, module.pointwise_conv2.weight.squeeze(-1)))


FAMILY = Wav2Vec2Bert
