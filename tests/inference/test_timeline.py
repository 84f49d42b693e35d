"""Timelines: the windows of a streamed recording against the whole one, segments by hand, and the memory it takes."""

import contextlib
import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import soundfile as sf
import torch

from speechbrain_ext.dataio.audio import read_audio
from speechbrain_ext.dataio.audio_stream import cut_windows
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.speech_detector import SpeechDetector
from speechbrain_ext.inference.timeline import (
    Segment,
    Timeline,
    format_csv,
    make_timeline,
    merge_windows,
    moment_posteriors,
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


# ---- segments


def test_moment_posteriors_are_means_over_the_windows_that_cover_the_middle():
    # Windows [0, 4], [2, 6] and, with the end of 7 s, [3, 7]; cells of 2 s have their middles at 1, 3, 5 and 6.5.
    # The third window begins at 3, a middle, and covers it.
    edges_s, means = moment_posteriors([0.0, 2.0, 3.0], [4.0, 6.0, 7.0], [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]], 2.0)
    assert edges_s.tolist() == [0, 2, 4, 6, 7]
    assert means[:, 0].tolist() == [1.0, 0.5, 0.25, 0.0]
    assert means[:, 1].tolist() == [0.0, 0.5, 0.75, 1.0]


def test_moment_posteriors_a_window_that_ends_at_a_middle_does_not_cover_it():
    _, means = moment_posteriors([0.0, 1.0], [1.5, 3.0], [[1.0, 0.0], [0.0, 1.0]], 1.0)
    assert means[:, 0].tolist() == [1.0, 0.0, 0.0]


def test_moment_posteriors_cells_are_not_multiplied_by_rounding():
    starts_s = np.arange(3) * 0.1
    edges_s, _ = moment_posteriors(starts_s, starts_s + 0.1, np.ones((3, 1)), 0.1)  # 0.30000000000000004 / 0.1 > 3
    np.testing.assert_allclose(edges_s, [0, 0.1, 0.2, 0.3])


def cells(*rows):
    """Give windows of 1 s side by side, whose posteriors are those of the cells: (starts_s, ends_s, posteriors)."""
    starts_s = np.arange(len(rows), dtype=float)
    return starts_s, starts_s + 1, np.array(rows)


A, B, C = [0.75, 0.25, 0.0], [0.25, 0.75, 0.0], [0.0, 0.25, 0.75]
B_NEAR_C = [0.125, 0.5, 0.375]
MERGED = {
    # name: (cells, shortest segment, [(start, end, emotion, posterior)])
    "one_window": ([A], 5, [(0, 1, "a", 0.75)]),
    "a_run_is_one": ([A, A, [1, 0, 0]], 0, [(0, 3, "a", 2.5 / 3)]),
    "the_first_of_equals": ([[0.25, 0.375, 0.375]], 0, [(0, 1, "b", 0.375)]),
    "none_is_too_short": ([A, B, C], 1, [(0, 1, "a", 0.75), (1, 2, "b", 0.75), (2, 3, "c", 0.75)]),
    "none_has_to_be_longer": ([A, B, A], 0, [(0, 1, "a", 0.75), (1, 2, "b", 0.75), (2, 3, "a", 0.75)]),
    "between_two_of_one_emotion": ([A, A, B, A, A], 2, [(0, 5, "a", (4 * 0.75 + 0.25) / 5)]),
    "goes_to_the_later_one_that_is_likelier": (
        [A, A, B_NEAR_C, C, C],
        2,
        [(0, 2, "a", 0.75), (2, 5, "c", (0.375 + 1.5) / 3)],
    ),
    "goes_to_the_earlier_one_that_is_likelier": (
        [C, C, B_NEAR_C, A, A],
        2,
        [(0, 3, "c", (1.5 + 0.375) / 3), (3, 5, "a", 0.75)],
    ),
    "goes_to_the_earlier_one_of_equals": (
        [A, A, [0.25, 0.5, 0.25], C, C],
        2,
        [(0, 3, "a", 1.75 / 3), (3, 5, "c", 0.75)],
    ),
    # Sums of these numbers are off by a hair, to the advantage of c.
    "goes_to_the_earlier_one_of_equals_in_spite_of_rounding": (
        [[0.55, 0.4, 0.05], [0.55, 0.4, 0.05], [0.15, 0.7, 0.15], C, C],
        2,
        [(0, 3, "a", 1.25 / 3), (3, 5, "c", 0.75)],
    ),
    "at_the_start": ([A, B, B], 2, [(0, 3, "b", (0.25 + 1.5) / 3)]),
    "at_the_end": ([B, B, A], 2, [(0, 3, "b", (1.5 + 0.25) / 3)]),
    # The first one goes to b, then there are 3 s of b.
    "the_earliest_of_the_shortest": ([A, B, B, C], 3, [(0, 4, "b", (0.25 + 0.75 + 0.75 + 0.25) / 4)]),
    # C is the shortest and goes first: from the left, the two of a would have gone to c, as b is unlikelier in them.
    "the_shortest_goes_first": (
        [[0.5, 0.125, 0.375], [0.5, 0.125, 0.375], C, B, B, B],
        3,
        [(0, 6, "b", (2 * 0.125 + 0.25 + 3 * 0.75) / 6)],
    ),
    "shorter_than_asked_for": ([A, B], 9, [(0, 2, "b", 0.5)]),
}


@pytest.mark.parametrize(("rows", "min_segment_s", "expected"), MERGED.values(), ids=MERGED)
def test_merge_windows_by_hand(rows, min_segment_s, expected):
    found = merge_windows(*cells(*rows), ["a", "b", "c"], 1.0, min_segment_s)
    assert [(s.start_s, s.end_s, s.emotion) for s in found] == [row[:3] for row in expected]
    assert [s.posterior for s in found] == pytest.approx([row[3] for row in expected])


