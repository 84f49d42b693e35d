"""What a run says of other corpora than its own: the files of each run, and what many runs say together."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.errors import InputError
from speechbrain_ext.json_reader import with_checksum
from speechbrain_ext.results.result_set import ResultSet
from speechbrain_ext.results.significance import accuracies
from speechbrain_ext.results.summary import NAMES, Decisions
from speechbrain_ext.results.tested_run import (
    HINT,
    METRICS_FILE,
    PREDICTIONS_FILE,
    PREDICTIONS_SUM,
    RULES,
    TestedRun,
    path_text,
    read_metrics,
    read_predictions,
    read_tested_run,
    write_predictions,
)
from speechbrain_ext.rules import ANY_TEXT, ANY_TEXTS, OBJECT, Rule, shown
from speechbrain_ext.training.other_corpora import ACROSS, OtherCorpus
from speechbrain_ext.training.run import Run

CROSS_FILE = "cross_metrics.json"  # not METRICS_FILE: it is no result of the run's own corpus
OF_RUN = ("corpus", "fold", "seed", "settings", "tested_epoch")
SHARED = (*OF_RUN, "WA", "UA", "n", "emotions", "confusion", "manifest", "speakers", "corpus_faults")
ACROSS_RULES: dict[str, Rule] = {
    **{key: RULES[key] for key in SHARED},
    "test_corpus": ANY_TEXT,
    "title": ANY_TEXT,
    "left_out": OBJECT,
    "not_there": ANY_TEXTS,
}


def lacks_cross_results(run: Run) -> bool:
    """Tell whether a run has yet to be tested on one of the other corpora that it names."""
    for other in run.others:
        path = run.folder / other.place / CROSS_FILE
        try:
            read_tested_run(path, read_metrics(path, ACROSS_RULES))
        except InputError:  # missing or damaged
            return True
    return False


def write_cross_results(brain: Any, run: Run, other: OtherCorpus) -> None:
    """Write predictions.csv and, last, cross_metrics.json of another corpus into the run's folder; print the result.

    Decisions are between the emotions that both corpora have: the others' posteriors are left out, and the rest is
    scaled to a sum of 1.

    Arguments
    ---------
    brain : EmotionBrain
        After `evaluate` on the other corpus; `write_results` has written the run's own result before.
    run : Run
        What was run.
    other : OtherCorpus
        The other corpus.
    """
    own = read_metrics(run.folder / METRICS_FILE)
    kept = [own["emotions"].index(emo) for emo in other.emotions]
    confusion = np.zeros((len(kept), len(kept)), dtype=np.int64)
    folder = run.folder / other.place
    rows = []
    for utt_id, (target, _, posteriors) in sorted(brain.predictions.items()):
        true, (decision, shares) = kept.index(target), decide_between(posteriors, kept)
        confusion[true, decision] += 1
        rows.append((utt_id, true, decision, shares))
    n_true = confusion.sum(axis=1)
    WA, UA = accuracies(confusion.diagonal(), n_true)
    metrics = {
        "WA": float(WA),
        "UA": float(UA),
        "n": int(n_true.sum()),
        "emotions": other.emotions,
        "confusion": confusion.tolist(),
        "test_corpus": other.name,
        "title": other.title,
        "left_out": other.left_out,
        "not_there": other.not_there,
        "manifest": other.fingerprint,
        "corpus_faults": other.faults,
        **{key: own[key] for key in OF_RUN},
        **({"debug": True} if brain.debug else {}),
        "speakers": {utt_id: other.manifest[utt_id]["speaker"] for utt_id in sorted(brain.predictions)},
        PREDICTIONS_SUM: write_predictions(folder / PREDICTIONS_FILE, other.emotions, rows),
    }
    write_json(with_checksum(metrics), folder / CROSS_FILE)
    print(
        f"\n{other.describe()}\nWA {100 * WA:.2f}%   UA {100 * UA:.2f}%   ({metrics['n']} utterances)\n"
        f"Written to {path_text(folder)}: {CROSS_FILE}, {PREDICTIONS_FILE}"
    )


def decide_between(posteriors: Sequence[float], kept: Sequence[int]) -> tuple[int, list[float]]:
    """Decide between some of the classes.

    Arguments
    ---------
    posteriors : list of float
        One for each class.
    kept : list of int
        The classes between which is decided.

    Returns
    -------
    tuple
        (place of the decision in `kept`, the kept posteriors with a sum of 1).

    Example
    -------
    >>> decide_between([0.6, 0.1, 0.3], kept=[1, 2])
    (1, [0.25, 0.75])
    """
    shares = np.array([posteriors[i] for i in kept])
    total = shares.sum()
    shares = shares / total if total > 0 else np.full(len(kept), 1 / len(kept))
    return int(shares.argmax()), [round(float(share), 12) for share in shares]


def summarise_across(result_set: ResultSet) -> list[dict[str, Any]]:
    """Summarise what the runs of a set say of other corpora.

    Arguments
    ---------
    result_set : ResultSet
        The runs.

    Returns
    -------
    list of dict
        Ready for JSON, one for each corpus, sorted by its folder's name: "test_corpus", "title", "emotions",
        "left_out", "not_there", "faults", "n_runs", "n_speakers"; the pooled "n_utterances", "WA", "UA",
        "over_utterances" and "over_speakers", as in `summarise`; "mean_of_runs" (WA and UA, each {"mean", "std"}); and
        "at_home", the same pooled numbers on the own corpus's test folds, between the same emotions.

    Raises
    ------
    InputError
        If files are broken, or runs were tested on different versions of a corpus.
    """
    files = [path for run in result_set.runs for path in run.folder.glob(f"{ACROSS}/*/{CROSS_FILE}")]
    names = sorted({path.parent.name for path in files})
    return [found for name in names if (found := _summarise_one(result_set, name))]


def _summarise_one(result_set: ResultSet, name: str) -> dict[str, Any]:
    tested = [(run, _read_cross_run(run, name)) for run in result_set.runs if _cross_file(run, name).is_file()]
    tested = [(run, across) for run, across in tested if not across.metrics.get("debug")]
    if not tested:
        return {}
    runs = [across for _, across in tested]
    first = runs[0].metrics
    for across in runs:
        for key in ("emotions", "manifest"):
            if across.metrics[key] != first[key]:
                raise InputError(
                    f"{runs[0].folder} and {across.folder} were tested on different versions of {first['title']} "
                    f"({key}). Test them again with the same --test_corpus."
                )
    emotions = first["emotions"]
    decisions = Decisions.of(runs)
    values = {key: [across.metrics[key] for across in runs] for key in NAMES}
    return {
        **{key: first[key] for key in ("test_corpus", "title", "emotions", "left_out", "not_there")},
        "faults": first["corpus_faults"],
        "n_runs": len(runs),
        "n_speakers": len(set(decisions.speakers)),
        **decisions.accuracies(len(emotions)),
        "mean_of_runs": {
            key: {"mean": mean(of_runs), "std": stdev(of_runs) if len(of_runs) > 1 else None}
            for key, of_runs in values.items()
        },
        "at_home": Decisions.of([_restricted(run, emotions) for run, _ in tested]).accuracies(len(emotions)),
    }


def _cross_file(run: TestedRun, name: str) -> Path:
    return run.folder / ACROSS / name / CROSS_FILE


def _read_cross_run(run: TestedRun, name: str) -> TestedRun:
    """Read what a run says of another corpus; refuse what an earlier run in this folder has left."""
    path = _cross_file(run, name)
    metrics = read_metrics(path, ACROSS_RULES)
    for key in ("fold", "seed", "settings"):
        if metrics[key] != run.metrics[key]:
            raise InputError(f"{path} is of another run: {key} is {metrics[key]}, here {run.metrics[key]}. {HINT}")
    if unknown := [emo for emo in metrics["emotions"] if emo not in run.metrics["emotions"]]:
        raise InputError(f"{path}: the run knows no emotion {shown(unknown[0])}. {HINT}")
    return read_tested_run(path, metrics)


def _restricted(run: TestedRun, emotions: Sequence[str]) -> TestedRun:
    """Decide about a run's own test clips of some emotions, between these alone."""
    decisions: dict[str, tuple[int, int]] = {}
    labels = run.metrics["emotions"]
    kept = [labels.index(emo) for emo in emotions]
    for utt_id, (true, _, posteriors) in read_predictions(run.folder / PREDICTIONS_FILE, run.metrics).items():
        if true in kept:
            decisions[utt_id] = kept.index(true), decide_between(posteriors, kept)[0]
    return TestedRun.of(run.folder, run.metrics, decisions)
