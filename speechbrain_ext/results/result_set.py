"""Many tested runs (fold by seed) below one folder, and the refusal of sets that no honest statistic comes from."""

import csv
import json
import math
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from speechbrain_ext.errors import InputError
from speechbrain_ext.training.run_folder import RUN_FILE
from speechbrain_ext.results.significance import accuracies

METRICS_FILE = "test_metrics.json"
PREDICTIONS_FILE = "predictions.csv"
ALLOWANCES = ("incomplete", "mixed", "duplicates")
HINT = "Test that run again (--test_only), or delete its folder."

NUMBER = (int, float)
REQUIRED = dict(WA=NUMBER, UA=NUMBER, n=int, emotions=list, confusion=list, fold=int, seed=int, manifest=str)
OPTIONAL = dict(test_group=str, validation=str, tested_weights=str, tested_epoch=int, n_epochs=int)
OPTIONAL.update(settings=str, n_folds=int, epochs=list, speakers=dict, debug=bool)
KINDS = {int: "a whole number", NUMBER: "a number", str: "a text", list: "a list", dict: "an object", bool: "a bool"}


@dataclass(frozen=True, eq=False)
class Run:
    """One tested fold with one seed.

    Attributes
    ----------
    folder : pathlib.Path
        Where it lies.
    metrics : dict
        What test_metrics.json holds; what only newer runs have, such as settings and n_folds, is None where it lacks.
    ids : tuple of str
        The N tested utterances, in the order of predictions.csv.
    true, predicted : numpy.ndarray
        Class indices, int, [N].
    speakers : tuple of str, optional
        The speaker of each utterance; None where they are not known.
    """

    folder: Path
    metrics: dict
    ids: tuple
    true: np.ndarray
    predicted: np.ndarray
    speakers: tuple

    @property
    def fold(self):
        """The fold, from 1."""
        return self.metrics["fold"]

    @property
    def seed(self):
        """The seed."""
        return self.metrics["seed"]


@dataclass(frozen=True, eq=False)
class ResultSet:
    """Runs that may be summarised together.

    Attributes
    ----------
    folder : pathlib.Path
        Where all of them lie.
    runs : tuple of Run
        Sorted by seed and fold, one for each pair.
    emotions : tuple of str
        Labels, in the order of the class indices.
    notes : tuple of str
        What was let pass, to be said wherever the numbers are.
    """

    folder: Path
    runs: tuple
    emotions: tuple
    notes: tuple

    @property
    def seeds(self):
        """The seeds, sorted."""
        return tuple(sorted({run.seed for run in self.runs}))

    @property
    def folds(self):
        """The folds, sorted."""
        return tuple(sorted({run.fold for run in self.runs}))


def read_result_set(folder, allow=(), speaker_of=None):
    """Read all tested runs below a folder, from their test_metrics.json and predictions.csv alone.

    Arguments
    ---------
    folder : str or pathlib.Path
        The runs' folders lie in it, at any depth.
    allow : tuple of str
        What may pass, with a note: "incomplete" (a seed lacks a fold), "mixed" (runs differ in corpus, settings or
        validation), "duplicates" (a fold and seed in two folders; the first in the order of the paths counts).
    speaker_of : callable, optional
        Utterance id -> speaker or None, for runs that do not say who speaks.

    Returns
    -------
    ResultSet
        The runs.

    Raises
    ------
    InputError
        If there is no run; a file is missing, broken or at odds with the other one; a run saw a few batches only
        (--debug); the runs' emotions differ; an utterance is tested in two folds of one seed; or if something is found
        that `allow` does not name.

    Example
    -------
    >>> read_result_set("results/nowhere")
    Traceback (most recent call last):
    speechbrain_ext.errors.InputError: the folder results/nowhere does not exist. Give one that holds tested runs.
    """
    folder = Path(folder)
    unknown = [word for word in allow if word not in ALLOWANCES]
    if unknown:
        raise InputError(f"allow must be among {', '.join(ALLOWANCES)}, got {unknown[0]!r}.")
    if not folder.is_dir():
        raise InputError(f"the folder {folder} does not exist. Give one that holds tested runs.")
    runs = [_read_run(path, speaker_of) for path in sorted(folder.rglob(METRICS_FILE))]
    if not runs:
        raise InputError(
            f"no run below {folder} has been tested: there is no {METRICS_FILE}. Run train.py for each fold first."
        )
    for run in runs:
        if run.metrics["emotions"] != runs[0].metrics["emotions"]:
            raise InputError(
                f"the emotions, or their order, differ: {runs[0].metrics['emotions']} in {runs[0].folder}, "
                f"{run.metrics['emotions']} in {run.folder}. Give the folders apart."
            )
    _check_mixtures(folder, runs, "mixed" in allow)  # says more than that runs stand twice
    runs, doubles = _drop_duplicates(folder, runs, "duplicates" in allow)
    _check_tested_once(runs)
    mixtures = _check_mixtures(folder, runs, "mixed" in allow)  # of the runs that count
    notes = mixtures + doubles + _check_complete(folder, runs, "incomplete" in allow)
    return ResultSet(folder, tuple(runs), tuple(runs[0].metrics["emotions"]), tuple(notes))


