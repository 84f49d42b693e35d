"""Split files of anyone's work: which utterance is in which part of which fold, and what is known about it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from speechbrain_ext.corpora.base import CORPORA
from speechbrain_ext.corpora.emobox import FOLD, read_metadata, registered_name
from speechbrain_ext.corpora.fold_names import ListPlace, in_order, name_folds, part_of_path
from speechbrain_ext.corpora.known_names import describe_name
from speechbrain_ext.corpora.utterance_lists import LISTS, PART_WORDS, Record, is_kaldi, part_of_word, read_list
from speechbrain_ext.dataio.manifest import DATA_ROOT, UNKNOWN_SPEAKER
from speechbrain_ext.errors import InputError

PLACES = ("part", "fold", "parts")  # where an utterance is, not what it is


@dataclass
class Split:
    """The folds of a data set.

    Attributes
    ----------
    utterances : dict
        {id: {wav, emo, speaker, group, session, dialogue, gender, ...}}, texts, each where it is known; "named" is what
        the recording's name says by the naming scheme of the corpus.
    folds : list of dict
        For each fold {"train": ids, "valid": ids, "test": ids}.
    corpus : str, optional
        The corpus, as the registry calls it.
    roots : list of pathlib.Path
        Folders that the paths of recordings may be relative to.
    faults : list of str
        What contradicts itself in the lists.
    notes : list of str
        What was concluded of the lists' names, or taken together.
    """

    utterances: dict[str, dict[str, Any]]
    folds: list[dict[str, list[str]]]
    corpus: Optional[str] = None
    roots: list[Path] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_split(words: Sequence[str], corpus: Optional[str] = None) -> Split:
    """Read split files.

    Arguments
    ---------
    words : list of str
        Files and folders. Which part a file is, its name says (train, valid or dev, test), or the word that stands
        before it: "test=my.csv"; `name_folds` tells its fold. A list may also have a column part or split, or a column
        fold, each of whose values is tested on by one fold. A folder may be one of EmoBox's, or one fold of it.
    corpus : str, optional
        A name of the registry: what the names of its recordings say fills in what the lists do not.

    Returns
    -------
    Split
        The folds, in the order of their numbers.

    Raises
    ------
    InputError
        If a file cannot be read, or nothing says which part it is.
    """
    if corpus is not None and corpus not in CORPORA:
        raise InputError(f"corpus must be one of {', '.join(CORPORA)}, got {corpus!r}.")
    split = Split({}, [], corpus)
    placed: list[tuple[Optional[str], str, str]] = []  # (fold or none, part, id)
    lists: list[tuple[ListPlace, Path]] = []
    for word in words:
        part, path = _take_apart(word)
        folder, fold = _find_emobox(path)
        if folder:
            placed += _add_emobox(split, folder, fold)
            continue
        for file in _find_lists(path, part):
            lists.append((ListPlace(file.as_posix(), part or part_of_path(_inner(file, path)), bool(part)), file))
    folds, split.notes = name_folds([place for place, _ in lists])
    for (place, file), name in zip(lists, folds):
        split.roots.append(file.parent)
        records = read_list(file)
        if not records and place.part != "valid":
            raise InputError(f"{file} lists no utterance.")
        if not records:
            split.notes.append(f"{file} lists no utterance: this validation part is empty.")
        placed += _add(split, records, name, place.part, file)
    split.folds = _make_folds(placed)
    n_soft = sum("labels" in one for one in split.utterances.values())
    if n_soft:
        split.notes.append(f"{n_soft} utterances have shares of several labels: the largest counts as the label.")
    members = [{utt_id for ids in fold.values() for utt_id in ids} for fold in split.folds]
    if len(members) > 1 and sum(map(len, members)) == len(set().union(*members)):
        split.notes.append("No utterance is in two of the folds. Are they data sets? If so, audit each by itself.")
    if split.corpus:
        _fill_in(split, split.corpus)
        if not any(one["named"] for one in split.utterances.values()):
            split.notes.append(f"No utterance's name says anything by the naming scheme of {split.corpus}.")
    return split


def _find_emobox(path: Path) -> tuple[Optional[Path], Optional[str]]:
    """Return EmoBox's folder that a path is, or is a fold of, and that fold; (None, None) for others."""
    path = path.absolute()
    fold = FOLD.fullmatch(path.name)
    folder = path.parent if fold else path
    if path.is_dir() and (folder / f"{folder.name}.jsonl").is_file() and (folder / "fold_1").is_dir():
        return folder, fold and fold[1]
    return None, None


def _add_emobox(split: Split, folder: Path, fold: Optional[str]) -> list[tuple[Optional[str], str, str]]:
    """Add the utterances of EmoBox's folder, or those of one fold; without its label map its labels are as they are."""
    folder = folder.resolve()
    told = next((name for name in [registered_name(folder.name)] if name in CORPORA), None)
    if told and split.corpus and told != split.corpus:
        raise InputError(f"{folder} is EmoBox's folder of {told}, and the corpus is {split.corpus}. Leave one out.")
    split.corpus = split.corpus or told
    split.roots.append(folder.parent.parent)
    rows = read_metadata(folder, map_labels=(folder / "label_map.json").is_file())
    if fold:
        kept = [row | {"parts": [row["parts"][int(fold) - 1]]} for row in rows]
        rows = [row for row in kept if any(row["parts"])]
    return _add(split, rows, None, "", folder)


def _inner(file: Path, path: Path) -> str:
    return file.relative_to(path.parent).as_posix() if file != path else path.name


