"""Reading the JSON objects that this program writes: whole and of the right types, or refused in one sentence."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Optional

from speechbrain_ext.errors import InputError
from speechbrain_ext.rules import Rule, check_values, shown
from speechbrain_ext.storage import reading

CHECKSUM = "sha256"
SEALED = "sealed"  # true where there is a checksum: one that is lost is missed
MOST_LEVELS = 20  # no file of ours has as many; who reads on follows each of them


def read_json(path: str | Path, hint: str, kind: type = dict) -> Any:
    """Read a JSON file.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.
    hint : str
        What to do where it cannot be used, as a sentence.
    kind : type
        What it holds: dict or list.

    Raises
    ------
    InputError
        If it cannot be read, is no JSON, has a key twice in one object or more than 20 levels, holds half a character,
        something of another kind, or a checksum that is not its own. Names the file, what is wrong and the hint.
    """
    with reading(path, "is no JSON", hint):
        text = Path(path).read_text(encoding="utf-8")
        content = json.loads(text, object_pairs_hook=unique_keys)
        if "\\u" in text:
            json.dumps(content, ensure_ascii=False).encode()  # half of a pair is no text that could be written
        _check_levels(content, MOST_LEVELS)
        if isinstance(content, dict) and not is_as_written(content):
            raise InputError(f"{path} is not as it was written: its {CHECKSUM} differs. {hint}")
    if not isinstance(content, kind):
        wanted = "an object" if kind is dict else "a list"
        raise InputError(f"{path} holds {shown(content)}, not {wanted}. {hint}")
    return content


def with_checksum(content: Mapping[str, Any]) -> dict[str, Any]:
    """Add to an object its SHA-256, and that it has one: `read_json` refuses it when anything in it has changed."""
    plain = {SEALED: True, **json.loads(json.dumps(content))}
    return {**plain, CHECKSUM: checksum(plain)}


def is_as_written(content: Mapping[str, Any]) -> bool:
    """Tell whether an object has its own SHA-256, or is of an earlier version and says of none."""
    sealed = content.get(SEALED) is True or isinstance(content.get(CHECKSUM), str)
    return not sealed or content.get(CHECKSUM) == checksum(content)


def checksum(content: Mapping[str, Any]) -> str:
    """Compute the SHA-256 of all of an object but its checksum."""
    others = {key: value for key, value in content.items() if key != CHECKSUM}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def read_object(
    path: str | Path, hint: str, rules: Mapping[str, Rule], needed: Optional[Iterable[str]] = None
) -> dict[str, Any]:
    """Read a JSON object and check its values.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.
    hint : str
        What to do where it cannot be used, as a sentence.
    rules : dict
        Key -> what its value has to be. Keys without a rule may hold anything.
    needed : iterable of str, optional
        The keys that must be there; by default all that have a rule.

    Raises
    ------
    InputError
        As `read_json` does; or names the file, the key, its rule and the value.
    """
    content = read_json(path, hint)
    try:
        check_values({key: content[key] for key in rules if key in content}, rules, needed, prefix=f"{path}: ")
    except InputError as error:
        raise InputError(f"{error} {hint}") from error
    return content


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its keys and values, as `json.loads` calls it; refuse a key that stands there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"{Counter(key for key, _ in pairs).most_common(1)[0][0]!r} stands twice")
    return found


def _check_levels(value: Any, most: int) -> None:
    if not most:
        raise RecursionError
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(inner, (dict, list)):
            _check_levels(inner, most - 1)
