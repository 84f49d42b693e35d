"""Many tested runs (fold by seed) below one folder, and the refusal of sets that no honest statistic comes from."""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Optional

from speechbrain_ext.errors import InputError
from speechbrain_ext.results.tested_run import METRICS_FILE, TestedRun, path_text, read_metrics, read_tested_run
from speechbrain_ext.training.hparams_file import RUN_FILE
from speechbrain_ext.training.run_folder import read_run

ALLOWANCES = ("incomplete", "mixed", "duplicates")
# What all runs of a set must share, with the note where they are allowed not to.
SHARED = {
    "corpus": "{} corpora ({})",
    "manifest": "{} versions of the corpus (manifests {})",
    "samples": "{} contents of the recordings (samples {})",
    "settings": "{} different settings ({})",
    "validation": "{} kinds of validation ({})",
}
SHOWN = 5  # of a long list
FINGERPRINTS = ("manifest", "samples", "settings")


@dataclass(frozen=True, eq=False)
class ResultSet:
    """Runs that may be summarised together.

    Attributes
    ----------
    folder : pathlib.Path
        The folder that holds all of them.
    runs : tuple of TestedRun
        Sorted by seed and fold, one for each pair.
    emotions : tuple of str
        Labels, in the order of the class indices.
    subset : str
        The folds that were asked for, such as "folds 1 and 2 of 5"; empty where all were.
    notes : tuple of str
        What was accepted with `allow`; written wherever the numbers are written.
    """

    folder: Path
    runs: tuple[TestedRun, ...]
    emotions: tuple[str, ...]
    subset: str = ""
    notes: tuple[str, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, sorted."""
        return tuple(sorted({run.seed for run in self.runs}))

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds, sorted."""
        return tuple(sorted({run.fold for run in self.runs}))


def read_result_set(folder: str | Path, allow: Sequence[str] = (), folds: Optional[Iterable[int]] = None) -> ResultSet:
    """Read all tested runs below a folder, from their test_metrics.json and predictions.csv alone.

    Runs with --debug are no results: they count as not finished.

    Arguments
    ---------
    folder : str or pathlib.Path
        The runs' folders are in it, at any depth.
    allow : sequence of str
        What is accepted, with a note: "incomplete" (a seed lacks a fold), "mixed" (runs differ in corpus, settings or
        validation), "duplicates" (a fold and seed in two folders; the first in the order of the paths counts).
    folds : iterable of int, optional
        The only folds to read; others are passed over. Every seed must have all of these.

    Raises
    ------
    InputError
        If there is no run; a file is missing, broken or at odds with the other one; the runs' emotions differ; an
        utterance is tested in two folds of one seed; or if something is found that `allow` does not name.

    Example
    -------
    >>> read_result_set("results/nowhere")
    Traceback (most recent call last):
    speechbrain_ext.errors.InputError: the folder results/nowhere does not exist. Give one that holds tested runs.
    """
    folder = Path(folder)
    for word in allow:
        if word not in ALLOWANCES:
            raise InputError(f"allow must be among {', '.join(ALLOWANCES)}, got {word!r}.")
    if not folder.is_dir():
        raise InputError(f"the folder {folder} does not exist. Give one that holds tested runs.")
    runs, chosen = _read_runs(folder, None if folds is None else sorted(set(folds)))
    for run in runs:
        if run.metrics["emotions"] != runs[0].metrics["emotions"]:
            raise InputError(
                f"the emotions, or their order, differ: {runs[0].metrics['emotions']} in {runs[0].folder}, "
                f"{run.metrics['emotions']} in {run.folder}. Give the folders apart."
            )
    _check_mixtures(folder, runs, "mixed" in allow)  # says more than that runs are there twice
    runs, doubles = _drop_duplicates(folder, runs, "duplicates" in allow)
    _check_tested_once(runs)
    mixtures = _check_mixtures(folder, runs, "mixed" in allow)  # of the runs that count
    n_folds = max(run.metrics["n_folds"] for run in runs)
    gaps = _check_complete(folder, runs, chosen or range(1, n_folds + 1), "incomplete" in allow)
    subset = name_folds(chosen, n_folds) if chosen and len(chosen) < n_folds else ""
    return ResultSet(folder, tuple(runs), tuple(runs[0].metrics["emotions"]), subset, (*mixtures, *doubles, *gaps))


def name_folds(folds: Sequence[int], n_folds: int) -> str:
    """Name some of the folds of a corpus.

    Example
    -------
    >>> name_folds([1, 2, 4], 5)
    'folds 1, 2 and 4 of 5'
    """
    *first, last = map(str, folds)
    return f"folds {', '.join(first)} and {last} of {n_folds}" if first else f"fold {last} of {n_folds}"


def _read_runs(folder: Path, folds: Optional[list[int]]) -> tuple[list[TestedRun], Optional[list[int]]]:
    found = {path: read_metrics(path) for path in sorted(folder.rglob(METRICS_FILE))}
    tested = {path: metrics for path, metrics in found.items() if not metrics.get("debug")}
    if not tested:
        debugged = f" ({len(found)} was or were run with --debug, on a few batches only.)" if found else ""
        raise InputError(
            f"no run below {folder} has been tested: there is no {METRICS_FILE}.{debugged} Run train.py for each fold "
            "first."
        )
    if folds is not None:
        n_folds = max(metrics["n_folds"] for metrics in tested.values())
        for fold in folds:
            if not 1 <= fold <= n_folds:
                raise InputError(f"folds must be from 1 to {n_folds}, as many as the corpus has, got {fold}.")
        if not folds:
            raise InputError(f"folds must name at least one of the folds 1 to {n_folds}.")
        tested = {path: metrics for path, metrics in tested.items() if metrics["fold"] in folds}
        if not tested:
            raise InputError(f"no run of {name_folds(folds, n_folds)} below {folder} has been tested.")
    return [read_tested_run(path, metrics) for path, metrics in tested.items()], folds


def _check_mixtures(folder: Path, runs: Sequence[TestedRun], allowed: bool) -> list[str]:
    """Return a note on each thing in which the runs differ."""
    notes: list[str] = []
    parts: list[str] = []
    for key, note in SHARED.items():
        groups: dict[str, list[Path]] = {}
        for run in runs:
            if run.metrics[key]:  # "" is not known
                groups.setdefault(run.metrics[key], []).append(run.folder)
        if len(groups) > 1:
            short = {value: value[:8] if key in FINGERPRINTS else value for value in sorted(groups)}
            notes.append("mixed: " + note.format(len(groups), _listing(short.values())))
            parts += [f"{key} {short[value]} in {_listing(groups[value])}" for value in sorted(groups)]
    if parts and not allowed:
        raise InputError(
            f"the runs below {folder} differ: {'; '.join(parts)}. Give their folders apart, or set --allow=mixed to "
            "take them together."
        )
    return notes


def _drop_duplicates(folder: Path, runs: Sequence[TestedRun], allowed: bool) -> tuple[list[TestedRun], list[str]]:
    """Return the runs sorted by seed and fold, one for each pair, and a note on what is left out."""
    first: dict[tuple[int, int], TestedRun] = {}
    dropped = []
    for run in runs:  # in the order of their paths
        kept = first.setdefault((run.seed, run.fold), run)
        if kept is run:
            continue
        if not allowed:
            raise InputError(
                f"seed {run.seed} fold {run.fold} is there twice, in {kept.folder} and in {run.folder}. Delete one of "
                "them, give their folders apart, or set --allow=duplicates to take the first."
            )
        names = [path_text(one.folder.relative_to(folder)) for one in (kept, run)]
        dropped.append(f"seed {run.seed} fold {run.fold} from {names[0]} and not from {names[1]}")
    return [first[key] for key in sorted(first)], [f"duplicates: {_listing(dropped)}"] if dropped else []


def _check_tested_once(runs: Sequence[TestedRun]) -> None:
    tested: dict[tuple[Any, ...], TestedRun] = {}
    for run in runs:
        for utt_id in run.ids:  # the folds of another corpus are drawn anew
            other = tested.setdefault((run.seed, run.metrics["manifest"], utt_id), run)
            if other is not run:
                raise InputError(
                    f"{utt_id} is tested twice with seed {run.seed}, in fold {other.fold} ({other.folder}) and in fold "
                    f"{run.fold} ({run.folder}): they are not folds of one split. Run one of them again."
                )


def _check_complete(folder: Path, runs: Sequence[TestedRun], folds: Sequence[int], allowed: bool) -> list[str]:
    """Return a note on the folds that a seed lacks."""
    begun = {run for run in _find_begun(folder) if run[1] in folds}
    present = {(run.seed, run.fold) for run in runs}
    wanted = product(sorted({seed for seed, _ in present | begun}), folds)
    gaps = {run: "seed {} lacks fold {}".format(*run) for run in wanted if run not in present}
    if gaps and not allowed:
        parts = [text + " (begun, not finished)" * (run in begun) for run, text in gaps.items()]
        raise InputError(
            f"the runs below {folder} are incomplete: {_listing(parts)}. Run what is missing, or set "
            "--allow=incomplete to do without."
        )
    return [f"incomplete: {_listing(gaps.values())}"] if gaps else []


def _find_begun(folder: Path) -> set[tuple[int, int]]:
    """Find the (seed, fold) of the runs that were started."""
    begun = set()
    for path in sorted(folder.rglob(RUN_FILE)):
        with contextlib.suppress(InputError, KeyError):  # this only says more about what is missing anyway
            identity = read_run(path.parent)
            begun.add((identity["seed"], identity["fold"]))
    return begun


def _listing(items: Iterable[Any]) -> str:
    items = [str(item) for item in items]
    return ", ".join(items[:SHOWN]) + (f" and {len(items) - SHOWN} more" if len(items) > SHOWN else "")
