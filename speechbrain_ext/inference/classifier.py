"""Loading a bundle as SpeechBrain's `EncoderClassifier`, from plain settings and weights that are validated first."""

import dataclasses
import os
import re
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Optional

import torch
from speechbrain.core import RunOptions
from speechbrain.inference.classifiers import EncoderClassifier
from speechbrain.nnet.containers import LengthsCapableSequential
from torch import nn

from speechbrain_ext.dataio.audio_normalizer import SoxrAudioNormalizer
from speechbrain_ext.dataio.label_encoder import FixedLabelEncoder
from speechbrain_ext.device import check_device, resolve_precision
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.bundle import BUNDLE_FILE, PARTS, check_bundle
from speechbrain_ext.inference.bundle_settings import BundleSettings
from speechbrain_ext.inference.embedding_model import EmbeddingModel
from speechbrain_ext.inference.hub import fetch_bundle
from speechbrain_ext.lobes.filterbank_encoder import MODEL_TYPE, FilterbankEncoder
from speechbrain_ext.lobes.truncated_encoder import TruncatedEncoder
from speechbrain_ext.nnet.projection import EmotionClassifier, EmotionEmbedding

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
HINT = "Export it again, or get it again from who made it."


def load_classifier(
    source: str | os.PathLike, run_opts: Optional[dict[str, Any]] = None, revision: Optional[str] = None
) -> EncoderClassifier:
    """Load a bundle, with the answers of SpeechBrain's own `EncoderClassifier.from_hparams(source)`.

    `from_hparams` runs whatever the bundle's hyperparams.yaml names: use it on bundles that you or somebody you trust
    has made. Here that file is never read. The bundle is validated first (`check_bundle`), the classifier is built from
    the plain values in bundle.json, and its weights are read by `torch.load(weights_only=True)` and have to fit
    strictly. So no code of a bundle can run; its answers can still be wrong.

    Arguments
    ---------
    source : str or pathlib.Path
        The bundle's folder, or USER/NAME of a model on the Hugging Face Hub.
    run_opts : dict, optional
        SpeechBrain's options for running, such as {"device": "cuda:0", "precision": "auto"}. The precision, by default
        fp32, is that of the encoder's products, see `EmbeddingModel.use_half_precision`; "auto" takes bf16 where the
        card or the processor has it. It needs no `classifier.inference_ctx`.
    revision : str, optional
        Branch, tag or commit on the Hub.

    Returns
    -------
    speechbrain.inference.classifiers.EncoderClassifier
        With `encode_batch`, `classify_batch` and `classify_file`; its `hparams` has `emotions` (the order of the
        posteriors) and `sample_rate`, its `bundle` is the validated `Bundle`. It can be copied, not pickled.

    Raises
    ------
    InputError
        If there is no such bundle or device, the bundle is refused, or its weights do not fit.
    """
    run_opts = dict(run_opts or {})
    _check_run_opts(run_opts)
    precision = resolve_precision(run_opts.pop("precision", "fp32"), run_opts.get("device"), inference=True)
    folder, within = find_bundle(source, revision)
    bundle = check_bundle(folder, within)
    settings = bundle.settings
    try:
        parts = build_parts(settings)
    except Exception as error:  # transformers and torch raise what they meet
        why = " ".join(str(error).split())[:300].rstrip(".")
        raise InputError(
            f"the bundle {folder} is wrong: {BUNDLE_FILE}: no model can be built: {why}. {HINT}"
        ) from error
    for name, part in parts.items():
        _load_weights(part, folder / f"{name}.ckpt")
    embedding_model = EmbeddingModel(
        parts["encoder"],
        parts["f_0"],
        sample_rate_hz=settings.sample_rate,
        waveform_scale=settings.waveform_scale,
        max_s=settings.max_s,
        fixed_length_s=settings.fixed_length_s,
        mask_padding=settings.mask_padding,
    )
    if precision != "fp32":
        embedding_model.use_half_precision(precision)
    modules = {
        "compute_features": nn.Identity(),  # the embedding model takes waveforms
        "mean_var_norm": LengthsCapableSequential(nn.Identity()),
        "embedding_model": embedding_model,
        "classifier": parts["f_1"],
    }
    hparams = {
        **dataclasses.asdict(settings),
        "label_encoder": FixedLabelEncoder(settings.emotions),
        "audio_normalizer": SoxrAudioNormalizer(settings.sample_rate),
    }
    classifier = EncoderClassifier(modules=modules, hparams=hparams, run_opts=run_opts)
    classifier.bundle = bundle
    return classifier


