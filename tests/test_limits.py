"""What asks for too much is refused from its numbers alone, with the bound, and little memory is taken before."""

import re
import struct
import tracemalloc

import numpy as np
import pytest
import soundfile
import soxr
import torch

from speechbrain_ext import limits
from speechbrain_ext.corpora import prepare_corpus
from speechbrain_ext.dataio import audio, audio_readers
from speechbrain_ext.dataio.audio import probe_audio, read_audio
from speechbrain_ext.dataio.audio_stream import read_mono_blocks
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.classifier import load_classifier
from speechbrain_ext.inference.recordings import measure_recordings
from speechbrain_ext.web.answer import answer
from tests.bundle_making import edit_config, edit_json, make_bundle
from tests.dataio.audio_files import without_length

SECOND = np.zeros(16000, np.int16)
DAY = "is longer than 86400 s, the most that is read: {} samples at {} Hz, so far or by its header. Cut it."


def flac(path, rate_hz, n_channels, n_frames):
    """Write a FLAC whose STREAMINFO claims what it does not hold."""
    soundfile.write(path, np.zeros((4096, n_channels), np.int16), 48000, format="FLAC")
    data = bytearray(path.read_bytes())
    data[18:26] = (rate_hz << 44 | (n_channels - 1) << 41 | 15 << 36 | n_frames).to_bytes(8, "big")
    path.write_bytes(data)


def wav(path, rate_hz, n_channels):
    """Write a second of 8-bit silence."""
    size, layout = rate_hz * n_channels, struct.pack("<IHHIIHH", 16, 1, n_channels, rate_hz, 0, n_channels, 8)
    header = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + layout + b"data" + struct.pack("<I", size)
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(len(header) + size)


def terabyte(path):
    """Write an RF64 file of a terabyte, which takes no room on the disk."""
    sizes = struct.pack("<IQQQI", 28, 2**40 - 8, 2**40 - 80, 2**39 - 40, 0)
    layout = struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    with open(path, "wb") as file:
        file.write(b"RF64\xff\xff\xff\xffWAVEds64" + sizes + b"fmt " + layout + b"data\xff\xff\xff\xff")
        file.truncate(2**40)