def test_merge_windows_a_segment_as_long_as_asked_for_stays_in_spite_of_rounding():
    starts_s = np.arange(6) * 0.1
    posteriors = np.array([[0.75, 0.25]] * 3 + [[0.25, 0.75]] * 3)
    found = merge_windows(starts_s, starts_s + 0.1, posteriors, ["a", "b"], 0.1, 0.30000000000000004)
    assert [s.emotion for s in found] == ["a", "b"]


def test_merge_windows_the_earliest_of_the_shortest_in_spite_of_rounding():
    # From 0.30000000000000004 to 0.4 is less than 0.1, and the last segment would go first: a, b, a, b -> b, a.
    starts_s = np.arange(4) * 0.1
    posteriors = np.array([[0.75, 0.25], [0.25, 0.75]] * 2)
    found = merge_windows(starts_s, starts_s + 0.1, posteriors, ["a", "b"], 0.1, 0.2)
    assert [s.emotion for s in found] == ["b"]


def test_merge_windows_weighs_a_last_cell_by_its_length():
    # Cells [0, 2] and [2, 3]: (2 x 0.75 + 1 x 0.5) / 3.
    (found,) = merge_windows([0.0, 2.0], [2.0, 3.0], [[0.75, 0.25], [0.5, 0.5]], ["a", "b"], 2.0, 0)
    assert found.posterior == pytest.approx(2 / 3)


@st.composite
def windows(draw):
    """Draw windows as `cut_windows` places them, with posteriors: (starts_s, ends_s, posteriors, hop_s)."""
    n_hop, n_window = sorted(draw(st.tuples(st.integers(1, 9), st.integers(1, 9))))
    placed = list(cut_windows([np.zeros(draw(st.integers(1, 80)))], n_window, n_hop))
    step_s = draw(st.sampled_from([0.1, 0.25, 1 / 3]))
    weights = draw(st.lists(st.tuples(*[st.integers(1, 9)] * 3), min_size=len(placed), max_size=len(placed)))
    posteriors = np.float32(weights) / np.sum(weights, axis=1, keepdims=True)
    starts_s = np.array([start * step_s for start, _ in placed])
    return starts_s, np.array([(start + len(wav)) * step_s for start, wav in placed]), posteriors, n_hop * step_s


@hypothesis.given(windows(), st.floats(0, 5))
def test_merge_windows_tiles_the_recording_with_long_enough_segments(drawn, min_segment_s):
    starts_s, ends_s, posteriors, hop_s = drawn
    found = merge_windows(starts_s, ends_s, posteriors, ["a", "b", "c"], hop_s, min_segment_s)
    assert (found[0].start_s, found[-1].end_s) == (0, ends_s[-1])
    for earlier, later in zip(found, found[1:]):
        assert earlier.end_s == later.start_s and earlier.emotion != later.emotion
    assert len(found) == 1 or min(s.end_s - s.start_s for s in found) >= min_segment_s - 1e-5
    # The posterior, once more: the mean over the segment's moments of the mean over the windows at that moment.
    for segment in found:
        total, emotion, time_s = 0.0, "abc".index(segment.emotion), segment.start_s
        while time_s < segment.end_s - 1e-9:
            end_s = min(time_s + hop_s, segment.end_s)
            at = (starts_s <= (time_s + end_s) / 2 + 1e-9) & (ends_s > (time_s + end_s) / 2 + 1e-9)
            total += posteriors[at, emotion].mean() * (end_s - time_s)
            time_s = end_s
        assert segment.posterior == pytest.approx(total / (segment.end_s - segment.start_s), abs=1e-5)


# ---- the timeline as a whole


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


# ---- speech

SPEECH = {
    # name: (cells, which of them are speech, shortest segment, [(start, end, emotion)])
    "a_pause_is_none": ([A, A, B, A], "1101", 1, [(0, 2, "a"), (2, 3, None), (3, 4, "a")]),
    "a_short_pause_is_bridged": ([A, A, B, A], "1101", 2, [(0, 4, "a")]),
    "a_short_word_in_silence_stays": ([A, A, B, A, A], "00100", 2, [(0, 2, None), (2, 3, "b"), (3, 5, None)]),
    "a_short_word_goes_to_speech_alone": ([A, A, B, A, A], "00111", 2, [(0, 2, None), (2, 5, "a")]),
    "silence": ([A, B], "00", 1, [(0, 2, None)]),
}


@pytest.mark.parametrize(("rows", "speech", "min_segment_s", "expected"), SPEECH.values(), ids=SPEECH)
def test_merge_windows_makes_no_emotion_of_what_is_no_speech(rows, speech, min_segment_s, expected):
    starts_s, ends_s = np.arange(len(rows)) * 0.32, (np.arange(len(rows)) + 1) * 0.32  # cells of ten chunks
    is_speech = np.repeat([cell == "1" for cell in speech], 10)
    found = merge_windows(starts_s, ends_s, np.array(rows), ["a", "b", "c"], 0.32, min_segment_s * 0.32, is_speech)
    assert [(round(s.start_s / 0.32), round(s.end_s / 0.32), s.emotion) for s in found] == expected
    assert all((segment.posterior is None) == (segment.emotion is None) for segment in found)


@pytest.mark.parametrize(("n_speech", "expected"), [(3, None), (4, "ang")])
def test_merge_windows_a_tenth_of_a_cell_makes_it_speech(n_speech, expected):
    is_speech = np.arange(32) < n_speech  # of 1.024 s
    (found,) = merge_windows([0.0], [1.024], np.array([[1.0, 0.0]]), ["ang", "sad"], 1.024, 1.0, is_speech)
    assert found.emotion == expected


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
