"""A hyperparameter file: read together with its `base:`, options put in, and what of it counts as a setting.

base: loso.yaml      # everything that this file does not say itself; relative to this file
lr: 0.002
"""

import copy
import functools
import hashlib
import io
import itertools
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Optional

import ruamel.yaml
from hyperpyyaml import load_hyperpyyaml, resolve_references

from speechbrain_ext.errors import InputError, did_you_mean
from speechbrain_ext.storage import reading
from speechbrain_ext.training.added_keys import ADDED_KEYS

HYPERPARAMS_FILE = "hyperparams.yaml"  # its name in a run's folder
RUN_FILE = "run.json"
WIRING = "\n# ===="  # how the line begins below which a file says how the objects are built
CUSTOM_WIRING = "custom_wiring"
SEAL = "# SHA-256 of the lines below: "
HINT = "Correct that file, or copy it again from where it is whole."
MOST_LEVELS = 100
MOST_VALUES = 100_000  # a few aliases of aliases stand for billions
UNREADABLE = (ruamel.yaml.error.YAMLError, ValueError, LookupError, TypeError)  # what ruamel.yaml raises

PathLike = str | Path
load_hyperpyyaml("{}")  # from its first use on, texts in parentheses are tagged as tuples: from the start


def read_settings(
    hparams_file: PathLike, overrides: Optional[Mapping[str, Any]] = None, own_checks: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the settings of a HyperPyYAML file, with overrides and references resolved, without building any object.

    Arguments
    ---------
    hparams_file : str or pathlib.Path
        The YAML file. A run folder's own hyperparams.yaml resumes in that folder, also when it has been moved.
    overrides : dict
        Values that replace the file's.
    own_checks : tuple of str
        Keys whose values the caller checks with more to say than that they are no numbers.

    Returns
    -------
    tuple
        (settings: key above the wiring -> plain value or tagged node; overrides: dict, complete).

    Raises
    ------
    InputError
        If the file is missing or is no YAML, or an override names a key that the file does not have or is a text
        where the file has a number or a truth value.
    """
    hparams_file, overrides = Path(hparams_file), dict(overrides or {})
    hparams = load_hparams(hparams_file)
    keys = hparams.keys
    folder = hparams_file.resolve().parent
    if hparams_file.name == HYPERPARAMS_FILE and (folder / RUN_FILE).exists() and "output_folder" in keys:
        overrides.setdefault("output_folder", str(folder))
    for key in overrides:
        if key not in keys:
            raise InputError(f"--{key} is unknown: {hparams_file} has no such key.{did_you_mean(key, keys, '--', 3)}")
    _check_types(keys, {key: value for key, value in overrides.items() if key not in own_checks})
    text = _write(hparams, overrides).split(WIRING)[0]
    try:
        return Settings(copy.deepcopy(_resolve(text)), hparams_file), overrides
    except RecursionError as error:
        raise InputError(f"{hparams_file}: references lead back to themselves. {HINT}") from error
    except UNREADABLE as error:  # such as a reference to nothing
        raise InputError(
            f"{hparams_file} and the options do not fit together: {' '.join(map(str, error.args))}"
        ) from error


def build_hparams(text: str) -> dict[str, Any]:
    """Build all that a whole file names, by `load_hyperpyyaml`; refuse a class that is not found or takes other values.

    Raises
    ------
    InputError
        Names the class.
    """
    try:
        return load_hyperpyyaml(text)
    except (ImportError, TypeError) as error:
        said = ": ".join(map(str, error.args))
        if "There is no such" in said:
            raise InputError(f"{said}. Is it spelt so, and is the folder of its module in PYTHONPATH?") from error
        if "Invalid argument to" in said:
            raise InputError(f"{said}. Correct it in the hyperparameter file.") from error
        raise


def read_wiring(hparams_file: PathLike) -> dict[str, Any]:
    """Read all that a whole file says, without building or resolving anything: key -> plain value, or {tag: value}."""
    return _plain(load_hparams(Path(hparams_file)).keys)


def hparams_text(hparams_file: PathLike, overrides: Optional[Mapping[str, Any]] = None) -> str:
    """Write a hyperparameter file as one whole file, with the overrides in it; references stay.

    What a derived file or an override says of the wiring is also written among the settings, as `custom_wiring`: a run
    with another loss or optimizer is another run.

    Arguments
    ---------
    hparams_file : str or pathlib.Path
        The YAML file; what its `base:` says is filled in.
    overrides : dict, optional
        Values that replace the file's. A mapping changes single items of a mapping, unless it names a class of its own.

    Returns
    -------
    str
        YAML, as `load_hyperpyyaml` takes it.
    """
    return _write(load_hparams(Path(hparams_file)), overrides or {})


def _write(hparams: "Hparams", overrides: Mapping[str, Any]) -> str:
    keys = hparams.keys
    _put_in(keys, overrides)
    for key in (key for key in ADDED_KEYS if hparams.wiring and key not in keys):
        place = list(keys).index(hparams.wiring[0]) - 1  # ruamel.yaml has the line `# ====` on the last setting
        keys.insert(max(place, 0), key, copy.copy(ADDED_KEYS[key]))
    custom = {key: _plain(keys[key]) for key in hparams.wiring if key in overrides or hparams.depth[key] > 0}
    if custom:
        before = keys.pop(CUSTOM_WIRING, {})
        keys.insert(0, CUSTOM_WIRING, {**before, **custom}, comment="what is not wired as in the base file")
    yaml, stream = ruamel.yaml.YAML(), io.StringIO()
    yaml.width = 10**6  # no line breaks within values
    yaml.indent(mapping=4, sequence=6, offset=4)
    yaml.Representer = _Representer
    yaml.dump(keys, stream)
    text = stream.getvalue()
    if hparams.wiring and WIRING not in text:  # ruamel.yaml has it as a comment on the setting before
        text = text.replace(f"\n{hparams.wiring[0]}:", f"\n{WIRING}\n{hparams.wiring[0]}:", 1)
    return text


def plain_settings(text: str) -> dict[str, Any]:
    r"""Take the settings out of a whole file: the values above its line `# ====`, which begins the wiring.

    Arguments
    ---------
    text : str
        YAML, such as `hparams_text` returns.

    Returns
    -------
    dict
        Key -> plain value, a tagged node as {tag: value}. A file without that line has settings only.

    Example
    -------
    >>> plain_settings("lr: 0.1\n# ==== Wiring\nloss: !name:torch.nn.functional.mse_loss\n")
    {'lr': 0.1}
    """
    return _plain(_load(text.split(WIRING)[0]))


def settings_fingerprint(text: str, leave_out: Collection[str] = ()) -> str:
    """Compute a fingerprint of the settings of a whole file; it is the same for the saved file of the run.

    Arguments
    ---------
    text : str
        YAML, as `hparams_text` returns it.
    leave_out : tuple of str
        Keys that do not count.

    Returns
    -------
    str
        SHA-256 as a hexadecimal number.
    """
    settings = plain_settings(text)
    counted = {key: value for key, value in settings.items() if key not in leave_out and not _is_off(key, value)}
    return hashlib.sha256(json.dumps(_numbers_alike(counted), sort_keys=True).encode()).hexdigest()


def _is_off(key: str, value: Any) -> bool:
    return key in ADDED_KEYS and value == ADDED_KEYS[key]


class Settings(dict):
    """The settings of a file; one that the file lacks is refused by its name."""

    def __init__(self, settings: Mapping[str, Any], hparams_file: Path):
        super().__init__(settings)
        self.hparams_file = hparams_file

    def __missing__(self, key: str) -> Any:
        raise InputError(f"{self.hparams_file} lacks the setting {key}. {HINT}")


class _Representer(ruamel.yaml.RoundTripRepresenter):
    """Writes None as a reader expects it."""


_Representer.add_representer(type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null"))


class Hparams(NamedTuple):
    """A hyperparameter file, together with its base.

    Attributes
    ----------
    keys : dict
        What it says, as ruamel.yaml reads it.
    wiring : list of str
        The keys below the line `# ====`.
    depth : dict
        Key -> 0 where the base says it last, 1 where the file on top of it does, and so on.
    """

    keys: Any
    wiring: list[str]
    depth: dict[str, int]


def load_hparams(hparams_file: Path, above: tuple[Path, ...] = ()) -> Hparams:
    """Load a file, what it says in place of what its base says.

    Raises
    ------
    InputError
        If a file is missing, is no YAML, or says a key that its base has not.
    """
    if hparams_file.is_dir():
        raise InputError(f"{hparams_file} is a folder. Give a hyperparameter file, such as hparams/loso.yaml.")
    if not hparams_file.exists():
        named_by = f", which {above[-1]} names as its base," if above else ""
        raise InputError(
            f"the hyperparameter file {hparams_file}{named_by} does not exist. Give for instance hparams/loso.yaml."
        )
    with reading(hparams_file, "is no YAML", HINT, UNREADABLE):
        text = _unsealed(hparams_file.read_text(encoding="utf-8"), hparams_file)
        keys = _load(text)
    if not isinstance(keys, dict) or not all(isinstance(key, str) for key in keys):
        raise InputError(f"{hparams_file} holds no settings (key: value). {HINT}")
    if "base" not in keys:
        wiring = re.findall(r"^(\w+):", text.partition(WIRING)[2], re.MULTILINE)
        return Hparams(keys, wiring, dict.fromkeys(keys, 0))
    base = keys.pop("base")
    if not isinstance(base, str):
        raise InputError(f"{hparams_file}: base must name a hyperparameter file, got {base!r}.")
    base_file = hparams_file.parent / base
    if base_file in above:
        raise InputError(f"{hparams_file} and {base_file} name each other as their base.")
    whole, wiring, depth = load_hparams(base_file, (*above, hparams_file))
    for key in keys:
        if key not in whole:
            raise InputError(f"{hparams_file}: the key {key} is not in {base_file}.{did_you_mean(key, whole, most=3)}")
    _put_in(whole, keys)
    depth.update(dict.fromkeys(keys, max(depth.values()) + 1))
    return Hparams(whole, wiring, depth)


def yaml_reader() -> ruamel.yaml.YAML:
    """Make a reader of YAML that refuses lists and mappings as keys: ruamel.yaml reads each of them twice, nested."""
    yaml = ruamel.yaml.YAML()
    yaml.Constructor = _Constructor
    return yaml


class _Constructor(ruamel.yaml.RoundTripConstructor):
    def construct_mapping(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        for key, _ in node.value:
            if not isinstance(key, ruamel.yaml.ScalarNode):
                raise ruamel.yaml.constructor.ConstructorError(None, None, "a key is no text", key.start_mark)
        return super().construct_mapping(node, *args, **kwargs)


def _load(text: str) -> Any:
    """Load YAML; of what was loaded before, a copy: ruamel.yaml takes long, and a run asks for the same text often."""
    return copy.deepcopy(_load_once(text))


@functools.lru_cache(maxsize=16)
def _load_once(text: str) -> Any:
    if max(itertools.accumulate((char in "[{") - (char in "]}") for char in text), default=0) > MOST_LEVELS:
        raise RecursionError  # ruamel.yaml needs minutes for thousands of levels
    keys = yaml_reader().load(text)
    if _n_values(keys, {}) > MOST_VALUES:
        raise ValueError(f"its aliases stand for more than {MOST_VALUES} values")
    return keys


@functools.lru_cache(maxsize=16)
def _resolve(text: str) -> Any:
    return ruamel.yaml.YAML().load(resolve_references(text))


def sealed(text: str) -> str:
    """Put the SHA-256 of a text above it, as a comment, so that whoever reads it sees that it is whole."""
    return f"{SEAL}{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def _unsealed(text: str, hparams_file: Path) -> str:
    content = text.partition("\n")[2] if text.startswith(SEAL) else text
    if text not in (content, sealed(content)):
        raise InputError(
            f"{hparams_file} is not as it was written: its SHA-256 differs. Copy it again from where it is whole; or, "
            "to keep a change of your own, delete its first line."
        )
    return content


def _n_values(node: Any, known: dict[int, int]) -> int:
    """Count the values of a node, those of an alias as often as it is written."""
    if not isinstance(node, (dict, list)):
        return 1
    if id(node) not in known:
        values = node.values() if isinstance(node, dict) else node
        known[id(node)] = 1 + sum(_n_values(value, known) for value in values)
    return known[id(node)]


def _put_in(keys: Any, changes: Mapping[str, Any]) -> None:
    """Put changes in place. HyperPyYAML's own way would keep the class of a mapping that gets another one."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(keys.get(key), dict) and not _names_another(value, keys[key]):
            _put_in(keys[key], value)
        else:
            keys[key] = value


def _names_another(value: Any, before: Any) -> bool:
    """Tell whether a mapping is of a class, or of a model_type, of its own: nothing of the one before belongs to it."""
    if (_tag(value) or "").startswith("!"):
        return True
    return "model_type" in value and value["model_type"] != before.get("model_type")


def _tag(node: Any) -> Optional[str]:
    return getattr(getattr(node, "tag", None), "value", None)


def _check_types(defaults: dict[str, Any], overrides: dict[str, Any]) -> None:
    """Refuse a mapping where the file has none, a text for a number, and anything for a truth value."""
    for key, value in overrides.items():
        default = defaults[key]
        if isinstance(value, dict) and default is not None and not isinstance(default, dict):
            kind = "a list" if isinstance(default, list) else "a single value"
            raise InputError(f"{key} must be {kind}, got {dict(value)}.")
        if isinstance(default, bool) and not isinstance(value, bool):
            raise InputError(f"{key} must be True or False, got {value!r}.")
        if isinstance(default, (int, float)) and not isinstance(default, bool) and isinstance(value, str):
            raise InputError(f"{key} must be a number (in the file it is {default}), got {value!r}.")


def _numbers_alike(node: Any) -> Any:
    """Turn whole numbers into floats: 0 and 0.0 are the same setting."""
    if isinstance(node, dict):
        return {key: _numbers_alike(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_numbers_alike(value) for value in node]
    return float(node) if type(node) is int and abs(node) < 2**53 else node


def _plain(node: Any) -> Any:
    """Turn a YAML node into plain values, with its tag and without comments and ways of writing."""
    tag = _tag(node)
    value: Any
    if isinstance(node, dict):
        value = {str(key): _plain(item) for key, item in node.items()}
    elif isinstance(node, list):
        value = [_plain(item) for item in node]
    elif isinstance(node, ruamel.yaml.comments.TaggedScalar):
        value = node.value
    elif isinstance(node, float):
        value = float(node)
    elif isinstance(node, str):
        value = str(node)
    else:
        return node
    # hyperpyyaml tags a text in parentheses by itself.
    return value if not tag or not tag.startswith("!") or tag == "!tuple" else {tag: value}
