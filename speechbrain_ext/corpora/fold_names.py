"""Which fold a list is of: its name says it, with the word fold, or as the names of training and test lists pair up."""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple, Optional

from speechbrain_ext.corpora.utterance_lists import PART_WORDS, part_of_word
from speechbrain_ext.errors import InputError, first_few

FOLD = re.compile(r"(?:^|[^a-z])fold[ _-]?(\d+)", flags=re.IGNORECASE)
SHOWN = 5


class ListPlace(NamedTuple):
    """A list: the path as it was given, the part that it is ("" where its records say it), and who says so."""

    path: str
    part: str
    by_user: bool = False


def name_folds(lists: Sequence[ListPlace]) -> tuple[list[Optional[str]], list[str]]:
    """Tell which fold each list is of.

    Arguments
    ---------
    lists : list of ListPlace
        The lists.

    Returns
    -------
    tuple
        (for each list the fold's name, None for a list of all folds; sentences on what was concluded, or taken
        together).

    Raises
    ------
    InputError
        If there are several training and several test lists, and nothing says which of them are one fold.

    Example
    -------
    >>> name_folds([ListPlace("train_1.csv", "train"), ListPlace("test_1.csv", "test")])
    ([None, None], [])
    >>> parts = ["train", "test"] * 2
    >>> paths = ["1/train.csv", "1/test.csv", "2/train.csv", "2/test.csv"]
    >>> name_folds([ListPlace(path, part) for path, part in zip(paths, parts)])[0]
    ['1', '1', '2', '2']
    """
    told = [_fold_in(one.path) for one in lists]
    if any(fold is not None for fold in told):
        return told, _check_told(lists, told)
    members = {part: [one for one in lists if one.part == part] for part in PART_WORDS}
    if min(len(members["train"]), len(members["test"])) > 1:
        for name_of in (_last_number, _without_part):
            found = _paired(lists, name_of)
            if found:
                names = sorted({name for name in found if name is not None}, key=in_order)
                return found, [f"Read as {len(names)} folds, as the lists' names pair up: {first_few(names, SHOWN)}."]
        if not all(one.by_user for one in members["train"] + members["test"]):
            train, test = (first_few([one.path for one in members[part]], SHOWN) for part in ("train", "test"))
            raise InputError(
                f"there are {len(members['train'])} training lists ({train}) and {len(members['test'])} test lists "
                f"({test}), whose names do not pair up: which of them are one fold? Put the lists of each into a "
                "folder fold_1, fold_2, ...; or write train=, valid= or test= before each list, to take them together "
                "as one fold."
            )
    return [None] * len(lists), [
        f"{len(found)} lists are taken together as the {part} part: {first_few([one.path for one in found], SHOWN)}."
        for part, found in members.items()
        if len(found) > 1
    ]


def part_of_path(path: str) -> str:
    """Return the part that a path names, the last word of it that names one; "" for none."""
    return next((part for word in reversed(re.split(r"[\W_]+", path)) if (part := part_of_word(word))), "")


def in_order(fold: Optional[str]) -> tuple[int, str]:
    """Sort folds as their numbers count, if they are numbers."""
    return len(fold or ""), fold or ""


def _fold_in(path: str) -> Optional[str]:
    found = FOLD.findall(path)
    return found[-1].lstrip("0") or "0" if found else None


def _check_told(lists: Sequence[ListPlace], told: Sequence[Optional[str]]) -> list[str]:
    """Refuse a test list without a fold beside others with one; say which other lists belong to all folds as well."""
    notes = []
    for one, fold in zip(lists, told):
        others = [other.path for other, name in zip(lists, told) if name is not None and other.part == one.part]
        if fold is not None or not others or not one.part:
            continue
        if one.part == "test":
            raise InputError(
                f"{one.path} is a test list whose name says no fold, and {others[0]} is of a fold. Write fold_ and its "
                "number into the name, or leave it out."
            )
        notes.append(f"{one.path} says no fold: it is in the {one.part} part of all folds.")
    return notes


def _paired(lists: Sequence[ListPlace], name_of: Callable[[ListPlace], Optional[str]]) -> Optional[list[Optional[str]]]:
    """Name the folds so, if each training list then has a test list; None otherwise."""
    names = [name_of(one) for one in lists]
    counts: dict[str, list[Optional[str]]] = defaultdict(list)
    for one, name in zip(lists, names):
        counts[one.part].append(name)
    folds = set(counts["train"])
    if None in folds or folds != set(counts["test"]) or len(folds) < 2:
        return None
    if max(len(counts[part]) for part in ("train", "test")) > len(folds):
        return None
    if not set(counts["valid"]) <= folds and len(counts["valid"]) > 1:
        return None
    return [name if name in folds else None for name in names]


def _last_number(one: ListPlace) -> Optional[str]:
    found = re.findall(r"\d+", _stem(one.path))
    return found[-1].lstrip("0") or "0" if found else None


def _without_part(one: ListPlace) -> str:
    """Return a path without the word for its part."""
    pieces = re.split(r"([\W_]+)", _stem(one.path))
    for i in reversed(range(len(pieces))):
        if part_of_word(pieces[i]):
            pieces[i] = "*" + re.sub(r"\D", "", pieces[i])
            break
    return "".join(pieces)


def _stem(path: str) -> str:
    return re.sub(r"\.\w+$", "", path)
