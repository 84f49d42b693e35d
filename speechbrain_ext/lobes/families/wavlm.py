"""WavLM: attention with gated relative positions."""

import math
from collections.abc import Mapping
from typing import Any, Optional

import torch

from speechbrain_ext.errors import InputError
from speechbrain_ext.lobes.family import Config, Layer, Model
from speechbrain_ext.lobes.frames import Bias
from speechbrain_ext.lobes.waveform_family import WaveformFamily
from speechbrain_ext.rules import whole


class WavLM(WaveformFamily):
    """WavLM (microsoft/wavlm-large).

    A key's distance to a query falls into a bucket; each bucket has a learned bias for each head, which all layers
    share (it is stored in the first). Each layer scales it by a gate that it computes from the query's frame:
    s = a (b c - 1) + 2, where a and b are sigmoids of sums of four outputs of `gru_rel_pos_linear` and c is learned.
    """

    model_type = "wavlm"
    config_class = "WavLMConfig"
    model_class = "WavLMModel"
    bounds = {**WaveformFamily.bounds, "num_buckets": whole(4, 65_536), "max_bucket_distance": whole(2, 1_000_000)}

    def __init__(self, config: Config, eager: bool = False) -> None:
        super().__init__(config, eager)
        self.n_buckets, self.max_distance = config.num_buckets, config.max_bucket_distance

    @classmethod
    def check_config(cls, config: Mapping[str, Any], name: str) -> None:
        """Refuse buckets that reach beyond the largest distance, as well."""
        super().check_config(config, name)
        if config["max_bucket_distance"] <= config["num_buckets"] // 4:
            raise InputError(
                f"{name}: max_bucket_distance must be above a quarter of num_buckets ({config['num_buckets']}), got "
                f"{config['max_bucket_distance']}."
            )

    def positions(self, model: Model, n_frames: int) -> torch.Tensor:
        """Look up the biases of all pairs of frames, [H, F, F]: queries, then keys."""
        embed = model.encoder.layers[0].attention.rel_attn_embed
        places = torch.arange(n_frames, device=embed.weight.device)
        buckets = self._buckets(torch.arange(1 - n_frames, n_frames, device=embed.weight.device))
        biases = embed(buckets).t()  # [2 F - 1, H] -> [H, 2 F - 1]: one for each distance
        return biases[:, places.unsqueeze(0) - places.unsqueeze(1) + n_frames - 1]

    def _buckets(self, distances: torch.Tensor) -> torch.Tensor:
        """Sort distances from query to key into buckets: half of them for each direction, of growing width."""
        n_buckets = self.n_buckets // 2
        n_exact = n_buckets // 2
        near = distances.abs()
        # The same float32 operations as transformers', so that no distance falls into another bucket.
        far = torch.log(near.float() / n_exact) / math.log(self.max_distance / n_exact) * (n_buckets - n_exact)
        far = (n_exact + far).to(torch.long).clamp(max=n_buckets - 1)
        return torch.where(near < n_exact, near, far) + n_buckets * (distances > 0)

    def bias(
        self, layer: Layer, normed: torch.Tensor, queries: torch.Tensor, positions: Optional[torch.Tensor]
    ) -> tuple[Bias, torch.Tensor]:
        """Return the gated bias, and its basis: the gates of each query, [..., H]."""
        assert positions is not None
        attention = layer.attention
        heads = normed.unflatten(-1, (self.n_heads, -1))  # [..., D] -> [..., H, D / H]
        projected = attention.gru_rel_pos_linear(heads).unflatten(-1, (2, 4)).sum(dim=-1)  # [..., H, 8] -> [..., H, 2]
        gate_a, gate_b = torch.sigmoid(projected).unbind(dim=-1)
        gates = gate_a * (gate_b * attention.gru_rel_pos_const.flatten() - 1.0) + 2.0

        def gated(gates: torch.Tensor, n_keys: int) -> torch.Tensor:
            table = positions[:, : gates.shape[1], :n_keys]  # distances count: a shorter clip's are the first ones
            return gates.transpose(1, 2).unsqueeze(-1) * table  # [B, Q, H] -> [B, H, Q, 1] -> [B, H, Q, K]

        return gated, gates


FAMILY = WavLM
