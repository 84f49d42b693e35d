"""Timelines: the windows of a streamed recording against the whole one, the files, and the memory it takes."""

import contextlib
import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile as sf
import torch

from speechbrain_ext.dataio.audio import read_audio
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.speech_detector import SpeechDetector
from speechbrain_ext.inference.timeline import (
    Segment,
    Timeline,
    format_csv,
    make_timeline,
    write_audacity,
    write_csv,
    write_json,
)
from tests.babble import make_babble


class Stub:
    """A classifier to which loudness is anger: the posterior of "ang" is a window's mean. It keeps its batches."""

    def __init__(self, sample_rate=100, min_samples=1, **hparams):
        self.hparams = SimpleNamespace(emotions=["ang", "sad"], sample_rate=sample_rate, **hparams)
        self.mods = SimpleNamespace(embedding_model=SimpleNamespace(min_samples=min_samples, longest_samples=None))
        self.within = False
        self.batches = []

    @property
    @contextlib.contextmanager
    def inference_ctx(self):
        self.within = True
        yield
        self.within = False

    def classify_batch(self, wavs, wav_lens):
        assert self.within and torch.is_inference_mode_enabled()
        assert wavs.dtype == torch.float32 and wav_lens.tolist() == [1.0] * len(wavs)
        self.batches.append(wavs.numpy().copy())
        ang = wavs.mean(dim=1)
        return torch.stack([ang, 1 - ang], dim=1).log().bfloat16(), None, None, None


def write_levels(path, levels, sample_rate=100):
    """Write a recording of 1 s at each level."""
    sf.write(path, np.repeat(levels, sample_rate), sample_rate, subtype="FLOAT")
    return path


def test_make_timeline_of_a_recording_with_a_tail(tmp_path):
    # 3.5 s at 100 Hz: windows of 2 s at 0 and 1 s, and one more that ends with the recording.
    wav = np.repeat([0.75, 0.75, 0.75, 0.25, 0.25, 0.25, 0.25], 50)
    sf.write(tmp_path / "a.wav", wav, 100, subtype="FLOAT")
    seen = []
    timeline = make_timeline(Stub(), tmp_path / "a.wav", 2.0, 1.0, progress=lambda *times: seen.append(times))
    assert (timeline.emotions, timeline.duration_s) == (("ang", "sad"), 3.5)
    assert (timeline.window_s, timeline.hop_s) == (2.0, 1.0)
    assert timeline.starts_s.tolist() == [0, 1, 1.5] and timeline.ends_s.tolist() == [2, 3, 3.5]
    # Means of the windows: (3 x 0.75 + 0.25) / 4, (0.75 + 3 x 0.25) / 4, 0.25.
    assert timeline.posteriors.dtype == np.float32
    np.testing.assert_allclose(timeline.posteriors[:, 0], [0.625, 0.375, 0.25], atol=0.01)  # of bfloat16
    np.testing.assert_allclose(timeline.posteriors.sum(axis=1), 1, atol=0.01)
    # Cells: 0.625; the mean of the first two, 0.5; of the last two; 0.25. They are ang, (either), sad, sad.
    assert [s.emotion for s in timeline.segments] == ["ang", "sad"] and timeline.segments[-1].end_s == 3.5
    assert timeline.envelope.shape == (350, 2) and (timeline.envelope == wav[:, np.newaxis]).all()
    assert seen == [(0, np.inf), (3.5, 3.5)]


def test_make_timeline_batches_do_not_matter(tmp_path):
    path = write_levels(tmp_path / "a.wav", [0.1, 0.2, 0.3, 0.4, 0.5])
    seen = []
    classifiers = Stub(), Stub()
    one = make_timeline(classifiers[0], path, 2.0, 0.5, batch_size=1, progress=lambda *times: seen.append(times))
    three = make_timeline(classifiers[1], path, 2.0, 0.5, batch_size=3)
    assert [len(batch) for batch in classifiers[1].batches] == [3, 3, 1]
    assert (np.concatenate(classifiers[0].batches) == np.concatenate(classifiers[1].batches)).all()
    assert (one.posteriors == three.posteriors).all() and one.segments == three.segments
    assert seen[1:] == [(end_s, 5.0) for end_s in (2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0)]


