"""What many tested runs say together: means, pooled accuracies, intervals, parts of the corpus, paired comparison."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any, Optional

import numpy as np
from numpy.typing import ArrayLike

from speechbrain_ext.errors import InputError
from speechbrain_ext.results.result_set import ResultSet
from speechbrain_ext.results.significance import (
    accuracies,
    bootstrap_difference,
    bootstrap_intervals,
    cluster_counts,
    mcnemar,
)
from speechbrain_ext.results.tested_run import TestedRun, path_text

NAMES = ("WA", "UA")


def summarise(result_set: ResultSet, part_of: Optional[Callable[[str], Optional[str]]] = None) -> dict[str, Any]:
    """Summarise the runs of one result set.

    Arguments
    ---------
    result_set : ResultSet
        The runs.
    part_of : callable, optional
        Utterance id -> name of the part of the corpus it belongs to, or None; each part is also summarised apart.

    Returns
    -------
    dict
        Ready for JSON; accuracies are fractions.

        - "subset" (a text) and "folds", "seeds", "emotions", "notes", "validation", "tested_weights", "corpus",
          "corpus_faults", "fold_cautions" (lists), "n_utterances", "n_speakers";
        - "runs": one dict a run: folder, seed, fold, test_group, n, WA, UA, tested_epoch, n_epochs;
        - "mean_of_folds": WA and UA, each {"mean", "std_folds", "std_seeds"}. Mean and std_folds are over the folds'
          means over seeds, std_seeds is over the seeds' means over folds (n - 1; None for a single one, and std_seeds
          where the seeds have different folds);
        - "pooled": the decisions of all folds taken as one test set (of all seeds, added up): WA, UA, recall, absent,
          confusion, and "over_utterances" and "over_speakers", 95% bootstrap intervals of this WA and UA (or None);
        - "parts": {name: pooled accuracies and intervals of a part};
        - "selection": None, or where every run tracked its test fold, the mean of folds with the epoch "by_protocol"
          and with the epoch that is best "on_test" (by WA, the first of equals), which no honest result may use;
        - "hyperparameters" and "versions": {name: list of the different values in the runs}.
    """
    runs = result_set.runs
    decisions = Decisions.of(runs)
    n_classes = len(result_set.emotions)
    confusion = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(confusion, (decisions.true, decisions.predicted), 1)
    n_true = confusion.sum(axis=1)
    pooled = decisions.accuracies(n_classes)
    pooled["recall"] = {
        emo: int(confusion[i, i]) / int(n_true[i]) if n_true[i] else None for i, emo in enumerate(result_set.emotions)
    }
    pooled["absent"] = [emo for emo, recall in pooled["recall"].items() if recall is None]
    pooled["confusion"] = confusion.tolist()
    part_by_id = {utt_id: part_of(utt_id) for utt_id in decisions.ids} if part_of else {}
    return {
        "subset": result_set.subset,
        "notes": list(result_set.notes),
        "emotions": list(result_set.emotions),
        "folds": list(result_set.folds),
        "seeds": list(result_set.seeds),
        **{key: sorted({run.metrics[key] for run in runs}) for key in ("corpus", "validation", "tested_weights")},
        **{
            key: list(dict.fromkeys(text for run in runs for text in run.metrics[key]))
            for key in ("corpus_faults", "fold_cautions")
        },
        "n_utterances": len(set(decisions.ids)),
        "n_speakers": len(set(decisions.speakers)),
        "runs": [_run_row(run, result_set) for run in runs],
        "mean_of_folds": {name: _mean_of_folds([(r.seed, r.fold, r.metrics[name]) for r in runs]) for name in NAMES},
        "pooled": pooled,
        "parts": {
            part: decisions.subset([part_by_id[utt_id] == part for utt_id in decisions.ids]).accuracies(n_classes)
            for part in sorted({part for part in part_by_id.values() if part is not None})
        },
        "selection": _selection(runs),
        "hyperparameters": _different_values(run.metrics["hyperparameters"] for run in runs),
        "versions": _different_values(run.metrics["versions"] for run in runs),
    }


def compare(set_a: ResultSet, set_b: ResultSet) -> dict[str, Any]:
    """Compare two systems, or two settings of one, on the utterances that both have tested.

    Returns
    -------
    dict
        Ready for JSON: "n_utterances", "mcnemar" (one dict for each seed that both have: seed, only_a, only_b, p),
        "over_utterances" and "over_speakers" (as `bootstrap_difference` returns them).

    Raises
    ------
    InputError
        If the emotions differ, the two have no utterance in common, or one is labelled differently.
    """
    if set_a.emotions != set_b.emotions:
        raise InputError(
            f"{set_a.folder} and {set_b.folder} cannot be compared: their emotions are {', '.join(set_a.emotions)} "
            f"and {', '.join(set_b.emotions)}."
        )
    a, b = Decisions.of(set_a.runs), Decisions.of(set_b.runs)
    true_a, true_b = dict(zip(a.ids, a.true)), dict(zip(b.ids, b.true))
    common = sorted(true_a.keys() & true_b.keys())
    if not common:
        raise InputError(f"{set_a.folder} and {set_b.folder} have tested no utterance in common: nothing to compare.")
    for utt_id in common:
        if true_a[utt_id] != true_b[utt_id]:
            raise InputError(
                f"{utt_id} is {set_a.emotions[true_a[utt_id]]} in {set_a.folder} and "
                f"{set_a.emotions[true_b[utt_id]]} in {set_b.folder}: they are not of the same corpus."
            )
    in_common = set(common)
    a, b = (one.subset([utt_id in in_common for utt_id in one.ids]) for one in (a, b))
    n_classes, speaker_of = len(set_a.emotions), dict(zip(a.ids, a.speakers))  # for both: it is the same utterance
    return {
        "n_utterances": len(common),
        "mcnemar": [
            {"seed": seed, **mcnemar(a.correct(seed, common), b.correct(seed, common))}
            for seed in sorted(set(set_a.seeds) & set(set_b.seeds))
            if a.has_all(seed, common) and b.has_all(seed, common)
        ],
        "over_utterances": bootstrap_difference(a.counts(a.ids, n_classes), b.counts(b.ids, n_classes)),
        "over_speakers": bootstrap_difference(
            a.counts(a.speakers, n_classes), b.counts([speaker_of[utt_id] for utt_id in b.ids], n_classes)
        ),
    }


@dataclass(frozen=True, eq=False)
class Decisions:
    """The decisions of many runs as columns, one entry for each tested utterance and seed.

    Attributes
    ----------
    seeds, ids, true, predicted, speakers : numpy.ndarray
        Seed, utterance id, true class index, decided class index and speaker, [N].
    """

    seeds: np.ndarray
    ids: np.ndarray
    true: np.ndarray
    predicted: np.ndarray
    speakers: np.ndarray

    @classmethod
    def of(cls, runs: Sequence[TestedRun]) -> "Decisions":
        """Take the decisions of runs."""
        return cls(
            np.concatenate([np.full(len(run.ids), run.seed, dtype=object) for run in runs]),
            np.concatenate([np.array(run.ids, dtype=object) for run in runs]),
            np.concatenate([run.true for run in runs]),
            np.concatenate([run.predicted for run in runs]),
            np.concatenate([np.array(run.speakers, dtype=object) for run in runs]),
        )

    def subset(self, chosen: Sequence[bool]) -> "Decisions":
        """Keep the decisions where a flag is set."""
        kept = np.asarray(chosen, dtype=bool)
        return Decisions(self.seeds[kept], self.ids[kept], self.true[kept], self.predicted[kept], self.speakers[kept])

    def counts(self, clusters: ArrayLike, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Count (hits, totals) by cluster, given that of each decision."""
        return cluster_counts(np.asarray(clusters, dtype=str), self.true, self.predicted, n_classes)[1:]

    def accuracies(self, n_classes: int) -> dict[str, Any]:
        """Compute the pooled WA and UA with their intervals over utterances and over speakers."""
        by_utterance = self.counts(self.ids, n_classes)
        WA, UA = accuracies(*(count.sum(axis=0) for count in by_utterance))
        return {
            "n_utterances": len(set(self.ids)),
            "WA": float(WA),
            "UA": float(UA),
            "over_utterances": bootstrap_intervals(*by_utterance),
            "over_speakers": bootstrap_intervals(*self.counts(self.speakers, n_classes)),
        }

    def has_all(self, seed: int, ids: Iterable[str]) -> bool:
        """Tell whether a seed has decided about all of these utterances."""
        return set(ids) <= set(self.ids[self.seeds == seed])

    def correct(self, seed: int, ids: Iterable[str]) -> np.ndarray:
        """Tell which of these utterances a seed got right, bool, in their order."""
        of_seed = self.subset(self.seeds == seed)
        right = dict(zip(of_seed.ids, of_seed.true == of_seed.predicted))
        return np.array([bool(right[utt_id]) for utt_id in ids])


