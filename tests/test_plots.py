"""The pictures: what stands in them, and that they are written."""

import re
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from speechbrain_ext.errors import InputError
from speechbrain_ext.plots import plot_confusion, plot_curves

EPOCHS = [
    {"epoch": 1, "train_loss": 1.5, "valid_loss": 1.75, "valid_WA": 0.25, "valid_UA": 0.5},
    {"epoch": 2, "train_loss": 1.0, "valid_loss": 1.25, "valid_WA": 0.75, "valid_UA": 0.625},
]


@pytest.fixture
def drawn(monkeypatch):
    """Collect the figures that are saved."""
    figures = []
    save = Figure.savefig

    def collect(figure, *args, **kwargs):
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", collect)
    return figures


@pytest.fixture(autouse=True)
def no_warnings():
    """Take every warning for an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def assert_is_a_picture(path):
    """Check that a PNG has a white background and something on it."""
    assert path.read_bytes().startswith(b"\x89PNG")
    pixels = imread(path)[..., :3]
    assert min(pixels.shape[:2]) > 200
    assert (pixels[0, 0] == 1).all()
    assert 0.01 < (pixels < 0.5).any(axis=2).mean() < 0.9


def text_of(axes):
    """Collect the numbers in the cells of a matrix."""
    return {text.get_position(): text.get_text() for text in axes.texts}


def test_plot_confusion_shows_counts_shares_and_labels(tmp_path, drawn):
    plot_confusion([[3, 1], [0, 8]], ["ang", "sad"], tmp_path / "c.png", title="fold 1")
    assert_is_a_picture(tmp_path / "c.png")
    axes = drawn[0].axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("predicted", "true", "fold 1")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["ang", "sad"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ang", "sad"]
    # (column, row): the first row is "ang", of which three in four were found.
    assert text_of(axes) == {(0, 0): "3\n75%", (1, 0): "1\n25%", (0, 1): "0\n0%", (1, 1): "8\n100%"}
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25], [0.0, 1.0]]
    assert [bar.get_ylabel() for bar in drawn[0].axes[1:]] == ["share of the true class"]


def test_plot_confusion_text_stands_out_from_its_cell(tmp_path, drawn):
    plot_confusion([[9, 1], [1, 9]], ["ang", "sad"], tmp_path / "c.png")
    axes = drawn[0].axes[0]
    colours = {text.get_position(): text.get_color() for text in axes.texts}
    assert colours == {(0, 0): "white", (1, 0): "black", (0, 1): "black", (1, 1): "white"}
    assert (axes.images[0].norm.vmin, axes.images[0].norm.vmax) == (0, 1)
    assert np.mean(axes.images[0].cmap(0.9)[:3]) < 0.5 < np.mean(axes.images[0].cmap(0.1)[:3])


def test_plot_confusion_of_an_absent_emotion_is_a_row_of_zeros(tmp_path, drawn):
    plot_confusion([[2, 0], [0, 0]], ["ang", "sad"], tmp_path / "c.png")
    assert drawn[0].axes[0].images[0].get_array().tolist() == [[1.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("confusion", [[[1, 2, 3], [4, 5, 6]], [[1, 2], [3, 4]], [1, 2, 3]])
def test_plot_confusion_refuses_a_wrong_shape(tmp_path, confusion):
    message = rf"confusion must be 3 by 3, .*got {re.escape(str(np.shape(confusion)))}"
    with pytest.raises(InputError, match=message):
        plot_confusion(confusion, ["ang", "hap", "sad"], tmp_path / "c.png")
    assert not list(tmp_path.iterdir())


def curves_of(axes):
    """Collect the curves of a panel: label -> (epochs, values)."""
    return {line.get_label(): tuple(np.asarray(line.get_data()).tolist()) for line in axes.lines}


def test_plot_curves_shows_losses_and_accuracies_in_percent(tmp_path, drawn):
    plot_curves(EPOCHS, tmp_path / "c.png", best_epoch=2, title="fold 1")
    assert_is_a_picture(tmp_path / "c.png")
    losses, accuracies = drawn[0].axes
    assert drawn[0].get_suptitle() == "fold 1"
    assert (losses.get_xlabel(), losses.get_ylabel()) == ("epoch", "loss")
    assert (accuracies.get_xlabel(), accuracies.get_ylabel()) == ("epoch", "validation accuracy (%)")
    assert curves_of(losses) == {
        "train loss": ([1, 2], [1.5, 1.0]),
        "valid loss": ([1, 2], [1.75, 1.25]),
        "tested epoch 2": ([2, 2], [0, 1]),
    }
    assert curves_of(accuracies) == {
        "valid WA": ([1, 2], [25, 75]),
        "valid UA": ([1, 2], [50, 62.5]),
        "tested epoch 2": ([2, 2], [0, 1]),
    }
    for axes in (losses, accuracies):
        assert [text.get_text() for text in axes.get_legend().get_texts()] == list(curves_of(axes))


def test_plot_curves_without_validation_shows_the_training_loss_alone(tmp_path, drawn):
    epochs = [{"epoch": entry["epoch"], "train_loss": entry["train_loss"]} for entry in EPOCHS]
    plot_curves(epochs, tmp_path / "c.png")
    assert_is_a_picture(tmp_path / "c.png")
    (losses,) = drawn[0].axes
    assert curves_of(losses) == {"train loss": ([1, 2], [1.5, 1.0])}
