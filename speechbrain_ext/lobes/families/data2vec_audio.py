"""data2vec for audio: a stack of positional convolutions."""

import torch

from speechbrain_ext.lobes.family import Model
from speechbrain_ext.lobes.frames import Frames
from speechbrain_ext.lobes.waveform_family import WaveformFamily
from speechbrain_ext.rules import whole


class Data2VecAudio(WaveformFamily):
    """data2vec-audio (facebook/data2vec-audio-large).

    Its positions come from several convolutions, each followed by a LayerNorm without weights. Between them padding is
    set to zero again, which transformers' own model does not do: there, a clip depends on how far it is padded.
    """

    model_type = "data2vec-audio"
    config_class = "Data2VecAudioConfig"
    model_class = "Data2VecAudioModel"
    bounds = {
        **{k: v for k, v in WaveformFamily.bounds.items() if k not in ("feat_extract_norm", "do_stable_layer_norm")},
        "num_conv_pos_embeddings": whole(1, 100),  # here the number of convolutions
        "conv_pos_kernel_size": whole(1, 4096),
    }

    def position_embedding(self, embed: Model, rows: torch.Tensor, frames: Frames) -> torch.Tensor:
        """Compute the stack of positional convolutions, [B, F, D] -> [B, F, D]."""
        for layer in embed.layers:
            rows = rows.transpose(1, 2).contiguous()  # [B, F, D] -> [B, D, F]
            rows = layer.padding(layer.conv(rows)).transpose(1, 2)  # [B, D, F] -> [B, F, D]
            rows = frames.pad(frames.pack(layer.activation(layer.layer_norm(rows))))
        return rows


FAMILY = Data2VecAudio
