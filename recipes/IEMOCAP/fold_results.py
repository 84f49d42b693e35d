"""What a tested fold leaves behind: test_metrics.json, predictions.csv, confusion.png and curves.png."""

import csv
import platform
from importlib.metadata import version
from pathlib import Path

from speechbrain_ext import __version__
from speechbrain_ext.atomic_write import atomic_write, write_json
from speechbrain_ext.plots import plot_confusion, plot_curves


def write_results(brain, hparams, fold, identity):
    """Write predictions.csv, the pictures and, last, test_metrics.json into the fold's folder; print the result.

    Arguments
    ---------
    brain : EmotionBrain
        After `evaluate`: its metrics, predictions, epochs, test_loss and tested_epoch are written.
    hparams : dict
        The hyperparameters.
    fold : speechbrain_ext.folds.Fold
        The fold.
    identity : dict
        What identifies the run: fold, seed, manifest.
    """
    folder = Path(hparams["output_folder"])
    emotions = list(hparams["emotions"])
    found = brain.metrics.compute()
    with atomic_write(folder / "predictions.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "true", "predicted", *emotions])
        for utt_id, (target, posteriors) in sorted(brain.predictions.items()):
            predicted = max(range(len(emotions)), key=posteriors.__getitem__)
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
        "validation": hparams["validation"],
        **identity,
        "versions": {
            "python": platform.python_version(),
            "speechbrain_ext": __version__,
            **{name: version(name) for name in ("speechbrain", "torch", "torchaudio", "transformers")},
        },
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
