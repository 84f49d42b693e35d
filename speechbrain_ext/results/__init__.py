"""What tested runs say: one fold's files, many folds, statistics, pictures and the report.

May import: the ground, dataio, corpora and training.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "fold_results": ["is_finished", "write_results"],
        "metrics": ["EmotionMetrics"],
        "report": ["write_report"],
        "result_set": ["read_result_set"],
    },
)
