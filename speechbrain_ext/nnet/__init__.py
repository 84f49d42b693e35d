"""Losses for soft labels, the projection module, learning-rate schedules.

May import: ground.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "losses": ["ArgmaxCenterLoss", "soft_label_kl_loss"],
        "projection": ["EmotionClassifier", "EmotionEmbedding"],
        "recognition_loss": ["RecognitionLoss"],
        "schedulers": ["GeometricDecay"],
    },
)
