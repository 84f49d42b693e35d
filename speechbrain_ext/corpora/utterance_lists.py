"""Lists of utterances in anyone's format: CSV, JSON, JSON Lines and Kaldi-style lists, as records with common names."""

import json
import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from speechbrain_ext.corpora.columns import KNOWN, SIMILAR
from speechbrain_ext.corpora.soft_labels import read_labels
from speechbrain_ext.corpora.sources import read_text
from speechbrain_ext.corpora.table import fields_of, kind_of, read_table, text_of
from speechbrain_ext.errors import InputError
from speechbrain_ext.json_reader import unique_keys

# Texts by the names of `NAMES`; "parts", a list, where a record says one for each fold; "labels", shares of several.
Record = dict[str, Any]

PART_WORDS = {
    "train": ("train", "training", "trn", "tr"),
    "valid": ("valid", "validation", "val", "dev", "development"),
    "test": ("test", "testing", "tst", "eval", "evaluation"),
}
# What others call a record's fields; the first one that is there counts.
NAMES = {
    **{name: (name, *SIMILAR.get(name, ())) for name in KNOWN},
    "speaker": ("speaker", *SIMILAR["speaker"], "spkid", "spkr", "spkrid", "speakerid"),
    "emo": ("emo", *SIMILAR["emo"], "emoclass", "target", "true"),
    "group": ("group", "groups"),
    "session": ("session", "session_id", "sess"),
    "dialogue": ("dialogue", "dialog", "dialogue_id", "dialog_id", "conversation", "video", "film", "episode"),
    "part": ("part", "split", "set", "subset", "partition", "split_set"),
    "fold": ("fold",),
    "parts": ("parts",),
    "length": ("length", "duration", "dur"),
}
DECISIVE = ("id", "wav", "emo", "speaker", "group", "session", "dialogue", "part", "fold")  # of which leaks are made
# Kaldi's files: what the rest of a line is, after the utterance.
KALDI = {
    "wav.scp": "wav", "utt2spk": "speaker", "text": "text", "utt2lang": "language", "utt2emo": "emo",
    "utt2label": "emo", "utt2sess": "session", "utt2gender": "gender",
}  # fmt: skip
AUDIO_ENDINGS = (".wav", ".flac", ".mp3", ".mp4", ".m4a", ".ogg", ".opus", ".sph", ".aac", ".webm", ".aiff", ".au")
LISTS = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".txt", ".lst", ".list", ".scp")


def read_list(path: Path) -> list[Record]:
    """Read the records of one list.

    Arguments
    ---------
    path : pathlib.Path
        A CSV or JSON Lines file with a header or keys; a JSON file with an object of utterances by id, a list of them,
        or either for each part; a file with an utterance, or a path, and perhaps its label, a line; one of Kaldi's
        files; or the folder that holds Kaldi's.

    Returns
    -------
    list of dict
        Records, each with an id, in the order of the file; none for a file that is empty.

    Raises
    ------
    InputError
        If nothing can be read of it.
    """
    if path.is_dir():
        records = _read_kaldi(path)
    elif path.suffix.lower() in (".csv", ".tsv", ".jsonl", ".ndjson"):
        table = read_table(path, [other for names in NAMES.values() for other in names])
        if table.faults:
            more = f" {len(table.faults) - 1} further records cannot be read." if len(table.faults) > 1 else ""
            raise InputError(f"{path}{table.faults[0].text.removeprefix(path.name)}{more}")
        records = [_named(fields, f"{path}, {table.unit} {number}") for number, fields in table.records]
    elif path.suffix.lower() == ".json":
        records = list(_read_json(path))
    else:
        records = _read_lines(path)
    for number, record in enumerate(records, start=1):
        record.setdefault("id", record.get("wav", ""))
        if not record["id"]:
            known = ", ".join(sorted(name for name in record if record[name])) or "nothing known"
            raise InputError(f"{path}: record {number} has neither an id nor a wav, but {known}. Name one of them so.")
    return records


def is_kaldi(folder: Path) -> bool:
    """Tell whether a folder is one of Kaldi's data folders."""
    return any((folder / name).is_file() for name in ("wav.scp", "utt2spk"))


def part_of_word(word: str) -> str:
    """Return which part a word means: "train", "valid" or "test"; "" for none. Numbers at its end do not matter.

    Example
    -------
    >>> part_of_word("Development"), part_of_word("test1"), part_of_word("anna")
    ('valid', 'test', '')
    """
    plain = word.strip().lower().rstrip("0123456789")
    return next((part for part, words in PART_WORDS.items() if plain in words), "")


