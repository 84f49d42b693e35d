"""wav2vec 2.0, and what was trained in its form: XLSR-53, XLS-R, MMS, the robust models."""

from speechbrain_ext.lobes.waveform_family import WaveformFamily
from speechbrain_ext.rules import optional, whole


class Wav2Vec2(WaveformFamily):
    """wav2vec 2.0 (facebook/wav2vec2-large-960h-lv60); MMS may have adapters in its layers."""

    model_type = "wav2vec2"
    config_class = "Wav2Vec2Config"
    model_class = "Wav2Vec2Model"
    bounds = {**WaveformFamily.bounds, "adapter_attn_dim": optional(whole(1, 4096))}


FAMILY = Wav2Vec2
