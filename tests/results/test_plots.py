"""The pictures: what stands in them, and that they are written."""

import re

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from speechbrain_ext.errors import InputError
from speechbrain_ext.results.plots import plot_bars, plot_confusion, plot_curves, plot_folds, plot_sweep

EPOCHS = [
    {"epoch": 1, "train_loss": 1.5, "valid_loss": 1.75, "valid_WA": 0.25, "valid_UA": 0.5},
    {"epoch": 2, "train_loss": 1.0, "valid_loss": 1.25, "valid_WA": 0.75, "valid_UA": 0.625},
]


pytestmark = pytest.mark.filterwarnings("error")


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
    assert axes.images[0].get_array().tolist() == [[75, 25], [0, 100]]
    assert [bar.get_ylabel() for bar in drawn[0].axes[1:]] == ["% of the true class"]


def test_plot_confusion_text_stands_out_from_its_cell(tmp_path, drawn):
    plot_confusion([[9, 1], [1, 9]], ["ang", "sad"], tmp_path / "c.png")
    axes = drawn[0].axes[0]
    colours = {text.get_position(): text.get_color() for text in axes.texts}
    assert colours == {(0, 0): "white", (1, 0): "black", (0, 1): "black", (1, 1): "white"}
    assert (axes.images[0].norm.vmin, axes.images[0].norm.vmax) == (0, 100)
    assert np.mean(axes.images[0].cmap(0.9)[:3]) < 0.5 < np.mean(axes.images[0].cmap(0.1)[:3])


def test_plot_confusion_of_an_absent_emotion_is_a_row_of_zeros(tmp_path, drawn):
    plot_confusion([[2, 0], [0, 0]], ["ang", "sad"], tmp_path / "c.png")
    assert drawn[0].axes[0].images[0].get_array().tolist() == [[100, 0], [0, 0]]


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


def colours_in(path, *names):
    """Tell whether a picture shows each of these colours."""
    pixels = imread(path)[..., :3]
    return [bool((np.abs(pixels - to_rgb(name)).max(axis=2) < 0.02).any()) for name in names]


def test_plot_curves_that_coincide_are_both_seen(tmp_path, drawn):
    epochs = [{**entry, "valid_UA": entry["valid_WA"]} for entry in EPOCHS]
    plot_curves(epochs, tmp_path / "c.png")
    below, above = drawn[0].axes[1].lines
    assert below.get_linewidth() > 2 * above.get_linewidth() and above.get_linestyle() == "--"
    drawn[0].axes[1].get_legend().remove()
    drawn[0].axes[0].remove()
    drawn[0].savefig(tmp_path / "again.png")
    mixed = np.array(to_rgb("tab:blue")) * below.get_alpha() + 1 - below.get_alpha()
    assert colours_in(tmp_path / "again.png", mixed, "tab:orange") == [True, True]


def test_plot_folds_whose_means_coincide_shows_both_lines(tmp_path, drawn):
    plot_folds([{"fold": 1, "WA": 0.0, "UA": 0.0}, {"fold": 2, "WA": 1.0, "UA": 1.0}], tmp_path / "f.png")
    drawn[0].legends[0].remove()
    for bars in drawn[0].axes[0].containers:
        bars.remove()
    drawn[0].savefig(tmp_path / "again.png")
    assert colours_in(tmp_path / "again.png", "tab:blue", "tab:orange") == [True, True]


def test_plot_curves_without_validation_shows_the_training_loss_alone(tmp_path, drawn):
    epochs = [{"epoch": entry["epoch"], "train_loss": entry["train_loss"]} for entry in EPOCHS]
    plot_curves(epochs, tmp_path / "c.png")
    assert_is_a_picture(tmp_path / "c.png")
    (losses,) = drawn[0].axes
    assert curves_of(losses) == {"train loss": ([1, 2], [1.5, 1.0])}


# Fold 4 has one seed, fold 2 has two; the mean of the folds is WA (37.5 + 75) / 2, UA (68.75 + 50) / 2.
RUNS = [
    {"seed": 1, "fold": 4, "WA": 0.75, "UA": 0.5},
    {"seed": 1, "fold": 2, "WA": 0.25, "UA": 0.625},
    {"seed": 2, "fold": 2, "WA": 0.5, "UA": 0.75},
]


def bars_of(axes):
    """Collect the bars: label -> [(middle, height)]."""
    return {
        bars.get_label(): [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in bars]
        for bars in axes.containers
    }


def assert_fits(figure, *texts):
    """Check that texts lie within the picture."""
    FigureCanvasAgg(figure).draw()
    for text in texts:
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, text


def test_plot_folds_shows_means_over_seeds_and_each_run_and_the_mean_of_folds(tmp_path, drawn):
    plot_folds(RUNS, tmp_path / "f.png", title="loso")
    assert_is_a_picture(tmp_path / "f.png")
    (axes,) = drawn[0].axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("fold", "%", "loso")
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2", "4"]
    assert axes.get_xticks().tolist() == [0, 1] and axes.get_ylim() == (0, 100)
    assert bars_of(axes) == {
        "WA": [pytest.approx((-0.2, 37.5)), pytest.approx((0.8, 75))],
        "UA": [pytest.approx((0.2, 68.75)), pytest.approx((1.2, 50))],
    }
    dots = [tuple(point) for line in axes.lines if line.get_linestyle() == "None" for point in line.get_xydata()]
    assert sorted(dots) == [(-0.2, 25), (-0.2, 50), (0.2, 62.5), (0.2, 75), (0.8, 75), (1.2, 50)]
    lines = {line.get_label(): set(line.get_ydata()) for line in axes.lines if line.get_linestyle() != "None"}
    assert lines == {"mean WA 56.25%": {56.25}, "mean UA 59.38%": {59.375}}
    assert {text.get_text() for text in drawn[0].legends[0].get_texts()} == {"WA", "UA", *lines}