def _named(fields: Mapping[str, Any], place: str) -> Record:
    """Give the fields their common names; what is empty is left out."""
    record: Record = {}
    for name, others in NAMES.items():
        other, value = next(((one, fields[one]) for one in others if fields.get(one) not in (None, "")), ("", None))
        if value is None:
            continue
        if name == "parts" and isinstance(value, list):
            record["parts"] = [str(part) for part in value]
        elif kind_of(value) and name in DECISIVE:
            raise InputError(f"{place}: the field {other!r} is {kind_of(value)}. Write a text.")
        elif text := text_of(value):
            record[name] = text
    try:
        shares = read_labels(fields, record.get("emo", ""))
    except ValueError as error:
        raise InputError(f"{place}: {error.args[0]}") from error
    return record | {key: value for key, value in shares.items() if key == "emo" or len(shares["labels"]) > 1}


def _read_json(path: Path) -> Iterable[Record]:
    try:
        text = read_text(path).strip() or "[]"
        content = json.loads(text, object_pairs_hook=unique_keys, parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}. Correct it.") from error
    if isinstance(content, dict) and content and all(map(part_of_word, content)):
        for word, members in content.items():
            yield from ({**record, "part": word} for record in _records_of(members, path))
    else:
        yield from _records_of(content, path)


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _records_of(content: Any, path: Path) -> Iterable[Record]:
    if not isinstance(content, (dict, list)):
        raise InputError(f"{path} holds {reprlib.repr(content)}: an object or a list of utterances is needed.")
    items = content.items() if isinstance(content, dict) else [("", one) for one in content]
    for number, (utt_id, fields) in enumerate(items, start=1):
        place = f"{path}, {utt_id or f'item {number}'}"
        if isinstance(fields, str) and not utt_id:
            yield _of_word(fields)
        elif isinstance(fields, dict):
            fields, fault = fields_of(fields, json.dumps(fields))
            if fault:
                raise InputError(f"{place}: {fault}")
            yield _named(fields | ({"id": utt_id} if utt_id else {}), place)
        else:
            raise InputError(f"{place}: {fields!r} must be an object that says what is known of an utterance.")


def _read_kaldi(folder: Path) -> list[Record]:
    records: dict[str, Record] = {}
    recordings = _pairs(folder / "wav.scp", "wav")
    segments = _pairs(folder / "segments", "recording and times")
    for utt_id, words in segments.items():
        recording, start, end = (*words.split(), "", "", "")[:3]
        records[utt_id] = {
            "id": utt_id,
            "wav": _path_in(recordings.get(recording, recording)),
            "start": start,
            "end": end,
        }
    for name, field in KALDI.items():
        for utt_id, words in (_pairs(folder / name, field) if field != "wav" or not segments else {}).items():
            value = _path_in(words) if field == "wav" else words
            records.setdefault(utt_id, {"id": utt_id})[field] = value
    genders = _pairs(folder / "spk2gender", "gender")
    for record in records.values():
        if record.get("speaker") in genders:
            record.setdefault("gender", genders[record["speaker"]])
    return list(records.values())


def _pairs(path: Path, what: str) -> dict[str, str]:
    """Read the first word of each line, and what follows it, `what`; of a file that is not there, nothing."""
    pairs: dict[str, str] = {}
    for first, rest in _lines_of(path) if path.is_file() else ():
        if not rest and what != "text":
            raise InputError(f"{path}: {first} stands alone, and its {what} is needed. Complete the line.")
        if pairs.setdefault(first, rest) != rest:
            raise InputError(f"{path}: {first} stands twice, with {pairs[first]} and {rest}. Leave one of them out.")
    return pairs


def _lines_of(path: Path) -> Iterable[tuple[str, str]]:
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text in UTF-8: {error}.") from error
    for line in lines:
        if line.strip() and not line.startswith("#"):
            first, *rest = line.split(maxsplit=1)
            yield first, "".join(rest).strip()


def _read_lines(path: Path) -> list[Record]:
    """Read an utterance a line; what follows it is what the file's name says, or else its label."""
    told = next((KALDI[name] for name in KALDI if name in path.name), "")
    field = told or "emo"
    records = []
    for first, rest in _pairs(path, told).items() if told else _lines_of(path):
        value = {"wav" if _is_path(rest) else field: _path_in(rest) if _is_path(rest) else rest} if rest else {}
        records.append({**_of_word(first), **value})
    return records


def _of_word(word: str) -> Record:
    return {"id": word, "wav": word} if _is_path(word) else {"id": word}


def _is_path(words: str) -> bool:
    return Path(_path_in(words)).suffix.lower() in AUDIO_ENDINGS


def _path_in(words: str) -> str:
    """Return the recording's path in what wav.scp says, which may be a command with pipes."""
    parts = words.strip(" |").split()
    return next((word for word in reversed(parts) if Path(word).suffix.lower() in AUDIO_ENDINGS), words.strip(" |"))
