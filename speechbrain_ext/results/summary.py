"""What many tested runs say together: means, pooled accuracies, intervals, parts of the corpus, paired comparison."""

from statistics import mean, stdev

import numpy as np

from speechbrain_ext.errors import InputError
from speechbrain_ext.results.significance import accuracies, bootstrap_intervals, mcnemar, paired_bootstrap, unit_counts

NAMES = ("WA", "UA")


def summarise(result_set, part_of=None):
    """Summarise the runs of one result set.

    Arguments
    ---------
    result_set : speechbrain_ext.results.result_set.ResultSet
        The runs.
    part_of : callable, optional
        Utterance id -> name of the part of the corpus it belongs to, or None; each part is also summarised apart.

    Returns
    -------
    dict
        Ready for JSON; accuracies are fractions.

        - "folds", "seeds", "emotions", "notes", "validation" and "tested_weights" (lists), "n_utterances",
          "n_speakers" (None if unknown);
        - "runs": one dict a run: folder, seed, fold, test_group, n, WA, UA, tested_epoch, n_epochs;
        - "mean_of_folds": WA and UA, each {"mean", "std_folds", "std_seeds"}. Mean and std_folds are over the folds'
          means over seeds, std_seeds is over the seeds' means over folds (n - 1; None for a single one, and std_seeds
          where the seeds have different folds);
        - "pooled": the decisions of all folds taken as one test set (of all seeds, added up): WA, UA, recall, absent,
          confusion, and "over_utterances" and "over_speakers", 95% bootstrap intervals of this WA and UA (or None);
        - "parts": {name: pooled accuracies and intervals of a part};
        - "selection": None, or where every run tracked its test fold, the mean of folds with the epoch "by_protocol"
          and with the epoch that is best "on_test" (by WA, the first of equals), which no honest result may use.
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
    parts = sorted({part_of(utt_id) for utt_id in decisions.ids} - {None}) if part_of else []
    return {
        "notes": list(result_set.notes),
        "emotions": list(result_set.emotions),
        "folds": list(result_set.folds),
        "seeds": list(result_set.seeds),
        "validation": sorted({run.metrics["validation"] for run in runs if run.metrics["validation"]}),
        "tested_weights": sorted({run.metrics.get("tested_weights") for run in runs} - {None}),
        "n_utterances": len(set(decisions.ids)),
        "n_speakers": None if decisions.speakers is None else len(set(decisions.speakers)),
        "runs": [_run_row(run, result_set.folder) for run in runs],
        "mean_of_folds": {name: _mean_of_folds([(r.seed, r.fold, r.metrics[name]) for r in runs]) for name in NAMES},
        "pooled": pooled,
        "parts": {
            part: decisions.subset([part_of(utt_id) == part for utt_id in decisions.ids]).accuracies(n_classes)
            for part in parts
        },
        "selection": _selection(runs),
    }


def compare(set_a, set_b):
    """Compare two result sets on the utterances that both have tested.

    Arguments
    ---------
    set_a, set_b : speechbrain_ext.results.result_set.ResultSet
        Two systems, or two settings of one.

    Returns
    -------
    dict
        Ready for JSON: "n_utterances", "mcnemar" (one dict for each seed that both have: seed, only_a, only_b, p),
        "over_utterances" and "over_speakers" (as `paired_bootstrap` returns them, or None where speakers are unknown).

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
    n_classes = len(set_a.emotions)
    counts = [unit_counts(one.ids, one.true, one.predicted, n_classes)[1:] for one in (a, b)]
    over_speakers = None
    known = next((one for one in (a, b) if one.speakers is not None), None)
    if known is not None:  # the other's are the same: it is the same utterance
        speaker_of = dict(zip(known.ids, known.speakers))
        over_speakers = paired_bootstrap(
            *(
                unit_counts([speaker_of[utt_id] for utt_id in one.ids], one.true, one.predicted, n_classes)[1:]
                for one in (a, b)
            )
        )
    return {
        "n_utterances": len(common),
        "mcnemar": [
            {"seed": seed, **mcnemar(a.correct(seed, common), b.correct(seed, common))}
            for seed in sorted(set(set_a.seeds) & set(set_b.seeds))
            if a.has_all(seed, common) and b.has_all(seed, common)
        ],
        "over_utterances": paired_bootstrap(*counts),
        "over_speakers": over_speakers,
    }


