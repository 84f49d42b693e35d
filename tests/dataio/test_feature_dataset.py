"""Whole batches of cached features."""

import pytest
import torch

from speechbrain_ext.dataio.feature_cache import FeatureCache
from speechbrain_ext.dataio.feature_dataset import FeatureDataset, collate_features
from speechbrain_ext.dataio.sampler import BatchShard, PairedIndex

MANIFEST = {
    "u1": {"emo": "sad"},
    "u2": {"emo": "ang", "labels": {"ang": 0.75, "sad": 0.25}},
    "u3": {"emo": "ang"},
}


def make_dataset(folder, n_frames=(1, 1, 1), layers=slice(None)):
    cache = FeatureCache(folder, {"model_type": "hubert"})
    cache.add({f"k{i}": torch.full((n, 3, 4), float(i)) + torch.arange(3.0)[:, None] for i, n in enumerate(n_frames)})
    return FeatureDataset(MANIFEST, ["ang", "sad"], cache, {f"u{i + 1}": f"k{i}" for i in range(3)}, layers)


def test_batch_is_what_training_reads(tmp_path):
    shard = BatchShard(0, 4, 0.5)
    batch = make_dataset(tmp_path).__getitems__([PairedIndex(2, None, 1, shard), PairedIndex(1, None, 1, shard)])
    assert batch.id == ["u3", "u2"] and batch.shard == [shard]
    assert batch["sig"].data[:, 0, :, 0].tolist() == [[2, 3, 4], [1, 2, 3]]  # clip + layer
    assert batch["sig"].lengths.tolist() == [1, 1] and batch["n_samples"].data.tolist() == [[1], [1]]
    assert batch["target"].data.tolist() == [[1, 0], [0.75, 0.25]] and batch.truth.tolist() == [0, 0]
    assert batch.to("meta")["sig"].data.device.type == "meta"


def test_shorter_clips_are_padded(tmp_path):
    batch = make_dataset(tmp_path, n_frames=(2, 5, 1)).__getitems__([0, 1])
    assert batch["sig"].lengths.tolist() == [pytest.approx(0.4), 1]
    assert batch["sig"].data.shape == (2, 5, 3, 4) and batch["n_samples"].data.tolist() == [[2], [5]]
    assert (batch["sig"].data[0, 2:] == 0).all() and batch.shard == [None]


def test_layers_are_chosen_once(tmp_path):
    batch = make_dataset(tmp_path, layers=slice(1, 2)).__getitems__([0])
    assert batch["sig"].data.tolist() == [[[[1.0] * 4]]]


def test_data_loader_takes_whole_batches(tmp_path):
    loader = torch.utils.data.DataLoader(
        make_dataset(tmp_path), batch_sampler=[[0, 2], [1]], collate_fn=collate_features
    )
    assert [batch.id for batch in loader] == [["u1", "u3"], ["u2"]]
