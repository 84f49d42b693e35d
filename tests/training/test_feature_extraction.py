"""Filling a cache: what is missing, in batches by length, shared between processes."""

import errno
import multiprocessing
import os
import signal
import threading

import pytest
import torch

from speechbrain_ext.dataio.feature_cache import FeatureCache
from speechbrain_ext.errors import InputError
from speechbrain_ext.training import feature_extraction
from speechbrain_ext.training.feature_extraction import Clip, fill_cache

fork_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

SECONDS = {f"clip{i}": 1.0 + i % 5 for i in range(20)}


class Extractor:
    """Gives a clip's first sample as its features; remembers the batches."""

    max_batch_s = 9.0

    def __init__(self):
        self.batches = []

    def __call__(self, wavs):
        self.batches.append([len(wav) for wav in wavs])
        return [wav[0].view(1, 1, 1) for wav in wavs]


def clips(read=lambda clip: None):
    def reader(clip):
        return lambda: read(clip) or torch.full((int(10 * SECONDS[clip]),), float(clip[4:]))

    return {clip: Clip(clip.upper(), SECONDS[clip], reader(clip)) for clip in SECONDS}


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(feature_extraction, "SHARD_CLIPS", 5)


def fill(folder, extract, **changes):
    cache = FeatureCache(folder, {"model_type": "hubert"})
    fill_cache(cache, changes.pop("clips", clips()), extract, batch_size=3, progress=False, **changes)
    return cache


def values(cache):
    return {clip: cache[clip].item() for clip in SECONDS if clip in cache}


def test_missing_clips_are_computed_once_in_batches_by_length(tmp_path, small_shards):
    extract = Extractor()
    cache = fill(tmp_path, extract)
    assert values(cache) == {clip: float(clip[4:]) for clip in SECONDS}
    assert len(list(cache.folder.glob("*.safetensors"))) == 4
    assert extract.batches[:3] == [[50], [50], [50]] and extract.batches[-1] == [10, 10]
    assert all(len(batch) <= 3 and len(batch) * max(batch) <= 90 for batch in extract.batches)
    assert sum(map(len, extract.batches)) == 20
    again = Extractor()
    fill(tmp_path, again)
    assert not again.batches


def test_what_was_computed_before_a_failure_stays(tmp_path, small_shards):
    def read(clip):
        if clip == "clip2":  # of 3 s: in the third shard
            raise InputError("clip2 cannot be read")

    with pytest.raises(InputError, match="clip2 cannot be read"):
        fill(tmp_path, Extractor(), clips=clips(read))
    extract = Extractor()
    assert len(values(fill(tmp_path, extract))) == 20
    assert sum(map(len, extract.batches)) == 10


def test_processes_share_the_work(tmp_path, small_shards):
    """The second finds the first at work on a shard, does the others, and waits for that one."""
    begun, go = threading.Event(), threading.Event()

    def slow(clip):
        if SECONDS[clip] == 5.0:  # the first shard holds these
            begun.set()
            go.wait(600)

    one, other = Extractor(), Extractor()
    first = threading.Thread(target=lambda: fill(tmp_path, one, clips=clips(slow)))
    first.start()
    begun.wait(600)
    second = threading.Thread(target=lambda: fill(tmp_path, other))
    second.start()
    while sum(map(len, other.batches)) < 15:
        assert second.is_alive()
        threading.Event().wait(0.01)
    go.set()
    first.join(600)
    second.join(600)
    assert sum(map(len, one.batches)) + sum(map(len, other.batches)) == 20
    assert len(values(FeatureCache(tmp_path, {"model_type": "hubert"}))) == 20


@fork_only
def test_two_processes_at_once_compute_each_clip_once(tmp_path, small_shards):
    def work(extract, counts):
        fill(tmp_path, extract)
        counts.put(sum(map(len, extract.batches)))

    context = multiprocessing.get_context("fork")
    counts = context.SimpleQueue()
    processes = [context.Process(target=work, args=(Extractor(), counts)) for _ in range(2)]
    for process in processes:
        process.start()
    assert counts.get() + counts.get() == 20
    for process in processes:
        process.join(600)
    assert values(FeatureCache(tmp_path, {"model_type": "hubert"})) == {clip: float(clip[4:]) for clip in SECONDS}


@fork_only
def test_process_killed_as_it_writes_loses_one_shard(tmp_path, small_shards, monkeypatch):
    replace = os.replace

    def killed(source, target):
        if len(list(tmp_path.rglob("*.safetensors"))) == 2 and str(target).endswith(".safetensors"):
            os.kill(os.getpid(), signal.SIGKILL)  # the third shard is written, and has no name yet
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        process = multiprocessing.get_context("fork").Process(target=fill, args=(tmp_path, Extractor()))
        process.start()
        process.join(600)
    assert process.exitcode == -signal.SIGKILL and list(tmp_path.rglob(".*.safetensors.*.tmp"))
    extract = Extractor()
    assert len(values(fill(tmp_path, extract))) == 20
    assert sum(map(len, extract.batches)) == 10
    assert not list(tmp_path.rglob("*.tmp"))


def test_full_disk_is_a_sentence_and_costs_one_shard(tmp_path, small_shards, monkeypatch):
    sync = os.fsync

    def full(file):
        if len(list(tmp_path.rglob("*.safetensors"))) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match="feature_cache .* cannot be written: No space left on device. .* stays"):
            fill(tmp_path, Extractor())
    assert not list(tmp_path.rglob("*.tmp"))
    extract = Extractor()
    assert len(values(fill(tmp_path, extract))) == 20
    assert sum(map(len, extract.batches)) == 5
