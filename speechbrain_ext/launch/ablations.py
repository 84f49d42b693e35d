"""Grids of runs: the paper's studies and what stands in ablations.yaml, as tables beside the paper's numbers."""

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Optional

from ruamel.yaml import YAML, YAMLError

from speechbrain_ext.atomic_write import atomic_write, write_json
from speechbrain_ext.corpora.preparation import PreparedCorpus
from speechbrain_ext.errors import InputError, in_one_line, parse_numbers
from speechbrain_ext.launch.encoder_grid import rows_with_runs
from speechbrain_ext.launch.plan import PlannedRun, plan_folds
from speechbrain_ext.outside_text import escape_markdown
from speechbrain_ext.results.comparability import published_results
from speechbrain_ext.results.markdown_text import interval, mean_and_std, table, to_html
from speechbrain_ext.results.plots import plot_bars, plot_sweep
from speechbrain_ext.results.result_set import read_result_set
from speechbrain_ext.results.summary import NAMES, Decisions

GRID_FILE = Path(__file__).resolve().parent / "ablations.yaml"
Grid = dict[str, Any]  # title, columns, folds, shared, rows, and perhaps curve: the setting on its x axis
NOT_COMPARABLE = (
    "**These runs do not test what the paper's did, the four emotions of a complete IEMOCAP: the numbers say nothing "
    "about it. The paper's numbers stand beside them for the form of the tables only.**"
)


def read_grids(path: str | Path, preset: Optional[str] = None) -> tuple[dict[str, Grid], Optional[str]]:
    """Read the grids, with what a preset changes in them.

    Arguments
    ---------
    path : str or pathlib.Path
        A YAML file such as ablations.yaml.
    preset : str, optional
        One of the file's presets.

    Returns
    -------
    tuple
        (the grids by their names; the preset's hyperparameter file, beside the training script, or None).

    Raises
    ------
    InputError
        If the file cannot be read, or a grid lacks something.
    """
    try:
        grids = YAML(typ="safe").load(Path(path))
    except (OSError, ValueError, LookupError, RecursionError, YAMLError) as error:
        raise InputError(f"the grid file {path} cannot be read: {in_one_line(error)}") from error
    if not isinstance(grids, dict):
        raise InputError(f"{path} holds no grids (name: title, columns, folds, rows).")
    presets = grids.pop("presets", None) or {}
    if preset is not None and preset not in presets:
        raise InputError(f"--preset must be one of {', '.join(presets) or '(there is none)'}, got {preset!r}.")
    chosen = presets.get(preset) or {}
    for name, grid in grids.items():
        if not isinstance(grid, dict):
            raise InputError(f"{path}: the grid {name!r} must hold title, columns, folds and rows, got {grid!r}.")
        changes = chosen.get(name) or {}
        grid["shared"] = {**(grid.get("shared") or {}), **(changes.get("shared") or {})}
        grid["rows"] = changes.get("rows") or grid.get("rows") or []
        for key in ("title", "columns", "folds", "layers" if "layers" in grid else "rows"):
            if not grid.get(key):
                raise InputError(f"{path}: the grid {name!r} lacks {key!r}.")
        for row in grid["rows"]:
            kinds: dict[str, Any] = {"name": (str, int, float), "cells": list, "overrides": dict}
            fits = isinstance(row, dict) and all(isinstance(row.get(key), kind) for key, kind in kinds.items())
            if not fits or len(row["cells"]) != len(grid["columns"]):
                raise InputError(
                    f"{path}: a row of {name!r} needs name, overrides (key: value) and cells (a list, one for each of "
                    f"{', '.join(map(str, grid['columns']))}), got {row}."
                )
    return grids, chosen.get("hparams_file")


def as_option(key: str, value: Any) -> str:
    """Write an override as train.py's command line takes it."""
    if isinstance(value, (list, tuple)):
        value = f"[{', '.join(map(str, value))}]"
    return f"--{key}={'null' if value is None else value}"


