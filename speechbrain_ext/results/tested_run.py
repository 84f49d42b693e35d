"""One tested run as its folder holds it: test_metrics.json and predictions.csv, read and held against each other."""

import copy
import csv
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speechbrain_ext.atomic_write import atomic_write
from speechbrain_ext.checksums import sha256_of
from speechbrain_ext.errors import InputError
from speechbrain_ext.json_reader import read_object
from speechbrain_ext.limits import MOST_FOLDS
from speechbrain_ext.results.significance import accuracies
from speechbrain_ext.rules import ANY_TEXT, ANY_TEXTS, OBJECT, TRUTH, Rule, number, shown, whole
from speechbrain_ext.storage import reading

METRICS_FILE = "test_metrics.json"
PREDICTIONS_FILE = "predictions.csv"
PREDICTIONS_SUM = "predictions_sha256"
HINT = "Test that run again (--test_only), or delete its folder."
POSTERIOR = re.compile(r"[01](\.[0-9]+)?(e-[0-9]+)?")

SHARE = number(0, 1)
FROM_0, FROM_1 = whole(0, 10**18), whole(1, 10**9)
TEXTS_BY_NAME = Rule(
    "an object of texts", lambda values: isinstance(values, dict) and all(map(ANY_TEXT.allows, values.values()))
)
COUNTS = Rule(
    "a list of lists of counts",
    lambda rows: (
        isinstance(rows, list)
        and all(isinstance(row, list) and all(map(FROM_0.allows, row)) and len(row) == len(rows) for row in rows)
    ),
)
EPOCHS = Rule(
    "a list of objects, with test_WA and test_UA from 0 to 1",
    lambda epochs: (
        isinstance(epochs, list)
        and all(
            isinstance(epoch, dict) and all(SHARE.allows(epoch.get(key, 0)) for key in ("test_WA", "test_UA"))
            for epoch in epochs
        )
    ),
)
RULES: dict[str, Rule] = {
    "WA": SHARE,
    "UA": SHARE,
    "n": FROM_0,
    "emotions": Rule(
        "a list of different texts", lambda value: ANY_TEXTS.allows(value) and len(set(value)) == len(value)
    ),
    "confusion": COUNTS,
    "n_folds": whole(1, MOST_FOLDS),
    "fold": FROM_1,
    "seed": FROM_0,
    "test_group": ANY_TEXT,
    "corpus": ANY_TEXT,
    "corpus_faults": ANY_TEXTS,
    "fold_cautions": ANY_TEXTS,
    "manifest": ANY_TEXT,
    "samples": ANY_TEXT,
    "settings": ANY_TEXT,
    "hyperparameters": OBJECT,
    "validation": ANY_TEXT,
    "tested_weights": ANY_TEXT,
    "tested_epoch": FROM_1,
    "n_epochs": FROM_1,
    "epochs": EPOCHS,
    "speakers": TEXTS_BY_NAME,
    "versions": TEXTS_BY_NAME,
}
ADDED: dict[str, Any] = {"fold_cautions": [], "samples": ""}  # what runs of earlier versions lack, as they would say it


@dataclass(frozen=True, eq=False)
class TestedRun:
    """One tested fold with one seed.

    Attributes
    ----------
    folder : pathlib.Path
        Where its files are.
    metrics : dict
        The content of test_metrics.json.
    ids : tuple of str
        The N tested utterances, in the order of predictions.csv.
    true, predicted : numpy.ndarray
        Class indices, int, [N].
    speakers : tuple of str
        The speaker of each utterance.
    """

    __test__ = False  # no class of tests

    folder: Path
    metrics: dict[str, Any]
    ids: tuple[str, ...]
    true: np.ndarray
    predicted: np.ndarray
    speakers: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path, metrics: dict[str, Any], decisions: Mapping[str, Sequence[int]]) -> "TestedRun":
        """Make one of its decisions, {utterance id: (true class, decided class)}."""
        true, predicted = np.array(list(decisions.values()), dtype=np.int64).reshape(-1, 2).T  # [N, 2] -> two of [N]
        speakers = tuple(metrics["speakers"].get(utt_id, "") for utt_id in decisions)
        return cls(folder, metrics, tuple(decisions), true, predicted, speakers)

    @property
    def fold(self) -> int:
        """The fold, from 1."""
        return self.metrics["fold"]

    @property
    def seed(self) -> int:
        """The seed."""
        return self.metrics["seed"]


