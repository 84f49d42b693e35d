"""Speech emotion recognition parts for SpeechBrain: label-adaptive mixup, center loss and a truncated HuBERT."""

__version__ = "0.1.0"
