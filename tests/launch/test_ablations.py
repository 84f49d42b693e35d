"""The paper's studies: grids that train.py accepts, tables as the paper prints them."""

import json
import re
import shutil
import signal

import pytest
import yaml

from speechbrain_ext.commands.main import run_command
from speechbrain_ext.launch import ablations
from speechbrain_ext.training.hparams_file import read_settings
from speechbrain_ext.training.run import Run
from tests.launch.test_plan import TRAIN, pool  # noqa: F401
from tests.recipes.fold_reading import TINY, results
from tests.results.run_files import TRUE, write_run

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
def run(root, monkeypatch):
    """Return a function that gives the command, as ablations.py does, and returns its exit status."""
    for name in ("IEMOCAP_ROOT", "SYNTHETIC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    before = signal.getsignal(signal.SIGTERM)
    yield lambda *words: run_command("ablations", list(map(str, words)), "ablations.py", [str(root / TRAIN)])
    signal.signal(signal.SIGTERM, before)


def jobs_of(pool):  # noqa: F811
    return [job for call in pool for job in call[0]]


def cells_of(text, first):
    """Find the cells of the Markdown row that begins with a cell."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return next(row for row in rows if row[: len(first)] == first)


def test_grid_is_run_and_written_beside_the_papers_numbers(
    root, run, grid_file, demo_corpus, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = tmp_path / "out"
    line = [root / "hparams/demo.yaml", f"--grid={grid_file}", f"--data_folder={demo_corpus}", TINY]
    assert run(*line, "--max_train_s=1.5", f"--results_folder={folder}", "--jobs=2") == 0
    text = (folder / "ablations.md").read_text()
    said = capsys.readouterr().out
    assert f"Tables: {folder / 'ablations.html'}" in said
    assert text not in said
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
    assert "do not test what the paper's did" in text
    assert (folder / "small.png").read_bytes().startswith(b"\x89PNG")
    assert "data:image/png;base64," in (folder / "ablations.html").read_text()
    assert json.loads((folder / "ablations.json").read_text())["small"][0]["paper"] == [69.46, 70.66]


def test_a_rows_number_is_the_mean_of_its_runs_with_their_standard_deviation(grid_file, tmp_path):
    write_run(tmp_path / "small/one/seed1/fold5", 1, 5)
    write_run(tmp_path / "small/one/seed2/fold5", 2, 5, predicted=TRUE)
    assert ablations.write_tables(ablations.read_grids(grid_file)[0], [], tmp_path)
    row = cells_of((tmp_path / "ablations.md").read_text(), ["1", "one layer"])
    assert row[2:4] == ["75.00 ± 35.36", "83.33 ± 23.57"]  # of 50 and 100, of 66.67 and 100
    assert row[-1] == "2"


def test_row_beats_the_command_line_which_beats_what_rows_share(root, run, grid_file, demo_corpus, pool, tmp_path):  # noqa: F811
    line = [root / "hparams/demo.yaml", f"--grid={grid_file}", f"--data_folder={demo_corpus}", TINY]
    run(*line, f"--results_folder={tmp_path / 'out'}", "--num_layers=2", "--number_of_epochs=7")
    command = jobs_of(pool)[0].command
    last = {word.partition("=")[0]: word.partition("=")[2] for word in command if word.startswith("--")}
    assert last["--num_layers"] == "1"
    assert last["--number_of_epochs"] == "7"
    assert last["--lambda_c"] == "0.0"


def test_tables_without_results_say_so(grid_file, tmp_path):
    grids, _ = ablations.read_grids(grid_file)
    ablations.write_tables(grids, [], tmp_path / "out")
    assert "A small study" not in (tmp_path / "out/ablations.md").read_text()
    ablations.write_tables(grids, ["small"], tmp_path / "out")
    assert cells_of((tmp_path / "out/ablations.md").read_text(), ["1", "one layer"]) == [
        "1",
        "one layer",
        "-",
        "-",
        "69.46",
        "70.66",
        "0",
    ]


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


def test_rows_are_the_papers(root):
    grids, _ = ablations.read_grids(ablations.GRID_FILE)
    file = read_settings(root / "hparams/loso.yaml")[0]
    settings = {
        name: [{**file, **grid["shared"], **row["overrides"]} for row in grid["rows"]] for name, grid in grids.items()
    }
    assert {12, 22} <= {row["num_layers"] for row in settings["fig2"]}
    assert [row["projection_dropout"] for row in settings["table1"]] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    for row in settings["fig2"] + settings["table1"]:  # Sec. 3.3
        assert (row["validation"], row["number_of_epochs"], row["mixup_prob"], row["lambda_c"]) == ("none", 5, 0, 0)
    assert {grid["folds"] for name, grid in grids.items() if name[:3] in ("fig", "tab")} == {"5"}
    table2 = settings["table2"]
    assert [row["feature_reduction"] for row in table2] == ["mean"] + ["first"] * 6
    assert [row["lambda_c"] for row in table2[:4]] == [0] * 4
    assert [row["lambda_c"] for row in table2[4:]] == [0.0005, 0.001, 0.002]
    assert [row["mixup_prob"] for row in table2] == [0, 0] + [0.5] * 5
    assert [row["mixup_method"] for row in table2[2:]] == ["conventional"] + ["label_adaptive"] * 4
    assert [row["augment_prob"] for row in table2] == [0, 0] + [file["augment_prob"]] * 5
    assert file["augment_prob"] > 0
    assert {row["validation"] for row in table2} == {"random"}
    assert [row["validation"] for row in settings["protocols"]] == ["random", "group", "none"]


def test_best_row_of_table_2_is_a_run_of_loso(root, demo_corpus, tmp_path):
    grid = ablations.read_grids(ablations.GRID_FILE)[0]["table2"]
    grid["rows"] = grid["rows"][-1:]
    loso, corpora = root / "hparams/loso.yaml", {}
    (row,) = ablations.plan_grid(
        "table2", grid, [str(loso), f"--data_folder={demo_corpus}"], [1], None, tmp_path, corpora
    )
    alone = Run.read(loso, {"data_folder": str(demo_corpus), "fold": 5, "seed": 1}, corpora)
    assert row.run.fingerprint == alone.fingerprint
    assert row.run.identity == alone.identity
    assert row.run.fold == alone.fold


@pytest.mark.parametrize(
    ("options", "n_runs"),
    [(["{root}/hparams/loso.yaml"], 12 + 6 + 7 + 3 * 5), (["--preset=demo", "--tables=fig2,table2"], 4 + 7)],
)
def test_train_accepts_every_row(root, run, demo_corpus, pool, tmp_path, options, n_runs):  # noqa: F811
    """All settings are read and checked before the first run starts."""
    options = [option.format(root=root) for option in options]
    run(*options, f"--data_folder={demo_corpus}", f"--results_folder={tmp_path / 'out'}")
    jobs = jobs_of(pool)
    assert len(jobs) == len({job.name for job in jobs}) == n_runs
    protocols = [job.name for job in jobs if job.name.startswith("table protocols, row group")]
    if n_runs > 30:
        assert protocols == [f"table protocols, row group, seed 1, fold {fold}" for fold in range(1, 6)]


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
        (["--fold=1"], "--fold=1 is set for each run: use --folds=1"),
        (["--tabels=small"], "--tabels is unknown. Did you mean --table"),
        (["--jobs=0"], "--jobs must be a whole number from 1, got 0"),
    ],
)
def test_wrong_options_are_refused(root, run, grid_file, demo_corpus, pool, tmp_path, capsys, options, message):  # noqa: F811
    (tmp_path / "broken.yaml").write_text("a: {title: x}")
    (tmp_path / "flat.yaml").write_text("a: 3")
    (tmp_path / "empty.yaml").write_text(
        "a: {title: x, columns: [X], folds: 1, rows: [{name: r, cells: [1], overrides: }]}"
    )
    (tmp_path / "cells.yaml").write_text(
        "a: {title: x, columns: [X], folds: '1', rows: [{name: r, cells: [1, 2], overrides: {}}]}"
    )
    line = [root / "hparams/demo.yaml", f"--data_folder={demo_corpus}", f"--grid={grid_file}"]
    line += [f"--results_folder={tmp_path / 'out'}", *(option.format(tmp=tmp_path) for option in options)]
    assert run(*line) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not pool
    assert not (tmp_path / "out").exists()


def test_hyperparameter_file_is_asked_for(run, grid_file, capsys):
    assert run(f"--grid={grid_file}") == 1
    assert "no hyperparameter file was given: name one, such as hparams/loso.yaml" in capsys.readouterr().err


def test_runs_that_cannot_be_taken_together_are_said_and_the_other_rows_kept(grid_file, tmp_path):
    for row, seed, settings in (("one", 1, "a"), ("one", 2, "b"), ("two", 1, "a")):
        write_run(tmp_path / f"small/{row}/seed{seed}/fold5", seed, 5, settings=settings * 64)
    grids, _ = ablations.read_grids(grid_file)
    assert not ablations.write_tables(grids, ["small"], tmp_path)
    text = (tmp_path / "ablations.md").read_text()
    assert "Row one gives no number: the runs below" in text
    assert cells_of(text, ["1", "one layer"])[2:4] == ["-", "-"]
    assert cells_of(text, ["2", "two layers"])[2:4] == ["50.00", "66.67"]  # by hand, in run_files


@pytest.mark.parametrize(
    ("changes", "is_the_papers"),
    [
        ({"corpus": "iemocap"}, True),
        ({"corpus": "iemocap", "corpus_faults": ["Session5 is missing."]}, False),
        ({"corpus": "synthetic"}, False),
        ({"corpus": "iemocap", "labels": ["ang", "sad"]}, False),
    ],
)
def test_papers_numbers_are_ours_to_compare_with_on_a_complete_iemocap_alone(
    grid_file, tmp_path, changes, is_the_papers
):
    labels = changes.pop("labels", ["ang", "hap", "sad", "neu"])
    write_run(tmp_path / "small/one/seed1/fold5", 1, 5, labels=labels, **changes)
    ablations.write_tables(ablations.read_grids(grid_file)[0], ["small"], tmp_path)
    assert ("do not test what the paper's did" in (tmp_path / "ablations.md").read_text()) is not is_the_papers


def test_rows_may_be_of_different_corpora(root, run, demo_corpus, pool, tmp_path):  # noqa: F811
    shutil.copytree(demo_corpus, tmp_path / "half", ignore=shutil.ignore_patterns("Session[345]"))
    (tmp_path / "grid.yaml").write_text(f"""
corpora:
    title: Corpora
    columns: [Corpus]
    folds: all
    rows:
        - {{name: whole, cells: [whole], overrides: {{data_folder: {demo_corpus}}}}}
        - {{name: 2, cells: [half], overrides: {{data_folder: {tmp_path / "half"}}}}}
""")
    line = [root / "hparams/demo.yaml", f"--grid={tmp_path / 'grid.yaml'}", "--tables= corpora"]
    run(*line, f"--results_folder={tmp_path / 'out'}", "--validation=none")
    assert [job.name.split(", ")[1] for job in jobs_of(pool)] == ["row whole"] * 5 + ["row 2"] * 2


def test_names_in_a_grid_are_shown_as_they_are(tmp_path):
    (tmp_path / "grid.yaml").write_text(
        "small: {title: '<b>*x*</b>', columns: [A], folds: 1, rows: [{name: r, cells: ['a|b'], overrides: {}}]}"
    )
    grids, _ = ablations.read_grids(tmp_path / "grid.yaml")
    ablations.write_tables(grids, ["small"], tmp_path / "out")
    assert cells_of((tmp_path / "out/ablations.md").read_text(), ["a&#124;b"])[1:] == ["-", "-", "-", "-", "0"]
    page = (tmp_path / "out" / "ablations.html").read_text()
    assert "<b>" not in page and "<em>" not in page
