"""Mixup of waveforms with their labels, and augmentation of single waveforms.

May import: the ground and dataio.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "mixup": ["ConventionalMixup", "LengthAdaptiveMixup", "make_mixup"],
        "waveforms": ["WaveformAugment"],
    },
)