def build_parts(settings: BundleSettings) -> dict[str, nn.Module]:
    """Build the parts that have weights, on the meta device: without any memory for them.

    Arguments
    ---------
    settings : BundleSettings
        The classifier's settings.

    Returns
    -------
    dict
        "encoder", "f_0" and "f_1".
    """
    config = settings.encoder_config
    encoder: FilterbankEncoder | TruncatedEncoder
    with torch.device("meta"):
        if config["model_type"] == MODEL_TYPE:
            encoder = FilterbankEncoder(config, settings.sample_rate)
        else:
            encoder = TruncatedEncoder(
                config=config,
                num_layers=config["num_hidden_layers"],
                layer_weights=settings.layer_weights,
                projection_dropout=0.0,
                feature_reduction=settings.feature_reduction,
                waveform_scale=None,  # the embedding model scales
            )
        f_0 = EmotionEmbedding(encoder.embedding_dim, settings.emb_dim)
        f_1 = EmotionClassifier(settings.emb_dim, settings.n_classes)
    return dict(zip(PARTS, (encoder, f_0, f_1)))


def find_bundle(source: str | os.PathLike, revision: Optional[str] = None) -> tuple[Path, Optional[Path]]:
    """Find a bundle's folder: a folder on this machine, or one that is fetched from the Hugging Face Hub.

    Arguments
    ---------
    source : str or pathlib.Path
        The folder, or USER/NAME.
    revision : str, optional
        Branch, tag or commit on the Hub.

    Returns
    -------
    tuple
        (folder, the folder that the files have to lie in, links followed), as `check_bundle` takes them.

    Raises
    ------
    InputError
        If there is neither.
    """
    folder = Path(os.path.expanduser(source))
    if folder.is_dir():
        return folder, None
    if not HUB_ID.fullmatch(str(source)):
        raise InputError(
            f"{source} is no folder. Give the folder that `speechbrain-ext export` wrote, or USER/NAME of the Hub."
        )
    folder = fetch_bundle(str(source), revision)
    return folder, folder.parents[1]  # its files are links into the cache of this very model


def _check_run_opts(run_opts: dict[str, Any]) -> None:
    for key in run_opts:
        if key not in RunOptions().as_dict():
            raise InputError(f"run_opts has the key {key!r}, which SpeechBrain does not know.")
    if run_opts.get("device") is not None:
        check_device(run_opts["device"])
    if run_opts.get("precision", "fp32") not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {run_opts['precision']!r}.")


def _load_weights(part: nn.Module, path: Path) -> None:
    """Fill a part from a file of tensors, and from nothing else that torch.load would read."""
    try:
        n_bytes = path.stat().st_size
        with zipfile.ZipFile(path) as archive:  # what torch.save writes: a zip file, not compressed
            unpacked_bytes = sum(member.file_size for member in archive.infolist())
        if unpacked_bytes > n_bytes:
            raise ValueError(f"it would unpack to {unpacked_bytes} bytes, more than it has.")
        n_values = sum(tensor.numel() for tensor in part.state_dict().values())
        if n_values > n_bytes:  # before any memory is taken; a value has one byte at least
            raise ValueError(f"{BUNDLE_FILE} describes {n_values} values, and the file has {n_bytes} bytes.")
        weights = torch.load(path, map_location="cpu", weights_only=True)
        for key, own in part.state_dict().items() if isinstance(weights, dict) else ():
            found = getattr(weights.get(key), "dtype", own.dtype)  # load_state_dict refuses what has none
            if found != own.dtype and not (found.is_floating_point and own.dtype.is_floating_point):
                raise ValueError(f"{key} holds values of the type {found}, not {own.dtype}.")
        part.to_empty(device="cpu").load_state_dict(weights, strict=True)
        for key, value in part.state_dict().items():
            if not value.isfinite().all():
                raise ValueError(f"{key} holds values that are NaN or infinite.")
    except Exception as error:  # torch raises what it meets: pickle, zip and key errors
        why = " ".join(str(error).split())[:300].rstrip(".")
        if isinstance(error, UnpicklingError):  # PyTorch's text says how to read it all the same
            why = "they hold more than tensors"
        raise InputError(f"the weights in {path} are refused: {why}. Nothing of it was run. {HINT}") from error
