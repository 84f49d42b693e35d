"""What a fold leaves behind: epochs.json, and once tested test_metrics.json, predictions.csv and two pictures."""

import csv
import json
from pathlib import Path

from speechbrain_ext.atomic_write import atomic_write, write_json
from speechbrain_ext.errors import InputError
from speechbrain_ext.results.plots import plot_confusion, plot_curves
from speechbrain_ext.training.run_folder import HYPERPARAMS_FILE, RUN_FILE, settings_fingerprint
from speechbrain_ext.training.settings import UNFINGERPRINTED_KEYS
from speechbrain_ext.versions import versions

EPOCHS_FILE = "epochs.json"


def write_epochs(folder, epochs):
    """Write the numbers of all epochs so far into a fold's folder, for whoever watches it."""
    write_json(epochs, Path(folder) / EPOCHS_FILE)


def read_epochs(folder):
    """Read the numbers of a fold's epochs; an empty list where none has ended, or none can be read."""
    try:
        epochs = json.loads((Path(folder) / EPOCHS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return epochs if isinstance(epochs, list) else []


def check_epochs(settings):
    """Refuse a fold's folder that has been trained for more epochs than the settings ask for."""
    n_epochs = len(read_epochs(settings["output_folder"]))
    if n_epochs > settings["number_of_epochs"]:
        raise InputError(
            f"{settings['output_folder']} has been trained for {n_epochs} epochs, more than number_of_epochs "
            f"({settings['number_of_epochs']}). Raise it, or choose another --output_folder."
        )


def processes_of(folder, n_processes, test_only=False):
    """Return with how many processes a fold is trained; refuse to go on with another number of them.

    Each process takes `batch_size` clips of a batch, so with another number the batches would be others.
    """
    run = read_run(folder)
    if not run or not any(Path(folder).glob("save/CKPT*")):
        return n_processes
    begun = run.get("n_processes", 1)
    if begun != n_processes and not test_only:
        raise InputError(
            f"{folder} is trained by {begun} {'process' if begun == 1 else 'processes'}, of batch_size clips each, and "
            f"this is a run of {n_processes}. Start {begun}, or choose another --output_folder."
        )
    return begun


def note_processes(folder, n_processes):
    """Note in a claimed folder with how many processes its fold is trained, where it is not one."""
    if n_processes > 1:
        write_json({**read_run(folder), "n_processes": n_processes}, Path(folder) / RUN_FILE)


def read_run(folder):
    """Read what makes a folder's run this one; an empty dict where nothing can be read."""
    try:
        run = json.loads((Path(folder) / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return run if isinstance(run, dict) else {}


def is_finished(folder, identity, settings):
    """Tell whether a folder holds the results of this very run, given its identity and settings' fingerprint."""
    try:
        found = json.loads((Path(folder) / "test_metrics.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(found, dict) or not (Path(folder) / "predictions.csv").is_file():
        return False
    asked = {**identity, "settings": settings, "debug": False}
    return all({"debug": False, **found}.get(key) == value for key, value in asked.items())


def write_results(brain, hparams, manifest, fold):
    """Write predictions.csv, the pictures and, last, test_metrics.json into the fold's folder; print the result.

    Arguments
    ---------
    brain : EmotionBrain
        After `evaluate`: what it found, its predictions, epochs, test_loss and tested_epoch are written.
    hparams : dict
        The hyperparameters.
    manifest : dict
        The corpus.
    fold : speechbrain_ext.dataio.folds.Fold
        The fold.
    """
    folder = Path(hparams["output_folder"])
    identity = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
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
