"""One run, safe and resumable: settings, run folder, lock, checkpoints, processes, history.

May import: the ground, dataio, lobes and corpora.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "brain": ["FoldBrain"],
        "checkpoints": ["AtomicCheckpointer"],
        "early_stopping": ["EarlyStopping"],
        "history": ["EpochHistory"],
        "hparams_file": ["read_settings"],
        "run": ["Run", "run_context"],
        "settings": ["complete_settings"],
    },
)
