"""Checkpoints of pretrained encoders: where they are, and their configurations, cut to the first layers."""

import contextlib
import difflib
import functools
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
import transformers
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, StrictDataclassError
from huggingface_hub.utils import validate_repo_id

from speechbrain_ext.errors import InputError, check_whole_number, in_one_line
from speechbrain_ext.lobes.families import get_family
from speechbrain_ext.lobes.family import Family
from speechbrain_ext.lobes.pretrained_weights import UNREADABLE, WEIGHTS, copy_again, load_weights, weight_files
from speechbrain_ext.rules import shown

HUB_TIMEOUT_S = 4.0  # for the Hub's first answer; without internet, its client would try again for half a minute
BAD_VALUES = (OSError, ValueError, TypeError, StrictDataclassError)


def config_from_dict(config: dict[str, Any]) -> transformers.PretrainedConfig:
    """Make a configuration out of values, in a `dict`; refuse values that the family does not know."""
    config = dict(config)
    family = get_family(config.pop("model_type", "hubert"), "the config")
    config = {family.aliases.get(key, key): value for key, value in config.items()}
    config_class = transformers_class(family.config_class)
    default = config_class()
    for key in config:
        if not hasattr(default, key) and not key.startswith("_"):  # transformers would keep it and use it nowhere
            near = difflib.get_close_matches(key, default.to_dict(), n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise InputError(f"config has the key {key!r}, which {config_class.__name__} does not know.{hint}")
    _check_values(family, config, "config")
    _check_fit(family, {**default.to_dict(), **config}, "config")
    try:
        return config_class(**config)
    except BAD_VALUES as error:
        raise InputError(
            f"config has a value that {config_class.__name__} does not take: {in_one_line(error)}"
        ) from error


def _check_values(family: type[Family], config: Mapping[str, Any], name: str) -> None:
    """Refuse values that no bundle may have, whichever version of transformers takes them."""
    for key, rule in family.bounds.items():
        key = family.aliases.get(key, key)
        value = list(config[key]) if isinstance(config.get(key), tuple) else config.get(key)
        if key in config and not rule.allows(value):
            raise InputError(f"{name}: {key} must be {rule.text}, got {shown(value)}.")


def _check_fit(family: type[Family], config: Mapping[str, Any], name: str) -> None:
    """Refuse values, of all keys, that do not go together."""
    family.check_config(config, name)
    width, heads = (family.aliases.get(key, key) for key in ("hidden_size", "num_attention_heads"))
    if config[width] % config[heads]:
        raise InputError(f"{name}: {width} must be a multiple of {heads}, got {config[width]} and {config[heads]}.")


def transformers_class(name: str) -> Any:
    """Import a class of transformers by its name, or by the module within transformers that it stands in."""
    return functools.reduce(getattr, name.split("."), transformers)


def find_checkpoint(source: str | Path, save_path: str | Path | None = None) -> Path:
    """Find a checkpoint's folder: a folder on this machine, or one in the Hub's cache, after a download if need be.

    A model that is in the cache is used without asking the Hub.

    Arguments
    ---------
    source
        Folder, in which `~` is the home folder, or an id on the Hub.
    save_path
        Folder for downloads; by default the Hub's own cache ($HF_HOME/hub).

    Returns
    -------
    Path
        Folder with config.json and weights.

    Raises
    ------
    InputError
        If there is no such folder or model, or the Hub cannot be reached.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise InputError(f"source {str(source)!r} is a file: give the folder that holds config.json and the weights.")
    hub_id = str(source)
    try:
        validate_repo_id(hub_id)
    except HFValidationError as error:
        raise InputError(
            f"source {hub_id!r}: there is no such folder. Give a folder with config.json and model.safetensors, or a "
            "Hub id such as facebook/hubert-large-ll60k."
        ) from error
    cache = None if save_path is None else Path(save_path).expanduser()
    config = huggingface_hub.try_to_load_from_cache(hub_id, "config.json", cache_dir=cache)
    if isinstance(config, str):
        with contextlib.suppress(InputError):  # not all of it: the rest is downloaded
            if all(path.is_file() for path in weight_files(Path(config).parent)):
                return Path(config).parent
    names = _files_on_hub(hub_id)
    found = [name for name in WEIGHTS if name in names]
    if "config.json" not in names or not found:
        raise InputError(
            f"source {hub_id!r} has no config.json with model.safetensors or pytorch_model.bin on the Hub."
        )
    shards = found[0].replace(".", "-*.", 1).removesuffix(".index.json")
    try:
        folder_name = huggingface_hub.snapshot_download(
            hub_id, cache_dir=cache, allow_patterns=["config.json", "preprocessor_config.json", found[0], shards]
        )
    except Exception as error:  # of whichever HTTP client the Hub's library has
        raise InputError(
            f"source {hub_id!r} could not be downloaded: {in_one_line(error)}. {_other_ways(hub_id)}"
        ) from error
    return Path(folder_name)


def _files_on_hub(hub_id: str) -> set[str]:
    """List a model's files on the Hub; refuse within `HUB_TIMEOUT_S` where it cannot be reached."""
    if constants.HF_HUB_OFFLINE:
        raise InputError(
            f"source {hub_id!r} is not in the cache, and HF_HUB_OFFLINE forbids a download. {_other_ways(hub_id)}"
        )
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(huggingface_hub.HfApi().model_info(hub_id, timeout=HUB_TIMEOUT_S))
        except Exception as error:  # of whichever HTTP client the Hub's library has
            answers.append(error)

    thread = threading.Thread(target=ask, daemon=True)  # nothing else can stop a name server that does not answer
    thread.start()
    thread.join(HUB_TIMEOUT_S)
    answer = answers[0] if answers else TimeoutError(f"no answer in {HUB_TIMEOUT_S:g} s")
    if isinstance(answer, HfHubHTTPError) and getattr(answer.response, "status_code", None) in (401, 403, 404):
        raise InputError(
            f"source {hub_id!r} is neither a folder here nor a model on the Hub that you may read. A private or gated "
            "model needs `hf auth login` or HF_TOKEN."
        ) from answer
    if isinstance(answer, HfHubHTTPError):
        raise InputError(f"source {hub_id!r}: the Hub refused it ({answer}). {_other_ways(hub_id)}") from answer
    if isinstance(answer, Exception):
        raise InputError(
            f"source {hub_id!r} is no folder here and not in the cache, and the Hugging Face Hub "
            f"({constants.ENDPOINT}) cannot be reached: {answer}. {_other_ways(hub_id)}"
        ) from answer
    return {sibling.rfilename for sibling in answer.siblings or ()}


def _other_ways(hub_id: str) -> str:
    """Tell how a checkpoint gets to a machine without internet."""
    name = hub_id.split("/")[-1]
    return (
        f"Where there is internet, run `hf download {hub_id} --local-dir {name}`, copy the folder here and give its "
        f"path (train.py: --encoder_source=/path/to/{name}). Or copy a Hub cache that holds the model, and set HF_HOME "
        "to it and HF_HUB_OFFLINE=1."
    )


def config_from_folder(folder: Path) -> transformers.PretrainedConfig:
    """Read the configuration of a checkpoint."""
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(
            f"source {str(folder)!r} holds no checkpoint that can be read: config.json is missing. Give a folder with "
            "config.json and model.safetensors, or a Hub id such as facebook/hubert-large-ll60k."
        )
    try:
        values = json.loads(path.read_bytes())
        model_type = values.get("model_type")
    except (ValueError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is not a JSON object. {copy_again(path)}") from error
    family = get_family(model_type, str(path))
    _check_values(family, values, str(path))
    if values.get("quantization_config"):
        raise InputError(f"{path} says that the weights are quantized. Give the checkpoint that they were made from.")
    try:
        config = transformers_class(family.config_class).from_pretrained(folder)
    except BAD_VALUES as error:
        raise InputError(f"{path} cannot be read: {in_one_line(error)}") from error
    _check_fit(family, config.to_dict(), str(path))
    return config


def count_layers(config: transformers.PretrainedConfig) -> int:
    """Return how many Transformer layers a configuration has."""
    return getattr(config, get_family(config.model_type).aliases.get("num_hidden_layers", "num_hidden_layers"))


def truncate_config(config: transformers.PretrainedConfig, num_layers: int, name: str) -> None:
    """Cut a configuration to its first layers, and switch off all that is random in it."""
    check_whole_number("num_layers", num_layers, 1)
    family, n_layers = get_family(config.model_type), count_layers(config)
    if num_layers > n_layers:
        raise InputError(f"num_layers is {num_layers}, but {name} has {n_layers} layers: choose 1 to {n_layers}.")
    setattr(config, family.aliases.get("num_hidden_layers", "num_hidden_layers"), num_layers)
    for key, value in family.deterministic.items():
        setattr(config, key, value)


def load_model(config: transformers.PretrainedConfig, folder: Path) -> Any:
    """Build a model with the weights of the checkpoint in a folder; the checkpoint's further layers are left out."""
    family = get_family(config.model_type)
    model_class = transformers_class(family.model_class)
    try:
        with torch.device("meta"):
            model = model_class(config).eval()
    except UNREADABLE as error:
        raise InputError(
            f"the encoder in {str(folder)!r} cannot be built from its config.json: {in_one_line(error)}"
        ) from error
    load_weights(model, folder, family.prefixes or (f"{model.base_model_prefix}.",), family.unused_weights(config))
    return model
