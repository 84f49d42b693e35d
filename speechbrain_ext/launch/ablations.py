"""Run the paper's studies (Fig. 2, Tables 1 and 2) and the validation protocols; print them beside the paper's numbers.

    python recipes/IEMOCAP/ablations.py hparams/loso.yaml --data_folder=/path/to/IEMOCAP_full_release --jobs=5
    python recipes/IEMOCAP/ablations.py hparams/loso.yaml --tables=table2 --seeds=1,2,3 --folds=1-5
    python recipes/IEMOCAP/ablations.py --preset=demo --jobs=2        # all of it on the synthetic demo corpus

The grids stand in ablations.yaml. Every run is what train.py does with a row's overrides; given again, the command
skips what is finished. Writes ablations.md, .json and .html, and a picture of each table.
"""

import argparse
import re
from pathlib import Path
from statistics import mean, stdev

from ruamel.yaml import YAML, YAMLError

from speechbrain_ext.atomic_write import atomic_write, write_json
from speechbrain_ext.corpora.synthetic import make_demo_corpus
from speechbrain_ext.errors import InputError
from speechbrain_ext.launch.plan import (
    add_pool_options,
    parse_numbers,
    parse_options,
    plan_folds,
    print_report,
    results_folder_of,
    run_all,
    tell_failures,
)
from speechbrain_ext.results.comparability import published_results
from speechbrain_ext.results.markdown_text import escape_markdown, percent, table, to_html
from speechbrain_ext.results.plots import plot_bars, plot_sweep
from speechbrain_ext.results.result_set import read_result_set
from speechbrain_ext.results.summary import NAMES

GRID_FILE = Path(__file__).resolve().parent / "ablations.yaml"
DEMO_CORPUS = "demo_corpus"
NOT_IEMOCAP = (
    "**These runs are not on IEMOCAP: the numbers say nothing about IEMOCAP. The paper's numbers stand beside them for "
    "the form of the tables only.**"
)