def _read_run(path, speaker_of):
    metrics = _read_metrics(path)
    emotions, predictions = metrics["emotions"], path.with_name(PREDICTIONS_FILE)
    decisions = _read_predictions(predictions, emotions)
    true, predicted = np.array(list(decisions.values()), dtype=np.int64).reshape(-1, 2).T  # [N, 2] -> two of [N]
    confusion = np.zeros((len(emotions), len(emotions)), dtype=np.int64)
    np.add.at(confusion, (true, predicted), 1)
    WA, UA = accuracies(confusion.diagonal(), confusion.sum(axis=1))
    found = {"n": len(decisions), "confusion": confusion.tolist(), "WA": WA, "UA": UA}
    for key, value in found.items():
        same = math.isclose(value, metrics[key], abs_tol=1e-9) if key in ("WA", "UA") else value == metrics[key]
        if not same:
            raise InputError(f"{predictions} is not what {path} counts: {key} is {value}, there {metrics[key]}. {HINT}")
    if not decisions:
        raise InputError(f"{predictions} holds no utterance. {HINT}")

    speakers = metrics["speakers"]
    if speakers is None:
        named = [speaker_of(utt_id) if speaker_of else None for utt_id in decisions]
    else:
        unnamed = [utt_id for utt_id in decisions if utt_id not in speakers]
        if unnamed:
            raise InputError(f"{path}: 'speakers' lacks {unnamed[0]}, which {PREDICTIONS_FILE} has. {HINT}")
        named = [speakers[utt_id] for utt_id in decisions]
    return Run(path.parent, metrics, tuple(decisions), true, predicted, None if None in named else tuple(named))


def _read_metrics(path):
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"the metrics {path} cannot be read: {error}. {HINT}") from error
    if not isinstance(metrics, dict):
        raise InputError(f"{path} holds a {type(metrics).__name__}, not an object of metrics. {HINT}")
    if metrics.get("debug"):
        raise InputError(
            f"{path.parent} was run with --debug, on a few batches only: no result. Delete the folder and run it again "
            "without --debug."
        )
    for key, kind in {**REQUIRED, **OPTIONAL}.items():
        value = metrics.get(key)
        if value is None and key in REQUIRED:
            raise InputError(f"{path} lacks {key!r}. {HINT}")
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool) and kind is not bool):
            raise InputError(f"{path}: {key!r} must be {KINDS[kind]}, got {value!r}. {HINT}")
    emotions, n_folds = metrics["emotions"], metrics.get("n_folds")
    if not all(isinstance(emo, str) for emo in emotions) or len(set(emotions)) < len(emotions):
        raise InputError(f"{path}: 'emotions' must be different texts, got {emotions}. {HINT}")
    if not 1 <= metrics["fold"] <= (n_folds or math.inf):
        raise InputError(f"{path}: 'fold' must be from 1 to {n_folds or 'n_folds'}, got {metrics['fold']}. {HINT}")
    return {**dict.fromkeys(OPTIONAL), **metrics}