def _run_row(run: TestedRun, result_set: ResultSet) -> dict[str, Any]:
    keys = ("seed", "fold", "test_group", "n", *NAMES, "tested_epoch", "n_epochs")
    return {"folder": path_text(run.folder.relative_to(result_set.folder)), **{key: run.metrics[key] for key in keys}}


def _mean_of_folds(values: list[tuple[int, int, float]]) -> dict[str, Optional[float]]:
    """Compute the mean over folds and the spread over folds and over seeds, from (seed, fold, value)."""
    by_seed: dict[int, list[float]] = {}
    by_fold: dict[int, list[float]] = {}
    for seed, fold, value in values:
        by_seed.setdefault(seed, []).append(value)
        by_fold.setdefault(fold, []).append(value)
    of_folds, of_seeds = (list(map(mean, found.values())) for found in (by_fold, by_seed))
    like = len(values) == len(of_folds) * len(of_seeds)  # else the seeds' means are of different folds
    return {
        "mean": mean(of_folds),
        "std_folds": stdev(of_folds) if len(of_folds) > 1 else None,
        "std_seeds": stdev(of_seeds) if like and len(of_seeds) > 1 else None,
    }


def _selection(runs: Sequence[TestedRun]) -> Optional[dict[str, dict[str, float]]]:
    epochs = [run.metrics["epochs"] for run in runs]
    if not all(found and all("test_WA" in epoch and "test_UA" in epoch for epoch in found) for found in epochs):
        return None
    best = [max(found, key=lambda epoch: epoch["test_WA"]) for found in epochs]  # max takes the first of equals
    return {
        "by_protocol": {name: mean(run.metrics[name] for run in runs) for name in NAMES},
        "on_test": {name: mean(epoch[f"test_{name}"] for epoch in best) for name in NAMES},
    }


def _different_values(tables: Iterable[dict[str, Any]]) -> dict[str, list[Any]]:
    """Collect the different values of each key, None where a table lacks it, in the order of the tables."""
    tables = list(tables)
    found: dict[str, list[Any]] = {}
    for key in dict.fromkeys(key for table in tables for key in table):
        for table in tables:
            values = found.setdefault(key, [])
            if table.get(key) not in values:
                values.append(table.get(key))
    return found
