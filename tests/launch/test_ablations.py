"""The paper's studies: grids that train.py accepts, tables as the paper prints them."""

import csv
import json
import shutil

import pytest
import yaml

import speechbrain_ext.launch.ablations as ablations
import speechbrain_ext.launch.plan as run_loso
from speechbrain_ext.errors import InputError
from tests.recipes.fold_reading import TINY, results

GRID = """
small:
    title: "A small study"
    columns: ["Layers", "What"]
    curve: num_layers
    folds: "5"
    shared: {number_of_epochs: 1, validation: none, lambda_c: 0.0}
    rows:
        - {name: one, cells: [1, "one layer"], overrides: {num_layers: 1}, paper: [69.46, 70.66]}
        - {name: two, cells: [2, "two layers"], overrides: {num_layers: 2}}
presets:
    quick:
        hparams_file: hparams/demo.yaml
        small:
            shared: {number_of_epochs: 2}
            rows:
                - {name: other, cells: [1, "one"], overrides: {num_layers: 1}}
"""


@pytest.fixture
def grid_file(tmp_path):
    """Write a grid of two rows."""
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    return path


@pytest.fixture
def pool(monkeypatch):
    """Return the list of jobs that were to be run; nothing is run."""
    started = []

    def run_jobs(jobs, *args, **kwargs):
        started.extend(jobs)
        yield None

    monkeypatch.setattr(run_loso, "run_jobs", run_jobs)
    return started


