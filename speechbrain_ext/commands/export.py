"""Export a trained fold as a bundle: a folder that SpeechBrain's EncoderClassifier loads, offline.

python recipes/IEMOCAP/export.py results/loso/seed1/fold1 exported
"""

import argparse
import csv
import json
from pathlib import Path

from speechbrain_ext.corpora.synthetic import MARKER
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.bundle_writer import write_bundle
from speechbrain_ext.inference.hub import bundle_files, check_hub_id, push_bundle
from speechbrain_ext.inference.model_card import model_card
from speechbrain_ext.results.report import are_iemocap
from speechbrain_ext.training.checkpoints import AtomicCheckpointer
from speechbrain_ext.training.run_folder import HYPERPARAMS_FILE, read_settings

# What of test_metrics.json a bundle carries along.
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


def export_fold(fold_dir, out_dir, name=None, onnx=False):
    """Write the bundle of a fold's tested weights.

    Arguments
    ---------
    fold_dir : str or pathlib.Path
        A tested fold's folder.
    out_dir : str or pathlib.Path
        The folder to write.
    name : str, optional
        USER/NAME, where the bundle will be found on the Hub; by default the name of its folder.
    onnx : bool
        Whether the bundle also holds the model as model.onnx.

    Raises
    ------
    InputError
        If the fold is not finished, or `out_dir` is not empty.
    """
    fold_dir = Path(fold_dir)
    metrics = read_metrics(fold_dir)
    settings, _ = read_settings(fold_dir / HYPERPARAMS_FILE, None)
    write_bundle(
        out_dir,
        weights=tested_weights(fold_dir, metrics["tested_epoch"]),
        encoder_config=metrics["encoder_config"],
        emotions=metrics["emotions"],
        emb_dim=settings["emb_dim"],
        card=model_card(metrics, settings, corpus_of(fold_dir, settings), name or Path(out_dir).resolve().name),
        about={"result": {key: metrics[key] for key in RESULT_KEYS}, "trained_with": metrics["versions"]},
        sample_rate=settings["sample_rate"],
        feature_reduction=settings["feature_reduction"],
        waveform_scale=settings["waveform_scale"],
        max_s=settings["max_eval_s"],
        fixed_length_s=settings["fixed_length_s"],
        mask_padding=settings["mask_padding"],
        onnx=onnx,
    )


def read_metrics(fold_dir):
    """Read a fold's test_metrics.json; refuse a fold that has none, or that is no result."""
    command = f"python train.py {fold_dir / HYPERPARAMS_FILE}"
    if not (fold_dir / HYPERPARAMS_FILE).is_file():
        raise InputError(
            f"{fold_dir} is no fold's folder: it has no {HYPERPARAMS_FILE}. Give results/<yaml>/seed<s>/fold<k>."
        )
    try:
        metrics = json.loads((fold_dir / "test_metrics.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{fold_dir} has not been tested yet: it has no test_metrics.json. `{command}` goes on with it."
        ) from None
    except ValueError as error:
        raise InputError(
            f"{fold_dir / 'test_metrics.json'} is no JSON: {error}. `{command} --test_only` writes it anew."
        ) from error
    if metrics.get("debug"):
        raise InputError(
            f"{fold_dir} was run with --debug, on a few batches: there is no model in it. Train without it."
        )
    if "encoder_config" not in metrics:
        raise InputError(
            f"{fold_dir} was tested by an older version, which kept no encoder_config. `{command} --test_only` adds it."
        )
    return metrics


def tested_weights(fold_dir, epoch):
    """Find the files of the checkpoint that was tested."""
    checkpoint = AtomicCheckpointer(fold_dir / "save").find_checkpoint(
        ckpt_predicate=lambda checkpoint: checkpoint.meta.get("epoch") == epoch
    )
    if checkpoint is None:
        raise InputError(
            f"{fold_dir / 'save'} holds no checkpoint of epoch {epoch}, which was tested. If the fold was copied, copy "
            "save/ as well."
        )
    return {name: checkpoint.paramfiles[name] for name in ("encoder", "f_0", "f_1")}


def corpus_of(fold_dir, settings):
    """Name the corpus that a fold was trained on, as `model_card` wants it."""
    if settings["corpus_csv"]:
        return Path(settings["corpus_csv"]).stem
    with open(fold_dir / "predictions.csv", newline="", encoding="utf-8") as file:
        if are_iemocap({row["id"] for row in csv.DictReader(file)}):
            return "IEMOCAP"
    folder = Path(settings["data_folder"])
    return "demo" if (folder / MARKER).is_file() else folder.name


def main(argv):
    """Export a fold, and put it on the Hub if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("fold_dir", metavar="FOLD_DIR", help="a tested fold's folder: results/<yaml>/seed<s>/fold<k>")
    parser.add_argument("out_dir", metavar="OUT_DIR", help="the folder to write")
    parser.add_argument("--onnx", action="store_true", help="also write model.onnx")
    parser.add_argument("--push_to_hub", metavar="USER/NAME", help="upload the bundle to the Hugging Face Hub")
    parser.add_argument("--public", action="store_true", help="with --push_to_hub: a new model is public, not private")
    parser.add_argument("--dry_run", action="store_true", help="with --push_to_hub: say what would be uploaded")
    options = parser.parse_args(argv)
    hub_id = options.push_to_hub
    if hub_id:
        check_hub_id(hub_id)
    elif options.dry_run or options.public:
        raise InputError("--dry_run and --public belong to --push_to_hub=USER/NAME, which is missing.")
    export_fold(options.fold_dir, options.out_dir, name=hub_id, onnx=options.onnx)
    print(f"{options.out_dir} holds the bundle. Try: speechbrain-ext predict {options.out_dir} RECORDING")
    if hub_id and options.dry_run:
        kind = "public" if options.public else "private"
        print(f"Nothing was uploaded. To {hub_id}, {kind} unless it exists, would go:")
        for name, size in bundle_files(options.out_dir).items():
            print(f"{size:>15,} bytes  {name}")
    elif hub_id:
        print(f"Uploaded: {push_bundle(options.out_dir, hub_id, private=not options.public)}")
