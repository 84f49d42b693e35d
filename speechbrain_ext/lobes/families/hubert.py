"""HuBERT: wav2vec 2.0's design with an optional LayerNorm before the projection and BatchNorm at the positions."""

import torch

from speechbrain_ext.lobes.family import Model
from speechbrain_ext.lobes.frames import Frames, PaddedFrames
from speechbrain_ext.lobes.waveform_family import WaveformFamily
from speechbrain_ext.rules import TRUTH


class Hubert(WaveformFamily):
    """HuBERT (facebook/hubert-large-ll60k), mHuBERT, DistilHuBERT and other checkpoints of its `model_type`."""

    model_type = "hubert"
    config_class = "HubertConfig"
    model_class = "HubertModel"
    bounds = {**WaveformFamily.bounds, "feat_proj_layer_norm": TRUTH, "conv_pos_batch_norm": TRUTH}

    def position_embedding(self, embed: Model, rows: torch.Tensor, frames: Frames) -> torch.Tensor:
        """Compute the positional convolution; with `conv_pos_batch_norm`, after a BatchNorm without weight norm."""
        if getattr(embed, "batch_norm", None) is not None:  # of a clip's own frames: the padding has to stay zero
            norm = embed.batch_norm
            own = frames.pack(rows)
            if norm.training and isinstance(frames, PaddedFrames) and frames.own is not None:
                rows = rows.masked_scatter(frames.own.unsqueeze(2), norm(rows[frames.own]).to(rows.dtype))
            else:
                rows = frames.pad(norm(own.reshape(-1, own.shape[-1])).view_as(own))
        return super().position_embedding(embed, rows, frames)


FAMILY = Hubert