def test_make_timeline_progress_ends_with_the_recording(tmp_path):
    sf.write(tmp_path / "a.wav", np.full(44102, 0.5), 44100)  # 16000.7 samples at 16 kHz, and 16001 are heard
    seen = []
    make_timeline(Stub(16000), tmp_path / "a.wav", progress=lambda *times: seen.append(times))
    assert seen[-1] == (44102 / 44100, 44102 / 44100)


def test_make_timeline_can_be_stopped_while_the_recording_is_counted(tmp_path):
    class Stop(Exception):
        pass

    def progress(done_s, duration_s):
        assert (done_s, duration_s) == (0, np.inf)
        raise Stop

    sf.write(tmp_path / "a.flac", np.full(1000, 0.5), 100)
    stub = Stub()
    with pytest.raises(Stop):
        make_timeline(stub, tmp_path / "a.flac", progress=progress)
    assert not stub.batches


def test_make_timeline_merges_segments_shorter_than_asked_for(tmp_path):
    path = write_levels(tmp_path / "a.wav", [0.9, 0.9, 0.1, 0.9, 0.9])
    kept = make_timeline(Stub(), path, 1.0, 1.0, min_segment_s=1.0).segments
    merged = make_timeline(Stub(), path, 1.0, 1.0, min_segment_s=1.5).segments
    assert [s.emotion for s in kept] == ["ang", "sad", "ang"] and [s.emotion for s in merged] == ["ang"]


def test_make_timeline_of_a_recording_shorter_than_a_window_is_one_window(tmp_path):
    classifier = Stub()
    timeline = make_timeline(classifier, write_levels(tmp_path / "a.wav", [0.75, 0.75]))
    assert (timeline.starts_s.tolist(), timeline.ends_s.tolist(), timeline.duration_s) == ([0], [2], 2)
    assert [batch.shape for batch in classifier.batches] == [(1, 200)]
    assert [(s.start_s, s.end_s, s.emotion) for s in timeline.segments] == [(0, 2, "ang")]


def test_make_timeline_hears_what_read_audio_reads(tmp_path):
    rng = np.random.default_rng(0)
    sf.write(tmp_path / "a.flac", rng.uniform(0, 0.5, (3 * 44100, 2)), 44100)
    classifier = Stub(sample_rate=16000)
    timeline = make_timeline(classifier, tmp_path / "a.flac", 1.0, 0.7, batch_size=2)
    whole = read_audio(tmp_path / "a.flac", "a", 16000)
    expected = [whole[start : start + 16000] for start in (0, 11200, 22400, 32000)]
    np.testing.assert_allclose(np.concatenate(classifier.batches), expected, atol=1e-6)
    assert timeline.starts_s.tolist() == [0, 0.7, 1.4, 2.0]
    # Stretches of 3 / 2000 s of the file's own waveform, 66.15 samples.
    mono = sf.read(tmp_path / "a.flac", dtype="float32")[0].mean(axis=1)
    assert timeline.envelope.shape == (2000, 2)
    assert timeline.envelope[0].tolist() == [mono[:67].min(), mono[:67].max()]
    assert (timeline.envelope[:, 0].min(), timeline.envelope[:, 1].max()) == (mono.min(), mono.max())