class Decisions:
    """The decisions of many runs as flat columns, one entry for each tested utterance and seed.

    Arguments
    ---------
    seeds, ids, true, predicted : numpy.ndarray
        Seed, utterance id, true and decided class index, [N].
    speakers : numpy.ndarray, optional
        Who speaks, [N]; None where that is not known of all.
    """

    def __init__(self, seeds, ids, true, predicted, speakers=None):
        self.seeds, self.ids, self.true, self.predicted, self.speakers = seeds, ids, true, predicted, speakers

    @classmethod
    def of(cls, runs):
        """Take the decisions of runs."""
        known = all(run.speakers is not None for run in runs)
        return cls(
            np.concatenate([np.full(len(run.ids), run.seed) for run in runs]),
            np.concatenate([np.array(run.ids, dtype=object) for run in runs]),
            np.concatenate([run.true for run in runs]),
            np.concatenate([run.predicted for run in runs]),
            np.concatenate([np.array(run.speakers, dtype=object) for run in runs]) if known else None,
        )

    def subset(self, chosen):
        """Keep the decisions where a flag is set."""
        chosen = np.asarray(chosen, dtype=bool)
        columns = (self.seeds, self.ids, self.true, self.predicted, self.speakers)
        return Decisions(*(None if column is None else column[chosen] for column in columns))

    def accuracies(self, n_classes):
        """Compute the pooled WA and UA with their intervals over utterances and over speakers."""
        counts = unit_counts(self.ids.astype(str), self.true, self.predicted, n_classes)[1:]
        WA, UA = accuracies(*(count.sum(axis=0) for count in counts))
        over_speakers = None
        if self.speakers is not None:
            over_speakers = bootstrap_intervals(
                *unit_counts(self.speakers.astype(str), self.true, self.predicted, n_classes)[1:]
            )
        return {
            "n_utterances": len(set(self.ids)),
            "WA": float(WA),
            "UA": float(UA),
            "over_utterances": bootstrap_intervals(*counts),
            "over_speakers": over_speakers,
        }

    def has_all(self, seed, ids):
        """Tell whether a seed has decided about all of these utterances."""
        return set(ids) <= set(self.ids[self.seeds == seed])

    def correct(self, seed, ids):
        """Tell which of these utterances a seed got right, bool, in their order."""
        of_seed = self.subset(self.seeds == seed)
        right = dict(zip(of_seed.ids, of_seed.true == of_seed.predicted))
        return np.array([bool(right[utt_id]) for utt_id in ids])


def _run_row(run, folder):
    keys = ("seed", "fold", "test_group", "n", *NAMES, "tested_epoch", "n_epochs")
    return {"folder": str(run.folder.relative_to(folder)), **{key: run.metrics.get(key) for key in keys}}


def _mean_of_folds(values):
    """Compute the mean over folds and the spread over folds and over seeds, from (seed, fold, value)."""

    def means_by(position):
        by = {}
        for row in values:
            by.setdefault(row[position], []).append(row[2])
        return [mean(found) for found in by.values()]

    of_folds, of_seeds = means_by(1), means_by(0)
    like = len(values) == len(of_folds) * len(of_seeds)  # else the seeds' means are of different folds
    return {
        "mean": mean(of_folds),
        "std_folds": stdev(of_folds) if len(of_folds) > 1 else None,
        "std_seeds": stdev(of_seeds) if like and len(of_seeds) > 1 else None,
    }


def _selection(runs):
    epochs = [run.metrics["epochs"] for run in runs]
    if not all(found and all("test_WA" in epoch and "test_UA" in epoch for epoch in found) for found in epochs):
        return None
    best = [max(found, key=lambda epoch: epoch["test_WA"]) for found in epochs]  # max takes the first of equals
    return {
        "by_protocol": {name: mean(run.metrics[name] for run in runs) for name in NAMES},
        "on_test": {name: mean(epoch[f"test_{name}"] for epoch in best) for name in NAMES},
    }
