"""The picture of a timeline: what stands where, for few and many emotions, minutes and hours."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.image import imread

from speechbrain_ext.inference.timeline import Segment, Timeline
from speechbrain_ext.inference.timeline_plot import COLOURS, clock, plot_timeline, tick_step

pytestmark = pytest.mark.filterwarnings("error")


def timeline_of(emotions, duration_s=4.0, segments=None):
    """Make a timeline of two windows, each half as long as the recording; the first emotion has 3/4, then none."""
    n_others = len(emotions) - 1
    return Timeline(
        emotions=tuple(emotions),
        duration_s=duration_s,
        window_s=duration_s / 2,
        hop_s=duration_s / 2,
        starts_s=np.array([0, duration_s / 2]),
        ends_s=np.array([duration_s / 2, duration_s]),
        posteriors=np.float32([[0.75] + [0.25 / n_others] * n_others, [0.0] + [1 / n_others] * n_others]),
        segments=segments
        or [
            Segment(0.0, duration_s / 4, emotions[0], 0.75),
            Segment(duration_s / 4, duration_s, emotions[1], 0.625),
        ],
        envelope=np.float32([[-0.5, 0.25], [-0.125, 0.5]]),
    )


def steps_of(axes):
    """Collect what `stairs` has filled: (edges, values, baseline) and colour."""
    return [(patch.get_data(), to_hex(patch.get_facecolor())) for patch in axes.patches]


def spans_of(axes):
    """Collect the bars of `broken_barh`: colour -> their corners in time and height."""
    return {
        to_hex(bars.get_facecolor()[0]).upper(): [path.get_extents().bounds for path in bars.get_paths()]
        for bars in axes.collections
    }


def test_plot_timeline_shows_waveform_lanes_and_segments(tmp_path, drawn):
    plot_timeline(timeline_of(["ang", "sad"]), tmp_path / "t.png", "talk.wav")
    pixels = imread(tmp_path / "t.png")[..., :3]
    assert pixels.shape == (700, 1600, 3) and (pixels[0, 0] == 1).all()
    (figure,) = drawn
    top, lanes = figure.axes
    assert figure.get_suptitle() == "talk.wav"
    assert top.get_ylabel() == "waveform" and lanes.get_xlabel() == "time (mm:ss)"
    assert top.get_ylim() == pytest.approx((-0.525, 0.525))
    ((wave, _),) = steps_of(top)
    edges, highs, lows = wave.edges, wave.values, wave.baseline
    assert (edges.tolist(), highs.tolist(), lows.tolist()) == ([0, 2, 4], [0.25, 0.5], [-0.5, -0.125])

    assert [label.get_text() for label in lanes.get_yticklabels()] == ["ang", "sad"]
    assert lanes.get_yticks().tolist() == [1.5, 0.5]  # from top to bottom
    (ang, colour_1), (sad, colour_2) = steps_of(lanes)
    assert (ang.edges.tolist(), ang.baseline, colour_1.upper()) == ([0, 2, 4], 1, COLOURS[0])
    assert (sad.edges.tolist(), sad.baseline, colour_2.upper()) == ([0, 2, 4], 0, COLOURS[1])
    assert ang.values.tolist() == pytest.approx([1 + 0.94 * 0.75, 1]) and sad.values.tolist() == [0.94 * 0.25, 0.94]
    # Segments: (start, floor, length, height), behind the posteriors, and from bottom to top behind the waveform.
    assert spans_of(lanes) == {COLOURS[0]: [(0, 1, 1, 1)], COLOURS[1]: [(1, 0, 3, 1)]}
    assert spans_of(top) == {COLOURS[0]: [(0, 0, 1, 1)], COLOURS[1]: [(1, 0, 3, 1)]}
    assert top.get_xlim() == lanes.get_xlim() == (0, 4) and lanes.get_ylim() == (0, 2)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["25% ang", "75% sad", "tint: segments after merging"]
    assert all(line.get_visible() for line in lanes.get_xgridlines())
    assert figure.legends[0].get_title().get_text() == "share of the time"


def test_plot_timeline_draws_the_waveform_before_the_tint(tmp_path):
    plot_timeline(timeline_of(["ang", "sad"]), tmp_path / "t.png")
    upper = imread(tmp_path / "t.png")[60:180, 200:1400, :3]  # within the axes
    assert (upper == 0).all(axis=2).mean() > 0.3
    assert not (upper == 1).all(axis=2).any()  # the tint reaches from bottom to top


MANY = ["neutral", "joy", "$\\sad$", "a rather long label", "_fear", "disgust", "surprise", "contempt", "$\\ninth"]


@pytest.mark.parametrize(("duration_s", "first", "last"), [(0.5, "00:00.0", "00:00.5"), (7201.0, "00:00", "2:00:00")])
def test_plot_timeline_of_many_emotions_and_segments_fits_and_overprints_nothing(
    tmp_path, drawn, duration_s, first, last
):
    bounds_s = np.linspace(0, duration_s, 301)
    segments = [Segment(*bounds_s[i : i + 2].tolist(), MANY[i % 9], 0.5) for i in range(300)]
    timeline = timeline_of(MANY, duration_s, segments)
    plot_timeline(timeline, tmp_path / "t.png", "What is said " * 30)
    (figure,) = drawn
    FigureCanvasAgg(figure).draw()
    top, lanes = figure.axes
    assert [len(bars.get_paths()) for bars in lanes.collections] == [34] * 3 + [33] * 6
    legend = figure.legends[0].get_texts()
    assert [text.get_text() for text in legend[:9]] == [f"11% {emotion}" for emotion in MANY]
    ticks = lanes.get_xticklabels()
    shown = [tick for tick in ticks if 0 <= tick.get_position()[0] <= duration_s + 1e-9]
    assert (shown[0].get_text(), shown[-1].get_text()) == (first, last)
    assert lanes.get_xlabel() == ("time (mm:ss)" if duration_s < 3600 else "time (h:mm:ss)")
    for texts in (shown, lanes.get_yticklabels(), legend):
        boxes = [text.get_window_extent() for text in texts]
        assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    for text in (*shown, *lanes.get_yticklabels(), *legend, figure._suptitle):
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, text


def test_plot_timeline_marks_where_there_is_no_speech(tmp_path, drawn):
    segments = [Segment(0.0, 1.0, "ang", 0.75), Segment(1.0, 4.0, None, None)]
    plot_timeline(timeline_of(["ang", "sad"], segments=segments), tmp_path / "t.png")
    texts = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert texts == ["25% ang", "0% sad", "75% no speech", "tint: segments after merging"]
    silent = drawn[0].axes[1].collections[-1]
    assert [path.get_extents().bounds for path in silent.get_paths()] == [(1, 0, 3, 2)] and silent.get_hatch() == "//"


def test_plot_timeline_in_the_dark_is_light_on_dark(tmp_path):
    emotions = ["a", "b", "c", "d", "e", "f", "black"]
    timeline = timeline_of(emotions, segments=[Segment(0.0, 4.0, "black", 0.75)])
    plot_timeline(timeline, tmp_path / "t.png", "talk.wav", dark=True)
    pixels = imread(tmp_path / "t.png")[..., :3]
    assert pixels[0, 0].max() < 0.12
    assert (pixels.max(axis=2) < 0.02).mean() == 0  # nothing is drawn in black
    assert (pixels.min(axis=2) > 0.85).mean() > 0.02  # title, waveform, the lane of the seventh colour


@pytest.mark.parametrize("label", ["怒り", "гнев", "غضب", "wrath\U0010ffff"])
def test_plot_timeline_of_labels_in_any_script_has_glyphs_or_numbers(tmp_path, drawn, label):
    plot_timeline(timeline_of([label, "sad"]), tmp_path / "t.png", label)  # warnings are errors: a box would be one
    shown = drawn[0].axes[1].get_yticklabels()[0].get_text()
    assert (
        shown == label
        or shown == "".join(c if ord(c) < 128 else f"\\u{ord(c):04x}" for c in label)
        or "\\U0010ffff" in shown
    )


def test_plot_timeline_of_silence_has_an_axis(tmp_path, drawn):
    silent = timeline_of(["ang", "sad"])
    silent.envelope[:] = 0
    plot_timeline(silent, tmp_path / "t.png")
    assert drawn[0].axes[0].get_ylim() == pytest.approx((-0.00105, 0.00105))


def test_colours_are_those_that_okabe_and_ito_published():
    # Black, orange, sky blue, bluish green, yellow, blue, vermilion, reddish purple, as RGB in their table.
    rgb = [(0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0)]
    assert set(COLOURS) == {"#{:02X}{:02X}{:02X}".format(*colour) for colour in (*rgb, (204, 121, 167))}


@pytest.mark.parametrize(
    ("seconds", "tenths", "expected"),
    [
        (0, False, "00:00"),
        (59.4, False, "00:59"),
        (59.6, False, "01:00"),
        (59.96, True, "01:00.0"),
        (61.25, True, "01:01.2"),
        (3599, False, "59:59"),
        (3600, False, "1:00:00"),
        (36061.3, True, "10:01:01.3"),
    ],
)
def test_clock_writes_minutes_and_from_an_hour_on_hours(seconds, tenths, expected):
    assert clock(seconds, tenths) == expected


@pytest.mark.parametrize(
    ("duration_s", "step_s"), [(0.5, 0.1), (14, 1), (14.1, 2), (600, 60), (3600, 300), (86400, 7200), (280000, 20000)]
)
def test_tick_step_gives_at_most_fourteen_marks_at_round_times(duration_s, step_s):
    assert tick_step(duration_s) == step_s