def path_text(path: str | Path) -> str:
    """Write a path as text that can be saved: a name on disk may be no UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def read_metrics(path: Path, rules: Mapping[str, Rule] = RULES) -> dict[str, Any]:
    """Read a test_metrics.json and check the type of everything in it that is used.

    Arguments
    ---------
    path : pathlib.Path
        The file.
    rules : dict
        Key that it must have -> rule.

    Raises
    ------
    InputError
        If the file cannot be read, or a value is missing or of another type; names the file, the key and the value.
    """
    needed = [key for key in rules if key not in ADDED]
    metrics = {**copy.deepcopy(ADDED), **read_object(path, HINT, {"debug": TRUTH, **rules}, needed)}
    if metrics["fold"] > metrics.get("n_folds", metrics["fold"]):
        raise InputError(f"{path}: 'fold' must be from 1 to {metrics['n_folds']}, got {metrics['fold']}. {HINT}")
    return metrics


def write_predictions(
    path: Path, emotions: Sequence[str], rows: Iterable[tuple[str, int, int, Sequence[float]]]
) -> str:
    """Write a predictions.csv, and return its SHA-256.

    Arguments
    ---------
    path : pathlib.Path
        The file.
    emotions : list of str
        The C classes.
    rows : iterable of tuple
        (utterance id, true class, decided class, C posteriors) of each utterance.
    """
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "true", "predicted", *emotions])
        for utt_id, true, predicted, posteriors in rows:
            writer.writerow([utt_id, emotions[true], emotions[predicted], *(f"{p:.8f}" for p in posteriors)])
    return sha256_of(path)


def read_predictions(path: Path, metrics: Mapping[str, Any]) -> dict[str, tuple[int, int, list[float]]]:
    """Read the predictions.csv beside some metrics as {utterance id: (true class, predicted class, posteriors)}.

    Raises
    ------
    InputError
        If the file cannot be read, is not the one that the metrics were written with, a column is missing, an id occurs
        twice, a label is unknown or a posterior is no number from 0 to 1.
    """
    emotions = metrics["emotions"]
    index = {emo: i for i, emo in enumerate(emotions)}
    predictions: dict[str, tuple[int, int, list[float]]] = {}
    with reading(path, "is no CSV", HINT, (UnicodeDecodeError, csv.Error)):
        if metrics.get(PREDICTIONS_SUM, "") not in ("", sha256_of(path)):
            raise InputError(f"{path} is not as it was written: its SHA-256 differs. {HINT}")
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [key for key in ("id", "true", "predicted", *emotions) if key not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{path}: the columns {missing} are missing. {HINT}")
            for row in reader:
                if row["id"] in predictions:
                    raise InputError(f"{path}: {row['id']} occurs twice. {HINT}")
                unknown = [label for label in (row["true"], row["predicted"]) if label not in index]
                if unknown:
                    raise InputError(
                        f"{path}: the label {unknown[0]!r} of {row['id']} is unknown; the emotions are "
                        f"{', '.join(emotions)}. {HINT}"
                    )
                cells = [row[emo] for emo in emotions]
                if None in row or not all(POSTERIOR.fullmatch(cell or "") for cell in cells):
                    raise InputError(
                        f"{path}: {row['id']} needs {len(emotions)} posteriors from 0 to 1, got {shown(cells)}. {HINT}"
                    )
                predictions[row["id"]] = index[row["true"]], index[row["predicted"]], list(map(float, cells))
    return predictions


def read_tested_run(path: Path, metrics: dict[str, Any]) -> TestedRun:
    """Read the predictions beside a test_metrics.json, and check that its numbers are those of the predictions.

    Arguments
    ---------
    path : pathlib.Path
        The test_metrics.json.
    metrics : dict
        Its content, as `read_metrics` returns it.

    Raises
    ------
    InputError
        If the predictions cannot be read, hold nothing, or do not give the metrics; or if a speaker is not known.
    """
    emotions, predictions = metrics["emotions"], path.with_name(PREDICTIONS_FILE)
    decisions = {utt_id: row[:2] for utt_id, row in read_predictions(predictions, metrics).items()}
    run = TestedRun.of(path.parent, metrics, decisions)
    confusion = np.zeros((len(emotions), len(emotions)), dtype=np.int64)
    np.add.at(confusion, (run.true, run.predicted), 1)
    WA, UA = accuracies(confusion.diagonal(), confusion.sum(axis=1))
    counted: dict[str, Any] = {"n": len(decisions), "confusion": confusion.tolist(), "WA": float(WA), "UA": float(UA)}
    for key, value in counted.items():
        same = math.isclose(value, metrics[key], abs_tol=1e-9) if key in ("WA", "UA") else value == metrics[key]
        if not same:
            raise InputError(
                f"{predictions} does not give the numbers of {path}: {key} is {value}, there "
                f"{shown(metrics[key])}. {HINT}"
            )
    if not decisions:
        raise InputError(f"{predictions} holds no utterance. {HINT}")
    unnamed = [utt_id for utt_id in decisions if utt_id not in metrics["speakers"]]
    if unnamed:
        raise InputError(f"{path}: 'speakers' lacks {unnamed[0]}, which {PREDICTIONS_FILE} has. {HINT}")
    return run