def plan_grid(
    name: str,
    grid: Grid,
    words: Sequence[str],
    seeds: Sequence[int],
    folds: Optional[str],
    folder: Path,
    corpora: MutableMapping[tuple, PreparedCorpus],
) -> list[PlannedRun]:
    """Plan the runs of one grid: rows by seeds by folds.

    A row's own overrides come last, so that no option of the command line undoes what the row is about.

    Arguments
    ---------
    name : str
        The grid's name.
    grid : dict
        The grid.
    words : list of str
        The training script's command line, the hyperparameter file first.
    seeds : list of int
        The seeds.
    folds : str, optional
        Such as "1-5", or "all"; by default the grid's own.
    folder : pathlib.Path
        The runs of a row are in <grid>/<row>/; absolute.
    corpora : dict
        As in `plan_folds`.

    Returns
    -------
    list of PlannedRun
        Row by row.
    """
    folds = folds or str(grid["folds"])
    numbers = None if folds == "all" else parse_numbers("--folds", folds)
    runs = []
    for row in grid["rows"]:
        shared, own = ([as_option(*item) for item in part.items()] for part in (grid["shared"], row["overrides"]))
        labels = {"table": name, "row": row["name"]}
        row_words = [words[0], *shared, *words[1:], *own]
        runs += plan_folds(row_words, seeds, numbers, folder / name / str(row["name"]), labels, corpora)
    return runs


def collect(grid: Grid, folder: Path) -> list[dict[str, Any]]:
    """Read a grid's finished runs.

    Returns
    -------
    list of dict
        One a row: name, cells, overrides, paper ([WA, UA] in percent, or None), n_runs, comparable (whether all of its
        runs test what the paper's did), WA and UA as {"mean", "std"} over its runs (None where it has none), without
        the paper's numbers also intervals (of the pooled WA and UA, see `summarise`), and fault: why its runs give no
        number, or None.
    """
    own_rows = {row["name"]: row for row in grid["rows"]}
    further = [row for row in rows_with_runs(folder) if row["name"] not in own_rows] if "layers" in grid else []
    rows = []
    for row in [*grid["rows"], *further]:
        entry = {key: row.get(key) for key in ("name", "cells", "overrides", "paper")}
        row_folder = folder / str(row["name"])
        entry.update(n_runs=0, comparable=True, fault=None, intervals=None, **dict.fromkeys(NAMES))
        rows.append(entry)
        if not any(row_folder.rglob("test_metrics.json")):
            continue
        try:
            result_set = read_result_set(row_folder, allow=("incomplete",))
        except InputError as error:
            entry["fault"] = str(error)
            continue
        runs = result_set.runs
        if not entry["paper"]:
            entry["intervals"] = Decisions.of(runs).accuracies(len(result_set.emotions))["over_speakers"]
        keys = ("corpus", "corpus_faults", "emotions")
        comparable = all(published_results(*(run.metrics[key] for key in keys)) for run in runs)
        entry.update(n_runs=len(runs), comparable=comparable)
        for name in NAMES:
            values = [run.metrics[name] for run in runs]
            entry[name] = {"mean": mean(values), "std": stdev(values) if len(values) > 1 else None}
    return rows


def to_markdown(grids: Mapping[str, Grid], tables: Mapping[str, list[dict[str, Any]]], is_comparable: bool) -> str:
    """Write all tables as the paper prints them, its numbers in the next columns."""
    sections = ["# Ablations"] + ([] if is_comparable else [NOT_COMPARABLE])
    for name, rows in tables.items():
        in_paper = any(row["paper"] for row in rows)
        beside = ["paper's WA (%)", "paper's UA (%)"] if in_paper else ["WA, 95% interval", "UA, 95% interval"]
        header = [*grids[name]["columns"], "WA (%)", "UA (%)", *beside, "runs"]
        body = [
            [
                *row["cells"],
                *(mean_and_std(**row[key]) if row[key] else "-" for key in NAMES),
                *(_papers(row) if in_paper else (interval(row["intervals"], key) for key in NAMES)),
                row["n_runs"],
            ]
            for row in rows
        ]
        sections += [f"## {grids[name]['title']}", table(header, body, "l" * len(grids[name]["columns"]) + "rrrrr")]
        sections += [f"Row {row['name']} gives no number: {row['fault']}" for row in rows if row["fault"]]
        sections.append(f"![{grids[name]['title']}]({name}.png)")
    sections.append(
        "±: standard deviation over the runs of a row (folds and seeds, n - 1). Intervals are of the accuracy over the "
        "clips of all runs, by a bootstrap over speakers."
    )
    return "\n\n".join(sections) + "\n"


