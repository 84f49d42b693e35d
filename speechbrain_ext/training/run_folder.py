"""A run's folder: the settings it was started with, and the refusal to mix two runs in one folder."""

import difflib
import hashlib
import json
from pathlib import Path

import ruamel.yaml
from hyperpyyaml import resolve_references
from hyperpyyaml.core import recursive_update

from speechbrain_ext.atomic_write import atomic_write, write_json
from speechbrain_ext.errors import InputError

RUN_FILE = "run.json"
HYPERPARAMS_FILE = "hyperparams.yaml"
HINT = "Choose another --output_folder, or delete that one."


def read_settings(hparams_file, overrides, own_checks=()):
    """Read what a HyperPyYAML file says, with overrides and references resolved, without building any object.

    Arguments
    ---------
    hparams_file : str or pathlib.Path
        The YAML file. A run folder's own hyperparams.yaml goes on in that folder, also when it has been moved.
    overrides : str or dict
        Values that replace the file's, as `speechbrain.parse_arguments` returns them.
    own_checks : tuple of str
        Keys whose values the caller checks with more to say than that they are no numbers.

    Returns
    -------
    tuple
        (settings: top-level key -> plain value or tagged node; overrides: dict, complete).

    Raises
    ------
    InputError
        If the file is missing or is no YAML, or an override names a key that the file does not have or is a text
        where the file has a number or a truth value.
    """
    hparams_file = Path(hparams_file)
    overrides = _parse_options(overrides) if isinstance(overrides, str) else dict(overrides or {})
    if not hparams_file.is_file():
        raise InputError(f"the hyperparameter file {hparams_file} does not exist. Give for instance hparams/loso.yaml.")
    yaml = ruamel.yaml.YAML()
    try:
        text = hparams_file.read_text(encoding="utf-8")
        keys = yaml.load(text)
        if not isinstance(keys, dict):
            raise InputError(f"{hparams_file} holds no settings (key: value).")
        folder = hparams_file.resolve().parent
        if hparams_file.name == HYPERPARAMS_FILE and (folder / RUN_FILE).exists() and "output_folder" in keys:
            overrides.setdefault("output_folder", str(folder))
        for key in overrides:
            if key not in keys:
                near = difflib.get_close_matches(str(key), keys, n=3)
                hint = f" Did you mean {' or '.join('--' + name for name in near)}?" if near else ""
                raise InputError(f"--{key} is unknown: {hparams_file} has no such key.{hint}")
        _check_types(keys, {key: value for key, value in overrides.items() if key not in own_checks})
        return yaml.load(resolve_references(text, overrides)), overrides
    except (ruamel.yaml.error.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{hparams_file} is no YAML: {error}") from error
    except InputError:
        raise
    except ValueError as error:  # a reference to nothing, or an override of another structure
        raise InputError(
            f"{hparams_file} and the options do not fit together: {' '.join(map(str, error.args))}"
        ) from error


def claim_run_folder(folder, identity, hparams_file, overrides, resumable_keys=()):
    """Take a folder for a run, and save the settings there: a new folder, or the one that the same run has begun.

    Until there is a checkpoint the settings may still be corrected.

    The saved hyperparams.yaml is the file given with the overrides in it; its references stay, so it can be run with
    further overrides.

    Arguments
    ---------
    folder : str or pathlib.Path
        The run's folder.
    identity : dict
        What makes the run this one, such as fold, seed and the manifest's fingerprint.
    hparams_file : str or pathlib.Path
        The YAML file that the run is started with.
    overrides : dict
        The overrides, as `read_settings` returns them.
    resumable_keys : tuple of str
        Top-level keys in which a resumed run may differ.

    Raises
    ------
    InputError
        If the folder belongs to another run, with what differs. Nothing in it has been changed then.
    """
    settings = _merged(hparams_file, overrides)
    _refuse_another_run(folder, identity, settings, resumable_keys)
    write_json(identity, Path(folder) / RUN_FILE)
    with atomic_write(Path(folder) / HYPERPARAMS_FILE) as file:
        yaml = ruamel.yaml.YAML()
        yaml.width = 10**6  # no line breaks within values
        yaml.dump(settings, file)


def check_run_folder(folder, identity, hparams_file, overrides, resumable_keys=()):
    """Refuse a folder that belongs to another run, as `claim_run_folder` does, and write nothing."""
    _refuse_another_run(folder, identity, _merged(hparams_file, overrides), resumable_keys)


def _merged(hparams_file, overrides):
    settings = ruamel.yaml.YAML().load(Path(hparams_file).read_text(encoding="utf-8"))
    recursive_update(settings, overrides or {})
    return settings


def _refuse_another_run(folder, identity, settings, resumable_keys):
    folder = Path(folder)
    run_file, saved_file = folder / RUN_FILE, folder / HYPERPARAMS_FILE
    if run_file.exists():
        try:
            before = json.loads(run_file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{run_file} is no JSON: {error}. {HINT}") from error
        if not isinstance(before, dict):
            raise InputError(f"{run_file} names no run, it holds {before!r}. {HINT}")
        for key, value in identity.items():
            if before.get(key) != value:
                raise InputError(
                    f"{folder} holds another run: {key} is {before.get(key)!r} there, {value!r} now. {HINT}"
                )
        if saved_file.exists() and any(folder.glob("save/CKPT*")):
            changed = _changed_settings(saved_file, settings, resumable_keys)
            if changed:
                raise InputError(f"{folder} holds a run with other settings: {'; '.join(changed)}. {HINT}")
    elif saved_file.exists() or (folder / "save").exists():
        raise InputError(f"{folder} holds a run that this program did not start. {HINT}")


def settings_fingerprint(hparams_file, overrides=None, leave_out=()):
    """Compute a fingerprint of a run's settings, alike for the file with overrides and for the saved one.

    Arguments
    ---------
    hparams_file : str or pathlib.Path
        The YAML file.
    overrides : dict, optional
        The overrides, as `read_settings` returns them.
    leave_out : tuple of str
        Top-level keys that do not count.

    Returns
    -------
    str
        SHA-256 as a hexadecimal number.
    """
    counted = {key: value for key, value in _plain(_merged(hparams_file, overrides)).items() if key not in leave_out}
    return hashlib.sha256(json.dumps(_numbers_alike(counted), sort_keys=True).encode()).hexdigest()


def _numbers_alike(node):
    """Turn whole numbers into floats: 0 and 0.0 are the same setting."""
    if isinstance(node, dict):
        return {key: _numbers_alike(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_numbers_alike(value) for value in node]
    return float(node) if isinstance(node, int) and not isinstance(node, bool) else node


def _check_types(defaults, overrides):
    """Refuse a text where the file has a number, and anything but True and False where it has one of them."""
    for key, value in overrides.items():
        default = defaults[key]
        if isinstance(default, bool) and not isinstance(value, bool):
            raise InputError(f"{key} must be True or False, got {value!r}.")
        if isinstance(default, (int, float)) and not isinstance(default, bool) and isinstance(value, str):
            raise InputError(f"{key} must be a number (in the file it is {default}), got {value!r}.")


def _parse_options(text):
    """Parse the command line's options, one a line; of two with one key the last counts."""
    options = {}
    for line in filter(None, text.splitlines()):
        try:
            option = ruamel.yaml.YAML().load(line)
        except ruamel.yaml.error.YAMLError as error:
            raise InputError(f"the option {line!r} is no YAML: write --key=value. ({error})") from error
        if not isinstance(option, dict):
            raise InputError(f"the command line holds {line!r}: write options as --key=value.")
        _set_block_style(option)
        options.update(option)
    return options


def _set_block_style(node):
    """Let the items of a list be written line by line: ruamel.yaml loses the braces in [!new:Class {key: value}]."""
    if isinstance(node, list) and node:  # an empty one can be written as [] only
        node.fa.set_block_style()
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _set_block_style(item)


def _changed_settings(saved_file, settings, resumable_keys):
    """Say in which keys the settings differ from the saved ones; what refers to a changed key is the same text."""
    try:
        saved = ruamel.yaml.YAML().load(saved_file.read_text(encoding="utf-8"))
    except ruamel.yaml.error.YAMLError as error:
        raise InputError(f"{saved_file} is no YAML: {error} {HINT}") from error
    before, now = _plain(saved), _plain(settings)
    changed = [key for key in {**before, **now} if key not in resumable_keys and before.get(key) != now.get(key)]
    return [f"{key} is {before.get(key, 'missing')} there, {now.get(key, 'missing')} now" for key in changed[:3]]


def _plain(node):
    """Turn a YAML node into plain values, with its tag and without comments and ways of writing."""
    tag = getattr(getattr(node, "tag", None), "value", None)
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
    # hyperpyyaml tags a text in parentheses by itself once it has been used.
    return value if not tag or not tag.startswith("!") or tag == "!tuple" else {tag: value}
