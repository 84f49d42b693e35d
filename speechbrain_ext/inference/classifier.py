"""Loading a bundle as SpeechBrain's `EncoderClassifier`, after a look at what it would run."""

import os
import re
import zipfile
from pathlib import Path
from pickle import UnpicklingError

import torch
from speechbrain.inference.classifiers import EncoderClassifier

from speechbrain_ext.device import check_device
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.bundle import YAML_FILE, check_bundle
from speechbrain_ext.inference.bundle_yaml import RUN_OPTIONS, YamlFault

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
PRECISIONS = ("fp32", "bf16", "fp16")
HINT = "Export it again, or get it again from who made it."


def load_classifier(source, run_opts=None, revision=None):
    """Load a bundle: what plain `EncoderClassifier.from_hparams(source)` returns, with a guard.

    Plain `from_hparams` runs whatever the bundle's hyperparams.yaml names, and has no such guard: use it on bundles
    that you or somebody you trust has made. Here the bundle is inspected first (`check_bundle`), its YAML is built
    without HyperPyYAML, weights are read by `torch.load(weights_only=True)`, and each part must fit its weights
    strictly. The guard is against code that runs; a bundle can still give wrong answers, or ask for more memory than
    there is.

    Arguments
    ---------
    source : str or pathlib.Path
        The bundle's folder, or USER/NAME of a model on the Hugging Face Hub.
    run_opts : dict, optional
        SpeechBrain's options for running, such as {"device": "cuda:0", "precision": "bf16"}. The precision applies
        within `with classifier.inference_ctx:`.
    revision : str, optional
        Branch, tag or commit on the Hub.

    Returns
    -------
    speechbrain.inference.classifiers.EncoderClassifier
        With `encode_batch`, `classify_batch` and `classify_file`; its `hparams` has `emotions` (the order of the
        posteriors) and `sample_rate`, its `bundle` is the `Bundle` that was checked. It can be copied, not pickled.

    Raises
    ------
    InputError
        If there is no such bundle or device, the bundle is refused, or its weights do not fit.
    """
    _check_run_opts(run_opts or {})
    folder, within = find_bundle(source, revision)
    bundle = check_bundle(folder, within)
    try:
        hparams = bundle.yaml.build()
    except YamlFault as fault:
        raise InputError(f"the bundle {folder} is wrong: {YAML_FILE}, line {fault.line}: {fault}. {HINT}") from fault
    parts = hparams["pretrainer"].loadables
    for name in bundle.yaml.parts:
        _load_weights(parts[name], folder / f"{name}.ckpt")
    loaded = {id(tensor) for part in parts.values() for tensor in part.state_dict(keep_vars=True).values()}
    for name, module in hparams["modules"].items():
        for key, tensor in module.state_dict(keep_vars=True).items():
            if id(tensor) not in loaded:
                raise InputError(f"the bundle {folder} holds no weights for {name}.{key}. {HINT}")
    _check_labels(folder, hparams)
    classifier = EncoderClassifier(modules=hparams["modules"], hparams=hparams, run_opts=run_opts)
    classifier.bundle = bundle
    return classifier


def find_bundle(source, revision=None):
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
        raise InputError(f"{source} is no folder. Give the folder that export.py has written, or USER/NAME on the Hub.")
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        patterns = ["*.json", "*.yaml", "*.ckpt", "README.md"]
        folder = huggingface_hub.snapshot_download(str(source), revision=revision, allow_patterns=patterns)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{source} is no folder here, and cannot be had from the Hugging Face Hub: {why} Check the name and, for a "
            "private model, `hf auth login`."
        ) from error
    return Path(folder), Path(folder).parents[1]  # its files are links into the cache of this very model


def _check_run_opts(run_opts):
    for key in run_opts:
        if key not in RUN_OPTIONS:
            raise InputError(f"run_opts has the key {key!r}, which SpeechBrain does not know.")
    if run_opts.get("device") is not None:
        check_device(run_opts["device"])
    if run_opts.get("precision", "fp32") not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, got {run_opts['precision']!r}.")


def _load_weights(part, path):
    """Fill a part from a file of tensors, and from nothing else that torch.load would read."""
    try:
        with zipfile.ZipFile(path) as archive:  # what torch.save writes: a zip file, not compressed
            unpacked_bytes = sum(member.file_size for member in archive.infolist())
        if unpacked_bytes > path.stat().st_size:
            raise ValueError(f"it would unpack to {unpacked_bytes} bytes, more than it has.")
        weights = torch.load(path, map_location="cpu", weights_only=True)
        part.load_state_dict(weights, strict=True)
        for key, value in part.state_dict().items():
            if not value.isfinite().all():
                raise ValueError(f"{key} holds values that are NaN or infinite.")
    except Exception as error:  # torch raises what it meets: pickle, zip and key errors
        why = " ".join(str(error).split())[:300].rstrip(".")
        if isinstance(error, UnpicklingError):  # PyTorch's text says how to read it all the same
            why = "they hold more than tensors"
        raise InputError(f"the weights in {path} are refused: {why}. Nothing of it was run. {HINT}") from error


def _check_labels(folder, hparams):
    emotions, n_classes = hparams["emotions"], hparams["n_classes"]
    if not isinstance(emotions, list) or not all(isinstance(label, str) and label.isprintable() for label in emotions):
        raise InputError(f"the bundle {folder} has emotions that are no list of printable texts: {emotions!r}. {HINT}")
    if hparams["audio_normalizer"].sample_rate != hparams["sample_rate"]:
        raise InputError(f"the bundle {folder} has two different sample rates. {HINT}")
    if list(hparams["label_encoder"].lab2ind) != emotions or len(emotions) != n_classes:
        raise InputError(
            f"the bundle {folder} has {n_classes} classes, the emotions {', '.join(emotions)} and the labels "
            f"{', '.join(map(str, hparams['label_encoder'].lab2ind))}, which have to be as many and the same. {HINT}"
        )