def _papers(row: Mapping[str, Any]) -> list[str]:
    return [f"{value:.2f}" for value in row["paper"]] if row["paper"] else ["-", "-"]


def write_tables(grids: Mapping[str, Grid], asked: Collection[str], folder: Path) -> bool:
    """Write ablations.md, .json, .html and the pictures from the runs below a folder.

    Arguments
    ---------
    grids : dict
        All grids, as `read_grids` returns them.
    asked : iterable of str
        The names of those that are written in any case; others are where there are runs of them.
    folder : pathlib.Path
        The runs of a row are in <grid>/<row>/.

    Returns
    -------
    bool
        Whether every row asked for has numbers or no runs.
    """
    found = {name: collect(grid, folder / name) for name, grid in grids.items()}
    tables = {name: rows for name, rows in found.items() if name in asked or any(row["n_runs"] for row in rows)}
    of_paper = [name for name in tables if "layers" not in grids[name]]  # of frozen encoders, the paper says nothing
    with_runs = [row for name in of_paper for row in tables[name] if row["n_runs"]]
    is_comparable = not of_paper or (bool(with_runs) and all(row["comparable"] for row in with_runs))
    for name, rows in tables.items():
        is_sound = is_comparable or name not in of_paper
        draw(grids[name], rows, folder / f"{name}.png", "" if is_sound else "\n(ours: not comparable)")
    text = to_markdown(escape_markdown(grids), escape_markdown(tables), is_comparable)
    write_json(tables, folder / "ablations.json")
    with atomic_write(folder / "ablations.md") as file:
        file.write(text)
    with atomic_write(folder / "ablations.html") as file:
        file.write(to_html(text, folder))
    return not any(row["fault"] for name in asked for row in tables[name])


def draw(grid: Grid, rows: list[dict[str, Any]], path: Path, caution: str) -> None:
    """Draw ours and the paper's numbers: against the setting that a grid's `curve` names, else as bars."""
    series = {f"{name}, ours": [100 * row[name]["mean"] if row[name] else None for row in rows] for name in NAMES}
    for i, name in enumerate(NAMES):
        series[f"{name}, the paper's"] = [row["paper"][i] if row["paper"] else None for row in rows]
    title = grid["title"] + caution
    if "layers" in grid and grid.get("curve"):
        values = sorted({row["overrides"][grid["curve"]] for row in rows})
        series = {
            f"{name}, {encoder}": [_value_at(rows, encoder, value, grid["curve"], name) for value in values]
            for encoder in dict.fromkeys(row["cells"][0] for row in rows)
            for name in NAMES
        }
        plot_sweep(values, series, path, grid["columns"][-1], title)
    elif grid.get("curve"):
        plot_sweep([row["overrides"][grid["curve"]] for row in rows], series, path, grid["columns"][0], title)
    else:
        plot_bars([", ".join(map(str, row["cells"])) for row in rows], series, path, title)


def _value_at(rows: list[dict[str, Any]], encoder: str, value: Any, key: str, name: str) -> Optional[float]:
    """Find the accuracy in percent of an encoder's row with a value of a setting."""
    for row in rows:
        if row["cells"][0] == encoder and row["overrides"][key] == value and row[name]:
            return 100 * row[name]["mean"]
    return None
