"""Segments of a timeline: merged from windows, by hand and whatever the windows."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from speechbrain_ext.dataio.audio_stream import cut_windows
from speechbrain_ext.inference.timeline_segments import merge_windows, moment_posteriors


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
