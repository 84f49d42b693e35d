"""A run's folder: the settings it was started with, and the refusal to mix two runs in one folder."""

import difflib
import io
import json
from pathlib import Path

import ruamel.yaml
from hyperpyyaml import resolve_references
from hyperpyyaml.core import recursive_update

from speechbrain_ext.atomic_write import atomic_write, write_json
from speechbrain_ext.errors import InputError

RUN_FILE = "run.json"
HYPERPARAMS_FILE = "hyperparams.yaml"
CURE = "Choose another --output_folder, or delete that one."


def read_settings(hparams_file, overrides):
    """Read what a HyperPyYAML file says, with overrides and references resolved, without building any object.

    Arguments
    ---------
    hparams_file : str or pathlib.Path
        The YAML file. A run folder's own hyperparams.yaml goes on in that folder, also when it has been moved.
    overrides : str or dict
        Values that replace the file's, as `speechbrain.parse_arguments` returns them.

    Returns
    -------
    tuple
        (settings: top-level key -> plain value or tagged node; overrides: dict, complete).

    Raises
    ------
    InputError
        If the file is missing or is no YAML, or an override names a key that the file does not have.
    """
    hparams_file = Path(hparams_file)
    overrides = _parse_options(overrides) if isinstance(overrides, str) else dict(overrides or {})
    if not hparams_file.is_file():
        raise InputError(f"the hyperparameter file {hparams_file} does not exist. Give for instance hparams/loso.yaml.")
    folder = hparams_file.resolve().parent
    if hparams_file.name == HYPERPARAMS_FILE and (folder / RUN_FILE).exists():
        overrides.setdefault("output_folder", str(folder))
    yaml = ruamel.yaml.YAML()
    try:
        text = hparams_file.read_text(encoding="utf-8")
        keys = list(yaml.load(text))
        for key in overrides:
            if key not in keys:
                near = difflib.get_close_matches(str(key), keys, n=3)
                hint = f" Did you mean {' or '.join('--' + name for name in near)}?" if near else ""
                raise InputError(f"--{key} is unknown: {hparams_file} has no such key.{hint}")
        return yaml.load(resolve_references(text, overrides)), overrides
    except ruamel.yaml.error.YAMLError as error:
        raise InputError(f"{hparams_file} is no YAML: {error}") from error


def claim_run_folder(folder, identity, hparams_file, overrides, may_change=()):
    """Take a folder for a run, a new one or the one that the same run has begun, and save the settings there.

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
    may_change : tuple of str
        Top-level keys in which a resumed run may differ.

    Raises
    ------
    InputError
        If the folder belongs to another run, with what differs. Nothing in it has been changed then.
    """
    folder = Path(folder)
    run_file, saved_file = folder / RUN_FILE, folder / HYPERPARAMS_FILE
    if run_file.exists():
        before = json.loads(run_file.read_text(encoding="utf-8"))
        for key, value in identity.items():
            if before.get(key) != value:
                raise InputError(
                    f"{folder} holds another run: {key} is {before.get(key)!r} there, {value!r} now. {CURE}"
                )
        if saved_file.exists():
            changed = _changed_settings(saved_file, hparams_file, overrides, may_change)
            if changed:
                raise InputError(f"{folder} holds a run with other settings: {'; '.join(changed)}. {CURE}")
    elif saved_file.exists() or (folder / "save").exists():
        raise InputError(f"{folder} holds a run that this program did not start. {CURE}")

    yaml = _round_trip_yaml()
    settings = yaml.load(Path(hparams_file).read_text(encoding="utf-8"))
    recursive_update(settings, overrides)
    write_json(identity, run_file)
    with atomic_write(saved_file) as file:
        yaml.dump(settings, file)


def _parse_options(text):
    """Parse the command line's options, one a line; of two with one key the last counts."""
    options = {}
    for line in text.splitlines():
        try:
            option = ruamel.yaml.YAML().load(line)
        except ruamel.yaml.error.YAMLError as error:
            raise InputError(f"the option {line!r} is no YAML: write --key=value. ({error})") from error
        if not isinstance(option, dict):
            raise InputError(f"the command line holds {line!r}: write options as --key=value.")
        options.update(option)
    return options


def _changed_settings(saved_file, hparams_file, overrides, may_change):
    before = _comparable(saved_file, {}, may_change)
    now = _comparable(hparams_file, overrides, may_change)
    changed = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    # What refers to a changed value has changed as well; the values themselves say more.
    plain = [
        key for key in changed if not any(text.startswith("!") for text in (before.get(key, ""), now.get(key, "")))
    ]
    plain = [key for key in plain if "!new:" not in before.get(key, "")] or plain or changed
    return [f"{key} is {before.get(key, 'missing')} there, {now.get(key, 'missing')} now" for key in plain[:3]]


def _comparable(hparams_file, overrides, may_change):
    """Return each top-level key's resolved value as text, with everything that may change set to one value."""
    yaml = _round_trip_yaml()
    text = Path(hparams_file).read_text(encoding="utf-8")
    neutral = {key: "any" for key in may_change if key in yaml.load(text)}
    settings = yaml.load(resolve_references(text, {**overrides, **neutral}))
    comparable = {}
    for key, value in settings.items():
        if key in may_change:
            continue
        stream = io.StringIO()
        yaml.dump({key: value}, stream)
        lines = (line.split(" #")[0].strip() for line in stream.getvalue().splitlines())
        comparable[key] = " ".join(line for line in lines if line).removeprefix(f"{key}:").strip()
    return comparable


def _round_trip_yaml():
    yaml = ruamel.yaml.YAML()
    yaml.width = 10**6  # no line breaks within values
    return yaml
