"""Writing a bundle: a trained classifier as one folder that `EncoderClassifier.from_hparams` loads."""

import dataclasses
import filecmp
import io
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import ruamel.yaml

from speechbrain_ext.atomic_write import sync, write_json
from speechbrain_ext.checksums import sha256_of
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.bundle import BUNDLE_FILE, CARD_FILE, FILE_NAME, FORMAT, PARTS, YAML_FILE
from speechbrain_ext.inference.bundle_settings import BundleSettings
from speechbrain_ext.inference.classifier import HINT, load_classifier
from speechbrain_ext.inference.onnx import ONNX_FILES, write_onnx
from speechbrain_ext.json_reader import read_json, with_checksum
from speechbrain_ext.lobes.filterbank_encoder import MODEL_TYPE
from speechbrain_ext.versions import versions

HEAD = """\
# A trained speech emotion classifier.
#
#     classifier = speechbrain.inference.classifiers.EncoderClassifier.from_hparams(source="<this folder>")
#
# That runs whatever a file like this one names. speechbrain_ext.inference.load_classifier("<this folder>") gives the
# same answers and never reads this file: it builds the classifier from the plain values in bundle.json.

"""
TRUNCATED_ENCODER = """
encoder: !new:speechbrain_ext.lobes.TruncatedEncoder
    config: !ref <encoder_config>
    num_layers: !ref <encoder_config[num_hidden_layers]>
    layer_weights: !ref <layer_weights>
    projection_dropout: 0.0
    feature_reduction: !ref <feature_reduction>
    waveform_scale: null     # the embedding model scales
"""
FILTERBANK_ENCODER = """
encoder: !new:speechbrain_ext.lobes.FilterbankEncoder
    config: !ref <encoder_config>
    sample_rate_hz: !ref <sample_rate>
"""
BODY = """
f_0: !new:speechbrain_ext.nnet.EmotionEmbedding
    input_dim: !ref <encoder.embedding_dim>
    emb_dim: !ref <emb_dim>

f_1: !new:speechbrain_ext.nnet.EmotionClassifier
    emb_dim: !ref <emb_dim>
    n_classes: !ref <n_classes>

embedding_model: !new:speechbrain_ext.inference.EmbeddingModel
    encoder: !ref <encoder>
    f_0: !ref <f_0>
    sample_rate_hz: !ref <sample_rate>
    waveform_scale: !ref <waveform_scale>
    max_s: !ref <max_s>
    fixed_length_s: !ref <fixed_length_s>
    mask_padding: !ref <mask_padding>

# The embedding model takes waveforms: nothing is computed from them before.
compute_features: !new:torch.nn.Identity
mean_var_norm: !new:speechbrain.nnet.containers.LengthsCapableSequential
    - !new:torch.nn.Identity

modules:
    compute_features: !ref <compute_features>
    mean_var_norm: !ref <mean_var_norm>
    embedding_model: !ref <embedding_model>
    classifier: !ref <f_1>

label_encoder: !new:speechbrain_ext.dataio.FixedLabelEncoder
    labels: !ref <emotions>

audio_normalizer: !new:speechbrain_ext.dataio.SoxrAudioNormalizer
    sample_rate: !ref <sample_rate>

# SpeechBrain's own transfer leaves a part as it is where its weights do not fit; recovery is strict.
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        encoder: !ref <encoder>
        f_0: !ref <f_0>
        f_1: !ref <f_1>
    custom_hooks:
        encoder: !name:speechbrain.utils.checkpoints.torch_recovery
            end_of_epoch: True
        f_0: !name:speechbrain.utils.checkpoints.torch_recovery
            end_of_epoch: True
        f_1: !name:speechbrain.utils.checkpoints.torch_recovery
            end_of_epoch: True
"""