def _read_predictions(path, emotions):
    """Read {id: (true class, predicted class)}."""
    index = {emo: i for i, emo in enumerate(emotions)}
    decisions = {}
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [key for key in ("id", "true", "predicted", *emotions) if key not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{path}: the columns {missing} are missing. {HINT}")
            for row in reader:
                if row["id"] in decisions:
                    raise InputError(f"{path}: {row['id']} stands twice. {HINT}")
                labels = row["true"], row["predicted"]
                unknown = [label for label in labels if label not in index]
                if unknown:
                    raise InputError(
                        f"{path}: the label {unknown[0]!r} of {row['id']} is unknown; the emotions are "
                        f"{', '.join(emotions)}. {HINT}"
                    )
                decisions[row["id"]] = tuple(index[label] for label in labels)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"the predictions {path} cannot be read: {error}. {HINT}") from error
    return decisions


def _check_mixtures(folder, runs, allowed):
    """Return a note on each thing in which the runs differ; a run that does not say differs from none."""
    notes, parts = [], []
    for key, note in (
        ("manifest", "{} corpora (manifests {})"),
        ("settings", "{} different settings ({})"),
        ("validation", "{} kinds of validation ({})"),
    ):
        groups = {}
        for run in runs:
            if run.metrics[key] is not None:
                groups.setdefault(run.metrics[key], []).append(run.folder)
        if len(groups) > 1:
            notes.append("mixed: " + note.format(len(groups), _listing(value[:8] for value in sorted(groups))))
            parts += [f"{key} {value[:8]} in {_listing(folders)}" for value, folders in sorted(groups.items())]
    if parts and not allowed:
        raise InputError(
            f"the runs below {folder} differ: {'; '.join(parts)}. Give their folders apart, or set --allow=mixed to "
            "take them together."
        )
    return notes


def _drop_duplicates(folder, runs, allowed):
    """Return the runs sorted by seed and fold, one for each pair, and a note on what is left out."""
    first, dropped = {}, []
    for run in runs:  # in the order of their paths
        kept = first.setdefault((run.seed, run.fold), run)
        if kept is run:
            continue
        if not allowed:
            raise InputError(
                f"seed {run.seed} fold {run.fold} stands twice, in {kept.folder} and in {run.folder}. Delete one of "
                "them, give their folders apart, or set --allow=duplicates to take the first."
            )
        names = [one.folder.relative_to(folder) for one in (kept, run)]
        dropped.append(f"seed {run.seed} fold {run.fold} from {names[0]} and not from {names[1]}")
    return [first[key] for key in sorted(first)], [f"duplicates: {_listing(dropped)}"] if dropped else []


def _check_tested_once(runs):
    tested = {}
    for run in runs:
        for utt_id in run.ids:  # the folds of another corpus are drawn anew
            other = tested.setdefault((run.seed, run.metrics["manifest"], utt_id), run)
            if other is not run:
                raise InputError(
                    f"{utt_id} is tested twice with seed {run.seed}, in fold {other.fold} ({other.folder}) and in fold "
                    f"{run.fold} ({run.folder}): they are not folds of one split. Run one of them again."
                )


def _check_complete(folder, runs, allowed):
    """Return a note on the folds that a seed lacks."""
    known = [run.metrics["n_folds"] for run in runs if run.metrics["n_folds"] is not None]
    folds = range(1, max(known) + 1) if known else sorted({run.fold for run in runs})
    begun = _find_begun(folder)
    wanted = product(sorted({run.seed for run in runs} | {seed for seed, _ in begun}), folds)
    present = {(run.seed, run.fold) for run in runs}
    gaps = {run: "seed {} lacks fold {}".format(*run) for run in wanted if run not in present}
    if gaps and not allowed:
        parts = [text + " (begun, not finished)" * (run in begun) for run, text in gaps.items()]
        raise InputError(
            f"the runs below {folder} are incomplete: {_listing(parts)}. Run what is missing, or set "
            "--allow=incomplete to do without."
        )
    return [f"incomplete: {_listing(gaps.values())}"] if gaps else []


def _find_begun(folder):
    """Find the (seed, fold) of the runs that were started and not tested."""
    begun = set()
    for path in sorted(folder.rglob(RUN_FILE)):
        if not path.with_name(METRICS_FILE).exists():
            try:
                identity = json.loads(path.read_text(encoding="utf-8"))
                begun.add((identity["seed"], identity["fold"]))
            except (OSError, ValueError, KeyError, TypeError):
                continue  # this only says more about what is missing anyway
    return begun


def _listing(items, most=5):
    items = [str(item) for item in items]
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")
