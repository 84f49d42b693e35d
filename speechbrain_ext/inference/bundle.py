"""A bundle: the folder in which a trained classifier travels, and its validation.

A bundle holds `bundle.json` (the settings that the classifier is built from, facts about its training, and the SHA-256
of each file and of itself), one `<part>.ckpt` for each part with weights, `README.md` (the model card), and
`hyperparams.yaml` for SpeechBrain's own `EncoderClassifier.from_hparams`.

`from_hparams` runs whatever hyperparams.yaml names. `speechbrain_ext.inference.load_classifier` never reads that file:
it builds the classifier from the plain values in bundle.json, once they are validated here.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from speechbrain_ext.checksums import sha256_of
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.bundle_settings import ADDED_SETTINGS, FACTS, SETTINGS, BundleSettings
from speechbrain_ext.json_reader import CHECKSUM, SEALED, is_as_written, unique_keys
from speechbrain_ext.limits import LARGEST_JSON_BYTES
from speechbrain_ext.rules import check_values, shown

FORMAT = 1
BUNDLE_FILE = "bundle.json"
YAML_FILE = "hyperparams.yaml"
CARD_FILE = "README.md"
PARTS = ("encoder", "f_0", "f_1")  # each has its weights in <part>.ckpt
FILE_NAME = re.compile(r"[\w+-][\w+. -]{0,200}")  # in this very folder, on every system
DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Bundle:
    """A validated bundle.

    Attributes
    ----------
    folder : pathlib.Path
        Where it lies.
    settings : BundleSettings
        What its classifier is built from.
    about : dict
        All that bundle.json says.
    """

    folder: Path
    settings: BundleSettings
    about: dict[str, Any]


def check_bundle(folder: str | os.PathLike, within: Optional[str | os.PathLike] = None) -> Bundle:
    """Validate a bundle, without building or running anything.

    Arguments
    ---------
    folder : str or pathlib.Path
        The bundle.
    within : str or pathlib.Path, optional
        The folder that its files have to lie in, links followed; by default the bundle's own.

    Returns
    -------
    Bundle
        Its settings, and all that bundle.json says.

    Raises
    ------
    InputError
        If it is no bundle; if a file is missing or is not the one that bundle.json lists; if bundle.json holds an
        unknown key, or a value of the wrong type or out of its bounds.
    """
    folder = Path(folder)
    about = _read_about(folder, within)
    try:
        values = {key: value for key, value in about.items() if key not in ("format", "files", SEALED, CHECKSUM)}
        check_values(values, {**SETTINGS, **FACTS}, needed=[key for key in SETTINGS if key not in ADDED_SETTINGS])
        settings = BundleSettings(**{key: about[key] for key in SETTINGS if key in about})
    except InputError as error:
        raise refusal(folder, f"{BUNDLE_FILE}: {error}") from error
    if not is_as_written(about):
        raise refusal(folder, f"{BUNDLE_FILE} is not as it was written (its {CHECKSUM} differs)")
    listed = about["files"]
    for name in (YAML_FILE, *(f"{part}.ckpt" for part in PARTS)):
        _own_file(folder, name, within)
        if name not in listed:
            raise refusal(folder, f"{BUNDLE_FILE} does not list {name}")
    for name in listed:
        if name == CARD_FILE:  # for people: it may be corrected where it is
            continue
        if (folder / name).exists() and (found := sha256_of(_own_file(folder, name, within))) != listed[name]:
            differ = f"SHA-256 {found[:12]}..., not {listed[name][:12]}..."
            raise refusal(folder, f"{name} is not the file that {BUNDLE_FILE} lists ({differ})")
    return Bundle(folder, settings, about)


def refusal(folder: Path, why: str) -> InputError:
    """Word the error of a bundle that is not loaded."""
    return InputError(
        f"the bundle {folder} is refused: {why.rstrip('.')}. Nothing of it was run. Get it again from who made it."
    )


def _read_about(folder: Path, within: Optional[str | os.PathLike]) -> dict[str, Any]:
    """Read bundle.json, and check its format and its list of files."""
    if not (folder / BUNDLE_FILE).exists():
        raise InputError(
            f"{folder} is no bundle: it has no {BUNDLE_FILE}. `speechbrain-ext export FOLD_DIR OUT_DIR` makes one out "
            "of a trained fold."
        )
    with open(_own_file(folder, BUNDLE_FILE, within), "rb") as file:
        data = file.read(LARGEST_JSON_BYTES + 1)
    if len(data) > LARGEST_JSON_BYTES:
        raise refusal(folder, f"{BUNDLE_FILE} is larger than {LARGEST_JSON_BYTES} bytes")
    try:
        about = json.loads(data.decode("utf-8"), object_pairs_hook=unique_keys, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise refusal(folder, f"{BUNDLE_FILE} is no UTF-8 text ({error})") from error
    except (ValueError, RecursionError) as error:
        raise refusal(folder, f"{BUNDLE_FILE} is no JSON ({error})") from error
    files = about.get("files") if isinstance(about, dict) else None
    if not isinstance(files, dict) or not all(
        isinstance(value, str) and DIGEST.fullmatch(value) for value in files.values()
    ):
        raise refusal(folder, f"{BUNDLE_FILE} lists no files with their SHA-256")
    for name in files:
        if not FILE_NAME.fullmatch(name):
            raise refusal(folder, f"{BUNDLE_FILE} lists {shown(name)}, which is no name of a file in the folder")
    if (found := about.get("format")) != FORMAT or type(found) is not int:  # True and 1.0 equal 1
        raise refusal(folder, f"its format is {shown(found)}, and this version reads {FORMAT}")
    return about


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _own_file(folder: Path, name: str, within: Optional[str | os.PathLike]) -> Path:
    """Return the path of one of the bundle's own files, once it is known to lie in the bundle."""
    path = folder / name
    if not path.is_file():
        raise refusal(folder, f"{name} is missing, or no file")
    if not path.resolve().is_relative_to(Path(within or folder).resolve()):
        raise refusal(folder, f"{name} is a link to {path.resolve()}, out of the folder")
    return path