def mp3(path, hours):
    """Write four frames, the first an index that claims hours."""
    frame = bytes([0xFF, 0xFB, 0x90, 0xC0]).ljust(144 * 128_000 // 44100, b"\0")
    index = b"Xing" + struct.pack(">III", 3, int(hours * 3600 * 44100 / 1152), 4 * len(frame))
    path.write_bytes(frame[:21] + index + frame[21 + len(index) :] + 3 * frame)


CLAIMS = {
    "rate.flac": (
        lambda path: flac(path, 655_350, 8, 2**36 - 1),
        "has 655350 Hz of sample rate, and at most 384000 are",
    ),
    "sum.flac": (
        lambda path: flac(path, 384_000, 8, 2**36 - 1),
        "has 3072000 samples a second in all its channels, and",
    ),
    "long.flac": (lambda path: flac(path, 48_000, 1, 2**36 - 1), DAY.format(2**36 - 1, 48_000)),
    "wide.flac": (
        lambda path: flac(path, 48_000, 8, 1_036_800_001),  # 6 h: with one sample less it would be read
        "is longer than 21600 s, the most that is read: 1036800001 samples at 48000 Hz in 8 channels, so far or by",
    ),
    "long.mp3": (lambda path: mp3(path, 167), DAY.format(r"\d+", 44_100)),
    "long.wav": (terabyte, DAY.format(2**39 - 40, 16_000)),
    "wide.wav": (lambda path: wav(path, 8000, 65), "has 65 channels, and at most 64 are read. Convert it."),
    "fast.wav": (lambda path: wav(path, 400_000, 1), "has 400000 Hz of sample rate, and at most 384000 are read."),
}


@pytest.fixture
def little_memory():
    """Fail where more than 2 MB are taken at a time."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6


@pytest.mark.parametrize("name", CLAIMS)
def test_a_recording_that_claims_too_much_is_refused_by_each_reader(tmp_path, little_memory, name):
    write, said = CLAIMS[name]
    write(tmp_path / name)
    readers = (
        lambda path: probe_audio(path, "u"),
        lambda path: read_audio(path, "u", 16000),
        lambda path: next(read_mono_blocks(path)),
        lambda path: read_audio(path, "u", 16000, segment=(1.0, 0.5)),
    )
    for read in readers:
        with pytest.raises(InputError, match=said):
            read(tmp_path / name)
    assert re.search(said, measure_recordings([str(tmp_path / name)])[1][0].error)
    assert said.split(",")[0].split(":")[0] in answer(None, str(tmp_path / name))


def silence(path, seconds, rate_hz, n_channels):
    """Write silence that is true, and small on the disk."""
    block = np.zeros((rate_hz, n_channels), np.int16)
    with soundfile.SoundFile(path, "w", rate_hz, n_channels, format="FLAC") as file:
        for _ in range(seconds):
            file.write(block)


def test_true_silence_is_read_block_by_block_and_refused_where_it_is_too_long(tmp_path, monkeypatch):
    path = tmp_path / "a.flac"
    silence(path, 130, 48_000, 8)
    assert path.stat().st_size < 60_000
    tracemalloc.start()
    assert len(read_audio(path, "u", 16000)) == 130 * 16_000
    assert tracemalloc.get_traced_memory()[1] < 60e6  # 200 MB as they are
    tracemalloc.stop()
    said = measure_recordings([str(path)])[1][0].error
    assert "a.flac is longer than the 120 s that are classified as one. Use `speechbrain-ext timeline`" in said
    monkeypatch.setattr("speechbrain_ext.web.answer.MOST_SAMPLES_ON_PAGE", 8 * 48_000 * 129)
    assert "has more than 49536000 samples in its 8 channels at 48000 Hz, the most that" in answer(None, str(path))
    monkeypatch.setattr(audio, "LONGEST_CLIP_S", 129.0)
    with pytest.raises(InputError, match=r"is longer than 129 s, the most that is read: 6240000 samples at 48000 Hz"):
        read_audio(path, "u", 16000)
    assert len(read_audio(path, "u", 16000, max_s=1.0)) == len(read_audio(path, "u", 16000, segment=(128, 1))) == 16_000


def test_where_the_header_does_not_tell_the_length_reading_ends_at_the_limit(tmp_path, monkeypatch):
    pytest.importorskip("av")
    path = tmp_path / "a.flac"
    silence(path, 30, 16_000, 1)
    without_length(path)
    assert probe_audio(path, "u", check_samples=False).n_frames == 480_000
    assert 1.0 < probe_audio(path, "u", check_samples=False, max_s=1.0).duration_s
    silence(path, 3, 16_000, 2)
    without_length(path)
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", 2048)
    monkeypatch.setattr(audio_readers, "MOST_SAMPLES", 2 * 16_000 * 2)
    with pytest.raises(
        InputError, match="is longer than 2 s, the most that is read: 3.... samples at .* in 2 channels"
    ):
        probe_audio(path, "u")


def test_blocks_are_resampled_as_the_whole(tmp_path, monkeypatch):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 30_000).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, 44_100, subtype="FLOAT")
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", 4096)
    np.testing.assert_allclose(
        read_audio(tmp_path / "a.wav", "u", 16000), soxr.resample(samples, 44_100, 16_000), atol=1e-6
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("limits") / "bundle")


@pytest.mark.parametrize(
    ("edit", "values", "said"),
    [
        (
            edit_config,
            {"num_hidden_layers": 100_000},
            "num_hidden_layers must be a whole number from 1 to 200, got 100000",
        ),
        (edit_config, {"hidden_size": 4_000_000}, "hidden_size must be a whole number from 1 to 16384, got 4000000"),
        (
            edit_config,
            {"conv_stride": [0, 2]},
            "conv_stride must be a list of 1 to 20 values, each a whole number from 1",
        ),
        (
            edit_config,
            {"conv_kernel": [3_000_000, 2]},
            "conv_kernel must be a list of 1 to 20 values, each a whole number",
        ),
        (
            edit_config,
            {"conv_dim": [4096, 8], "conv_stride": [1, 320]},
            "at most 512 values for each sample of .* 4096 with",
        ),
        (edit_config, {"intermediate_size": 65_536, "conv_stride": [5, 2]}, "at most 512 values .* make 6553.6 with"),
        (edit_json, {"sample_rate": 10**9}, "sample_rate must be a whole number from 1000 to 384000, got 1000000000"),
        (edit_json, {"emotions": [str(i) for i in range(1001)]}, "emotions must be a list of 2 to 1000 values"),
        (
            edit_json,
            {"sample_rate": 384_000, "fixed_length_s": 60.0},
            "fixed_length_s must be .* 0.025 to 15.0, got 60.0",
        ),
        (edit_json, {"max_s": 1e9}, "max_s must be a number from 0.025 to 3600, or null, got 1000000000.0"),
    ],
)
def test_a_bundle_that_asks_for_too_much_is_refused(bundle, monkeypatch, edit, values, said):
    monkeypatch.setattr(torch.nn.Module, "__init__", None)  # nothing is built
    before = (bundle / "bundle.json").read_bytes()
    edit(bundle, **values)
    with pytest.raises(InputError, match=said):
        load_classifier(bundle)
    (bundle / "bundle.json").write_bytes(before)


def test_more_labels_than_a_model_may_have_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", SECOND, 16000)
    rows = [f"u{i},a.wav,label{i},s,g" for i in range(1001)]
    (tmp_path / "c.csv").write_text("\n".join(["id,wav,emo,speaker,group", *rows]))
    with pytest.raises(
        InputError, match="emotions must be at most 1000 labels, and there are 1001. Is emo the right col"
    ):
        prepare_corpus("csv", tmp_path / "c.csv", progress=False)


def test_the_documentation_has_every_limit(root):
    table = (root / "docs/predict.md").read_text(encoding="utf-8").partition("## Limits")[2].partition("## ")[0]
    numbers = {float(number) for number in re.findall(r"[\d.]*\d", table)}
    values = [value for name, value in vars(limits).items() if name.isupper()]
    for value in values:
        assert set(value if isinstance(value, tuple) else [value]) <= numbers
    assert len(values) > 20 and "predict.md#limits" in (root / "SECURITY.md").read_text(encoding="utf-8")
