"""The picture of a timeline: the waveform, and under it a lane for each emotion."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MultipleLocator

from speechbrain_ext.atomic_write import atomic_write
from speechbrain_ext.fonts import escape_characters, fonts_for
from speechbrain_ext.inference.timeline import SAY_NO_SPEECH, Timeline
from speechbrain_ext.inference.timeline_segments import moment_posteriors

# Okabe and Ito's colours, which colour-blind people tell apart. Lanes have names as well, so more emotions begin again.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
INK = "#000000"
DARK_INK, DARK_PAPER = "#E5E7EB", "#0F0F11"  # the page's
TICK_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
MOST_TICKS = 14
TINT = 0.35  # opacity of the segments behind posteriors and waveform
HIGHEST = 0.94  # of a lane, at posterior 1
HOUR_S = 3600


def plot_timeline(timeline: Timeline, path: str | Path, title: str = "", dark: bool = False) -> None:
    """Draw the waveform, and under it the posterior of each emotion over time, with the segments marked.

    Arguments
    ---------
    timeline
        What `make_timeline` returns.
    path
        Where the PNG is written, 1600 by 700 pixels.
    title
        Title of the picture.
    dark
        Whether it is light on dark.
    """
    ink, paper = (DARK_INK, DARK_PAPER) if dark else (INK, "white")
    style: Any = {
        name: ink for name in ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
    }
    style |= {name: paper for name in ("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor")}
    with fonts_for([title, *timeline.emotions]) as missing, matplotlib.rc_context(style):
        names = [escape_characters(emotion, missing) for emotion in timeline.emotions]
        figure = _draw(timeline, names, escape_characters(title, missing), ink)
        with atomic_write(path, binary=True) as file:
            figure.savefig(file, format="png", dpi=100)


def _draw(timeline: Timeline, names: list[str], title: str, ink: str) -> Figure:
    n_emotions = len(names)
    colours = [ink if colour == INK else colour for colour in COLOURS]
    edges_s, means = moment_posteriors(timeline.starts_s, timeline.ends_s, timeline.posteriors, timeline.hop_s)
    spans: dict = {emotion: [] for emotion in (*timeline.emotions, None)}  # (start, length) of its segments, in seconds
    for segment in timeline.segments:
        spans[segment.emotion].append((segment.start_s, segment.end_s - segment.start_s))
    figure = Figure(figsize=(16, 7), layout="constrained")
    top, lanes = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    handles = []
    for i, (emotion, name) in enumerate(zip(timeline.emotions, names)):
        floor = n_emotions - 1 - i  # the first emotion on top
        colour = colours[i % len(colours)]
        tint = {"color": colour, "alpha": TINT, "linewidth": 0}
        top.broken_barh(spans[emotion], (0, 1), transform=top.get_xaxis_transform(), **tint)
        lanes.broken_barh(spans[emotion], (floor, 1), **tint)
        lanes.stairs(floor + HIGHEST * means[:, i], edges_s, baseline=floor, fill=True, color=colour)
        lanes.axhline(floor, color=ink, linewidth=0.8)
        handles.append(Patch(color=colour, label=f"{_share(spans[emotion], timeline)} {name}"))
    _draw_waveform(top, timeline, ink)
    if spans[None]:
        hatch: Any = {"facecolor": "none", "edgecolor": "grey", "hatch": "//", "linewidth": 0}
        lanes.broken_barh(spans[None], (0, n_emotions), **hatch)
        handles.append(Patch(**hatch, label=f"{_share(spans[None], timeline)} {SAY_NO_SPEECH}"))
    handles.append(Patch(color="grey", alpha=TINT, label="tint: segments after merging"))
    lanes.set(ylim=(0, n_emotions), ylabel="probability, 0 to 100% in each lane")
    lanes.set_yticks([n_emotions - 0.5 - i for i in range(n_emotions)], names, parse_math=False, size="large")
    lanes.tick_params(axis="y", length=0)
    _mark_time(lanes, timeline.duration_s, ink)
    legend = figure.legend(
        handles=handles, loc="outside lower center", title="share of the time", ncols=min(len(handles), 6)
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    figure.suptitle(title, wrap=True, parse_math=False)
    return figure


def clock(seconds: float, tenths: bool = False) -> str:
    """Write a time as mm:ss, or h:mm:ss from an hour on.

    Arguments
    ---------
    seconds
        The time; it is rounded.
    tenths
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


def tick_step(duration_s: float) -> float:
    """Choose the distance of time marks: the shortest one that gives a readable number of them, in seconds."""
    return next((step for step in TICK_STEPS_S if duration_s / step <= MOST_TICKS), duration_s / MOST_TICKS)


def _share(spans: list[tuple[float, float]], timeline: Timeline) -> str:
    return f"{100 * sum(length_s for _, length_s in spans) / timeline.duration_s:.0f}%"


def _draw_waveform(axes: Axes, timeline: Timeline, ink: str) -> None:
    """Fill between the lowest and highest samples."""
    edges_s = np.linspace(0, timeline.duration_s, len(timeline.envelope) + 1)
    low, high = timeline.envelope.T
    axes.stairs(high, edges_s, baseline=low, fill=True, color=ink, linewidth=0.5)
    largest = max(float(np.abs(timeline.envelope).max()), 1e-3)
    axes.set(ylabel="waveform", ylim=(-1.05 * largest, 1.05 * largest))


def _mark_time(axes: Axes, duration_s: float, ink: str) -> None:
    axes.set_xlim(0, duration_s)
    axes.xaxis.set_major_locator(MultipleLocator(tick_step(duration_s)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds, tenths=tick_step(duration_s) < 1)))
    axes.set_xlabel("time (mm:ss)" if duration_s < HOUR_S else "time (h:mm:ss)")
    axes.grid(axis="x", color=ink, alpha=0.15)
