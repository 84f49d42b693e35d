"""One tested run as its folder holds it: test_metrics.json and predictions.csv, read and held against each other."""

import copy
import csv
import json
import math
import os
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from speechbrain_ext.errors import InputError
from speechbrain_ext.results.significance import accuracies

METRICS_FILE = "test_metrics.json"
PREDICTIONS_FILE = "predictions.csv"
HINT = "Test that run again (--test_only), or delete its folder."


def _is_whole(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1  # NaN is not


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(map(_is_text, values))


def _are_named_texts(values: Any) -> bool:
    return isinstance(values, dict) and all(map(_is_text, values.values()))


def _are_epochs(values: Any) -> bool:
    return isinstance(values, list) and all(
        isinstance(epoch, dict) and all(_is_share(epoch.get(key, 0)) for key in ("test_WA", "test_UA"))
        for epoch in values
    )


def _is_shallow(value: Any, n_levels: int = 10) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return n_levels > 0 and all(_is_shallow(one, n_levels - 1) for one in inner)


Rule = tuple[Callable[[Any], bool], str]
SHARE: Rule = (_is_share, "a number from 0 to 1")
FROM_0: Rule = (lambda value: _is_whole(value, 0), "a whole number from 0")
FROM_1: Rule = (lambda value: _is_whole(value, 1), "a whole number from 1")
TEXT: Rule = (_is_text, "a text")
TEXTS_BY_NAME: Rule = (_are_named_texts, "an object of texts")
RULES: dict[str, Rule] = {
    "WA": SHARE,
    "UA": SHARE,
    "n": FROM_0,
    "emotions": (lambda value: _are_texts(value) and len(set(value)) == len(value), "a list of different texts"),
    "confusion": (lambda value: isinstance(value, list), "a list"),
    "n_folds": FROM_1,
    "fold": FROM_1,
    "seed": FROM_0,
    "test_group": TEXT,
    "corpus": TEXT,
    "corpus_faults": (_are_texts, "a list of texts"),
    "fold_cautions": (_are_texts, "a list of texts"),
    "manifest": TEXT,
    "samples": TEXT,
    "settings": TEXT,
    "hyperparameters": (lambda value: isinstance(value, dict) and _is_shallow(value), "an object of few levels"),
    "validation": TEXT,
    "tested_weights": TEXT,
    "tested_epoch": FROM_1,
    "n_epochs": FROM_1,
    "epochs": (_are_epochs, "a list of objects, with test_WA and test_UA from 0 to 1"),
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
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise InputError(f"the metrics {path} cannot be read: they are nested too deeply. {HINT}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"the metrics {path} cannot be read: {error}. {HINT}") from error
    if not isinstance(metrics, dict):
        raise InputError(f"{path} holds a {type(metrics).__name__}, not an object of metrics. {HINT}")
    if not isinstance(metrics.get("debug", False), bool):
        raise InputError(f"{path}: 'debug' must be true or false, got {reprlib.repr(metrics['debug'])}. {HINT}")
    metrics = {**copy.deepcopy(ADDED), **metrics}
    for key, (fits, what) in rules.items():
        if key not in metrics:
            raise InputError(f"{path} lacks {key!r}. {HINT}")
        if not fits(metrics[key]):
            raise InputError(f"{path}: {key!r} must be {what}, got {reprlib.repr(metrics[key])}. {HINT}")
    if metrics["fold"] > metrics.get("n_folds", metrics["fold"]):
        raise InputError(f"{path}: 'fold' must be from 1 to {metrics['n_folds']}, got {metrics['fold']}. {HINT}")
    return metrics


def read_decisions(path: Path, emotions: list[str]) -> dict[str, tuple[int, int]]:
    """Read a predictions.csv as {utterance id: (true class, predicted class)}.

    Raises
    ------
    InputError
        If the file cannot be read, a column is missing, an id occurs twice or a label is unknown.
    """
    index = {emo: i for i, emo in enumerate(emotions)}
    decisions: dict[str, tuple[int, int]] = {}
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [key for key in ("id", "true", "predicted", *emotions) if key not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{path}: the columns {missing} are missing. {HINT}")
            for row in reader:
                if row["id"] in decisions:
                    raise InputError(f"{path}: {row['id']} occurs twice. {HINT}")
                unknown = [label for label in (row["true"], row["predicted"]) if label not in index]
                if unknown:
                    raise InputError(
                        f"{path}: the label {unknown[0]!r} of {row['id']} is unknown; the emotions are "
                        f"{', '.join(emotions)}. {HINT}"
                    )
                decisions[row["id"]] = index[row["true"]], index[row["predicted"]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"the predictions {path} cannot be read: {error}. {HINT}") from error
    return decisions


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
    decisions = read_decisions(predictions, emotions)
    true, predicted = np.array(list(decisions.values()), dtype=np.int64).reshape(-1, 2).T  # [N, 2] -> two of [N]
    confusion = np.zeros((len(emotions), len(emotions)), dtype=np.int64)
    np.add.at(confusion, (true, predicted), 1)
    WA, UA = accuracies(confusion.diagonal(), confusion.sum(axis=1))
    counted: dict[str, Any] = {"n": len(decisions), "confusion": confusion.tolist(), "WA": float(WA), "UA": float(UA)}
    for key, value in counted.items():
        same = math.isclose(value, metrics[key], abs_tol=1e-9) if key in ("WA", "UA") else value == metrics[key]
        if not same:
            raise InputError(
                f"{predictions} does not give the numbers of {path}: {key} is {value}, there "
                f"{reprlib.repr(metrics[key])}. {HINT}"
            )
    if not decisions:
        raise InputError(f"{predictions} holds no utterance. {HINT}")
    unnamed = [utt_id for utt_id in decisions if utt_id not in metrics["speakers"]]
    if unnamed:
        raise InputError(f"{path}: 'speakers' lacks {unnamed[0]}, which {PREDICTIONS_FILE} has. {HINT}")
    speakers = tuple(metrics["speakers"][utt_id] for utt_id in decisions)
    return TestedRun(path.parent, metrics, tuple(decisions), true, predicted, speakers)