def cells_of(text, first):
    """Find the cells of the Markdown row that begins with a cell."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return next(row for row in rows if row[: len(first)] == first)


def test_grid_is_run_and_printed_beside_the_papers_numbers(root, grid_file, demo_corpus, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = tmp_path / "out"
    line = [str(root / "hparams/demo.yaml"), f"--grid={grid_file}", f"--data_folder={demo_corpus}", TINY]
    line += ["--max_train_s=1.5", f"--results_folder={folder}", "--jobs=2"]
    assert ablations.main(line) == 0
    text = (folder / "ablations.md").read_text()
    assert text in capsys.readouterr().out
    for name, first, paper in (
        ("one", ["1", "one layer"], ["69.46", "70.66"]),
        ("two", ["2", "two layers"], ["-", "-"]),
    ):
        metrics, _ = results(folder / "small" / name / "seed1/fold5")
        assert (metrics["validation"], metrics["n_epochs"], metrics["fold"]) == ("none", 1, 5)
        ours = [f"{100 * metrics[key]:.2f}" for key in ("WA", "UA")]
        assert cells_of(text, first) == [*first, *ours, *paper, "1"]
        saved = yaml.load((folder / "small" / name / "seed1/fold5/hyperparams.yaml").read_text(), yaml.BaseLoader)
        assert saved["num_layers"] == first[0]
    assert "not on IEMOCAP" in text
    assert (folder / "small.png").read_bytes().startswith(b"\x89PNG")
    assert "data:image/png;base64," in (folder / "ablations.html").read_text()
    assert json.loads((folder / "ablations.json").read_text())["small"][0]["paper"] == [69.46, 70.66]

    # A second seed that is always right: mean and standard deviation of two runs.
    copy = shutil.copytree(folder / "small/one/seed1", folder / "small/one/seed2") / "fold5"
    metrics, rows = results(copy)
    right = {"seed": 2, "WA": 1.0, "UA": 1.0, "confusion": [[4 * (i == j) for j in range(4)] for i in range(4)]}
    (copy / "test_metrics.json").write_text(json.dumps({**metrics, **right}))
    with open(copy / "predictions.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows({**row, "predicted": row["true"]} for row in rows)
    row = cells_of(ablations.write_tables(ablations.read_grids(grid_file)[0], [], folder)[0], ["1", "one layer"])
    mean, std = (metrics["WA"] + 1) / 2, (1 - metrics["WA"]) / 2**0.5
    assert row[2] == f"{100 * mean:.2f} ± {100 * std:.2f}"
    assert row[-1] == "2"


def test_row_beats_the_command_line_which_beats_what_rows_share(root, grid_file, demo_corpus, pool, tmp_path):
    line = [str(root / "hparams/demo.yaml"), f"--grid={grid_file}", f"--data_folder={demo_corpus}", TINY]
    ablations.main([*line, f"--results_folder={tmp_path / 'out'}", "--num_layers=2", "--number_of_epochs=7"])
    last = {word.partition("=")[0]: word.partition("=")[2] for word in pool[0].command if word.startswith("--")}
    assert last["--num_layers"] == "1"
    assert last["--number_of_epochs"] == "7"
    assert last["--lambda_c"] == "0.0"


def test_tables_without_results_say_so(grid_file, tmp_path):
    grids, _ = ablations.read_grids(grid_file)
    assert "A small study" not in ablations.write_tables(grids, [], tmp_path / "out")[0]
    text, _ = ablations.write_tables(grids, ["small"], tmp_path / "out")
    assert cells_of(text, ["1", "one layer"]) == ["1", "one layer", "-", "-", "69.46", "70.66", "0"]


@pytest.mark.parametrize(
    ("name", "paper"),
    [
        ("table1", [(69.46, 70.66), (69.94, 70.49), (69.46, 70.41), (70.59, 70.61), (70.99, 72.83), (61.97, 67.35)]),
        (
            "table2",
            [(70.91, 71.80), (70.99, 72.83), (70.83, 74.06), (73.97, 75.03), (74.54, 76.20), (74.21, 75.99),
             (74.86, 76.31)],
        ),
    ],
)  # fmt: skip
def test_papers_numbers_are_the_papers(name, paper):
    grids, _ = ablations.read_grids(ablations.GRID_FILE)
    assert [tuple(row["paper"]) for row in grids[name]["rows"]] == paper


def test_rows_are_the_papers():
    grids, _ = ablations.read_grids(ablations.GRID_FILE)
    settings = {name: [{**grid["shared"], **row["overrides"]} for row in grid["rows"]] for name, grid in grids.items()}
    assert {12, 22} <= {row["num_layers"] for row in settings["fig2"]}
    assert [row["projection_dropout"] for row in settings["table1"]] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    for row in settings["fig2"] + settings["table1"]:  # Sec. 3.3
        assert (row["validation"], row["number_of_epochs"], row["mixup_prob"], row["lambda_c"]) == ("none", 5, 0, 0)
    assert {grid["folds"] for name, grid in grids.items() if name != "protocols"} == {"5"}
    table2 = settings["table2"]
    assert [row["feature_reduction"] for row in table2] == ["mean"] + ["first"] * 6
    assert [row["lambda_c"] for row in table2[:4]] == [0] * 4
    assert [row["lambda_c"] for row in table2[4:]] == [0.0005, 0.001, 0.002]
    assert [row["mixup_prob"] for row in table2] == [0, 0] + [0.5] * 5
    assert [row["mixup_method"] for row in table2[2:]] == ["conventional"] + ["label_adaptive"] * 4
    assert all(len(row["augmentations"]) == 9 for row in table2)
    assert [row["augment_prob"] for row in table2[:3]] == [0, 0, 0.8]
    assert {row["validation"] for row in table2} == {"random"}
    assert [row["validation"] for row in settings["protocols"]] == ["random", "group", "none"]


@pytest.mark.parametrize("options", [["{root}/hparams/loso.yaml"], ["--preset=demo"]])
def test_train_accepts_every_row(root, demo_corpus, pool, tmp_path, options):
    """All settings are read and checked before the first run starts."""
    options = [option.format(root=root) for option in options]
    ablations.main([*options, f"--data_folder={demo_corpus}", f"--results_folder={tmp_path / 'out'}"])
    names = {tuple(part.partition(" ")[2] for part in job.name.split(", ")) for job in pool}
    assert len(names) == len(pool) > 30
    for fold in "12345":
        assert ("protocols", "group", "1", fold) in names


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tables=table3"], "--tables must be among small, got 'table3'"),
        (["--preset=demo"], "--preset must be one of quick, got 'demo'"),
        (["--grid={tmp}/missing.yaml"], "the grid file .*missing.yaml cannot be read"),
        (["--grid={tmp}/broken.yaml"], "broken.yaml: the grid 'a' lacks 'columns'"),
        (["--grid={tmp}/cells.yaml"], r"cells.yaml: a row of 'a' needs name, .* cells \(a list, one for each of X\)"),
        (["--grid={tmp}/flat.yaml"], "flat.yaml: the grid 'a' must hold title, columns, folds and rows, got 3"),
        (["--grid={tmp}/empty.yaml"], "empty.yaml: a row of 'a' needs name, overrides .key: value. and cells"),
        (["--fold=1"], "--fold is different in every run: use --folds"),
    ],
)
def test_wrong_options_are_refused(root, grid_file, pool, tmp_path, options, message):
    (tmp_path / "broken.yaml").write_text("a: {title: x}")
    (tmp_path / "flat.yaml").write_text("a: 3")
    (tmp_path / "empty.yaml").write_text(
        "a: {title: x, columns: [X], folds: 1, rows: [{name: r, cells: [1], overrides: }]}"
    )
    (tmp_path / "cells.yaml").write_text(
        "a: {title: x, columns: [X], folds: '1', rows: [{name: r, cells: [1, 2], overrides: {}}]}"
    )
    line = [str(root / "hparams/demo.yaml"), f"--grid={grid_file}", f"--results_folder={tmp_path / 'out'}"]
    with pytest.raises(InputError, match=message):
        ablations.main([*line, *(option.format(tmp=tmp_path) for option in options)])
    assert not pool
    assert not (tmp_path / "out").exists()


def test_hyperparameter_file_is_asked_for(grid_file):
    with pytest.raises(InputError, match="no hyperparameter file was given: name one, such as hparams/loso.yaml"):
        ablations.main([f"--grid={grid_file}"])


def test_runs_that_cannot_be_taken_together_are_said_and_the_other_rows_kept(fit, grid_file, tmp_path):
    fit("out/small/one/seed1/fold5", "--number_of_epochs=1", "--fold=5")
    fit("out/small/one/seed2/fold5", "--number_of_epochs=1", "--fold=5", "--seed=2", "--lr=0.5")
    fit("out/small/two/seed1/fold5", "--number_of_epochs=1", "--fold=5")
    grids, _ = ablations.read_grids(grid_file)
    text, is_sound = ablations.write_tables(grids, ["small"], tmp_path / "out")
    assert not is_sound
    assert "Row one gives no number: the runs below" in text
    assert cells_of(text, ["1", "one layer"])[2:4] == ["-", "-"]
    WA = results(tmp_path / "out/small/two/seed1/fold5")[0]["WA"]
    assert cells_of(text, ["2", "two layers"])[2] == f"{100 * WA:.2f}"


def test_rows_may_be_of_different_corpora(root, demo_corpus, pool, tmp_path):
    shutil.copytree(demo_corpus / "Session1", tmp_path / "half" / "Session1")
    shutil.copytree(demo_corpus / "Session2", tmp_path / "half" / "Session2")
    (tmp_path / "grid.yaml").write_text(f"""