def _fill_in(split: Split, corpus: str) -> None:
    """Add what the names say to what the lists say; labels only where the lists have none, which may be other words."""
    labelled = any("emo" in utterance for utterance in split.utterances.values())
    unused = ("id", "wav", "place", *(["emo"] if labelled else []))
    for utt_id, utterance in split.utterances.items():
        named = describe_name(corpus, utterance.get("wav", utt_id)) or describe_name(corpus, utt_id)
        utterance |= {**{key: value for key, value in named.items() if key not in unused}, **utterance, "named": named}


def _take_apart(word: str) -> tuple[str, Path]:
    """Take "test=a.csv" apart."""
    name, mark, rest = word.partition("=")
    part = part_of_word(name) if mark and not Path(word).exists() else ""
    word = word.removeprefix("emobox:")  # as --corpus names such a folder
    path = Path(rest if part else word).expanduser()
    if not path.exists():
        hint = f" {name!r} is no part: write train=, valid= or test=." if mark and not part else " Check the path."
        raise InputError(f"{path} does not exist.{hint}")
    return part, path


def _find_lists(path: Path, part: str) -> list[Path]:
    """Return the lists in a folder, two levels deep: files and folders of Kaldi whose names say which part they are.

    Of a folder that is given as a part, these are only the lists of this part, if it has any.
    """
    if path.is_file() or is_kaldi(path):
        return [path]
    inner = [found for pattern in ("*", "*/*") for found in sorted(path.glob(pattern))]
    kaldi = [found for found in inner if found.is_dir() and is_kaldi(found)]
    files = [
        found for found in inner if found.suffix.lower() in LISTS and found.parent not in kaldi and found.is_file()
    ]
    lists = [found for found in kaldi + files if part_of_path(found.relative_to(path).as_posix())]
    same = {(found.parent, found.stem) for found in lists if found.suffix == ".jsonl"}  # a JSON may say the same again
    lists = [found for found in lists if found.suffix != ".json" or (found.parent, found.stem) not in same]
    corpora = [found.parent.name for found in sorted(path.glob("*/label_map.json"))]
    if not lists and corpora:
        raise InputError(f"{path} holds EmoBox's folders {', '.join(corpora)}: name one of them.")
    if not lists:
        raise InputError(f"{path} holds no list whose name says train, valid, dev or test. Name each: test=FILE.")
    return [found for found in lists if part_of_path(found.relative_to(path).as_posix()) == part] or lists


def _add(
    split: Split, records: Iterable[Record], fold: Optional[str], part: str, source: Path
) -> list[tuple[Optional[str], str, str]]:
    """Add what records say to the utterances; return where they are: (fold, part, id)."""
    placed: list[tuple[Optional[str], str, str]] = []
    dealt: list[tuple[str, str]] = []  # (value of the column fold, id)
    for record in records:
        known = {key: value for key, value in record.items() if key not in (*PLACES, "id") and value != UNKNOWN_SPEAKER}
        if "wav" in known:
            known["wav"] = known["wav"].replace("\\", "/").removeprefix(f"{DATA_ROOT}/").removeprefix("./")
        utt_id = _own_id(split, record["id"], known, source)
        if "parts" in record:
            placed += [(str(k), _checked(one, source), utt_id) for k, one in enumerate(record["parts"], start=1) if one]
            continue
        own = _checked(record["part"], source) if record.get("part") else part
        if own:
            placed.append((record.get("fold") or fold, own, utt_id))
        elif "fold" in record:
            dealt.append((record["fold"], utt_id))
        else:
            raise InputError(f"{source}: nothing says which part it is. Write train={source}, or valid= or test=.")
    for tested in {value for value, _ in dealt}:
        placed += [(tested, "test" if value == tested else "train", utt_id) for value, utt_id in dealt]
    return placed


def _own_id(split: Split, utt_id: str, known: dict[str, Any], source: Path) -> str:
    """Merge what is known about an utterance; the same id with another recording is another utterance."""
    before = split.utterances.setdefault(utt_id, {})
    if known.get("wav", before.get("wav")) != before.get("wav", known.get("wav")):
        utt_id = f"{utt_id} [{known['wav']}]"
        before = split.utterances.setdefault(utt_id, {})
    for key, value in known.items():
        if before.setdefault(key, value) != value and key in ("emo", "speaker"):
            split.faults.append(f"{utt_id}: its {key} is {before[key]}, and {value} in {source.name}.")
    return utt_id


def _checked(word: str, source: Path) -> str:
    part = part_of_word(word)
    if not part:
        words = ", ".join(words[0] for words in PART_WORDS.values())
        raise InputError(f"{source}: {word!r} is no part: {words} are known.")
    return part


def _make_folds(placed: Sequence[tuple[Optional[str], str, str]]) -> list[dict[str, list[str]]]:
    """Sort the utterances into folds; a list without a fold's number belongs to all of them."""
    names: list[Optional[str]] = [*sorted({fold for fold, _, _ in placed if fold is not None}, key=in_order)] or [None]
    folds: dict[Optional[str], dict[str, list[str]]] = {name: {part: [] for part in PART_WORDS} for name in names}
    for fold, part, utt_id in placed:
        for one in names if fold is None else [fold]:
            folds[one][part].append(utt_id)
    for fold, parts in folds.items():
        name = "the split" if fold is None else f"fold {fold}"
        for part in ("train", "test"):
            if not parts[part]:
                raise InputError(f"{name} has no {part} part. Give it as {part}=FILE.")
    return list(folds.values())
