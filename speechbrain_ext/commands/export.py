"""The command `export`: a trained fold becomes a bundle, which can go to the Hugging Face Hub."""

import argparse
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from speechbrain_ext.corpora.base import get_corpus
from speechbrain_ext.dataio.validation import VALIDATIONS
from speechbrain_ext.errors import InputError
from speechbrain_ext.results.tested_run import HINT, METRICS_FILE, RULES, SHARE, read_metrics
from speechbrain_ext.rules import OBJECT, mapping_of, one_of, optional, shown
from speechbrain_ext.training.hparams_file import HYPERPARAMS_FILE, read_settings, read_wiring

DESCRIPTION = """\
Write a trained fold as a bundle: the folder that `speechbrain-ext predict`, `timeline` and `web` take, and that
SpeechBrain's EncoderClassifier.from_hparams loads, offline.

    speechbrain-ext export results/loso/seed1/fold1 exported"""
RESULT_RULES = {
    **RULES,
    "recall": mapping_of(optional(SHARE)),
    "encoder_config": OBJECT,
    "validation": one_of(*VALIDATIONS),
}
# What of test_metrics.json stands in bundle.json.
RESULT_KEYS = (
    "WA",
    "UA",
    "n",
    "fold",
    "seed",
    "test_group",
    "n_folds",
    "validation",
    "tested_epoch",
    "manifest",
    "settings",
)
# The wiring of a bundle: part -> class -> argument -> the setting that it has; None where it has to be null.
TRUNCATED = {"layer_weights": "layer_weights", "feature_reduction": "feature_reduction", "waveform_scale": None}
WIRING: dict[str, dict[str, dict[str, Any]]] = {
    "waveform_store": {"WaveformStore": {"sample_rate_hz": "sample_rate"}},
    "eval_clip": {
        "ClipReader": {
            "store": "waveform_store",
            "max_s": "max_eval_s",
            "fixed_length_s": "fixed_length_s",
            "augment": None,
        }
    },
    "encoder": {
        "TruncatedHuBERT": TRUNCATED,
        "TruncatedEncoder": TRUNCATED,
        "FilterbankEncoder": {"sample_rate_hz": "sample_rate"},
    },
    "f_0": {"EmotionEmbedding": {}},  # other sizes would not fit
    "f_1": {"EmotionClassifier": {}},
}
DEFAULTS = {
    "feature_reduction": "first",
    "waveform_scale": "peak",
    "sample_rate_hz": 16_000,
}  # of an encoder's arguments
ONLY_TRAINED = ("mixup", "center_loss")  # modules that take no part in an answer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("fold_dir", metavar="FOLD_DIR", help="a tested fold's folder: results/<yaml>/seed<s>/fold<k>")
    parser.add_argument("out_dir", metavar="OUT_DIR", help="the folder to write")
    parser.add_argument(
        "--onnx",
        nargs="?",
        const="fp32",
        choices=["fp32", "int8"],
        help="also write model.onnx, or with --onnx=int8 model_int8.onnx, a quarter of its size",
    )
    parser.add_argument("--push_to_hub", metavar="USER/NAME", help="upload the bundle to the Hugging Face Hub")
    parser.add_argument("--public", action="store_true", help="with --push_to_hub: a new model is public, not private")
    parser.add_argument("--dry_run", action="store_true", help="with --push_to_hub: say what would be uploaded")


def run(options: argparse.Namespace) -> int:
    """Export a fold, and put it on the Hub if asked to."""
    from speechbrain_ext.inference.hub import bundle_files, check_hub_id, push_bundle  # only now: torch takes seconds

    hub_id = options.push_to_hub
    if hub_id:
        check_hub_id(hub_id)
    elif options.dry_run or options.public:
        raise InputError("--dry_run and --public belong to --push_to_hub=USER/NAME, which is missing.")
    export_fold(Path(options.fold_dir).expanduser(), Path(options.out_dir).expanduser(), hub_id, options.onnx)
    print(f"{options.out_dir} holds the bundle. Try: speechbrain-ext predict {options.out_dir} RECORDING")
    if hub_id and options.dry_run:
        kind = "public" if options.public else "private"
        print(f"Nothing was uploaded. To {hub_id}, {kind} unless it exists, would go:")
        for name, size in bundle_files(options.out_dir).items():
            print(f"{size:>15,} bytes  {name}")
    elif hub_id:
        print(f"Uploaded: {push_bundle(options.out_dir, hub_id, private=not options.public)}")
    return 0


