"""The settings of one fold: completed and checked before anything is read or built."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from speechbrain_ext.augment.waveforms import check_name
from speechbrain_ext.corpora.base import check_part, get_corpus
from speechbrain_ext.corpora.sources import check_data_folder
from speechbrain_ext.dataio.audio import WAVEFORM_SCALES, check_fixed_length
from speechbrain_ext.dataio.validation import VALIDATIONS
from speechbrain_ext.errors import InputError, check_number, check_whole_number
from speechbrain_ext.limits import LARGEST_EMBEDDING, LONGEST_CLIP_S, MOST_LAYERS, RATES_HZ, SHORTEST_S
from speechbrain_ext.nnet.class_weights import check_class_weights
from speechbrain_ext.rules import check_values, whole
from speechbrain_ext.training.cache_settings import cache_folder, check_cache_settings
from speechbrain_ext.training.hparams_file import PathLike, load_hparams, read_settings
from speechbrain_ext.training.other_corpora import find_other_corpora

PRECISIONS = ("auto", "fp32", "fp16", "bf16")

# A resumed run may differ in these: they change nothing in its results.
RESUMABLE_KEYS = (
    "data_folder",
    "corpus_csv",
    "corpus_metadata",
    "test_corpus",
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
    "feature_cache",
)

# What a run's results do not depend on, or what names the run; all other keys make up its settings' fingerprint.
UNFINGERPRINTED_KEYS = tuple(key for key in RESUMABLE_KEYS if key != "number_of_epochs") + ("fold", "seed")
LIMITED = {"sample_rate": whole(*RATES_HZ), "emb_dim": whole(1, LARGEST_EMBEDDING), "num_layers": whole(1, MOST_LAYERS)}
OWN_CHECKS = ("fold", "seed")


def complete_settings(
    hparams_file: PathLike, overrides: Optional[Mapping[str, Any]] = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the settings, with absolute paths and with the corpus that the options name.

    Arguments
    ---------
    hparams_file : str or pathlib.Path
        The YAML file.
    overrides : dict, optional
        Values that replace the file's.

    Returns
    -------
    tuple
        (settings, overrides), as `read_settings` returns them. Where another corpus than the file's is named and no
        emotions are, `emotions` is None: those of the corpus.

    Raises
    ------
    InputError
        For a value that no run can use.
    """
    settings, given = read_settings(hparams_file, overrides, OWN_CHECKS)
    check_settings(settings)
    corpus = get_corpus("csv" if settings["corpus_csv"] and "corpus" not in given else settings["corpus"])
    if settings["corpus_csv"] and corpus.name != "csv":
        raise InputError(
            f"corpus is {corpus.name}, and corpus_csv is {settings['corpus_csv']}: leave one of them out "
            "(--corpus_csv=null, or --corpus=csv)."
        )
    given["corpus_metadata"] = _find_metadata(corpus.metadata, settings, given)
    given["corpus"] = corpus.name
    part = check_part(corpus, settings["corpus_part"])
    if not _emotions_are_chosen(hparams_file, given):
        given["emotions"] = list(corpus.emotions_of(part)) or None
    source_key = "corpus_csv" if corpus.name == "csv" else "data_folder"
    variable = f"{corpus.name.partition(':')[0].upper()}_ROOT" if source_key == "data_folder" else ""
    source = settings[source_key] or os.environ.get(variable)
    if not source:
        raise InputError(
            f"no corpus was given. Set --{source_key}=PATH{f' (or the variable {variable})' if variable else ''} for "
            f"{corpus.title}: {corpus.source} Without it, `make demo` makes a synthetic corpus and runs everything."
        )
    paths = {
        source_key: source,
        "output_folder": settings["output_folder"],
        "feature_cache": settings["feature_cache"],
    }
    given.update({key: str(Path(path).expanduser().resolve()) for key, path in paths.items() if path})
    if corpus.name != "csv":
        check_data_folder(Path(given["data_folder"]), f"holds {corpus.title}")
    given["test_corpus"] = find_other_corpora(settings["test_corpus"], corpus.name, given[source_key])
    check_folder(Path(given["output_folder"]))
    if settings["cache_features"] and not (folder := cache_folder({"feature_cache": None, **given})).is_dir():
        check_folder(folder, "feature_cache")
    if settings["encoder_source"]:
        given["encoder_source"] = _find_encoder(settings["encoder_source"])
    return read_settings(hparams_file, given, OWN_CHECKS)