@pytest.mark.parametrize("n_folds", [1, 10])
def test_plot_folds_fits_with_few_and_many_folds(tmp_path, drawn, n_folds):
    plot_folds([{"fold": fold, "WA": 0.5, "UA": 0.5} for fold in range(n_folds)], tmp_path / "f.png")
    assert len(drawn[0].axes[0].containers[0]) == n_folds
    assert_fits(drawn[0], drawn[0].legends[0], *drawn[0].axes[0].get_xticklabels())


def test_plot_sweep_shows_what_is_known(tmp_path, drawn):
    series = {"WA": [60.5, None, 0.0], "UA": [None, 61.0, None], "the paper": [None, None, None]}
    plot_sweep([0.0, 0.1, 0.3], series, tmp_path / "s.png", "alpha", title="mixup")
    assert_is_a_picture(tmp_path / "s.png")
    (axes,) = drawn[0].axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("alpha", "%", "mixup")
    assert curves_of(axes) == {"WA": ([0.0, 0.3], [60.5, 0.0]), "UA": ([0.1], [61.0])}
    assert [line.get_marker() for line in axes.lines] == ["o", "x"]  # a single value can be seen
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["WA", "UA"]


def test_plot_sweep_of_nothing_known_is_an_empty_picture(tmp_path, drawn):
    plot_sweep([0.0, 0.1], {"WA": [None, None]}, tmp_path / "s.png", "alpha")
    assert not drawn[0].axes[0].lines
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_plot_bars_shows_what_is_known_from_top_to_bottom(tmp_path, drawn):
    series = {"ours": [60.5, None], "the paper": [75.0, 70.25], "none": [None, None]}
    plot_bars(["full", "no mixup"], series, tmp_path / "b.png", title="table")
    assert_is_a_picture(tmp_path / "b.png")
    (axes,) = drawn[0].axes
    assert axes.get_title() == "table" and axes.yaxis_inverted()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["full", "no mixup"]
    found = {
        bars.get_label(): [(int(bar.get_y() + bar.get_height() / 2), bar.get_width()) for bar in bars]
        for bars in axes.containers
    }
    assert found == {"ours": [(0, 60.5)], "the paper": [(0, 75.0), (1, 70.25)]}
    assert sorted(text.get_text() for text in axes.texts) == ["60.5", "70.2", "75.0"]
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["ours", "the paper"]


LONG = "Results of loso_with_a_long_name " + " ".join(f"[Incomplete: seed {i} lacks fold {i}]" for i in range(5))
DRAWERS = {
    "confusion": lambda path, title: plot_confusion([[3, 1], [0, 8]], ["ang", "sad"], path, title=title),
    "curves": lambda path, title: plot_curves(EPOCHS, path, title=title),
    "curves_without_validation": lambda path, title: plot_curves([{"epoch": 1, "train_loss": 1.0}], path, title=title),
    "folds": lambda path, title: plot_folds(RUNS, path, title=title),
    "sweep": lambda path, title: plot_sweep([0, 1], {"WA": [50, 60]}, path, "alpha", title=title),
    "bars": lambda path, title: plot_bars(["a", "b"], {"WA": [50, 60]}, path, title=title),
}


def title_of(figure):
    """Find the title of a picture."""
    return figure._suptitle or figure.axes[0].title


@pytest.mark.parametrize("name", DRAWERS)
def test_long_titles_are_broken_into_lines_that_fit(tmp_path, drawn, name):
    DRAWERS[name](tmp_path / "x.png", LONG)
    title = title_of(drawn[0])
    assert " ".join(title.get_text().split()) == LONG
    assert_fits(drawn[0], title)


@pytest.mark.parametrize("name", DRAWERS)
def test_titles_are_no_formulas(tmp_path, drawn, name):
    for text in ("costs $5 and $6", "$\\foo$"):  # the second one is no formula that could be drawn
        DRAWERS[name](tmp_path / "x.png", text)
        assert title_of(drawn[-1]).get_text() == text and not title_of(drawn[-1]).get_parse_math()
    assert_is_a_picture(tmp_path / "x.png")


@pytest.mark.parametrize("name", DRAWERS)
def test_titles_that_no_font_can_write_are_written_by_numbers(tmp_path, drawn, name):
    DRAWERS[name](tmp_path / "x.png", "lo\tso\U0010ffff")  # no warning, which would be an error here
    assert title_of(drawn[0]).get_text() == "lo\\u0009so\\U0010ffff"


def test_plot_confusion_labels_that_no_font_can_write_are_named_by_their_place(tmp_path, drawn):
    plot_confusion([[3, 1], [0, 8]], ["ang", "\U0010ffff\U0010fffe"], tmp_path / "c.png")
    assert [label.get_text() for label in drawn[0].axes[0].get_yticklabels()] == ["ang", "class 2"]
    assert drawn[0].get_supxlabel() == "class 2: \\U0010ffff\\U0010fffe"
    assert_fits(drawn[0], drawn[0]._supxlabel)


def test_plot_bars_labels_that_no_font_can_write_are_written_by_numbers(tmp_path, drawn):
    plot_bars(["\U0010ffff", "$x$"], {"\U0010fffe": [50, 60]}, tmp_path / "b.png")
    assert [label.get_text() for label in drawn[0].axes[0].get_yticklabels()] == ["\\U0010ffff", "$x$"]
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["\\U0010fffe"]


def test_plot_confusion_labels_are_no_formulas(tmp_path):
    plot_confusion([[3, 1], [0, 8]], ["$\\ang$", "$sad$"], tmp_path / "c.png")
    assert_is_a_picture(tmp_path / "c.png")
