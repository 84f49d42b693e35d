"""What is measured of a clip, and that each recording is read once."""

import hashlib

import numpy as np
import pytest
import soundfile as sf

from speechbrain_ext.dataio import audio, audio_readers, clip_measures
from speechbrain_ext.dataio.clip_measures import measure_blocks, measure_recording
from speechbrain_ext.errors import InputError
from tests.dataio.audio_files import make_wave


def row(utt_id, wav, **others):
    """Describe an utterance."""
    return {"id": utt_id, "wav": wav, "emo": "sad", "speaker": "s", "group": "g", **others}


def test_levels_are_those_of_a_sine():
    """Of half the full scale: its effective magnitude is the peak by the root of 2."""
    wav = (0.5 * np.sin(2 * np.pi * 100 * np.arange(16000) / 16000)).astype(np.float32)
    n_samples, measures = measure_blocks([wav[:7000], wav[7000:]], 16000, 1)
    assert n_samples == 16000
    assert measures.peak == pytest.approx(0.5) and measures.rms == pytest.approx(0.5 / 2**0.5, rel=1e-5)
    assert (measures.clipped, measures.is_clipped, measures.is_silent) == (0.0, False, False)
    assert measures.samples_hash == f"16000 samples at 16000 Hz, SHA-256 {hashlib.sha256(wav).hexdigest()[:32]}"


@pytest.mark.parametrize(("n_full", "clipped"), [(1, False), (2, True)])
def test_clipping_is_more_than_a_sample_of_a_thousand(n_full, clipped):
    wav = np.full(1000, 0.1, np.float32)
    wav[:n_full] = -1.0
    measures = measure_blocks([wav], 16000, 1)[1]
    assert (measures.clipped, measures.is_clipped) == (n_full / 1000, clipped)


def test_silence_has_no_level():
    measures = measure_blocks([np.zeros(100, np.float32)], 16000, 1)[1]
    assert (measures.is_silent, measures.peak, measures.rms) == (True, 0.0, 0.0)


def test_recording_and_its_segments_are_measured(tmp_path):
    wav = np.concatenate([np.full(16000, 0.25), np.full(16000, -0.5)])
    sf.write(tmp_path / "a.wav", np.stack([wav, wav], axis=1), 16000)
    ((entry, whole),) = measure_recording([row("a", "a.wav")], tmp_path)
    assert entry == {"duration": 2.0, "samples_hash": whole.samples_hash}
    assert (whole.n_channels, whole.sample_rate_hz, whole.peak) == (2, 16000, 0.5)
    rows = [row("b", "a.wav", end=1.0), row("c", "a.wav", start=1.0), row("d", "a.wav", start=3.0, place="row 9")]
    first, second, bad = measure_recording(rows, tmp_path)
    assert [(one[0]["start"], one[0]["duration"], one[1].rms) for one in (first, second)] == [
        (0.0, 1.0, 0.25), (1.0, 1.0, 0.5),
    ]  # fmt: skip
    assert bad.startswith("row 9, d: the segment begins at 3 s, and the recording is 2.00 s long.")
    halves = [hashlib.sha256(half.astype(np.float32)).hexdigest()[:32] for half in (wav[:16000], wav[16000:])]
    assert [one[0]["samples_hash"][-32:] for one in (first, second)] == halves
    with pytest.raises(InputError, match="^e: the recording cannot be opened"):
        measure_recording([row("e", "gone.wav", start=1.0), row("f", "gone.wav", start=2.0)], tmp_path)


def test_too_short_a_recording_is_refused(tmp_path):
    sf.write(tmp_path / "a.wav", np.full(300, 0.1), 16000)
    with pytest.raises(InputError, match="is 0.0187 s long; at least 0.025 s are needed. Leave it out."):
        measure_recording([row("a", "a.wav", place="row 9")], tmp_path)


@pytest.mark.parametrize(
    ("file_format", "subtype", "n_opened"),
    [
        ("WAV", "PCM_16", 2),
        ("WAV", "FLOAT", 2),
        ("FLAC", "PCM_16", 2),
        ("WAV", "IMA_ADPCM", 5),  # what decoders remember decides over samples: of these each clip is opened anew
        ("OGG", "VORBIS", 5),
        ("OGG", "OPUS", 5),
        ("MP3", "MPEG_LAYER_III", 5),
    ],
)
@pytest.mark.parametrize("n_block", [2**22, 1000])  # the recording is read at once, or clip by clip
def test_segments_that_are_measured_together_are_those_that_are_read_alone(
    tmp_path, monkeypatch, file_format, subtype, n_opened, n_block
):
    path, opened = tmp_path / "a.sound", []
    monkeypatch.setattr(clip_measures, "BLOCK_SAMPLES", n_block)
    sf.write(path, make_wave(), 16000, subtype, format=file_format)
    open_audio = audio_readers.open_audio
    for module in (audio, clip_measures):
        monkeypatch.setattr(module, "open_audio", lambda *args: opened.append(args) or open_audio(*args))
    times_s = [(1.3, 1.6), (0.0, 0.4), (0.4, 0.75)]  # back, and on without a gap
    rows = [row(f"u{i}", path.name, start=start_s, end=end_s) for i, (start_s, end_s) in enumerate(times_s)]
    found = measure_recording(rows, tmp_path)
    assert len(opened) == n_opened  # once to measure its length, and then for the clips
    for entry, _ in found:
        segment = entry["start"], entry["duration"]
        assert len(audio.read_audio(path, "u", 16000, segment=segment, samples_hash=entry["samples_hash"]))