def _find_metadata(folder: Optional[Path], settings: Mapping[str, Any], given: Mapping[str, Any]) -> Optional[str]:
    """Return the absolute path in emobox:PATH. It is saved beside the name, and a resumed run may find it elsewhere."""
    if folder is None:
        return None
    saved = settings["corpus_metadata"] if "corpus_metadata" in given or "corpus" not in given else None
    return str(Path(saved or folder).expanduser().resolve())


def check_folder(folder: Path, key: str = "output_folder") -> None:
    """Refuse a folder that cannot be made, or not be written to."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    why = "it is a file" if folder.is_file() else f"{there} is a file" if not there.is_dir() else ""
    if not why and not os.access(there, os.W_OK):
        why = f"{there} is not yours to write to"
    if why:
        raise InputError(f"{key} {folder} cannot be written: {why}. Choose another --{key}.")


def _find_encoder(source: str) -> str:
    """Return the absolute path of an encoder's folder; what cannot be a folder is an id on the Hub."""
    path = Path(source).expanduser()
    if path.is_dir():
        return str(path.resolve())
    if path.exists() or source.startswith((".", "/", "~")) or source.rstrip("/").count("/") > 1:
        why = "is a file" if path.exists() else "does not exist"
        raise InputError(
            f"encoder_source {source} {why}: give the folder of a checkpoint, or an id on the Hugging Face Hub such as "
            "facebook/hubert-large-ll60k."
        )
    return source.rstrip("/")


