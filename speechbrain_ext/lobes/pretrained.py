"""Configurations and weights of HuBERT and wav2vec 2.0 checkpoints, of which the first layers are kept."""

import contextlib
import difflib
from pathlib import Path
from pickle import UnpicklingError

import torch
import transformers
from safetensors import SafetensorError

from speechbrain_ext.errors import InputError, check_whole_number

ARCHITECTURES = {
    "hubert": (transformers.HubertConfig, transformers.HubertModel),
    "wav2vec2": (transformers.Wav2Vec2Config, transformers.Wav2Vec2Model),
}
# Saved checkpoints carry dropouts and SpecAugment of their own pretraining; the published model has none of them.
DETERMINISTIC = {
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.0,
    "final_dropout": 0.0,
    "layerdrop": 0.0,
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
    "add_adapter": False,
}


def config_from_dict(config):
    """Make a configuration out of values, in a `dict`; refuse values that the architecture does not know."""
    config = dict(config)
    model_type = config.pop("model_type", "hubert")
    if model_type not in ARCHITECTURES:
        raise InputError(f"config has model_type {model_type!r}; known are {sorted(ARCHITECTURES)}.")
    config_class = ARCHITECTURES[model_type][0]
    default = config_class()
    for key in config:
        if not hasattr(default, key) and not key.startswith("_"):  # transformers would keep it and use it nowhere
            near = difflib.get_close_matches(key, default.to_dict(), n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise InputError(f"config has the key {key!r}, which {config_class.__name__} does not know.{hint}")
    if "conv_dim" in config:
        for key, default in (("conv_kernel", (10, 3, 3, 3, 3, 2, 2)), ("conv_stride", (5, 2, 2, 2, 2, 2, 2))):
            if len(config.get(key, default)) != len(config["conv_dim"]):
                raise InputError(
                    f"config has {len(config['conv_dim'])} values in conv_dim, but "
                    f"{len(config.get(key, default))} in {key}: the stem needs as many of each."
                )
    return config_class(**config)


def config_from_source(source, save_path):
    """Read the configuration of a checkpoint: a folder, or an id on the Hub."""
    try:
        config = transformers.AutoConfig.from_pretrained(source, cache_dir=save_path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"source {str(source)!r} holds no checkpoint that can be read: give a Hub id such as "
            f"facebook/hubert-large-ll60k, or a folder with config.json and model.safetensors. ({error})"
        ) from error
    if config.model_type not in ARCHITECTURES:
        raise InputError(f"source {str(source)!r} is a {config.model_type!r} model; known are {sorted(ARCHITECTURES)}.")
    return config


def truncate_config(config, num_layers, name):
    """Cut a configuration to its first layers, and switch off all that is random in it."""
    check_whole_number("num_layers", num_layers, 1)
    if num_layers > config.num_hidden_layers:
        raise InputError(
            f"num_layers is {num_layers}, but {name} has {config.num_hidden_layers} layers: "
            f"choose 1 to {config.num_hidden_layers}."
        )
    config.num_hidden_layers = num_layers
    for key, value in DETERMINISTIC.items():
        setattr(config, key, value)


def load_weights(model_class, config, source, save_path):
    """Build a model and load what it needs of a checkpoint; layers that it lacks are left over."""
    folder = Path(source)
    if folder.is_dir() and not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise InputError(f"source {str(source)!r} holds no weights: model.safetensors or pytorch_model.bin is missing.")
    with _quiet_transformers():
        try:
            model, report = model_class.from_pretrained(
                source, config=config, cache_dir=save_path, dtype=torch.float32, output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError, SafetensorError, UnpicklingError) as error:
            raise InputError(f"the weights in source {str(source)!r} cannot be read: {error}") from error
    # The keys of the layers above num_layers are left over, as they should be; what is needed must all be there.
    unused = ("encoder.layer_norm.",) if config.do_stable_layer_norm else ()
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(unused))
    if missing or report["mismatched_keys"]:
        raise InputError(
            f"the weights in source {str(source)!r} do not fit its config.json: "
            f"missing {missing}, of another shape {sorted(report['mismatched_keys'])}."
        )
    return model


@contextlib.contextmanager
def _quiet_transformers():
    """Silence the report on left-over keys and the progress bar for the time of loading."""
    log = transformers.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()
