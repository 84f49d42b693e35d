"""Pictures: confusion matrix, learning curves, WA and UA over folds and over the values of a setting.

Each function writes a PNG to `path`.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from statistics import mean
from typing import Any, Optional

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from speechbrain_ext.atomic_write import atomic_write
from speechbrain_ext.errors import InputError
from speechbrain_ext.fonts import escape_characters, fonts_for

PathLike = str | Path
# Where two curves or lines coincide, both are seen: a broad one below, a thin and broken one above.
BELOW: dict[str, Any] = {"linestyle": "-", "marker": "o", "linewidth": 3.0, "markersize": 6, "alpha": 0.6}
ABOVE: dict[str, Any] = {"linestyle": "--", "marker": "x", "linewidth": 1.2, "markersize": 5}


def plot_confusion(
    confusion: Sequence[Sequence[int]], emotions: Sequence[str], path: PathLike, title: str = ""
) -> None:
    """Draw a confusion matrix, coloured by recall, with the counts in its cells.

    An emotion whose name no installed font can write is called by its place, and a line below says which it is.

    Arguments
    ---------
    confusion
        Counts, [true][predicted].
    emotions
        Labels of rows and columns.
    """
    counts = np.asarray(confusion)
    if counts.shape != (len(emotions), len(emotions)):
        raise InputError(
            f"confusion must be {len(emotions)} by {len(emotions)}, one row an emotion, got {counts.shape}."
        )
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    with _picture(path, [title, *emotions], figsize=(4.8, 4.4)) as (figure, missing):
        axes = figure.add_subplot()
        image = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
        named = [f"class {i}" if set(emo) & missing else emo for i, emo in enumerate(emotions, 1)]
        for set_ticks in (axes.set_xticks, axes.set_yticks):
            set_ticks(range(len(emotions)), named, parse_math=False)
        axes.set(xlabel="predicted", ylabel="true")
        _set_title(axes, title, missing)
        for (row, column), share in np.ndenumerate(shares):
            text = f"{counts[row, column]}\n{100 * share:.0f}%"
            axes.text(column, row, text, ha="center", va="center", color="white" if share > 0.5 else "black")
        figure.colorbar(image, label="% of the true class", fraction=0.046)
        key = [f"{name}: {escape_characters(emo, missing)}" for name, emo in zip(named, emotions) if name != emo]
        if key:
            figure.supxlabel("\n".join(key), fontsize="small", parse_math=False)


def plot_curves(
    epochs: Sequence[Mapping[str, float]], path: PathLike, best_epoch: Optional[int] = None, title: str = ""
) -> None:
    """Draw training losses and validation accuracies over the epochs.

    Arguments
    ---------
    epochs
        One an epoch: epoch, train_loss, and where there is validation valid_loss, valid_WA, valid_UA.
    best_epoch
        The epoch whose weights were tested; marked by a line.
    """
    numbers = [entry["epoch"] for entry in epochs]
    validated = bool(epochs) and "valid_WA" in epochs[0]
    panels = [("loss", ("train_loss", "valid_loss"), 1.0)]
    if validated:
        panels.append(("validation accuracy (%)", ("valid_WA", "valid_UA"), 100.0))
    with _picture(path, [title], figsize=(9 if validated else 5, 3.6)) as (figure, missing):
        for panel, (label, keys, factor) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
            for key, style in zip(keys, (BELOW, ABOVE)):
                if epochs and key in epochs[0]:
                    panel.plot(numbers, [factor * entry[key] for entry in epochs], label=key.replace("_", " "), **style)
            if best_epoch is not None:
                panel.axvline(best_epoch, color="grey", linestyle=":", label=f"tested epoch {best_epoch}")
            panel.set(xlabel="epoch", ylabel=label)
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.legend()
        figure.suptitle(escape_characters(title, missing), wrap=True, parse_math=False)


def plot_folds(runs: Sequence[Mapping[str, Any]], path: PathLike, title: str = "") -> None:
    """Draw WA and UA of every run, by fold: one dot a seed, the mean over seeds as a bar, the mean of folds as a line.

    Arguments
    ---------
    runs
        One a run: fold, WA and UA (fractions).
    """
    folds = sorted({run["fold"] for run in runs})
    with _picture(path, [title], figsize=(max(5, 1.2 * len(folds)), 3.8)) as (figure, missing):
        axes = figure.add_subplot()
        for name, side, colour in (("WA", -1, "tab:blue"), ("UA", 1, "tab:orange")):
            by_fold = [[100 * run[name] for run in runs if run["fold"] == fold] for fold in folds]
            places = np.arange(len(folds)) + 0.2 * side
            means = [mean(values) for values in by_fold]
            axes.bar(places, means, width=0.36, color=colour, alpha=0.6, label=name)
            for place, values in zip(places, by_fold):
                axes.plot([place] * len(values), values, ".", color="black", markersize=5)
            # Each line fills the gaps of the other where they coincide.
            line = (6 if side > 0 else 0, (6, 6))
            axes.axhline(mean(means), color=colour, linestyle=line, label=f"mean {name} {mean(means):.2f}%")
        axes.set(xticks=range(len(folds)), xticklabels=folds, xlabel="fold", ylabel="%", ylim=(0, 100))
        _set_title(axes, title, missing)
        figure.legend(loc="outside lower center", ncols=4, fontsize="small")


def plot_sweep(
    values: Sequence[float],
    series: Mapping[str, Sequence[Optional[float]]],
    path: PathLike,
    xlabel: str,
    title: str = "",
) -> None:
    """Draw accuracies against the values of a setting.

    Arguments
    ---------
    values, xlabel
        The setting's values and its name.
    series
        Name of a curve -> one number in percent for each value, or None where it is not known.
    """
    with _picture(path, [title, xlabel, *series], figsize=(5.6, 3.8)) as (figure, missing):
        axes = figure.add_subplot()
        for (name, numbers), style in zip(series.items(), cycle((BELOW, ABOVE))):
            known = [(value, number) for value, number in zip(values, numbers) if number is not None]
            if known:
                axes.plot(*zip(*known), label=escape_characters(name, missing), **style)
        axes.set(ylabel="%", xticks=values)
        axes.set_xlabel(escape_characters(xlabel, missing), parse_math=False)
        _set_title(axes, title, missing)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()


def plot_bars(
    labels: Sequence[str], series: Mapping[str, Sequence[Optional[float]]], path: PathLike, title: str = ""
) -> None:
    """Draw accuracies of several systems as bars side by side.

    Arguments
    ---------
    labels
        The systems.
    series
        Name of a number -> one in percent for each system, or None where it is not known.
    """
    series = {name: numbers for name, numbers in series.items() if any(number is not None for number in numbers)}
    size = (7, 1.2 + 0.22 * len(labels) * (len(series) + 1))
    with _picture(path, [title, *labels, *series], figsize=size) as (figure, missing):
        axes = figure.add_subplot()
        for i, (name, numbers) in enumerate(series.items()):
            places = [row + (i + 0.5) / (len(series) + 1) for row, number in enumerate(numbers) if number is not None]
            known = [number for number in numbers if number is not None]
            bars = axes.barh(places, known, height=0.9 / (len(series) + 1), label=escape_characters(name, missing))
            axes.bar_label(bars, fmt="%.1f", fontsize="x-small", padding=2)
        axes.set(xlabel="%", xlim=(0, 100))
        named = [escape_characters(label, missing) for label in labels]
        axes.set_yticks([row + 0.4 for row in range(len(labels))], named, parse_math=False)
        axes.invert_yaxis()
        _set_title(axes, title, missing)
        if series:
            figure.legend(loc="outside lower center", ncols=len(series), fontsize="small")


@contextlib.contextmanager
def _picture(path: PathLike, texts: Iterable[str], figsize: tuple[float, float]) -> Iterator[tuple[Figure, set[str]]]:
    """Make a figure that can write these texts, but for the characters that are returned with it; then save it."""
    with fonts_for(texts) as missing:
        figure = Figure(figsize=figsize, layout="constrained")
        yield figure, missing
        with atomic_write(path, binary=True) as file:
            figure.savefig(file, format="png", dpi=120)


def _set_title(panel: Axes, title: str, missing: set[str]) -> None:
    """Write a title in lines that fit the picture; a dollar sign begins no formula."""
    panel.set_title(escape_characters(title, missing), fontsize="medium", wrap=True, parse_math=False)