def _emotions_are_chosen(hparams_file: PathLike, given: Mapping[str, Any]) -> bool:
    """Tell whether the emotions were said for the corpus, not for another one that a base file or the file names."""
    if "emotions" in given:
        return True
    keys, _, depth = load_hparams(Path(hparams_file))
    if keys["corpus"] == given["corpus"] or (given["corpus"] == "csv" and keys["corpus_csv"]):
        return depth["emotions"] >= max(depth["corpus"], depth["corpus_csv"])
    return False


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse, before anything is read or built, values that no run can use."""
    check_whole_number("seed", settings["seed"], 0)
    check_whole_number("fold", settings["fold"], 1)
    if settings["n_folds"] is not None:
        check_whole_number("n_folds", settings["n_folds"], 2)
    if not isinstance(settings["group_by"], str | None):
        raise InputError(f"group_by must name an attribute, such as speaker, or be null, got {settings['group_by']!r}.")
    for key, known in (
        ("tested_weights", ("best", "last")),
        ("validation", VALIDATIONS),
        ("mixup_method", ("label_adaptive", "conventional")),
        ("waveform_scale", (*WAVEFORM_SCALES, "auto")),
        ("layer_weights", (None, "learned")),
        ("feature_reduction", ("first", "mean", "attentive")),
        ("precision", PRECISIONS),
        ("eval_precision", PRECISIONS[1:]),
    ):
        if settings[key] not in known:
            raise InputError(f"{key} must be one of {', '.join(map(str, known))}, got {settings[key]!r}.")
    _check_emotions(settings["emotions"])
    augmentations = settings["augmentations"]
    if augmentations is not None and not isinstance(augmentations, list):
        raise InputError(f"augmentations must be a list, such as [gain, pitch_shift], got {augmentations!r}.")
    for name in augmentations or ():
        if isinstance(name, str) and not getattr(name, "tag", None):
            check_name(name)
    counts = settings["n_augmentations"]
    if counts is not None and not (
        isinstance(counts, list)
        and len(counts) == 2
        and all(type(n) is int for n in counts)
        and 0 <= counts[0] <= counts[1]
    ):
        raise InputError(f"n_augmentations must be two whole numbers, such as [1, 3], or null, got {counts!r}.")
    for key in (
        "allow_incomplete", "tensorboard", "corpus_in_memory", "checkpoints_in_background", "track_test",
        "mask_padding", "mixup_overwrite_same_class", "freeze_feature_extractor", "freeze_encoder", "cache_features",
        "checkpoint_activations", "compile_layers", "balanced_sampling",
    ):  # fmt: skip
        if not isinstance(settings[key], bool):
            raise InputError(f"{key} must be True or False, got {settings[key]!r}.")
    for key in (
        "corpus", "data_folder", "corpus_metadata", "corpus_part", "corpus_csv", "encoder_source", "encoder_save_path",
        "feature_cache", "output_folder",
    ):  # fmt: skip
        if not isinstance(settings[key], str | None):
            raise InputError(f"{key} must be a text or null, got {settings[key]!r}.")
    if not settings["output_folder"]:
        raise InputError(f"output_folder must name a folder, got {settings['output_folder']!r}.")
    for key in ("augment_prob", "mixup_prob", "mixup_lam"):
        check_number(key, settings[key], 0, 1)
    for key in ("batch_size", "eval_batch_size", "number_of_epochs", "sort_window", "grad_accumulation_factor"):
        check_whole_number(key, settings[key], 1)
    check_values({key: settings[key] for key in LIMITED}, LIMITED)
    for key in ("num_workers", "patience", "lr_last_epoch", "nonfinite_patience", "lora_rank"):
        check_whole_number(key, settings[key], 0)
    if settings["lora_rank"] and settings["freeze_encoder"]:
        raise InputError(
            f"lora_rank is {settings['lora_rank']}, and freeze_encoder: True trains no part of the encoder: set one of "
            "them to its default (--lora_rank=0, or --freeze_encoder=False)."
        )
    _check_filterbanks(settings)
    names = settings["lora_projections"]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"lora_projections must be a list of names, such as [q_proj, v_proj], got {names!r}.")
    for key in ("lambda_c", "focal_gamma", "logit_adjustment"):
        check_number(key, settings[key], 0, float("inf"))
    check_class_weights(settings["class_weights"])
    check_cache_settings(settings)
    check_number("valid_fraction", settings["valid_fraction"], 0, 1, inclusive=False)
    check_number("projection_dropout", settings["projection_dropout"], 0, 1)
    for key in ("lr", "lr_centers", "lr_divisor", "adam_eps"):
        check_number(key, settings[key], 0, float("inf"), inclusive=False)
    for key in ("max_train_s", "max_eval_s"):
        if settings[key] is not None:
            check_number(key, settings[key], SHORTEST_S, LONGEST_CLIP_S)
    check_fixed_length(settings["fixed_length_s"], settings["sample_rate"])
    norm = settings["max_grad_norm"]
    if not isinstance(norm, (int, float)) or not norm > 0:  # SpeechBrain would go up the gradient
        raise InputError(f"max_grad_norm must be a positive number, got {norm}; .inf does not clip.")
    if not re.fullmatch(r"[\[(]\s*0?(\.\d+)?\s*,\s*0?(\.\d+)?\s*[\])]", str(settings["adam_betas"])):
        raise InputError(f"adam_betas must be two numbers below 1, such as (0.9, 0.98), got {settings['adam_betas']}.")


def _check_filterbanks(settings: Mapping[str, Any]) -> None:
    """Refuse what an encoder of filterbanks has no use for: it would be ignored."""
    config = settings["encoder_config"]
    if not isinstance(config, dict | None):
        raise InputError(f"encoder_config must be a mapping or null, got {config!r}.")
    if (config or {}).get("model_type") != "filterbank":
        return
    unused = {
        "encoder_source": None,
        "num_layers": 22,
        "layer_weights": None,
        "feature_reduction": "first",
        "freeze_feature_extractor": True,
        "freeze_encoder": False,
        "lora_rank": 0,
        "cache_features": False,
        "checkpoint_activations": False,
        "compile_layers": False,
    }  # as hparams/loso.yaml has them
    for key, value in unused.items():
        if settings[key] != value:
            raise InputError(
                f"{key} is for pretrained encoders, and encoder_config.model_type is filterbank: leave {key} out, or "
                f"take hparams/loso.yaml. Got {settings[key]!r}."
            )


def _check_emotions(labels: Any) -> None:
    if labels is None:  # the corpus's own
        return
    if not isinstance(labels, list) or len(labels) < 2 or len(set(map(str, labels))) < len(labels):
        raise InputError(f"emotions must be a list of at least two different labels, got {labels}.")
    for label in labels:
        if not isinstance(label, str):
            raise InputError(f'emotions must be texts, got {label!r}: write it in quotes in the YAML file, "{label}".')