def export_fold(fold_dir: Path, out_dir: Path, name: Optional[str] = None, onnx: Optional[str] = None) -> None:
    """Write the bundle of a fold's tested weights.

    Arguments
    ---------
    fold_dir : pathlib.Path
        A tested fold's folder.
    out_dir : pathlib.Path
        The folder to write.
    name : str, optional
        USER/NAME, where the bundle will be found on the Hub; by default the name of its folder.
    onnx : str, optional
        "fp32" or "int8": the bundle also holds the model as model.onnx or model_int8.onnx.

    Raises
    ------
    InputError
        If the fold is not finished, or `out_dir` holds something else.
    """
    from speechbrain_ext.inference.bundle_settings import BundleSettings
    from speechbrain_ext.inference.bundle_writer import write_bundle
    from speechbrain_ext.inference.model_card import model_card, title_of
    from speechbrain_ext.training.settings import check_settings

    metrics = read_result(fold_dir)
    settings, _ = read_settings(fold_dir / HYPERPARAMS_FILE)
    try:
        check_settings(settings)
    except InputError as error:
        raise InputError(f"{fold_dir / HYPERPARAMS_FILE}: {error}") from error
    _check_wiring(fold_dir, settings)
    facts = {
        "corpus": metrics["corpus"],
        "corpus_title": title_of(get_corpus(metrics["corpus"]), metrics["corpus_faults"]),
        "result": {key: metrics[key] for key in RESULT_KEYS},
        "trained_with": metrics["versions"],
    }
    values = {
        "emotions": metrics["emotions"],
        "emb_dim": settings["emb_dim"],
        "encoder_config": metrics["encoder_config"],
        "sample_rate": settings["sample_rate"],
        "layer_weights": settings["layer_weights"],
        "feature_reduction": settings["feature_reduction"],
        "waveform_scale": metrics.get("waveform_scale", settings["waveform_scale"]),  # what `auto` was
        "max_s": settings["max_eval_s"],
        "fixed_length_s": settings["fixed_length_s"],
        "mask_padding": settings["mask_padding"],
    }
    bundle_settings = BundleSettings(**json.loads(json.dumps(values)))  # ruamel.yaml has numbers and texts of its own
    card = model_card(metrics, settings, name or out_dir.resolve().name)
    trained = tested_weights(fold_dir, metrics["tested_epoch"], metrics)
    with tempfile.TemporaryDirectory() as folder:
        encoder = whole_encoder(trained["encoder"], settings, Path(folder))
        try:
            write_bundle(out_dir, {**trained, "encoder": encoder}, bundle_settings, card, facts, onnx)
        except InputError as error:
            raise InputError(str(error).replace(str(encoder), str(trained["encoder"]))) from error


def read_result(fold_dir: Path) -> dict[str, Any]:
    """Read a fold's test_metrics.json; refuse a fold that has none, or that is no result."""
    command = f"python train.py {fold_dir / HYPERPARAMS_FILE}"
    if not (fold_dir / HYPERPARAMS_FILE).exists():
        raise InputError(
            f"{fold_dir} is no fold's folder: it has no {HYPERPARAMS_FILE}. Give results/<yaml>/seed<s>/fold<k>."
        )
    path = fold_dir / METRICS_FILE
    if not path.exists():
        raise InputError(f"{fold_dir} has not been tested yet: it has no {METRICS_FILE}. `{command}` resumes it.")
    metrics = read_metrics(path, RESULT_RULES)
    if metrics.get("debug"):
        raise InputError(
            f"{fold_dir} was run with --debug, on a few batches: there is no model in it. Train without it."
        )
    if list(metrics["recall"]) != metrics["emotions"]:
        raise InputError(f"{path}: recall must have the emotions' names, got {shown(metrics['recall'])}. {HINT}")
    return metrics


