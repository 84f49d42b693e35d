"""Pictures: confusion matrix, learning curves, WA and UA over folds and over the values of a setting."""

from itertools import cycle

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from speechbrain_ext.atomic_write import atomic_write
from speechbrain_ext.errors import InputError


def plot_confusion(confusion, emotions, path, title=""):
    """Draw a confusion matrix, coloured by recall, with the counts in its cells.

    Arguments
    ---------
    confusion : list of list of int
        Counts, [true][predicted].
    emotions : list of str
        Labels, in the order of rows and columns.
    path : str or pathlib.Path
        Where the PNG is written.
    title : str
        Title of the picture.
    """
    counts = np.asarray(confusion)
    if counts.shape != (len(emotions), len(emotions)):
        raise InputError(
            f"confusion must be {len(emotions)} by {len(emotions)}, one row an emotion, got {counts.shape}."
        )
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    figure = Figure(figsize=(4.8, 4.4), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(emotions))
    axes.set_xticks(ticks, emotions, parse_math=False)
    axes.set_yticks(ticks, emotions, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true")
    _set_title(axes, title)
    for row in ticks:
        for column in ticks:
            axes.text(
                column,
                row,
                f"{counts[row, column]}\n{100 * shares[row, column]:.0f}%",
                ha="center",
                va="center",
                color="white" if shares[row, column] > 0.5 else "black",
            )
    figure.colorbar(image, label="share of the true class", fraction=0.046)
    _save(figure, path)


def plot_curves(epochs, path, best_epoch=None, title=""):
    """Draw training losses and validation accuracies over the epochs.

    Arguments
    ---------
    epochs : list of dict
        One an epoch: epoch, train_loss, and where there is validation valid_loss, valid_WA, valid_UA.
    path : str or pathlib.Path
        Where the PNG is written.
    best_epoch : int, optional
        The epoch whose weights were tested; marked by a line.
    title : str
        Title of the picture.
    """
    numbers = [entry["epoch"] for entry in epochs]
    validated = bool(epochs) and "valid_WA" in epochs[0]
    figure = Figure(figsize=(9 if validated else 5, 3.6), layout="constrained")
    axes = figure.subplots(1, 2 if validated else 1, squeeze=False)[0]
    panels = [("loss", ("train_loss", "valid_loss"), 1.0)]
    if validated:
        panels.append(("validation accuracy (%)", ("valid_WA", "valid_UA"), 100.0))
    for panel, (label, keys, factor) in zip(axes, panels):
        for key in keys:
            if epochs and key in epochs[0]:
                panel.plot(numbers, [factor * entry[key] for entry in epochs], marker=".", label=key.replace("_", " "))
        if best_epoch is not None:
            panel.axvline(best_epoch, color="grey", linestyle="--", label=f"tested epoch {best_epoch}")
        panel.set(xlabel="epoch", ylabel=label)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.legend()
    figure.suptitle(title, wrap=True, parse_math=False)
    _save(figure, path)


def plot_folds(runs, path, title=""):
    """Draw WA and UA of every run, by fold: one dot a seed, the mean over seeds as a bar, the mean of folds as a line.

    Arguments
    ---------
    runs : list of dict
        One a run: fold, WA and UA (fractions).
    path : str or pathlib.Path
        Where the PNG is written.
    title : str
        Title of the picture.
    """
    folds = sorted({run["fold"] for run in runs})
    figure = Figure(figsize=(max(5, 1.2 * len(folds)), 3.8), layout="constrained")
    axes = figure.add_subplot()
    for name, offset, colour, line in (("WA", -0.2, "tab:blue", "--"), ("UA", 0.2, "tab:orange", ":")):
        by_fold = [[100 * run[name] for run in runs if run["fold"] == fold] for fold in folds]
        places = np.arange(len(folds)) + offset
        axes.bar(places, [np.mean(values) for values in by_fold], width=0.36, color=colour, alpha=0.6, label=name)
        for place, values in zip(places, by_fold):
            axes.plot([place] * len(values), values, ".", color="black", markersize=5)
        overall = np.mean([100 * run[name] for run in runs])
        axes.axhline(overall, color=colour, linestyle=line, linewidth=1, label=f"mean {name} {overall:.2f}%")
    axes.set(xticks=range(len(folds)), xticklabels=folds, xlabel="fold", ylabel="%", ylim=(0, 100))
    _set_title(axes, title)
    figure.legend(loc="outside lower center", ncols=4, fontsize="small")
    _save(figure, path)


def plot_sweep(values, series, path, xlabel, title=""):
    """Draw accuracies against the values of a setting.

    Arguments
    ---------
    values : list of float
        The setting's values.
    series : dict
        Name of a curve -> one number in percent for each value, or None where it is not known.
    path : str or pathlib.Path
        Where the PNG is written.
    xlabel : str
        What the setting is.
    title : str
        Title of the picture.
    """
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for (name, numbers), line in zip(series.items(), cycle(["-", "--"])):  # where all emotions are as many, WA is UA
        known = [(value, number) for value, number in zip(values, numbers) if number is not None]
        if known:
            axes.plot(*zip(*known), line, marker="o", label=name)
    axes.set(xlabel=xlabel, ylabel="%", xticks=values)
    _set_title(axes, title)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    _save(figure, path)


def plot_bars(labels, series, path, title=""):
    """Draw accuracies of several systems as bars side by side.

    Arguments
    ---------
    labels : list of str
        The systems.
    series : dict
        Name of a number -> one in percent for each system, or None where it is not known.
    path : str or pathlib.Path
        Where the PNG is written.
    title : str
        Title of the picture.
    """
    series = {name: numbers for name, numbers in series.items() if any(number is not None for number in numbers)}
    figure = Figure(figsize=(7, 1.2 + 0.22 * len(labels) * (len(series) + 1)), layout="constrained")
    axes = figure.add_subplot()
    for i, (name, numbers) in enumerate(series.items()):
        places = [row + (i + 0.5) / (len(series) + 1) for row, number in enumerate(numbers) if number is not None]
        known = [number for number in numbers if number is not None]
        bars = axes.barh(places, known, height=0.9 / (len(series) + 1), label=name)
        axes.bar_label(bars, fmt="%.1f", fontsize="x-small", padding=2)
    axes.set(yticks=[row + 0.4 for row in range(len(labels))], yticklabels=labels, xlabel="%", xlim=(0, 100))
    axes.invert_yaxis()
    _set_title(axes, title)
    if series:
        figure.legend(loc="outside lower center", ncols=len(series), fontsize="small")
    _save(figure, path)


def _set_title(panel, title):
    """Write a title in lines that fit the picture; a dollar sign begins no formula."""
    panel.set_title(title, fontsize="medium", wrap=True, parse_math=False)


def _save(figure, path):
    with atomic_write(path, binary=True) as file:
        figure.savefig(file, format="png", dpi=120)
