"""A trained model in use: bundle, classifier, recordings, timeline, ONNX, Hub, model card.

May import: the ground, dataio, nnet, lobes and corpora.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "classifier": ["load_classifier"],
        "bundle": ["check_bundle"],
        "bundle_settings": ["BundleSettings"],
        "bundle_writer": ["write_bundle"],
        "timeline": ["make_timeline"],
        "speech_detector": ["SpeechDetector"],
        "embedding_model": ["EmbeddingModel"],
        "onnx": ["write_onnx"],
        "hub": ["push_bundle"],
    },
)
