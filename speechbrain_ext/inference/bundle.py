"""A bundle: the folder in which a trained classifier travels, and the check that nothing in it does harm.

A bundle holds `hyperparams.yaml` and one `<name>.ckpt` for each part with weights, as SpeechBrain's `EncoderClassifier`
wants them, `README.md` (the model card) and `bundle.json` (labels, sample rate, versions, SHA-256 of each file).

HyperPyYAML runs what a file names, so SpeechBrain's own `from_hparams` runs whatever the author of a bundle wrote.
`check_bundle` looks first; `speechbrain_ext.inference.classifier.load_classifier` loads only what it has let pass.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.bundle_yaml import BundleYaml, YamlFault

FORMAT = 1
BUNDLE_FILE = "bundle.json"
YAML_FILE = "hyperparams.yaml"
CARD_FILE = "README.md"
LARGEST_TEXT_BYTES = 65536  # of hyperparams.yaml and of bundle.json
FILE_NAME = re.compile(r"[\w+-][\w+. -]{0,200}")  # in this very folder, on every system


@dataclass(frozen=True)
class Bundle:
    """A bundle that has been checked.

    Attributes
    ----------
    folder : pathlib.Path
        Where it lies.
    yaml : speechbrain_ext.inference.bundle_yaml.BundleYaml
        Its hyperparams.yaml.
    about : dict
        What bundle.json says.
    """

    folder: Path
    yaml: BundleYaml
    about: dict


def sha256_of(path):
    """Compute the SHA-256 of a file, as a hexadecimal number."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_bundle(folder, within=None):
    """Inspect a bundle, without building or running anything that it names.

    Arguments
    ---------
    folder : str or pathlib.Path
        The bundle.
    within : str or pathlib.Path, optional
        The folder that its files have to lie in, links followed; by default the bundle's own.

    Returns
    -------
    Bundle
        What was inspected: the YAML file to build, and what bundle.json says.

    Raises
    ------
    InputError
        If it is no bundle; if a file is not the one that bundle.json lists; if hyperparams.yaml names anything but a
        few classes of speechbrain, torch.nn and speechbrain_ext with their harmless arguments, or a path.
    """
    folder = Path(folder)
    about = _read_about(folder, within)
    listed = about["files"]
    for name in listed:
        if name == CARD_FILE:  # for people: it may be corrected where it is
            continue
        if (folder / name).exists() and (found := sha256_of(_own_file(folder, name, within))) != listed[name]:
            differ = f"SHA-256 {found[:12]}..., not {listed[name][:12]}..."
            raise refusal(folder, f"{name} is not the file that {BUNDLE_FILE} lists ({differ})")
    text = _read_text(folder, YAML_FILE, within)
    try:
        yaml = BundleYaml(text)
    except YamlFault as fault:
        raise refusal(folder, f"{YAML_FILE}, line {fault.line}: {fault}") from fault
    for name in (YAML_FILE, *(f"{part}.ckpt" for part in yaml.parts)):
        _own_file(folder, name, within)
        if name not in listed:
            raise refusal(folder, f"{BUNDLE_FILE} does not list {name}")
    return Bundle(folder, yaml, about)


def refusal(folder, why):
    """Word the error of a bundle that is not loaded."""
    return InputError(f"the bundle {folder} is refused: {why}. Nothing of it was run. Get it again from who made it.")


def _read_about(folder, within):
    if not (folder / BUNDLE_FILE).exists():
        raise InputError(
            f"{folder} is no bundle: it has no {BUNDLE_FILE}. `python recipes/IEMOCAP/export.py FOLD_DIR OUT_DIR` "
            "makes one out of a trained fold."
        )
    text = _read_text(folder, BUNDLE_FILE, within)
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refusal(folder, f"{BUNDLE_FILE} is no JSON ({error})") from error
    files = about.get("files") if isinstance(about, dict) else None
    if not isinstance(files, dict) or not all(isinstance(value, str) for value in files.values()):
        raise refusal(folder, f"{BUNDLE_FILE} lists no files with their SHA-256")
    for name in files:
        if not FILE_NAME.fullmatch(name):
            raise refusal(folder, f"{BUNDLE_FILE} lists {name!r}, which is no name of a file in the folder")
    if about.get("format") != FORMAT:
        raise refusal(folder, f"its format is {about.get('format')!r}, and this version reads {FORMAT}")
    return about


def _own_file(folder, name, within):
    """Return the path of one of the bundle's own files, once it is known to lie in the bundle."""
    path = folder / name
    if not path.is_file():
        raise refusal(folder, f"{name} is missing, or no file")
    if not path.resolve().is_relative_to(Path(within or folder).resolve()):
        raise refusal(folder, f"{name} is a link to {path.resolve()}, out of the folder")
    return path


def _read_text(folder, name, within):
    with open(_own_file(folder, name, within), "rb") as file:
        data = file.read(LARGEST_TEXT_BYTES + 1)
    if len(data) > LARGEST_TEXT_BYTES:
        raise refusal(folder, f"{name} is larger than {LARGEST_TEXT_BYTES} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise refusal(folder, f"{name} is no UTF-8 text ({error})") from error
