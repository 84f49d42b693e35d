"""UniSpeech: in the form of wav2vec 2.0."""

from speechbrain_ext.lobes.waveform_family import WaveformFamily


class UniSpeech(WaveformFamily):
    """UniSpeech (microsoft/unispeech-large-1500h-cv)."""

    model_type = "unispeech"
    config_class = "UniSpeechConfig"
    model_class = "UniSpeechModel"


FAMILY = UniSpeech
