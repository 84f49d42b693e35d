"""From a corpus's rows to batches: audio, scaling, manifest, folds, sampler, dataset, waveform cache.

May import: ground.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "audio": ["read_audio"],
        "manifest": ["read_manifest", "build_manifest", "write_manifest"],
        "folds": ["Fold", "make_fold"],
        "sampler": ["PairedBatchSampler"],
        "clip_reader": ["ClipReader"],
        "dataset": ["PairedDataset", "collate_pairs"],
        "waveform_cache": ["WaveformStore"],
        "waveform_scale": ["scale_waveforms"],
        "label_encoder": ["FixedLabelEncoder"],
        "audio_normalizer": ["SoxrAudioNormalizer"],
    },
)