def test_make_timeline_with_a_detector_marks_silence(tmp_path):
    wav = np.concatenate([make_babble(4), np.zeros(5 * 16000), make_babble(3, seed=1)])
    sf.write(tmp_path / "a.wav", wav, 16000)
    classifier = Stub(sample_rate=16000)
    classifier.classify_batch = lambda wavs, lens: (torch.tensor([[0.75, 0.25]]).expand(len(wavs), 2).log(),)
    timeline = make_timeline(classifier, tmp_path / "a.wav", 2.0, 1.0, detector=SpeechDetector())
    assert [(s.start_s, s.end_s, s.emotion) for s in timeline.segments] == [
        (0, 4, "ang"),
        (4, 9, None),
        (9, 12, "ang"),
    ]
    with open(tmp_path / "t.csv", "w") as file:
        file.write(format_csv(timeline))
    with open(tmp_path / "t.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["emotion"] for row in rows] == [*["ang"] * 4, *[""] * 4, *["ang"] * 3]
    assert float(rows[0]["speech"]) > 0.5 and rows[5]["speech"] == "0.000"
    write_audacity(timeline, tmp_path / "l.txt")
    assert "4.000000\t9.000000\tno speech\n" in (tmp_path / "l.txt").read_text()


# ---- what is refused

SETTINGS = {
    "window": ({"window_s": 0}, r"window_s must be a number from 0\.025 to 300\.0, got 0"),
    "hop": ({"hop_s": 0}, r"hop_s must be a number from 0\.01 to 300\.0, got 0"),
    "gaps": ({"hop_s": 4.5}, r"hop_s must be at most window_s \(4\), got 4\.5: speech between windows"),
    "segment": ({"min_segment_s": -1}, "min_segment_s must be a number from 0 to inf, got -1"),
    "batch": ({"batch_size": 0}, "batch_size must be a whole number from 1, got 0"),
}


@pytest.mark.parametrize(("settings", "message"), SETTINGS.values(), ids=SETTINGS)
def test_make_timeline_refuses_settings_before_it_looks_at_the_file(settings, message):
    with pytest.raises(InputError, match=message):
        make_timeline(Stub(), "nowhere.wav", **settings)


def test_make_timeline_refuses_windows_that_are_too_short_for_the_encoder(tmp_path):
    path = write_levels(tmp_path / "a.wav", [0.5, 0.25])
    for settings in ({"window_s": 0.4, "hop_s": 0.1}, {"window_s": 4.0}):
        with pytest.raises(InputError, match=r"a window of a\.wav is .* this model needs at least 3\.0000 s"):
            make_timeline(Stub(min_samples=300), path, **settings)


@pytest.mark.parametrize("name", ["max_s", "fixed_length_s"])
def test_make_timeline_refuses_windows_of_which_the_model_hears_a_part(tmp_path, name):
    path = write_levels(tmp_path / "a.wav", [0.5])
    message = rf"window_s must be at most 3 for this model, .* \({name}\), got 3\.5"
    with pytest.raises(InputError, match=message):
        make_timeline(Stub(**{name: 3.0}), path, window_s=3.5)
    make_timeline(Stub(**{name: 3.0}), path, window_s=3.0)


def flac_bytes(folder, n_frames=400000):
    sf.write(folder / "whole.flac", 0.1 * np.random.default_rng(0).standard_normal(n_frames), 16000)
    return (folder / "whole.flac").read_bytes()


def mp3_bytes(folder):
    sf.write(folder / "whole.mp3", 0.1 * np.random.default_rng(0).standard_normal(400000), 16000)
    return (folder / "whole.mp3").read_bytes()


def not_finite_bytes(folder):
    wav = np.zeros((300000, 2))
    wav[240000:, 1] = np.nan
    sf.write(folder / "whole.wav", wav, 16000, subtype="FLOAT")
    return (folder / "whole.wav").read_bytes()


def wav_bytes(folder, n_frames=16000):
    sf.write(folder / "whole.wav", np.zeros(n_frames), 16000)
    return (folder / "whole.wav").read_bytes()


REFUSED = {
    "empty": (lambda folder: b"", r"is empty \(0 bytes\)"),
    "garbage": (lambda folder: bytes(range(256)) * 8, "cannot be read as audio"),
    "truncated_wav": (lambda folder: wav_bytes(folder)[:-600], "truncated: its header announces 600 bytes more"),
    "truncated_flac": (lambda folder: flac_bytes(folder)[:-300000], r"cannot be read as audio after its first \d{5,6}"),
    "truncated_mp3": (lambda folder: mp3_bytes(folder)[:-30000], "truncated: its header announces 30000 bytes more"),
    "too_short": (lambda folder: wav_bytes(folder, 399), r"is 0\.0249 s long"),
    "not_finite": (not_finite_bytes, r"NaN or infinite, the first at 15\.00 s\. Repair"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_make_timeline_refuses_a_recording_and_names_it_before_it_classifies(tmp_path, content, message):
    path = tmp_path / "talk.audio"
    path.write_bytes(content(tmp_path))
    classifier = Stub(sample_rate=16000)
    with pytest.raises(InputError, match=message) as error:
        make_timeline(classifier, path, batch_size=1)
    assert str(error.value).startswith("talk.audio: ") and str(path) in str(error.value)
    assert not classifier.batches


def test_make_timeline_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=f"^talk.wav: .*cannot be opened.*{re.escape(str(tmp_path))}"):
        make_timeline(Stub(), tmp_path / "talk.wav")


# ---- files

TIMELINE = Timeline(
    emotions=("ang", "not\tsad,\n really"),
    duration_s=2.5,
    window_s=2.0,
    hop_s=1.0,
    starts_s=np.array([0.0, 0.5]),
    ends_s=np.array([2.0, 2.5]),
    posteriors=np.float32([[0.75, 0.25], [0.125, 0.875]]),
    segments=[Segment(0.0, 1.0, "ang", 0.75), Segment(1.0, 2.5, "not\tsad,\n really", 0.625)],
    envelope=np.float32([[-1, 1]]),
)


def test_write_csv_has_a_row_for_each_window(tmp_path):
    write_csv(TIMELINE, tmp_path / "t.csv")
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["start_s", "end_s", "emotion", "ang", "not\tsad,\n really", "speech"],
        ["0.0000", "2.0000", "ang", "0.750000", "0.250000", ""],
        ["0.5000", "2.5000", "not\tsad,\n really", "0.125000", "0.875000", ""],
    ]


def test_write_json_holds_settings_segments_and_windows(tmp_path):
    write_json(TIMELINE, tmp_path / "t.json")
    assert json.loads((tmp_path / "t.json").read_text(encoding="utf-8")) == {
        "emotions": ["ang", "not\tsad,\n really"],
        "duration_s": 2.5,
        "window_s": 2.0,
        "hop_s": 1.0,
        "segments": [
            {"start_s": 0.0, "end_s": 1.0, "emotion": "ang", "posterior": 0.75},
            {"start_s": 1.0, "end_s": 2.5, "emotion": "not\tsad,\n really", "posterior": 0.625},
        ],
        "windows": [
            {"start_s": 0.0, "end_s": 2.0, "posteriors": [0.75, 0.25], "speech": None},
            {"start_s": 0.5, "end_s": 2.5, "posteriors": [0.125, 0.875], "speech": None},
        ],
    }


def test_write_audacity_keeps_a_label_in_its_field(tmp_path):
    write_audacity(TIMELINE, tmp_path / "labels.txt")
    assert (tmp_path / "labels.txt").read_bytes() == (b"0.000000\t1.000000\tang\n1.000000\t2.500000\tnot sad, really\n")


@pytest.mark.parametrize("write", [write_csv, write_json, write_audacity])
def test_files_are_replaced_as_a_whole(tmp_path, monkeypatch, write):
    (tmp_path / "t").write_text("before")
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write(TIMELINE, tmp_path / "t")
    assert (tmp_path / "t").read_text() == "before" and len(list(tmp_path.iterdir())) == 1


# ---- memory

MEASURE = """\
import re, sys
sys.path.insert(0, sys.argv[1])
import contextlib, types, torch
from speechbrain_ext.inference.timeline import make_timeline

def peak_kib():  # ru_maxrss would count the process that started this one
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

class Stub:
    hparams = types.SimpleNamespace(emotions=["ang", "sad"], sample_rate=16000)
    mods = types.SimpleNamespace(embedding_model=types.SimpleNamespace(min_samples=400, longest_samples=None))
    inference_ctx = contextlib.nullcontext()
    def classify_batch(self, wavs, wav_lens):
        return torch.full((len(wavs), 2), 0.5).log(), None, None, None

torch.set_num_threads(1)
print(len(make_timeline(Stub(), sys.argv[2]).starts_s), peak_kib())
print(len(make_timeline(Stub(), sys.argv[3]).starts_s), peak_kib())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_make_timeline_of_twelve_minutes_takes_the_memory_of_one(tmp_path):
    # Stereo at 11,025 Hz: all of it would be 64 MB as it is, 32 MB as one channel, and 46 MB at 16 kHz.
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (60 * 11025, 2))
    for name, n_minutes in (("minute.wav", 1), ("long.wav", 12)):
        with sf.SoundFile(tmp_path / name, "w", 11025, 2, subtype="PCM_U8") as file:
            for _ in range(n_minutes):
                file.write(noise)
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-c", MEASURE, str(root), str(tmp_path / "minute.wav"), str(tmp_path / "long.wav")]
    env = {**os.environ, "MALLOC_ARENA_MAX": "1"}  # or each thread keeps some, as many as there are cores
    lines = subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout.splitlines()
    (n_minute, minute_kib), (n_long, long_kib) = (map(int, line.split()) for line in lines)
    assert (n_minute, n_long) == (57, 717)
    assert long_kib - minute_kib < 24 * 1024  # about 6 MiB were seen