def read_grids(path, preset=None):
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
        (grids: name -> dict of title, columns, folds, shared, rows and perhaps curve, the setting on its x axis; the
        preset's hyperparameter file, or None).

    Raises
    ------
    InputError
        If the file cannot be read, or a grid lacks something.
    """
    try:
        grids = YAML(typ="safe").load(Path(path))
    except (OSError, YAMLError) as error:
        raise InputError(f"the grid file {path} cannot be read: {error}") from error
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
        grid["rows"] = changes.get("rows") or grid.get("rows")
        for key in ("title", "columns", "folds", "rows"):
            if not grid.get(key):
                raise InputError(f"{path}: the grid {name!r} lacks {key!r}.")
        for row in grid["rows"]:
            kinds = {"name": (str, int, float), "cells": list, "overrides": dict}
            fits = isinstance(row, dict) and all(isinstance(row.get(key), kind) for key, kind in kinds.items())
            if not fits or len(row["cells"]) != len(grid["columns"]):
                raise InputError(
                    f"{path}: a row of {name!r} needs name, overrides (key: value) and cells (a list, one for each of "
                    f"{', '.join(map(str, grid['columns']))}), got {row}."
                )
    return grids, chosen.get("hparams_file")


def as_option(key, value):
    """Write an override as train.py's command line takes it."""
    if isinstance(value, (list, tuple)):
        value = f"[{', '.join(map(str, value))}]"
    return f"--{key}={'null' if value is None else value}"


def plan_grid(name, grid, hparams_file, others, seeds, folds, folder, corpora):
    """Plan the runs of one grid: rows by seeds by folds.

    A row's own overrides come last, so that no option of the command line undoes what the row is about.

    Returns
    -------
    list of PlannedRun
        Row by row.
    """
    runs = []
    for row in grid["rows"]:
        options = [as_option(*item) for item in grid["shared"].items()]
        options += [*others, *(as_option(*item) for item in row["overrides"].items())]
        labels = {"table": name, "row": row["name"]}
        row_folder = folder / name / str(row["name"])
        runs += plan_folds(
            [str(hparams_file), *options], seeds, folds or str(grid["folds"]), row_folder, labels, corpora
        )
    return runs


def collect(grid, folder):
    """Read a grid's finished runs.

    Returns
    -------
    list of dict
        One a row: name, cells, overrides, paper ([WA, UA] in percent, or None), n_runs, comparable (whether all of its
        runs test the paper's corpus), WA and UA as {"mean", "std"} over its runs (None where it has none), and fault:
        why its runs give no number, or None.
    """
    rows = []
    for row in grid["rows"]:
        entry = {key: row.get(key) for key in ("name", "cells", "overrides", "paper")}
        row_folder = folder / str(row["name"])
        entry.update(n_runs=0, comparable=True, fault=None, **dict.fromkeys(NAMES))
        rows.append(entry)
        if not any(row_folder.rglob("test_metrics.json")):
            continue
        try:
            runs = read_result_set(row_folder, allow=("incomplete",)).runs
        except InputError as error:
            entry["fault"] = str(error)
            continue
        keys = ("corpus", "corpus_faults", "emotions")
        comparable = all(published_results(*(run.metrics[key] for key in keys)) for run in runs)
        entry.update(n_runs=len(runs), comparable=comparable)
        for name in NAMES:
            values = [run.metrics[name] for run in runs]
            entry[name] = {"mean": mean(values), "std": stdev(values) if len(values) > 1 else None}
    return rows


def cell(found):
    """Write a mean and its spread in percent; a dash where there is none."""
    if found is None:
        return "-"
    return percent(found["mean"]) + ("" if found["std"] is None else f" ± {percent(found['std'])}")


def to_markdown(grids, tables, is_iemocap):
    """Write all tables as the paper prints them, its numbers in the next columns."""
    sections = ["# Ablations"] + ([] if is_iemocap else [NOT_IEMOCAP])
    for name, rows in tables.items():
        header = [*grids[name]["columns"], "WA (%)", "UA (%)", "paper's WA (%)", "paper's UA (%)", "runs"]
        body = [
            [*row["cells"], cell(row["WA"]), cell(row["UA"]),
             *([f"{value:.2f}" for value in row["paper"]] if row["paper"] else ["-", "-"]), row["n_runs"]]
            for row in rows
        ]  # fmt: skip
        sections += [f"## {grids[name]['title']}", table(header, body, "l" * len(rows[0]["cells"]) + "rrrrr")]
        sections += [f"Row {row['name']} gives no number: {row['fault']}" for row in rows if row["fault"]]
        sections.append(f"![{grids[name]['title']}]({name}.png)")
    sections.append("±: standard deviation over the runs of a row (folds and seeds, n - 1).")
    return "\n\n".join(sections) + "\n"


def write_tables(grids, asked, folder):
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
    tuple
        (the tables in Markdown, whether every row asked for has numbers or no runs).
    """
    found = {name: collect(grid, folder / name) for name, grid in grids.items()}
    tables = {name: rows for name, rows in found.items() if name in asked or any(row["n_runs"] for row in rows)}
    with_runs = [row for rows in tables.values() for row in rows if row["n_runs"]]
    is_iemocap = bool(with_runs) and all(row["comparable"] for row in with_runs)
    for name, rows in tables.items():
        draw(grids[name], rows, folder / f"{name}.png", "" if is_iemocap else "\n(ours: not on IEMOCAP)")
    text = to_markdown(escape_markdown(grids), escape_markdown(tables), is_iemocap)
    write_json(tables, folder / "ablations.json")
    with atomic_write(folder / "ablations.md") as file:
        file.write(text)
    with atomic_write(folder / "ablations.html") as file:
        file.write(to_html(text, folder))
    return text, not any(row["fault"] for name in asked for row in tables[name])


def draw(grid, rows, path, caution):
    """Draw ours and the paper's numbers: against the setting that a grid's `curve` names, else as bars."""
    series = {f"{name}, ours": [100 * row[name]["mean"] if row[name] else None for row in rows] for name in NAMES}
    for i, name in enumerate(NAMES):
        series[f"{name}, the paper's"] = [row["paper"][i] if row["paper"] else None for row in rows]
    title = grid["title"] + caution
    if grid.get("curve"):
        plot_sweep([row["overrides"][grid["curve"]] for row in rows], series, path, grid["columns"][0], title)
    else:
        plot_bars([", ".join(map(str, row["cells"])) for row in rows], series, path, title)


def main(argv):
    """Run the grids and print their tables. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("hparams_file", nargs="?", help="for instance hparams/loso.yaml; a preset has its own")
    parser.add_argument("--preset", help="demo: small and offline")
    parser.add_argument("--grid", default=str(GRID_FILE), help="another YAML file of grids")
    parser.add_argument("--tables", help="names of grids, joined by commas; default: all")
    parser.add_argument("--folds", help="such as 1-5, or all; default: the grid's own")
    parser.add_argument("--seeds", default="1", help="such as 1,2,3")
    parser.add_argument("--results_folder", help="default: results/ablations/<name of the hyperparameter file>")
    options, others = parse_options(argv, add_pool_options(parser))
    grids, preset_file = read_grids(options.grid, options.preset)
    asked = [name.strip() for name in options.tables.split(",")] if options.tables else list(grids)
    for name in asked:
        if name not in grids:
            raise InputError(f"--tables must be among {', '.join(grids)}, got {name!r}.")
    hparams_file = options.hparams_file or (preset_file and Path(__file__).resolve().parents[2] / preset_file)
    if not hparams_file:
        raise InputError("no hyperparameter file was given: name one, such as hparams/loso.yaml, or set --preset=demo.")
    if options.preset == "demo" and not any(re.match("--(data_folder|corpus_csv)", option) for option in others):
        others = [*others, f"--data_folder={DEMO_CORPUS}"]
        if not Path(DEMO_CORPUS).exists():
            make_demo_corpus(DEMO_CORPUS)
    folder = results_folder_of(options.results_folder, "ablations", Path(hparams_file).stem)

    runs, corpora = [], {}
    seeds = parse_numbers("--seeds", options.seeds)
    for name in asked:
        runs += plan_grid(name, grids[name], hparams_file, others, seeds, options.folds, folder, corpora)
    failed = run_all(runs, folder / "logs", options)
    text, is_sound = write_tables(grids, asked, folder)
    print(text)
    if failed:
        tell_failures(failed, len(runs))
        return 1
    if "protocols" in asked:
        rows = [folder / "protocols" / row["name"] for row in grids["protocols"]["rows"]]
        is_sound = print_report(rows, folder / "protocols") and is_sound
    return 0 if is_sound else 1
