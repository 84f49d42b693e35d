"""What a run on cached features cannot do, and where its features are."""

from pathlib import Path

import pytest

from speechbrain_ext.errors import InputError
from speechbrain_ext.training.cache_settings import cache_folder, check_cache_settings

HONOURED = {
    "cache_features": True, "freeze_encoder": True, "lora_rank": 0, "augment_prob": 0.0, "augmentations": ["gain"],
    "mixup_prob": 0.0, "mask_padding": True, "fixed_length_s": None,
}  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"augment_prob": 0.5, "augmentations": None},
        {"mask_padding": False, "fixed_length_s": 2.0},
        {"cache_features": False, "freeze_encoder": False, "mixup_prob": 0.5, "mask_padding": False},
    ],
    ids=["frozen", "nothing to augment by", "one length", "no cache"],
)
def test_what_can_be_honoured_passes(settings):
    check_cache_settings({**HONOURED, **settings})


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("freeze_encoder", False, "an encoder that learns changes its features. Set --freeze_encoder=True"),
        ("lora_rank", 2, "an encoder that learns changes its features. Set --lora_rank=0"),
        ("augment_prob", 0.5, "a clip is encoded once, before it could be augmented anew. Set --augment_prob=0.0"),
        ("mixup_prob", 0.5, "waveforms are mixed before they are encoded. Set --mixup_prob=0.0"),
        ("mask_padding", False, "without a mask a clip's features depend on the batch. Set --mask_padding=True"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_what_can(key, value, said):
    with pytest.raises(InputError) as error:
        check_cache_settings({**HONOURED, key: value})
    assert str(error.value) == f"cache_features: True cannot honour {key}: {value}: {said}, or --cache_features=False."


@pytest.mark.parametrize("folder", ["results/x/seed1/fold2", "results/x/seed10/fold2/debug", "results/x"])
def test_features_are_beside_the_runs_of_all_seeds_and_folds_unless_a_folder_is_named(folder):
    assert cache_folder({"feature_cache": None, "output_folder": folder}) == Path("results/x/features")
    assert cache_folder({"feature_cache": "mine", "output_folder": folder}) == Path("mine")
