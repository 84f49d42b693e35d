"""Pictures of a fold: the confusion matrix and the learning curves."""

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
    axes.set(xticks=ticks, yticks=ticks, xticklabels=emotions, yticklabels=emotions)
    axes.set(xlabel="predicted", ylabel="true", title=title)
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
    figure.suptitle(title)
    _save(figure, path)


def _save(figure, path):
    with atomic_write(path, binary=True) as file:
        figure.savefig(file, format="png", dpi=120)
