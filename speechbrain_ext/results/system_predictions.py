"""Predictions of any system: the decisions, the true labels and the posteriors, read from a table."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Optional

import numpy as np

from speechbrain_ext.corpora.table import kind_of, read_table, text_of
from speechbrain_ext.corpora.utterance_lists import NAMES
from speechbrain_ext.errors import InputError
from speechbrain_ext.results.tested_run import PREDICTIONS_FILE, path_text

# What others call the columns; the first one that is there counts.
COLUMNS = {
    "id": (*NAMES["id"], *NAMES["wav"]),
    "predicted": ("predicted", "pred", "prediction", "hyp", "hypothesis", "decision", "output"),
    "true": ("true", "target", "truth", "ref", "reference", "gold", *NAMES["emo"]),
}


@dataclass(frozen=True, eq=False)
class System:
    """What a system decided.

    Attributes
    ----------
    name : str
        Its file.
    labels : list of str
        The C classes, sorted.
    ids : list of str
        The N utterances.
    true, predicted : numpy.ndarray
        Class indices, int, [N].
    posteriors : numpy.ndarray, optional
        [N, C], where the file has a column for each class.
    """

    name: str
    labels: list[str]
    ids: list[str]
    true: np.ndarray
    predicted: np.ndarray
    posteriors: Optional[np.ndarray]

    def confusions(self, clusters: Sequence[str]) -> tuple[list[str], np.ndarray]:
        """Count [K, C, C], true by predicted, of each of K clusters, given that of each utterance."""
        names, rows = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
        counts = np.zeros((len(names), len(self.labels), len(self.labels)), dtype=np.int64)
        np.add.at(counts, (rows, self.true, self.predicted), 1)
        return names.tolist(), counts

    def counts(self, clusters: Sequence[str]) -> tuple[list[str], tuple[np.ndarray, np.ndarray]]:
        """Count (hits, totals), [K, C], of each of K clusters."""
        names, confusions = self.confusions(clusters)
        return names, (np.diagonal(confusions, axis1=1, axis2=2), confusions.sum(axis=2))

    def subset(self, chosen: Sequence[int]) -> "System":
        """Keep some of the utterances, by their places."""
        kept = np.asarray(chosen, dtype=np.int64)
        posteriors = None if self.posteriors is None else self.posteriors[kept]
        ids = [self.ids[i] for i in kept]
        return replace(self, ids=ids, true=self.true[kept], predicted=self.predicted[kept], posteriors=posteriors)

    def relabelled(self, labels: list[str]) -> "System":
        """Count the classes among others, all of its own and more; posteriors are left out."""
        index = np.array([labels.index(label) for label in self.labels])
        return replace(self, labels=labels, true=index[self.true], predicted=index[self.predicted], posteriors=None)


def read_system(path: Path, utterances: Mapping[str, Mapping[str, Any]]) -> System:
    """Read predictions.

    Arguments
    ---------
    path : pathlib.Path
        A CSV or JSON Lines file with the columns id and predicted, and where they are known true and one with the
        posteriors of each class; or a folder of tested runs, all of whose predictions are taken together. In place of
        an id may stand the path of the recording.
    utterances : dict
        {id: {emo, wav, ...}}: the true labels, where the file has none.

    Raises
    ------
    InputError
        If a column is missing, an id stands twice, a label is not known or posteriors are no shares of 1.
    """
    files = sorted(path.rglob(PREDICTIONS_FILE)) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} holds no {PREDICTIONS_FILE}: give a file, or a folder of tested runs.")
    id_of = _path_finder(utterances)
    decided: dict[str, tuple[str, str]] = {}
    shares: dict[str, dict[str, str]] = {}
    for file in files:
        table = read_table(file, [name for names in COLUMNS.values() for name in names])
        if table.faults:
            raise InputError(f"{file}: {table.faults[0].text}")
        if not table.columns:
            raise InputError(f"{file} is empty; needed are the columns id and predicted.")
        found = {key: next((name for name in names if name in table.columns), "") for key, names in COLUMNS.items()}
        for key in ("id", "predicted"):
            if not found[key]:
                raise InputError(
                    f"{file}: a column {key!r} is needed ({', '.join(COLUMNS[key])} are read), and it has "
                    f"{', '.join(table.columns)}."
                )
        for number, fields in table.records:
            for key, name in found.items():
                if kind := kind_of(fields.get(name)):
                    raise InputError(f"{table.place(number)}: {name!r} is {kind}. Write the {key} as a text.")
            utt_id, predicted, true = (text_of(fields.get(found[key])) for key in COLUMNS)
            if not utt_id:
                raise InputError(f"{table.place(number)} has no id. Add it, or leave the row out.")
            utt_id = id_of(utt_id)
            true = true if found["true"] else str(utterances.get(utt_id, {}).get("emo", ""))
            if utt_id in decided:
                raise InputError(
                    f"{file}: {utt_id} is predicted twice. Give the seeds of a system apart, each as --predictions."
                )
            if not predicted or not true:
                what = "is predicted as nothing"
                if predicted:
                    what = "has no true label, neither here nor in the lists"
                    if utterances and utt_id not in utterances:
                        what += f": it is none of their ids, such as {next(iter(utterances))}, and none of their paths"
                raise InputError(f"{table.place(number)}: {utt_id} {what}. Add it, or leave the row out.")
            decided[utt_id] = true, predicted
            shares[utt_id] = {name: value for name, value in fields.items() if name not in found.values()}
    if not decided:
        raise InputError(f"{path} holds no prediction.")
    labels = sorted({label for pair in decided.values() for label in pair})
    true_labels, predicted_labels = map(set, zip(*decided.values()))
    if not true_labels & predicted_labels:
        raise InputError(
            f"{path}: the predictions are {', '.join(sorted(predicted_labels))}, and the true labels are "
            f"{', '.join(sorted(true_labels))}. Call them alike, or add a column true."
        )
    labels, posteriors = _read_posteriors(path, shares, labels)
    index = {label: i for i, label in enumerate(labels)}
    classes = np.array([[index[label] for label in pair] for pair in decided.values()])  # [N, 2]
    return System(path_text(path), labels, list(decided), classes[:, 0], classes[:, 1], posteriors)


def _read_posteriors(
    path: Path, rows: Mapping[str, Mapping[str, Any]], labels: Sequence[str]
) -> tuple[list[str], Optional[np.ndarray]]:
    """Read [N, C] from the columns that are called as the labels; (all labels, None) where one has no column.

    Columns of numbers are classes as well, which no utterance has and nothing was decided for, if all add up to 1.
    """
    known = {label.lower(): label for label in labels}
    if any(column not in row for row in rows.values() for column in known):
        return list(labels), None
    numbers = {column: found for column in next(iter(rows.values())) if column and (found := _numbers(rows, column))}
    lacking = [column for column in known if column not in numbers]
    if lacking:
        raise InputError(f"{path}: the posteriors in the column {lacking[0]!r} are not all numbers. Correct them.")
    choices = list(known), sorted({*known, *numbers})
    tables = [np.array([numbers[column] for column in columns]).T for columns in choices]  # [N, C] each
    are_right = [(found >= 0).all(axis=1) & (np.abs(found.sum(axis=1) - 1) < 0.01) for found in tables]
    for columns, found, is_right in zip(choices, tables, are_right):
        if is_right.all():
            return [known.get(column, column) for column in columns], found
    found, wrong = tables[0], int((~are_right[0]).argmax())
    cure = "Apply softmax"
    if (found >= 0).all():
        cure = "They are percentages: divide them by 100" if abs(found[wrong].sum() - 100) < 1 else "Normalise them"
    elif (found <= 0).all() and abs(np.exp(found[wrong]).sum() - 1) < 0.01:
        cure = "They are logarithms: apply exp"
    raise InputError(
        f"{path}: the posteriors of {list(rows)[wrong]} are {', '.join(f'{value:g}' for value in found[wrong])}; they "
        f"must be from 0 and add up to 1. {cure}, or leave the columns out."
    )


def _path_finder(utterances: Mapping[str, Mapping[str, Any]]) -> Callable[[str], str]:
    """Return what finds an id by the end of its path, with or without the ending; ids, and what is not found, stay."""
    by_name: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for utt_id, one in utterances.items():
        path = PurePosixPath(one.get("wav", ""))
        for written in (path, path.with_suffix("") if path.suffix else path):
            by_name[written.name].append((utt_id, f"/{written}"))

    def find(given: str) -> str:
        if given in utterances:
            return given
        path = "/" + given.replace("\\", "/").removeprefix("./")
        near = by_name.get(PurePosixPath(path).name, ())
        found = {utt_id for utt_id, wav in near if wav.endswith(path) or path.endswith(wav)}
        return found.pop() if len(found) == 1 else given

    return find


def _numbers(rows: Mapping[str, Mapping[str, Any]], column: str) -> list[float]:
    """Return a column's numbers; none where one is no number."""
    try:
        return [float(row[column]) for row in rows.values()]
    except (KeyError, TypeError, ValueError):
        return []
