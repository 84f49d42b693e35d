"""train.py's command line, read before slow imports: the YAML's keys, and SpeechBrain's own options beside them."""

import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ruamel.yaml

from speechbrain_ext.errors import InputError, did_you_mean
from speechbrain_ext.outside_text import guard_terminal
from speechbrain_ext.training.hparams_file import WIRING, hparams_text, load_hparams, yaml_reader

# Keys whose values are taken as they are typed: a path may look like YAML of another kind (`run #3`, `[x]`, `1e3`).
TEXT_KEYS = (
    "corpus",
    "data_folder",
    "corpus_csv",
    "corpus_metadata",
    "output_folder",
    "encoder_source",
    "encoder_save_path",
    "feature_cache",
)
LABEL_KEYS = ("emotions",)  # lists of texts, also where a label looks like a number
NULLS = ("", "null")  # what stands for "none" among the texts

# SpeechBrain's own options (speechbrain.utils.run_opts), so that a typo is answered without importing it.
HOST_SWITCHES = (
    "auto_mix_prec bfloat16_mix_prec compile_using_dynamic_shape_tracing compile_using_fullgraph data_parallel_backend "
    "debug debug_persistently find_unused_parameters noprogressbar remove_vector_weight_decay skip_nonfinite_grads "
    "test_only tqdm_colored_bar compile jit profile_training"
).split()
HOST_VALUES = (
    "ckpt_interval_minutes ckpt_interval_steps compile_mode compile_module_keys debug_batches debug_epochs device "
    "distributed_backend eval_precision grad_accumulation_factor jit_module_keys log_config max_grad_norm "
    "nonfinite_patience optimizer_step_limit precision profile_steps profile_warmup"
).split()
DEVICE = re.compile(r"(cpu|cuda|mps|xpu|hpu|npu|meta)(:\d+)?")
USAGE = "python train.py HPARAMS.yaml [--KEY=VALUE ...]"


class CommandLine(NamedTuple):
    """What train.py was asked for.

    Attributes
    ----------
    hparams_file : pathlib.Path
        The hyperparameter file.
    overrides : dict
        Values for its keys.
    host_words : list of str
        SpeechBrain's own options.
    """

    hparams_file: Path
    overrides: dict[str, Any]
    host_words: list[str]


def read_command_line(words: Sequence[str]) -> CommandLine:
    """Take the words apart, and refuse those that mean nothing.

    Arguments
    ---------
    words : list of str
        The hyperparameter file and options: --key=value, or --key value.

    Returns
    -------
    CommandLine
        The keys that the file has are overrides, also where SpeechBrain has an option of that name.

    Raises
    ------
    InputError
        Names the word, and what it is close to.
    """
    files = [word for word in words if not word.startswith("-") and word.endswith((".yaml", ".yml"))]
    strays = [word for word in words[:1] if not word.startswith("-") and word not in files]
    if not files and not strays:
        raise InputError(f"no hyperparameter file was given: {USAGE}, for instance hparams/loso.yaml.")
    hparams_file = Path((files or strays)[0])
    keys = load_hparams(hparams_file).keys
    overrides, host_words = {}, []
    rest = list(words)
    rest.remove(str((files or strays)[0]))
    while rest:
        word = rest.pop(0)
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("--"):
            is_option = name in keys or name in HOST_VALUES
            value = value if equals else rest[0] if rest else ""
            hint = f" Did you mean --{name}={value}?" if is_option and value else " Write options as --key=value."
            raise InputError(f"the command line holds {word!r}, which belongs to no option.{hint}")
        if name in keys or name in HOST_VALUES:
            if not equals:
                if not rest or rest[0].startswith("--"):
                    raise InputError(f"--{name} has no value: write --{name}=VALUE.")
                value = rest.pop(0)
            if name == "device" and not DEVICE.fullmatch(value):
                hint = " Did you mean cuda?" if value.startswith("gpu") else ""
                raise InputError(f"device must be such as cpu, cuda or cuda:0, got {value!r}.{hint}")
            if name in keys:
                overrides[name] = _parse_value(name, value)
            else:
                host_words.append(f"--{name}={value}")
        elif name in HOST_SWITCHES:
            if equals:
                raise InputError(f"--{name} takes no value, got {word!r}: write --{name}, or leave it out.")
            host_words.append(word)
        else:
            hint = did_you_mean(name, [*keys, *HOST_SWITCHES, *HOST_VALUES], "--", most=3)
            raise InputError(f"--{name} is unknown: {hparams_file} has no such key.{hint}")
    return CommandLine(hparams_file, overrides, host_words)


def answer_early(words: Sequence[str], about: str) -> None:
    """Print the help, or end the program with what is wrong with its words, before its imports take seconds.

    Arguments
    ---------
    words : list of str
        The words after the program's name.
    about : str
        What the program is for, with examples.
    """
    from speechbrain_ext.training.settings import complete_settings  # only now: audiomentations takes a second

    guard_terminal()
    asks = {"-h", "--help"} & set(words)
    try:
        if not words or asks:
            files = [Path(word) for word in words if word.endswith((".yaml", ".yml"))] or [Path("hparams/loso.yaml")]
            print(f"usage: {USAGE}\n\n{about.strip()}\n")
            if files[0].is_file():
                print(f"Keys of {files[0]}, each an option:\n")
                print(hparams_text(files[0]).split(WIRING)[0].strip())
            if not asks:
                sys.exit(2)
            print("\nSpeechBrain's own options:\n", flush=True)
            import speechbrain as sb

            sb.parse_arguments(["hparams.yaml", "--help"])
        line = read_command_line(words)
        complete_settings(line.hparams_file, line.overrides)
    except InputError as error:
        if int(os.environ.get("LOCAL_RANK", 0)) > 0:
            sys.exit(0)  # the first process of each machine says it; torchrun ends all
        sys.exit(f"train.py: {error}")
    except KeyboardInterrupt:
        _end_at_once()
    for number in (signal.SIGINT, signal.SIGTERM):  # until `end_in_a_sentence` takes over
        signal.signal(number, _end_at_once)


def _end_at_once(*_: Any) -> None:
    """End the program where nothing has been written yet."""
    print("train.py: interrupted.", file=sys.stderr, flush=True)
    os._exit(130)


def _parse_value(key: str, text: str) -> Any:
    """Read an option's value: a text as it is, labels as texts, everything else as YAML."""
    if key in LABEL_KEYS and text in NULLS:
        return None
    if key in TEXT_KEYS:
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            raise InputError(f"{key} is no UTF-8: {text!a}. Set a UTF-8 locale, such as LC_ALL=C.UTF-8.")
        if re.search(r"[<>\n]", text):
            raise InputError(f"{key} must be a text without '<', '>' and line breaks, got {text!r}. Rename it.")
        return None if text in NULLS else text
    yaml = ruamel.yaml.YAML(typ="base") if key in LABEL_KEYS else yaml_reader()
    try:
        value = yaml.load(text)
    except ruamel.yaml.error.YAMLError as error:
        raise InputError(f"the value of --{key} is no YAML: {text!r}. ({' '.join(str(error).split())})") from error
    _set_block_style(value)
    return value


def _set_block_style(node: Any) -> None:
    """Let the items of a list be written line by line: ruamel.yaml loses the braces in [!new:Class {key: value}]."""
    if isinstance(node, list) and node and hasattr(node, "fa"):  # an empty one can be written as [] only
        node.fa.set_block_style()
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _set_block_style(item)
