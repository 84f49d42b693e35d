"""The wiring of cached features; tests/recipes/test_frozen.py runs them."""

import pytest

from speechbrain_ext.errors import InputError
from speechbrain_ext.training.frozen_features import on_cached_features


@pytest.mark.parametrize("name", ["TruncatedEncoder", "TruncatedHuBERT"])
def test_the_truncated_encoder_alone_is_wired_otherwise(name):
    text = "lr: 0.1\nencoder: !new:speechbrain_ext.lobes.{}\n    num_layers: 2\nother: !new:torch.nn.Identity\n"
    assert on_cached_features(text.format(name)) == text.format("CachedEncoder")


@pytest.mark.parametrize("encoder", ["!new:torch.nn.Identity", "!new:speechbrain_ext.lobes.FilterbankEncoder"])
def test_other_encoders_are_refused(encoder):
    with pytest.raises(InputError, match="cache_features: True needs an encoder that is a TruncatedEncoder"):
        on_cached_features(f"encoder: {encoder}\n")
