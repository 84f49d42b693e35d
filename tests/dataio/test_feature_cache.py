"""Features on the disk: whole or not there, of this encoder or not used."""

import errno
import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file

from speechbrain_ext.dataio import feature_cache
from speechbrain_ext.dataio.feature_cache import FeatureCache, samples_key
from speechbrain_ext.errors import InputError

ENCODER = {"model_type": "hubert", "weights": "0123", "layers": 2}


@pytest.fixture
def features():
    return {clip: torch.randn(1, 2, 8) for clip in "abc"}


def shard_of(cache):
    (path,) = cache.folder.glob("*.safetensors")
    return path


def test_features_come_back_in_half_precision_in_another_process_too(tmp_path, features):
    cache = FeatureCache(tmp_path, ENCODER)
    cache.add(features)
    for found in (cache, FeatureCache(tmp_path, ENCODER)):
        for clip, feats in features.items():
            assert torch.equal(found[clip], feats.half())
        assert "d" not in found
    assert json.loads((cache.folder / "encoder.json").read_text())["weights"] == "0123"


def test_clips_may_have_different_numbers_of_frames(tmp_path):
    cache = FeatureCache(tmp_path, ENCODER)
    cache.add({"short": torch.ones(2, 2, 8), "long": torch.zeros(5, 2, 8)})
    assert torch.equal(cache["short"], torch.ones(2, 2, 8).half()) and cache["long"].shape == (5, 2, 8)


def test_what_another_process_adds_is_seen_after_a_refresh(tmp_path, features):
    one, other = FeatureCache(tmp_path, ENCODER), FeatureCache(tmp_path, ENCODER)
    other.add(features)
    assert "a" not in one
    one.refresh()
    assert torch.equal(one["a"], features["a"].half())


def test_encoders_do_not_share_a_folder(tmp_path, features):
    cache = FeatureCache(tmp_path, ENCODER)
    cache.add(features)
    for key, value in (("weights", "4567"), ("layers", 3), ("precision", "bf16")):
        other = FeatureCache(tmp_path, {**ENCODER, key: value})
        assert other.folder != cache.folder and "a" not in other


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "json"])
def test_damaged_shard_is_told_deleted_and_written_again(tmp_path, features, caplog, harm):
    FeatureCache(tmp_path, ENCODER).add(features)
    path = shard_of(FeatureCache(tmp_path, ENCODER))
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[-5] ^= 1
    path.write_bytes({"flip": data, "cut": data[:-5], "empty": b"", "json": b"{}"}[harm])
    with caplog.at_level(logging.WARNING):
        cache = FeatureCache(tmp_path, ENCODER)
    assert "a" not in cache and not path.exists()
    why = "its checksum is wrong" if harm == "flip" else "it cannot be read"
    assert f"{path} is not used: {why}" in caplog.text and "its clips are computed again" in caplog.text
    cache.add(features)
    assert torch.equal(FeatureCache(tmp_path, ENCODER)["a"], features["a"].half())


def test_shard_of_another_encoder_is_not_used(tmp_path, features, caplog):
    other = FeatureCache(tmp_path, {**ENCODER, "weights": "4567"})
    other.add(features)
    cache = FeatureCache(tmp_path, ENCODER)
    (cache.folder / shard_of(other).name).write_bytes(shard_of(other).read_bytes())
    cache.refresh()
    assert "a" not in cache and "it holds the features of another encoder" in caplog.text
    assert "a" in FeatureCache(tmp_path, {**ENCODER, "weights": "4567"})


def test_shard_without_our_metadata_is_not_used(tmp_path, features, caplog):
    cache = FeatureCache(tmp_path, ENCODER)
    cache.add(features)
    save_file(load_file(shard_of(cache)), shard_of(cache))
    assert "a" not in FeatureCache(tmp_path, ENCODER) and "it cannot be read" in caplog.text


def test_folder_of_another_encoder_is_refused(tmp_path, features):
    cache = FeatureCache(tmp_path, ENCODER)
    other = FeatureCache(tmp_path / "other", {**ENCODER, "weights": "4567"})
    (cache.folder / "encoder.json").write_bytes((other.folder / "encoder.json").read_bytes())
    with pytest.raises(InputError, match="holds the features of another encoder.* Delete that folder, or choose"):
        FeatureCache(tmp_path, ENCODER)


def test_damaged_description_of_the_encoder_is_written_again(tmp_path, features, caplog):
    cache = FeatureCache(tmp_path, ENCODER)
    cache.add(features)
    (cache.folder / "encoder.json").write_text("{")
    assert "a" in FeatureCache(tmp_path, ENCODER) and "encoder.json is damaged, and is written again" in caplog.text
    assert json.loads((cache.folder / "encoder.json").read_text()) == cache.encoder


def test_shard_that_cannot_be_opened_now_is_left_as_it_is(tmp_path, features, monkeypatch, caplog):
    cache = FeatureCache(tmp_path, ENCODER)
    cache.add(features)

    def too_many(*args):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("speechbrain_ext.dataio.feature_cache.safe_open", too_many)
        assert "a" not in FeatureCache(tmp_path, ENCODER)
    assert "Too many open files). It is left as it is" in caplog.text
    assert "a" in FeatureCache(tmp_path, ENCODER)


def test_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="feature_cache .*file cannot be written: .*Choose another --feature_cache"):
        FeatureCache(tmp_path / "file", ENCODER)


def test_full_disk_leaves_the_cache_as_it_was(tmp_path, features, monkeypatch):
    cache = FeatureCache(tmp_path, ENCODER)
    cache.add({"a": features["a"]})
    before = sorted(path.name for path in cache.folder.iterdir())

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(feature_cache, "save", full)
        with pytest.raises(InputError, match="feature_cache .* cannot be written: No space left .* in it stays"):
            cache.add({"b": features["b"]})
    assert sorted(path.name for path in cache.folder.iterdir()) == before
    assert "a" in cache and "b" not in cache


def test_half_written_file_is_no_shard(tmp_path, features):
    cache = FeatureCache(tmp_path, ENCODER)
    cache.add(features)
    data = shard_of(cache).read_bytes()
    (cache.folder / f".{shard_of(cache).name}.x1______.tmp").write_bytes(data[:100])  # a process was killed meanwhile
    again = FeatureCache(tmp_path, ENCODER)
    assert all(clip in again for clip in features)
    shard_of(again).unlink()
    FeatureCache(tmp_path, ENCODER).add(features)
    assert shard_of(again) and not list(again.folder.glob(".*.tmp"))


@pytest.mark.parametrize("value", [1e5, float("nan")])
def test_features_beyond_half_precision_are_refused(tmp_path, value):
    cache = FeatureCache(tmp_path, ENCODER)
    with pytest.raises(InputError, match="features of Ses01F are beyond half precision, .* --cache_features=False"):
        cache.add({"0123": torch.full((1, 2, 8), value)}, {"0123": "Ses01F"})
    assert not list(cache.folder.glob("*.safetensors"))


def test_key_is_of_the_samples_alone():
    samples = torch.randn(100)
    assert samples_key(samples) == samples_key(samples.clone())
    assert samples_key(samples) != samples_key(samples[:99])
    assert samples_key(samples) != samples_key(-samples)