def write_bundle(
    out: str | os.PathLike,
    weights: Mapping[str, str | os.PathLike],
    settings: BundleSettings,
    card: str,
    facts: Optional[dict[str, Any]] = None,
    onnx: Optional[str] = None,
) -> None:
    """Write a bundle, load it as a check, and only then move it to its place.

    Arguments
    ---------
    out : str or pathlib.Path
        The folder to write: one that does not exist or is empty, or that holds a bundle of the same model, whose card
        and facts are brought up to date.
    weights : dict
        "encoder" (of a `TruncatedEncoder` or a `FilterbankEncoder`), "f_0" and "f_1": files with their state dicts,
        such as those in a SpeechBrain checkpoint.
    settings : BundleSettings
        What the classifier is built from.
    card : str
        The model card, in Markdown with metadata.
    facts : dict, optional
        More to say in bundle.json: `corpus`, `corpus_title`, `result`, `trained_with`.
    onnx : str, optional
        "fp32" or "int8" writes model.onnx or model_int8.onnx as well, see `write_onnx`.

    Raises
    ------
    InputError
        If `out` holds something else, or the weights do not fit the architecture. `out` stays as it is then.
    """
    out = Path(out).resolve()
    if out.exists() and not (out / BUNDLE_FILE).exists():
        _refuse_filled(out)
    _check_labels(settings.emotions)
    out.parent.mkdir(parents=True, exist_ok=True)
    _delete_leftovers(out)
    temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        values = dataclasses.asdict(settings)
        encoder = FILTERBANK_ENCODER if settings.encoder_config["model_type"] == MODEL_TYPE else TRUNCATED_ENCODER
        yaml_text = HEAD + _to_yaml({**values, "n_classes": settings.n_classes}) + encoder + BODY
        (temporary / YAML_FILE).write_text(yaml_text, encoding="utf-8")
        (temporary / CARD_FILE).write_text(card, encoding="utf-8")
        for name in PARTS:
            shutil.copyfile(weights[name], temporary / f"{name}.ckpt")
        seal_bundle(temporary, {**values, "versions": versions(), **(facts or {})})
        try:
            classifier = load_classifier(temporary, {"device": "cpu"})
        except InputError as error:
            text = str(error).replace(HINT, "Train it anew.")
            for name in PARTS:
                text = text.replace(str(temporary / f"{name}.ckpt"), str(weights[name]))
            raise InputError(text.replace(str(temporary), "to be written")) from error
        if onnx:
            write_onnx(classifier, temporary / ONNX_FILES[onnx], onnx)
            seal_bundle(temporary)
        temporary.chmod(0o755)  # mkdtemp lets nobody else in
        for path in (*temporary.iterdir(), temporary):
            sync(path)
        if (out / BUNDLE_FILE).exists():
            _update(out, temporary)
        else:
            os.replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _delete_leftovers(out: Path) -> None:
    """Delete what processes have left beside a bundle that were killed while they wrote it, an hour ago or more."""
    for folder in out.parent.iterdir():
        if re.fullmatch(re.escape(f".{out.name}.") + "[a-z0-9_]{8}", folder.name) and folder.is_dir():
            if time.time() - folder.stat().st_mtime > 3600:
                shutil.rmtree(folder, ignore_errors=True)


def _check_labels(emotions: list[str]) -> None:
    for label in emotions:
        if label.startswith("("):
            raise InputError(
                f"the emotion {label!r} cannot be exported: HyperPyYAML, which reads hyperparams.yaml for SpeechBrain, "
                "takes a text in parentheses for a tuple. Rename it in the corpus."
            )


def _refuse_filled(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is there and holds something else. Choose another folder, or delete that one.")


def _update(out: Path, new: Path) -> None:
    """Bring a bundle of the very same model up to date: its card, its list of files, model.onnx."""
    model = [YAML_FILE, *(f"{name}.ckpt" for name in PARTS)]
    if len(filecmp.cmpfiles(out, new, model, shallow=False)[0]) < len(model):
        _refuse_filled(out)
    try:
        listed = read_json(out / BUNDLE_FILE, "It is written anew.")["files"][CARD_FILE]
    except (InputError, TypeError, KeyError):  # no bundle.json of ours: it is written anew
        listed = None
    card = out / CARD_FILE
    if card.exists() and sha256_of(card) not in (listed, sha256_of(new / CARD_FILE)):
        raise InputError(f"{card} has been changed since it was written. Move it away first, or choose another folder.")
    names = sorted(path.name for path in new.iterdir())
    names = [name for name in names if not (out / name).exists() or not filecmp.cmp(new / name, out / name, False)]
    for name in set(names) & set(ONNX_FILES.values()):  # a listed file may be missing, and must not be another
        (out / name).unlink(missing_ok=True)
    for name in sorted(names, key=lambda name: (name != CARD_FILE, name != BUNDLE_FILE)):  # whole at any moment
        os.replace(new / name, out / name)


def seal_bundle(folder: str | os.PathLike, about: Optional[dict[str, Any]] = None) -> None:
    """Write bundle.json with the SHA-256 of every other file; names such as .gitattributes are none of its own.

    Arguments
    ---------
    folder : str or pathlib.Path
        The bundle.
    about : dict, optional
        What else it says; by default what it said before.
    """
    folder = Path(folder)
    if about is None:
        about = json.loads((folder / BUNDLE_FILE).read_text(encoding="utf-8"))
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and FILE_NAME.fullmatch(path.name))
    files = {name: sha256_of(folder / name) for name in names if name != BUNDLE_FILE}
    write_json(with_checksum({"format": FORMAT, **about, "files": files}), folder / BUNDLE_FILE)


def _to_yaml(values: dict[str, Any]) -> str:
    yaml = ruamel.yaml.YAML()
    yaml.indent(mapping=4)
    yaml.default_flow_style = None  # lists of plain values in one line
    stream = io.StringIO()
    yaml.dump(values, stream)
    return stream.getvalue()
