"""Tested runs as their folders hold them, for tests; their numbers are scikit-learn's."""

import csv
import json

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score

EMOTIONS = ["ang", "sad"]
# Of three "ang" one is right, the one "sad" is: WA 2/4, UA (1/3 + 1) / 2.
TRUE, PREDICTED = [0, 0, 0, 1], [0, 1, 1, 1]
METRICS = {
    "test_loss": 1.0,
    "tested_epoch": 3,
    "n_epochs": 5,
    "n_folds": 5,
    "validation": "random",
    "tested_weights": "best",
    "corpus": "csv",
    "corpus_faults": [],
    "fold_cautions": [],
    "manifest": "a" * 64,
    "settings": "c" * 64,
    "hyperparameters": {"lr": 0.1, "emb_dim": 64},
    "versions": {"python": "3.11"},
    "epochs": [{"epoch": 1, "train_loss": 1.5}],
}


def write_predictions(folder, rows, columns=("id", "true", "predicted", *EMOTIONS)):
    """Write predictions.csv with these rows."""
    with open(folder / "predictions.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])


def write_run(folder, seed=1, fold=1, true=TRUE, predicted=PREDICTED, ids=None, labels=EMOTIONS, without=(), **changes):
    """Write a tested run; by default the ids of its utterances begin with its fold. Returns the folder.

    `changes` are of test_metrics.json alone.
    """
    ids = [f"f{fold}_{i}" for i in range(len(true))] if ids is None else ids
    classes = range(len(labels))
    recalls = recall_score(true, predicted, labels=classes, average=None, zero_division=np.nan)
    metrics = {
        **METRICS,
        "WA": accuracy_score(true, predicted),
        "UA": np.nanmean(recalls),
        "n": len(ids),
        "emotions": list(labels),
        "confusion": confusion_matrix(true, predicted, labels=classes).tolist(),
        "fold": fold,
        "seed": seed,
        "test_group": f"Session{fold}",
        "speakers": {utt_id: f"s{fold}{'fm'[i % 2]}" for i, utt_id in enumerate(ids)},
        **changes,
    }
    folder.mkdir(parents=True)
    kept = {key: value for key, value in metrics.items() if key not in without}
    (folder / "test_metrics.json").write_text(json.dumps(kept), encoding="utf-8")
    rows = [[utt_id, labels[t], labels[p]] + [0.25] * len(labels) for utt_id, t, p in zip(ids, true, predicted)]
    write_predictions(folder, rows, ["id", "true", "predicted", *labels])
    return folder


def write_runs(root, *pairs, **changes):
    """Write a tested run for each (seed, fold). Returns the folder of all."""
    for seed, fold in pairs:
        write_run(root / f"seed{seed}" / f"fold{fold}", seed, fold, **changes)
    return root
