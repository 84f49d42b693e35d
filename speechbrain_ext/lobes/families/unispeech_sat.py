"""UniSpeech-SAT: in the form of wav2vec 2.0."""

from speechbrain_ext.lobes.waveform_family import WaveformFamily


class UniSpeechSat(WaveformFamily):
    """UniSpeech-SAT (microsoft/unispeech-sat-large)."""

    model_type = "unispeech-sat"
    config_class = "UniSpeechSatConfig"
    model_class = "UniSpeechSatModel"


FAMILY = UniSpeechSat
