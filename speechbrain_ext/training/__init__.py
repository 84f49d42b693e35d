"""One run, safe and resumable: settings, run folder, lock, checkpoints, processes, history.

May import: the ground, dataio and corpora.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "checkpoints": ["AtomicCheckpointer"],
        "history": ["EpochHistory"],
        "settings": ["complete_settings"],
    },
)
