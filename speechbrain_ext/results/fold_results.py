"""What a tested fold leaves behind: test_metrics.json, predictions.csv and two pictures."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechbrain_ext.atomic_write import atomic_write, write_json
from speechbrain_ext.results.plots import plot_confusion, plot_curves
from speechbrain_ext.training.hparams_file import HYPERPARAMS_FILE, settings_fingerprint
from speechbrain_ext.training.run import Run
from speechbrain_ext.training.run_folder import read_run
from speechbrain_ext.training.settings import UNFINGERPRINTED_KEYS
from speechbrain_ext.versions import versions


def is_finished(folder: str | Path, identity: Mapping[str, Any], settings: str) -> bool:
    """Tell whether a folder holds the results of this very run, given its identity and settings' fingerprint."""
    try:
        found = json.loads((Path(folder) / "test_metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(found, dict) or not (Path(folder) / "predictions.csv").is_file():
        return False
    asked = {**identity, "settings": settings, "debug": False}
    return all({"debug": False, **found}.get(key) == value for key, value in asked.items())


def write_results(brain: Any, hparams: Mapping[str, Any], run: Run) -> None:
    """Write predictions.csv, the pictures and, last, test_metrics.json into the fold's folder; print the result.

    Arguments
    ---------
    brain : EmotionBrain
        After `evaluate`: what it found, its predictions, epochs, test_loss and tested_epoch are written.
    hparams : dict
        The hyperparameters.
    run : Run
        What was run.
    """
    folder, fold, manifest = run.folder, run.fold, run.prepared.manifest
    identity = read_run(folder)
    if brain.debug:
        identity["debug"] = True  # a few batches only: no result
    # The settings are those of one process with batches as large.
    whole_batch = {"batch_size": hparams["batch_size"] * identity.get("n_processes", 1)}
    emotions = list(hparams["emotions"])
    found = brain.test_metrics
    with atomic_write(folder / "predictions.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "true", "predicted", *emotions])
        for utt_id, (target, predicted, posteriors) in sorted(brain.predictions.items()):
            writer.writerow([utt_id, emotions[target], emotions[predicted], *(f"{p:.8f}" for p in posteriors)])
    title = f"fold {hparams['fold']}, test on {fold.test_group}"
    plot_confusion(found["confusion"], emotions, folder / "confusion.png", title)
    plot_curves(brain.epochs, folder / "curves.png", brain.tested_epoch, title)
    results = {
        "WA": found["WA"],
        "UA": found["UA"],
        "recall": found["recall"],
        "absent": found["absent"],
        "n": found["n"],
        "emotions": emotions,
        "confusion": found["confusion"],
        "test_loss": brain.test_loss,
        "tested_epoch": brain.tested_epoch,
        "n_epochs": len(brain.epochs),
        "test_group": fold.test_group,
        "n_folds": len({entry["group"] for entry in manifest.values()}),
        "validation": hparams["validation"],
        "tested_weights": "last" if hparams["validation"] == "none" else hparams["tested_weights"],
        "corpus": "csv",
        "corpus_faults": [],
        **identity,
        "hyperparameters": {},
        "settings": settings_fingerprint(folder / HYPERPARAMS_FILE, whole_batch, leave_out=UNFINGERPRINTED_KEYS),
        "encoder_config": hparams["encoder"].architecture(),
        "versions": versions(),
        "epochs": brain.epochs,
        "speakers": {utt_id: manifest[utt_id]["speaker"] for utt_id in sorted(brain.predictions)},
    }
    write_json(results, folder / "test_metrics.json")
    print(f"\nFold {hparams['fold']}, tested on {fold.test_group} with the weights of epoch {brain.tested_epoch}:")
    print(f"WA {100 * found['WA']:.2f}%   UA {100 * found['UA']:.2f}%   ({found['n']} utterances)")
    if found["absent"]:
        print(f"No test utterance of {', '.join(found['absent'])}: left out of UA.")
    print("".join(f"{cell:>8}" for cell in ("true", *emotions, "recall")))
    for emo, row in zip(emotions, found["confusion"]):
        recall = "-" if found["recall"][emo] is None else f"{100 * found['recall'][emo]:.1f}%"
        print("".join(f"{cell:>8}" for cell in (emo, *row, recall)))
    print(f"Files: {folder}")