def _check_wiring(fold_dir: Path, settings: Mapping[str, Any]) -> None:
    """Refuse a model that is not wired as a bundle is: its answers would be others."""
    wiring = read_wiring(fold_dir / HYPERPARAMS_FILE)
    parts = [part for name in WIRING for part in _differences(name, wiring.get(name), settings)]
    modules = wiring.get("modules", {})
    parts += [f"modules.{key}" for key in modules if key not in ONLY_TRAINED and modules[key] != _reference(key)]
    if parts:
        raise InputError(
            f"{fold_dir} cannot be exported: its own wiring of {', '.join(parts)} has no place in a bundle, whose "
            "answers would be others. Train with the wiring of loso.yaml, and say what differs by its settings."
        )


def _differences(name: str, node: Any, settings: Mapping[str, Any]) -> list[str]:
    """Name what of a part is wired otherwise: the part, where it is of another class; else arguments of it."""
    ((tag, arguments),) = node.items() if isinstance(node, dict) and len(node) == 1 else [("", None)]
    named = re.fullmatch(r"!new:speechbrain_ext\.(?:\w+\.)+(\w+)", tag)
    if not named or named[1] not in WIRING[name] or not isinstance(arguments, dict):
        return [name]
    return [
        f"{name}.{key}"
        for key, setting in WIRING[name][named[1]].items()
        if arguments.get(key, DEFAULTS.get(key)) not in (setting and _reference(setting), settings.get(setting))
    ]


def _reference(key: str) -> dict[str, str]:
    """Write a reference as `read_wiring` reads it."""
    return {"!ref": f"<{key}>"}


def tested_weights(fold_dir: Path, epoch: int, run: Mapping[str, Any]) -> dict[str, Path]:
    """Find the files of the checkpoint that was tested; it has to be the run's (fold, seed, manifest)."""
    from speechbrain_ext.training.checkpoints import AtomicCheckpointer, check_owner, check_whole

    checkpoint = AtomicCheckpointer(fold_dir / "save").find_checkpoint(
        ckpt_predicate=lambda checkpoint: checkpoint.meta.get("epoch") == epoch
    )
    if checkpoint is None:
        for folder in sorted((fold_dir / "save").glob("CKPT*")):
            check_whole(folder)  # a damaged one does not say its epoch
        raise InputError(
            f"{fold_dir / 'save'} holds no checkpoint of epoch {epoch}, which was tested. If the fold was copied, copy "
            "save/ as well."
        )
    check_whole(checkpoint.path)
    check_owner(checkpoint, run)
    return {name: checkpoint.paramfiles[name] for name in ("encoder", "f_0", "f_1")}


def whole_encoder(checkpoint: Path, settings: Mapping[str, Any], folder: Path) -> Path:
    """Return a file with all weights of an encoder: the checkpoint's, or a new one that joins it with its source.

    Arguments
    ---------
    checkpoint : pathlib.Path
        What was saved of the encoder.
    settings : dict
        The run's settings.
    folder : pathlib.Path
        Where a new file is written.

    Raises
    ------
    InputError
        If the source is not to be found, or is no longer the one with which the encoder was trained.
    """
    import torch

    from speechbrain_ext.lobes.encoder_checkpoint import BASE_KEY
    from speechbrain_ext.lobes.lora import merge_lora
    from speechbrain_ext.lobes.truncated_encoder import TruncatedEncoder

    if not settings["lora_rank"] and BASE_KEY not in torch.load(checkpoint, mmap=True, weights_only=True):
        return checkpoint
    encoder = TruncatedEncoder(
        settings["encoder_source"],
        settings["encoder_save_path"],
        settings["encoder_config"],
        num_layers=settings["num_layers"],
        layer_weights=settings["layer_weights"],
        feature_reduction=settings["feature_reduction"],
        freeze=settings["freeze_encoder"],
        freeze_feature_extractor=settings["freeze_feature_extractor"],
        lora_rank=settings["lora_rank"],
        lora_projections=settings["lora_projections"],
    )
    encoder.load_checkpoint(checkpoint, True)
    merge_lora(encoder)
    torch.save(encoder.state_dict(), folder / "encoder.ckpt")
    return folder / "encoder.ckpt"
