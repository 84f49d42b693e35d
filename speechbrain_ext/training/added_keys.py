"""Settings that came after the first version, each with the value that switches it off.

A whole file that an earlier version wrote, such as a run's hyperparams.yaml, lacks them: it is read as if it had them
with these values. Where a key has this value it is left out of the settings' fingerprint, so that runs of both versions
are runs with the same settings.
"""

from typing import Any

ADDED_KEYS: dict[str, Any] = {
    "corpus_metadata": None,
    "layer_weights": None,
    "lora_rank": 0,
    "lora_projections": ["q_proj", "v_proj"],
    "test_corpus": None,
    "class_weights": None,
    "focal_gamma": 0.0,
    "logit_adjustment": 0.0,
    "balanced_sampling": False,
    "group_by": None,
    "n_folds": None,
    "corpus_part": None,
    "cache_features": False,
    "feature_cache": None,
}
