"""Reading recordings: what is refused and what the message says, and the waveform that comes out of what is not."""

import struct

import numpy as np
import pytest
import soundfile as sf

from speechbrain_ext.dataio import audio
from speechbrain_ext.dataio.audio import AudioHeader, check_segment, probe_audio, read_audio
from speechbrain_ext.errors import InputError


def wav_bytes(n_frames, before_data=b"", announced=None):
    """Write a 16 kHz mono 16-bit WAV by hand: a ramp, with other chunks before its samples."""
    data = np.arange(n_frames, dtype="<i2").tobytes()
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16)
    chunks = fmt + before_data + struct.pack("<4sI", b"data", len(data) if announced is None else announced) + data
    return struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WAVE") + chunks


def list_chunk(n_bytes):
    """Write a LIST chunk; one of odd size is followed by a byte of padding."""
    return struct.pack("<4sI", b"LIST", n_bytes) + b"x" * (n_bytes + n_bytes % 2)


def sine(frequency_hz, sample_rate_hz, duration_s=1.0):
    """Sample a sine of half the full scale."""
    times_s = np.arange(round(duration_s * sample_rate_hz)) / sample_rate_hz
    return 0.5 * np.sin(2 * np.pi * frequency_hz * times_s)


REFUSED = {
    "empty": (b"", r"is empty \(0 bytes\)\. Copy it again"),
    "no_frames": (wav_bytes(0), r"holds no samples\. Leave it out"),
    "short": (wav_bytes(399), r"is 0\.0249 s long; at least 0\.025 s are needed\. Leave it out"),
    "truncated": (wav_bytes(1000)[:-600], r"truncated: its header announces 600 bytes more .* holds\. Copy it again"),
    "truncated_by_a_byte": (wav_bytes(1000)[:-1], "truncated: its header announces 1 bytes more"),
    "truncated_after_an_odd_chunk": (wav_bytes(1000, list_chunk(5))[:-600], "announces 600 bytes more"),
    "garbage": (bytes(range(256)) * 8, "cannot be read as audio"),
    "eight_bytes": (b"RIFF\x04\0\0\0", "cannot be read as audio"),
    "header_alone": (wav_bytes(1000)[:30], "cannot be read as audio"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_probe_audio_refuses_and_names_utterance_file_and_fault(tmp_path, content, message):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        probe_audio(path, "utt7")
    assert str(error.value).startswith("utt7: ")
    assert str(path) in str(error.value)


def test_probe_audio_missing_file_names_utterance_and_path(tmp_path):
    path = tmp_path / "nowhere.wav"
    with pytest.raises(InputError, match="^utt7: .*cannot be opened.*nowhere.wav"):
        probe_audio(path, "utt7")


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_probe_audio_refuses_samples_that_are_not_finite(tmp_path, subtype, bad):
    wav = np.zeros(1000)
    wav[[3, 900]] = bad
    sf.write(tmp_path / "a.wav", wav, 16000, subtype=subtype)
    with pytest.raises(
        InputError, match=r"^utt7: .*a\.wav holds samples that are NaN or infinite, the first at 0\.00 s\. Repair"
    ):
        probe_audio(tmp_path / "a.wav", "utt7")


@pytest.mark.parametrize(("sample_rate_hz", "n_frames"), [(8000, 200), (16000, 400), (44100, 1103)])
def test_probe_audio_shortest_clip_is_25_ms_at_every_rate(tmp_path, sample_rate_hz, n_frames):
    path = tmp_path / "a.wav"
    sf.write(path, np.zeros(n_frames), sample_rate_hz)
    assert probe_audio(path, "a").n_frames == n_frames
    sf.write(path, np.zeros(n_frames - 1), sample_rate_hz)
    with pytest.raises(InputError, match="at least 0.025 s"):
        probe_audio(path, "a")


@pytest.mark.parametrize(
    ("suffix", "n_channels", "subtype"), [("wav", 1, "FLOAT"), ("wav", 2, None), ("flac", 3, None)]
)
def test_probe_audio_tells_length_rate_and_channels(tmp_path, suffix, n_channels, subtype):
    path = tmp_path / f"a.{suffix}"
    sf.write(path, np.zeros((11025, n_channels)), 44100, subtype=subtype)
    header = probe_audio(path, "a")
    assert header == AudioHeader(n_frames=11025, sample_rate_hz=44100, n_channels=n_channels)
    assert header.duration_s == 0.25


def test_probe_audio_reads_no_samples_of_integer_formats(tmp_path, monkeypatch):
    monkeypatch.delattr(audio, "read_blocks")  # a corpus of hours is described by its headers
    (tmp_path / "a.wav").write_bytes(wav_bytes(1000))
    assert probe_audio(tmp_path / "a.wav", "a").n_frames == 1000


SOUND = {
    "list_before_data": wav_bytes(1000, list_chunk(26)),
    "odd_list_before_data": wav_bytes(1000, list_chunk(5)),
    "list_after_data": wav_bytes(1000) + list_chunk(26),
    "cut_within_what_follows_data": wav_bytes(1000) + list_chunk(26)[:-9],
    "stream_without_length": wav_bytes(1000, announced=0xFFFFFFFF),
}


@pytest.mark.parametrize("content", SOUND.values(), ids=SOUND)
def test_probe_and_read_audio_take_a_whole_recording_in_an_unusual_file(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    assert probe_audio(path, "a") == AudioHeader(1000, 16000, 1)
    assert (read_audio(path, "a", 16000) * 32768 == np.arange(1000)).all()


def test_read_audio_is_float32_mono_with_full_scale_at_1(tmp_path):
    sf.write(tmp_path / "a.wav", np.array([-32768, 0, 16384, 8192] * 200, dtype=np.int16), 16000)
    wav = read_audio(tmp_path / "a.wav", "a", 16000)
    assert (wav.dtype, wav.shape, wav.flags.c_contiguous) == (np.float32, (800,), True)
    assert wav[:4].tolist() == [-1.0, 0.0, 0.5, 0.25]


def test_read_audio_averages_channels(tmp_path):
    stereo = np.tile([[0.5, -0.25]], (800, 1))
    sf.write(tmp_path / "a.wav", stereo, 16000, subtype="FLOAT")
    wav = read_audio(tmp_path / "a.wav", "a", 16000)
    assert (wav.dtype, wav.shape, wav.flags.c_contiguous) == (np.float32, (800,), True)
    assert (wav == 0.125).all()


def test_read_audio_flac_equals_wav(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, 4000).astype(np.int16)
    for name in ("a.wav", "a.flac"):
        sf.write(tmp_path / name, samples, 16000)
    wav = read_audio(tmp_path / "a.flac", "a", 16000)
    assert (wav == samples / 32768).all()
    assert (wav == read_audio(tmp_path / "a.wav", "a", 16000)).all()


@pytest.mark.parametrize("source_rate_hz", [8000, 22050, 44100, 48000])
def test_read_audio_resampled_keeps_duration_pitch_and_phase(tmp_path, source_rate_hz):
    sf.write(tmp_path / "a.wav", sine(1000, source_rate_hz), source_rate_hz, subtype="FLOAT")
    wav = read_audio(tmp_path / "a.wav", "a", 16000)
    assert (wav.dtype, wav.shape, wav.flags.c_contiguous) == (np.float32, (16000,), True)
    spectrum = np.abs(np.fft.rfft(wav))
    assert spectrum.argmax() == 1000  # one bin is 1 Hz
    inner = slice(2000, -2000)  # away from the filter's edges
    np.testing.assert_allclose(wav[inner], sine(1000, 16000)[inner], atol=1e-3)


def test_read_audio_resampled_does_not_fold_high_tones_down(tmp_path):
    sf.write(tmp_path / "a.wav", sine(10000, 44100), 44100, subtype="FLOAT")  # would come back at 6 kHz
    wav = read_audio(tmp_path / "a.wav", "a", 16000)
    assert np.abs(wav[2000:-2000]).max() < 1e-3


def test_read_audio_max_s_reads_only_the_start(tmp_path):
    wav = np.concatenate([np.linspace(-1, 1, 4000), [np.nan] * 100])
    sf.write(tmp_path / "a.wav", wav, 16000, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav", "a", 16000, max_s=0.25), wav[:4000].astype("f4"))
    with pytest.raises(InputError, match=r"^a: .* holds samples that are NaN or infinite, the first at 0\.25 s"):
        read_audio(tmp_path / "a.wav", "a", 16000)


@pytest.mark.parametrize(("max_s", "n_samples"), [(0.75, 12000), (1.5, 16000), (None, 16000)])
def test_read_audio_max_s_counts_seconds_of_the_recording(tmp_path, max_s, n_samples):
    sf.write(tmp_path / "a.wav", sine(1000, 44100), 44100)
    assert len(read_audio(tmp_path / "a.wav", "a", 16000, max_s=max_s)) == n_samples


@pytest.mark.parametrize(
    ("content", "fault"), [(None, "the recording cannot be opened: "), (b"hello " * 100, "cannot be read as audio: ")]
)
def test_read_audio_names_utterance_and_file_that_cannot_be_read(tmp_path, content, fault):
    path = tmp_path / "a.wav"
    if content:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"^utt7: .*{fault}") as error:
        read_audio(path, "utt7", 16000)
    assert str(path) in str(error.value)


def test_read_audio_in_small_blocks_is_the_same(tmp_path, monkeypatch):
    sf.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-1, 1, (5000, 3)), 22050)
    whole = read_audio(tmp_path / "a.wav", "a", 16000)
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", 3 * 700)
    assert (read_audio(tmp_path / "a.wav", "a", 16000) == whole).all()
    assert (
        read_audio(tmp_path / "a.wav", "a", 22050, max_s=0.1) == read_audio(tmp_path / "a.wav", "a", 22050)[:2205]
    ).all()


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
@pytest.mark.parametrize("max_s", [None, 0.1])
def test_read_audio_reads_a_segment_alone(tmp_path, subtype, max_s, monkeypatch):
    wav = np.random.default_rng(0).uniform(-0.5, 0.5, 48000).astype(np.float32)
    sf.write(tmp_path / "a.wav", wav, 16000, subtype=subtype)
    whole = read_audio(tmp_path / "a.wav", "utt7", 16000)
    part = read_audio(tmp_path / "a.wav", "utt7", 16000, max_s, (1.25, 0.5))
    np.testing.assert_array_equal(part, whole[20000 : 20000 + (1600 if max_s else 8000)])


def test_read_audio_refuses_a_segment_after_the_end(tmp_path):
    sf.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    with pytest.raises(InputError, match=r"^utt7: .*a\.wav ends before the segment from 0\.50 s to 1\.10 s does"):
        read_audio(tmp_path / "a.wav", "utt7", 16000, segment=(0.5, 0.6))


HEADER = AudioHeader(16000, 16000, 1)  # of a second


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        ((1.0, 0.5), "begins at 1 s, and the recording is 1.00 s long. Correct start and end."),
        ((0.5, 0.56), "ends at 1.06 s, and the recording is 1.00 s long"),
        ((0.99, float("inf")), "from 0.99 s is 0.0100 s long; at least 0.025 s are needed. Leave it out."),
    ],
)
def test_check_segment_names_the_bound(segment, message):
    with pytest.raises(InputError) as error:
        check_segment("utt7", segment, HEADER)
    assert str(error.value).startswith("utt7: the segment ") and message in str(error.value)


def test_check_segment_ends_with_the_recording():
    assert check_segment("a", (0.25, float("inf")), HEADER) == (0.25, 0.75)
    assert check_segment("a", (0.5, 0.54), HEADER) == (0.5, 0.5)  # an end that was rounded up
    assert check_segment("a", (0.1, 0.2), HEADER) == (0.1, 0.2)
