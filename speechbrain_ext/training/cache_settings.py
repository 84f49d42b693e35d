"""What a run on cached features cannot do, and where its features are."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechbrain_ext.errors import InputError


def check_cache_settings(settings: Mapping[str, Any]) -> None:
    """Refuse settings that features computed once cannot honour; without `cache_features` all are honoured.

    Arguments
    ---------
    settings : dict
        The run's settings.

    Raises
    ------
    InputError
        Names the key and the value that goes with cached features.
    """
    if not settings["cache_features"]:
        return
    augments = settings["augment_prob"] and settings["augmentations"]
    pads = not settings["mask_padding"] and settings["fixed_length_s"] is None
    for is_wrong, key, why, option in (
        (not settings["freeze_encoder"], "freeze_encoder", "an encoder that learns changes its features", "True"),
        (settings["lora_rank"], "lora_rank", "an encoder that learns changes its features", "0"),
        (augments, "augment_prob", "a clip is encoded once, before it could be augmented anew", "0.0"),
        (settings["mixup_prob"], "mixup_prob", "waveforms are mixed before they are encoded", "0.0"),
        (pads, "mask_padding", "without a mask a clip's features depend on the batch", "True"),
    ):
        if is_wrong:
            raise InputError(
                f"cache_features: True cannot honour {key}: {settings[key]}: {why}. Set --{key}={option}, or "
                "--cache_features=False."
            )


def cache_folder(settings: Mapping[str, Any]) -> Path:
    """Return the folder of all caches: the one that is named, or `features` beside the runs of all seeds and folds.

    Example
    -------
    >>> cache_folder({"feature_cache": None, "output_folder": "results/frozen/seed1/fold2"}).as_posix()
    'results/frozen/features'
    """
    if settings["feature_cache"]:
        return Path(settings["feature_cache"])
    folder = Path(settings["output_folder"])
    while re.fullmatch(r"(seed|fold)\d+|debug", folder.name):
        folder = folder.parent
    return folder / "features"
