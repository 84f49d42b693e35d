"""A store gives the samples that are on the disk, and reads what it can hold once."""

import numpy as np
import pytest
import soundfile

from speechbrain_ext.dataio.audio import read_audio
from speechbrain_ext.dataio.waveform_cache import WaveformStore
from speechbrain_ext.errors import InputError
from tests.dataio.audio_files import make_wave, write_pipe_flac


@pytest.fixture
def recordings(tmp_path):
    rng = np.random.default_rng(0)
    kinds = {
        "a.wav": (16000, 1, "PCM_16"),
        "b.wav": (16000, 1, "PCM_16"),
        "c.flac": (16000, 1, "PCM_16"),
        "stereo.wav": (16000, 2, "PCM_16"),
        "fast.wav": (44100, 1, "PCM_16"),
        "deep.wav": (16000, 1, "PCM_24"),
        "float.wav": (16000, 1, "FLOAT"),
    }
    for i, (name, (rate_hz, n_channels, subtype)) in enumerate(kinds.items()):
        wav = rng.uniform(-1.0, 1.0, (4000 + 100 * i, n_channels))
        soundfile.write(tmp_path / name, wav, rate_hz, subtype=subtype)
    return [str(tmp_path / name) for name in kinds]


@pytest.mark.parametrize("max_s", [None, 0.1, 9.0])
def test_samples_are_those_of_read_audio(recordings, max_s):
    store = WaveformStore(16000)
    store.fill({"wav": path} for path in recordings)
    for path in recordings:
        wav = store.read(path, "clip", max_s)
        assert wav.dtype == np.float32
        np.testing.assert_array_equal(wav, read_audio(path, "clip", 16000, max_s))


@pytest.mark.parametrize("max_s", [None, 0.05, 9.0])
def test_segments_are_held_alone_and_once(recordings, max_s):
    store = WaveformStore(16000)
    segments = [(0.02, 0.03), (0.03, 0.06), (0.0, 0.09)]
    paths = [*recordings[:4], recordings[0]]
    store.fill({"wav": path, "start": start, "duration": length} for path in paths for start, length in segments)
    assert store.n_bytes == 2 * 3 * (480 + 960 + 1440)
    for path in recordings:
        for segment in segments:
            np.testing.assert_array_equal(
                store.read(path, "clip", max_s, segment), read_audio(path, "clip", 16000, max_s, segment)
            )


def test_what_has_16_bits_is_held_and_the_rest_read_each_time(recordings, monkeypatch):
    store = WaveformStore(16000)
    store.fill({"wav": path} for path in recordings)
    assert store.n_bytes == 2 * (4000 + 4100 + 4200)
    read = []
    monkeypatch.setattr("speechbrain_ext.dataio.waveform_cache.read_audio", lambda path, *rest: read.append(path))
    for path in recordings:
        store.read(path, "clip")
    assert read == recordings[3:]


def test_a_waveform_that_is_changed_leaves_the_store_as_it_is(recordings):
    store = WaveformStore(16000)
    store.fill([{"wav": recordings[0]}])
    store.read(recordings[0], "clip")[:] = 0
    assert np.abs(store.read(recordings[0], "clip")).max() > 0.9


def test_what_does_not_tell_its_length_or_is_cut_stays_on_the_disk(recordings, tmp_path):
    (tmp_path / "cut.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:-1000])
    (tmp_path / "cut.flac").write_bytes((tmp_path / "c.flac").read_bytes()[:-3000])
    store = WaveformStore(16000)
    write_pipe_flac(tmp_path / "pipe.flac")
    store.fill({"wav": str(tmp_path / name)} for name in ("pipe.flac", "cut.wav", "cut.flac"))
    np.testing.assert_allclose(store.read(str(tmp_path / "pipe.flac"), "clip"), make_wave(), atol=1e-4)
    for name in ("cut.wav", "cut.flac"):
        with pytest.raises(InputError, match="clip: .*truncated"):
            store.read(str(tmp_path / name), "clip")


def test_what_cannot_be_read_is_told_when_it_is_used(recordings, tmp_path):
    (tmp_path / "text.wav").write_text("no audio")
    store = WaveformStore(16000)
    store.fill({"wav": path} for path in (str(tmp_path / "text.wav"), str(tmp_path / "missing.wav"), recordings[0]))
    assert store.n_bytes == 8000
    for name in ("text.wav", "missing.wav"):
        with pytest.raises(InputError, match="clip: .*cannot be (read|opened)"):
            store.read(str(tmp_path / name), "clip")
