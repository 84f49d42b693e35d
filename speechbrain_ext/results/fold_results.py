"""What a tested fold leaves behind: test_metrics.json, predictions.csv and two pictures."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.dataio.folds import fold_names
from speechbrain_ext.errors import InputError
from speechbrain_ext.json_reader import with_checksum
from speechbrain_ext.results.comparability import cautions
from speechbrain_ext.results.plots import plot_confusion, plot_curves
from speechbrain_ext.results.tested_run import (
    METRICS_FILE,
    PREDICTIONS_FILE,
    PREDICTIONS_SUM,
    path_text,
    read_metrics,
    read_tested_run,
    write_predictions,
)
from speechbrain_ext.training.checkpoints import architecture_of
from speechbrain_ext.training.hparams_file import (
    HYPERPARAMS_FILE,
    hparams_text,
    plain_settings,
    settings_fingerprint,
)
from speechbrain_ext.training.run import Run
from speechbrain_ext.training.run_folder import read_run
from speechbrain_ext.training.settings import UNFINGERPRINTED_KEYS
from speechbrain_ext.versions import versions

PICTURES = ("confusion.png", "curves.png")


def is_finished(folder: str | Path, identity: Mapping[str, Any], settings: str) -> bool:
    """Tell whether a folder holds the results of this very run, given its identity and settings' fingerprint.

    Damaged results are none: the run is tested again.
    """
    path = Path(folder) / METRICS_FILE
    try:
        found = read_tested_run(path, read_metrics(path)).metrics
    except InputError:
        return False
    asked = {**identity, "settings": settings, "debug": False}
    return all({"debug": False, **found}.get(key) == value for key, value in asked.items())


def write_results(brain: Any, hparams: Mapping[str, Any], run: Run) -> None:
    """Write predictions.csv, the pictures and, last, test_metrics.json into the fold's folder; print the result.

    Arguments
    ---------
    brain : EmotionBrain
        After `evaluate`: its test_metrics, predictions, epochs, test_loss and tested_epoch are written.
    hparams : dict
        The hyperparameters.
    run : Run
        What was run.
    """
    metrics = collect_metrics(brain, hparams, run)
    emotions = metrics["emotions"]
    rows = ((utt_id, *decided) for utt_id, decided in sorted(brain.predictions.items()))
    metrics[PREDICTIONS_SUM] = write_predictions(run.folder / PREDICTIONS_FILE, emotions, rows)
    title = f"fold {metrics['fold']}, test on {metrics['test_group']}" + " (--debug: no result)" * brain.debug
    plot_confusion(metrics["confusion"], emotions, run.folder / PICTURES[0], title)
    plot_curves(brain.epochs, run.folder / PICTURES[1], brain.tested_epoch, title)
    write_json(with_checksum(metrics), run.folder / METRICS_FILE)
    print(f"\n{result_text(metrics)}")
    print(f"Written to {path_text(run.folder)}: {', '.join((METRICS_FILE, PREDICTIONS_FILE, *PICTURES))}")


def collect_metrics(brain: Any, hparams: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Put together the content of test_metrics.json; the arguments are those of `write_results`."""
    manifest, found = run.prepared.manifest, brain.test_metrics
    recorded = read_run(run.folder)
    # The settings are those of one process with batches as large.
    whole_batch = {"batch_size": hparams["batch_size"] * recorded["n_processes"]}
    text = hparams_text(run.folder / HYPERPARAMS_FILE, whole_batch)
    return {
        "WA": found["WA"],
        "UA": found["UA"],
        "recall": found["recall"],
        "absent": found["absent"],
        "n": found["n"],
        "emotions": list(hparams["emotions"]),
        "confusion": found["confusion"],
        "test_loss": brain.test_loss,
        "tested_epoch": brain.tested_epoch,
        "n_epochs": len(brain.epochs),
        "test_group": run.fold.test_group,
        "n_folds": len(fold_names(manifest)),
        "fold_cautions": [*run.prepared.notes, *run.fold.cautions],
        "validation": run.fold.validation,
        "tested_weights": "last" if hparams["validation"] == "none" else hparams["tested_weights"],
        **recorded,
        **({"debug": True} if brain.debug else {}),
        "settings": settings_fingerprint(text, UNFINGERPRINTED_KEYS),
        "hyperparameters": {
            key: _json_ready(value) for key, value in plain_settings(text).items() if key not in UNFINGERPRINTED_KEYS
        },
        "encoder_config": architecture_of(hparams["encoder"]),
        "waveform_scale": hparams["eval_clip"].waveform_scale,  # what `auto` was
        "versions": versions(),
        "epochs": brain.epochs,
        "speakers": {utt_id: manifest[utt_id]["speaker"] for utt_id in sorted(brain.predictions)},
    }


def result_text(metrics: Mapping[str, Any]) -> str:
    """Write a fold's result in plain text: WA, UA, what they are not, and the confusion counts with the recalls."""
    lines = [
        f"Fold {metrics['fold']} of {metrics['n_folds']}, tested on {metrics['test_group']} with the weights of epoch "
        f"{metrics['tested_epoch']}:",
        f"WA {100 * metrics['WA']:.2f}%   UA {100 * metrics['UA']:.2f}%   ({metrics['n']} utterances)",
    ]
    if metrics.get("debug"):
        lines.append("THIS IS NO RESULT: with --debug only a few batches are trained and tested.")
    lines += [*cautions([metrics["corpus"]], metrics["corpus_faults"]), *metrics["fold_cautions"]]
    if metrics["absent"]:
        lines.append(f"No test utterance of {', '.join(metrics['absent'])}: left out of UA.")
    rows = [["true", *metrics["emotions"], "recall"]]
    for emo, counts in zip(metrics["emotions"], metrics["confusion"]):
        recall = metrics["recall"][emo]
        rows.append([emo, *map(str, counts), "-" if recall is None else f"{100 * recall:.1f}%"])
    width = 2 + max(6, *(len(cell) for row in rows for cell in row))
    return "\n".join([*lines, *("".join(f"{cell:>{width}}" for cell in row) for row in rows)])


def _json_ready(value: Any) -> Any:
    """Write numbers that JSON does not have, such as .inf, as texts."""
    if isinstance(value, dict):
        return {key: _json_ready(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_json_ready(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
