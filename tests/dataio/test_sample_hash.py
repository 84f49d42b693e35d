"""A clip's samples as a text, and each way in which a recording can change after its corpus was prepared."""

import hashlib
import os
import re

import numpy as np
import pytest
import soundfile

from speechbrain_ext.dataio.audio import read_audio
from speechbrain_ext.dataio.clip_measures import measure_recording
from speechbrain_ext.dataio.clip_reader import ClipReader
from speechbrain_ext.dataio.sample_hash import SampleHash
from speechbrain_ext.dataio.waveform_cache import WaveformStore
from speechbrain_ext.errors import InputError

SAMPLES = np.random.default_rng(0).integers(-9000, 9000, 32000).astype(np.int16)
CHANGES = {
    "longer": ("a.wav", np.append(SAMPLES, SAMPLES[:1]), 16000),
    "shorter": ("a.wav", SAMPLES[:-1], 16000),
    "another rate": ("a.wav", SAMPLES, 8000),
    "other content": ("a.wav", SAMPLES[::-1], 16000),
    "one bit": ("a.wav", np.append(SAMPLES[:-1], SAMPLES[-1] ^ 1), 16000),
}


def hash_of(samples, rate_hz=16000):
    """Say what a manifest says of 16-bit samples."""
    digest = hashlib.sha256(samples.astype(np.float32) / 32768).hexdigest()[:32]
    return f"{len(samples)} samples at {rate_hz} Hz, SHA-256 {digest}"


@pytest.fixture
def path(tmp_path):
    """Write the recording."""
    soundfile.write(tmp_path / "a.wav", SAMPLES, 16000)
    return tmp_path / "a.wav"


def test_blocks_make_no_difference():
    wav = SAMPLES.astype(np.float32) / 32768
    assert str(SampleHash(16000, wav[:7], wav[7:])) == str(SampleHash(16000, wav)) == hash_of(SAMPLES)


def test_a_recording_and_its_segments_have_the_hash_of_their_samples(path):
    rows = [{"id": "a", "wav": "a.wav"}, {"id": "b", "wav": "a.wav", "start": 0.5, "end": 1.0}]
    found = [entry["samples_hash"] for entry, _ in measure_recording(rows, path.parent)]
    assert found == [hash_of(SAMPLES), hash_of(SAMPLES[8000:16000])]
    read_audio(path, "b", 8000, 0.1, (0.5, 0.5), found[1])  # resampled and cut after it was compared


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_found_though_size_or_time_is_the_same(path, change):
    before = os.stat(path)
    name, samples, rate_hz = CHANGES[change]
    soundfile.write(path.with_name(name), samples, rate_hz)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    said = re.escape(
        f"utt7: {path} has changed since the corpus was prepared: it holds {hash_of(samples, rate_hz)}, and the "
        f"manifest says {hash_of(SAMPLES)}. Copy it again as it was; or begin a new run, in another --output_folder."
    )
    in_memory = WaveformStore(16000)
    in_memory.fill([{"wav": str(path), "samples_hash": hash_of(SAMPLES)}])
    for store in (WaveformStore(16000), in_memory):
        with pytest.raises(InputError, match=said):
            ClipReader(store, max_s=0.5)("utt7", str(path), samples_hash=hash_of(SAMPLES))
        ClipReader(store, max_s=0.5)("utt7", str(path))  # a manifest of an earlier version has no hash


@pytest.mark.parametrize("is_in_memory", [False, True])
def test_what_has_not_changed_is_read(path, is_in_memory):
    store = WaveformStore(16000)
    if is_in_memory:
        store.fill([{"wav": str(path), "samples_hash": hash_of(SAMPLES)}])
    wav = store.read(path, "utt7", 0.5, samples_hash=hash_of(SAMPLES))
    np.testing.assert_array_equal(wav, SAMPLES[:8000].astype(np.float32) / 32768)
    assert store.n_bytes == (2 * len(SAMPLES) if is_in_memory else 0)


def test_a_segment_of_a_recording_that_became_shorter_has_changed(path):
    segment, expected = (1.0, 1.0), hash_of(SAMPLES[16000:])
    soundfile.write(path, SAMPLES[:24000], 16000)
    with pytest.raises(InputError, match=f"it holds 8000 samples at .* and the manifest says {expected}"):
        read_audio(path, "utt7", 16000, segment=segment, samples_hash=expected)
