"""Loading a bundle as SpeechBrain's `EncoderClassifier`, after a look at what it would run."""

import re
from pathlib import Path

import torch
from hyperpyyaml import load_hyperpyyaml
from speechbrain.inference.classifiers import EncoderClassifier

from speechbrain_ext.bundle import check_bundle
from speechbrain_ext.errors import InputError

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load_classifier(source, run_opts=None, revision=None):
    """Load a bundle: what plain `EncoderClassifier.from_hparams(source)` returns, with a guard.

    Plain `from_hparams` runs whatever the bundle's hyperparams.yaml names, and has no such guard: use it on bundles
    that you or somebody you trust has made. Here the bundle is inspected first (`check_bundle`), weights are read by
    `torch.load(weights_only=True)`, and each part must fit its weights strictly. The guard is against code that runs; a
    bundle can still give wrong answers, or ask for more memory than there is.

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
        posteriors) and `sample_rate`.

    Raises
    ------
    InputError
        If there is no such bundle, it is refused, or its weights do not fit.
    """
    folder, within = find_bundle(source, revision)
    bundle = check_bundle(folder, within)
    try:
        hparams = load_hyperpyyaml(bundle.yaml)
    except Exception as error:  # a constructor raises what it meets
        raise InputError(f"the bundle {folder} cannot be built: {error} Export it again.") from error
    parts = hparams["pretrainer"].loadables
    for name, part in parts.items():
        _load_weights(part, bundle.folder / f"{name}.ckpt")
    loaded = {id(tensor) for part in parts.values() for tensor in part.state_dict(keep_vars=True).values()}
    for name, module in hparams["modules"].items():
        for key, tensor in module.state_dict(keep_vars=True).items():
            if id(tensor) not in loaded:
                raise InputError(f"the bundle {folder} holds no weights for {name}.{key}. Export it again.")
    if len(hparams["label_encoder"]) != hparams["n_classes"]:
        raise InputError(
            f"the bundle {folder} has {len(hparams['label_encoder'])} labels for {hparams['n_classes']} classes. "
            "Export it again."
        )
    return EncoderClassifier(modules=hparams["modules"], hparams=hparams, run_opts=run_opts)


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
    if Path(source).expanduser().is_dir():
        return Path(source).expanduser(), None
    if not HUB_ID.fullmatch(str(source)):
        raise InputError(f"{source} is no folder. Give the folder that export.py has written, or USER/NAME on the Hub.")
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        patterns = ["*.json", "*.yaml", "*.ckpt", "README.md"]
        folder = huggingface_hub.snapshot_download(str(source), revision=revision, allow_patterns=patterns)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        why = str(error).strip().splitlines()[0]
        raise InputError(
            f"{source} is no folder here, and cannot be had from the Hugging Face Hub: {why} Check the name and, for a "
            "private model, `hf auth login`."
        ) from error
    return Path(folder), Path(folder).parents[1]  # its files are links into the cache of this very model


def _load_weights(part, path):
    try:
        part.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    except Exception as error:  # torch raises what it meets: pickle, zip and key errors
        why = " ".join(str(error).split())
        raise InputError(f"the weights in {path} are refused: {why[:300]} Export the bundle again.") from error
