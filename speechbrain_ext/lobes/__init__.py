"""Truncated self-supervised speech encoders as SpeechBrain lobes.

May import: the ground and dataio.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "filterbank_encoder": ["FilterbankEncoder"],
        "preprocessor": ["find_waveform_scale"],
        "truncated_encoder": ["TruncatedEncoder", "TruncatedHuBERT"],
        "cached_encoder": ["CachedEncoder"],
    },
)
