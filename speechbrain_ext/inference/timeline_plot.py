"""The picture of a timeline: the waveform, and under it a lane for each emotion."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MultipleLocator

from speechbrain_ext.atomic_write import atomic_write
from speechbrain_ext.inference.timeline import moment_posteriors

# Okabe and Ito's colours, which colour-blind people tell apart. Lanes have names as well, so more emotions begin again.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
TICK_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
MOST_TICKS = 14
TINT = 0.35  # opacity of the segments behind posteriors and waveform
HIGHEST = 0.94  # of a lane, at posterior 1
HOUR_S = 3600


def plot_timeline(timeline, path, title=""):
    """Draw the waveform, and under it the posterior of each emotion over time, with the segments marked.

    Arguments
    ---------
    timeline : speechbrain_ext.inference.timeline.Timeline
        What `make_timeline` returns.
    path : str or pathlib.Path
        Where the PNG is written, 1600 by 700 pixels.
    title : str
        Title of the picture.
    """
    n_emotions = len(timeline.emotions)
    colours = [COLOURS[i % len(COLOURS)] for i in range(n_emotions)]
    spans = {emotion: [] for emotion in timeline.emotions}  # (start, length) of its segments, in seconds
    for segment in timeline.segments:
        spans[segment.emotion].append((segment.start_s, segment.end_s - segment.start_s))
    edges_s, means = moment_posteriors(timeline.starts_s, timeline.ends_s, timeline.posteriors, timeline.hop_s)
    figure = Figure(figsize=(16, 7), layout="constrained")
    top, lanes = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    handles = []
    for i, (emotion, colour) in enumerate(zip(timeline.emotions, colours)):
        floor = n_emotions - 1 - i  # the first emotion on top
        tint = {"color": colour, "alpha": TINT, "linewidth": 0}
        top.broken_barh(spans[emotion], (0, 1), transform=top.get_xaxis_transform(), **tint)
        lanes.broken_barh(spans[emotion], (floor, 1), **tint)
        lanes.stairs(floor + HIGHEST * means[:, i], edges_s, baseline=floor, fill=True, color=colour)
        lanes.axhline(floor, color="black", linewidth=0.8)
        share = sum(length_s for _, length_s in spans[emotion]) / timeline.duration_s
        handles.append(Patch(color=colour, label=f"{100 * share:.0f}% {emotion}"))
    _draw_waveform(top, timeline)
    handles.append(Patch(color="grey", alpha=TINT, label="tint: segments after merging"))
    lanes.set(ylim=(0, n_emotions), ylabel="posterior, 0 to 1 in each lane")
    lanes.set_yticks(
        [n_emotions - 0.5 - i for i in range(n_emotions)], timeline.emotions, parse_math=False, size="large"
    )
    lanes.tick_params(axis="y", length=0)
    _mark_time(lanes, timeline.duration_s)
    legend = figure.legend(
        handles=handles, loc="outside lower center", title="share of the time", ncols=min(len(handles), 6)
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    figure.suptitle(title, wrap=True, parse_math=False)
    with atomic_write(path, binary=True) as file:
        figure.savefig(file, format="png", dpi=100)


def clock(seconds, tenths=False):
    """Write a time as mm:ss, or h:mm:ss from an hour on.

    Arguments
    ---------
    seconds : float
        The time; it is rounded.
    tenths : bool
        Whether tenths of seconds are written.

    Returns
    -------
    str
        The time.

    Example
    -------
    >>> clock(75.2), clock(75.25, tenths=True), clock(3599.9)
    ('01:15', '01:15.2', '1:00:00')
    """
    whole, tenth = divmod(round(seconds * 10), 10) if tenths else (round(seconds), 0)
    minutes = f"{whole // 60 % 60:02d}:{whole % 60:02d}" + (f".{tenth}" if tenths else "")
    return minutes if whole < HOUR_S else f"{whole // HOUR_S}:{minutes}"


def tick_step(duration_s):
    """Choose the distance of time marks: the shortest one that gives a readable number of them, in seconds."""
    return next((step for step in TICK_STEPS_S if duration_s / step <= MOST_TICKS), duration_s / MOST_TICKS)


def _draw_waveform(axes, timeline):
    """Fill between the lowest and highest samples."""
    edges_s = np.linspace(0, timeline.duration_s, len(timeline.envelope) + 1)
    low, high = timeline.envelope.T
    axes.stairs(high, edges_s, baseline=low, fill=True, color="black", linewidth=0.5)
    largest = max(float(np.abs(timeline.envelope).max()), 1e-3)
    axes.set(ylabel="waveform", ylim=(-1.05 * largest, 1.05 * largest))


def _mark_time(axes, duration_s):
    axes.set_xlim(0, duration_s)
    axes.xaxis.set_major_locator(MultipleLocator(tick_step(duration_s)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds, tenths=tick_step(duration_s) < 1)))
    axes.set_xlabel("time (mm:ss)" if duration_s < HOUR_S else "time (h:mm:ss)")
    axes.grid(axis="x", color="black", alpha=0.15)