corpora:
    title: Corpora
    columns: [Corpus]
    folds: all
    rows:
        - {{name: whole, cells: [whole], overrides: {{data_folder: {demo_corpus}}}}}
        - {{name: 2, cells: [half], overrides: {{data_folder: {tmp_path / "half"}}}}}
""")
    line = [str(root / "hparams/demo.yaml"), f"--grid={tmp_path / 'grid.yaml'}", "--tables= corpora"]
    ablations.main([*line, f"--results_folder={tmp_path / 'out'}", "--validation=none"])
    assert [job.name.split(", ")[1] for job in pool] == ["row whole"] * 5 + ["row 2"] * 2


def test_names_in_a_grid_are_shown_as_they_are(tmp_path):
    (tmp_path / "grid.yaml").write_text(
        "small: {title: '<b>*x*</b>', columns: [A], folds: 1, rows: [{name: r, cells: ['a|b'], overrides: {}}]}"
    )
    grids, _ = ablations.read_grids(tmp_path / "grid.yaml")
    text, _ = ablations.write_tables(grids, ["small"], tmp_path / "out")
    assert cells_of(text, ["a&#124;b"])[1:] == ["-", "-", "-", "-", "0"]
    page = (tmp_path / "out" / "ablations.html").read_text()
    assert "<b>" not in page and "<em>" not in page
