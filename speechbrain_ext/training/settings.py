"""The settings of one fold: read, completed and checked before anything is built; the corpus and split they name."""

import os
from pathlib import Path

from speechbrain_ext.corpora.base import prepare_corpus
from speechbrain_ext.dataio.audio import SHORTEST_S
from speechbrain_ext.dataio.folds import make_fold
from speechbrain_ext.dataio.manifest import fingerprint
from speechbrain_ext.dataio.waveform_scale import SCALES
from speechbrain_ext.errors import InputError, check_number, check_whole_number
from speechbrain_ext.training.run_folder import read_settings

NO_CORPUS = (
    "no corpus was given. Set --data_folder=/path/to/IEMOCAP_full_release (or the variable IEMOCAP_ROOT). IEMOCAP is "
    "free for research and is requested at https://sail.usc.edu/iemocap/iemocap_release.htm. Without it, `make demo` "
    "makes a synthetic corpus and runs everything."
)

# A resumed run may differ in these: they change nothing in its results.
RESUMABLE_KEYS = (
    "data_folder",
    "corpus_csv",
    "output_folder",
    "allow_incomplete",
    "tensorboard",
    "num_workers",
    "number_of_epochs",
    "eval_batch_size",
    "encoder_save_path",
    "checkpoint_activations",
    "corpus_in_memory",
    "checkpoints_in_background",
)

# What a run's results do not depend on, or what names the run; all other keys make up its settings' fingerprint.
UNFINGERPRINTED_KEYS = tuple(key for key in RESUMABLE_KEYS if key != "number_of_epochs") + ("fold", "seed")


def describe_corpus(settings):
    """Describe and check the corpus that the settings name; the paths in the manifest begin with "{data_root}"."""
    name, source = ("csv", settings["corpus_csv"]) if settings["corpus_csv"] else ("iemocap", settings["data_folder"])
    allow, rate = settings["allow_incomplete"], settings["sample_rate"]
    return prepare_corpus(name, source, allow_incomplete=allow, sample_rate_hz=rate).manifest


def data_root(settings):
    """Return the folder that the manifest's paths are relative to."""
    return Path(settings["corpus_csv"]).parent if settings["corpus_csv"] else Path(settings["data_folder"])


def fold_of(settings, manifest):
    """Split the corpus as the settings say."""
    return make_fold(
        manifest,
        settings["fold"],
        validation=settings["validation"],
        valid_fraction=settings["valid_fraction"],
        seed=settings["seed"],
        emotions=list(settings["emotions"]),
    )


def identity_of(settings, manifest):
    """Return what makes a run this one: its fold, its seed and its corpus."""
    return {"fold": settings["fold"], "seed": settings["seed"], "manifest": fingerprint(manifest)}


def complete_settings(hparams_file, overrides, run_opts):
    """Read the settings, with absolute paths and with SpeechBrain's options where the file has a key for them.

    Returns
    -------
    tuple
        (settings, overrides), as `read_settings` returns them.
    """
    settings, overrides = read_settings(hparams_file, overrides, own_checks=("fold", "seed"))
    given = {key: run_opts[key] for key in run_opts.overridden_args if key in settings}
    overrides.update(given)  # they change the results, so they are saved and compared like any other key
    check_settings({**settings, **given})
    corpus = settings["data_folder"] or os.environ.get("IEMOCAP_ROOT")
    if not corpus and not settings["corpus_csv"]:
        raise InputError(NO_CORPUS)
    paths = {"data_folder": corpus, **{key: settings[key] for key in ("corpus_csv", "output_folder")}}
    overrides.update({key: str(Path(path).expanduser().resolve()) for key, path in paths.items() if path})
    source = settings["encoder_source"]
    if source and Path(source).is_dir():  # else it is a Hub id
        overrides["encoder_source"] = str(Path(source).resolve())
    return read_settings(hparams_file, overrides, own_checks=("fold", "seed"))


def check_settings(settings):
    """Refuse, before anything is read or built, values that no run can use."""
    check_whole_number("seed", settings["seed"], 0)
    if settings["tested_weights"] not in ("best", "last"):
        raise InputError(f"tested_weights must be best or last, got {settings['tested_weights']!r}.")
    if settings["mixup_method"] not in ("label_adaptive", "conventional"):
        raise InputError(f"mixup_method must be label_adaptive or conventional, got {settings['mixup_method']!r}.")
    if settings["waveform_scale"] not in SCALES:
        raise InputError(f"waveform_scale must be one of {SCALES}, got {settings['waveform_scale']!r}.")
    emotions = settings["emotions"]
    if not isinstance(emotions, list) or len(emotions) < 2 or len(set(emotions)) < len(emotions):
        raise InputError(f"emotions must be a list of at least two different labels, got {emotions}.")
    if not settings["output_folder"] or Path(settings["output_folder"]).is_file():
        raise InputError(f"output_folder must name a folder, got {settings['output_folder']!r}.")
    for key in ("augment_prob", "mixup_prob"):
        check_number(key, settings[key], 0, 1)
    for key in ("batch_size", "eval_batch_size", "number_of_epochs", "num_layers", "sort_window", "emb_dim"):
        check_whole_number(key, settings[key], 1)
    for key in ("num_workers", "patience"):
        check_whole_number(key, settings[key], 0)
    check_number("lambda_c", settings["lambda_c"], 0, float("inf"))
    for key in ("lr", "lr_centers", "lr_divisor"):
        check_number(key, settings[key], 0, float("inf"), inclusive=False)
    for key in ("max_train_s", "max_eval_s", "fixed_length_s"):
        if settings[key] is not None:
            check_number(key, settings[key], SHORTEST_S, float("inf"))
    if not settings["max_grad_norm"] > 0:  # SpeechBrain would go up the gradient
        raise InputError(f"max_grad_norm must be positive, got {settings['max_grad_norm']}; .inf does not clip.")
