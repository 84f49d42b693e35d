"""A corpus with EmoBox's folds: its JSON Lines, fold folders and label map, read as they are.

Ma et al., "EmoBox: Multilingual Multi-corpus Speech Emotion Recognition Toolkit and Benchmark", Interspeech 2024. The
metadata say nothing about speakers: who speaks is read from the names of the recordings, as the corpus gives them.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from speechbrain_ext.corpora.base import CORPORA, Corpus, get_corpus
from speechbrain_ext.corpora.known_names import describe_name
from speechbrain_ext.corpora.sources import check_data_folder, read_text
from speechbrain_ext.dataio.manifest import UNKNOWN_SPEAKER, Row, first_lines
from speechbrain_ext.dataio.published_folds import PARTS
from speechbrain_ext.errors import InputError

logger = logging.getLogger(__name__)

FOLD = re.compile(r"fold_(\d+)")
NEEDED = ("key", "wav", "emo")
SEGMENT = {"start_time": "start", "end_time": "end"}


@dataclass(frozen=True)
class EmoBoxRows:
    """Reads the rows of one corpus of EmoBox; as a class, so that it can be compared and sent to other processes.

    Arguments
    ---------
    folder : pathlib.Path
        EmoBox's folder for the corpus, such as EmoBox/data/emodb.
    """

    folder: Path

    def __call__(self, data_folder: Path) -> list[Row]:
        """Return a row of each utterance, see `Corpus.read_rows`; refuses it when a recording is missing."""
        rows = read_metadata(self.folder)
        check_data_folder(data_folder, f"holds EmoBox's {rows[0]['wav'].split('/')[0]}")
        missing = [row for row in rows if not (data_folder / row["wav"]).is_file()]
        if missing:
            wav = missing[0]["wav"]
            hint = f"Set --data_folder to the folder that holds {wav}."
            if (data_folder.parent / wav).is_file():
                hint = f"Did you mean {data_folder.parent}?"
            lines = [f"{row['id']}: {data_folder / row['wav']}" for row in missing]
            raise InputError(
                f"{len(missing)} of the {len(rows)} recordings that {self.folder} lists are not where EmoBox expects "
                f"them. {hint}",
                *first_lines(lines),
            )
        return rows


def read_metadata(folder: Path, map_labels: bool = True) -> list[Row]:
    """Read what EmoBox says about a corpus; no recording is needed.

    Arguments
    ---------
    folder : pathlib.Path
        EmoBox's folder for the corpus.
    map_labels : bool
        Whether labels are called as in the label map, or as in the lists.

    Returns
    -------
    list of dict
        Rows for `build_manifest`, sorted by id, with `parts`, and with `length`, in seconds, where it is given.

    Raises
    ------
    InputError
        If the folder is none of EmoBox's, or its files contradict each other.
    """
    folds = _find_folds(folder)
    records = {record["key"]: record for record in _read_lines(folder / f"{folder.name}.jsonl")}
    parts: dict[str, list[str]] = {key: [""] * len(folds) for key in records}
    for k, fold in enumerate(folds):
        for part, path in _find_parts(fold).items():
            for record in _read_lines(path):
                key = record["key"]
                first = records.setdefault(key, record)
                if any(first[name] != record[name] for name in NEEDED):
                    raise InputError(f"{key} is not the same in {path} and in {folder.name}.jsonl. Get both again.")
                before = parts.setdefault(key, [""] * len(folds))[k]
                if before:
                    raise InputError(f"{key} is in the parts {before} and {part} of {fold}. Leave it in one of them.")
                parts[key][k] = part
    if not records:
        raise InputError(f"{folder} lists no utterance: get EmoBox's metadata again.")
    labels = {record["emo"]: record["emo"] for record in records.values()}
    if map_labels:
        labels = _map_labels(records.values(), folder / "label_map.json")
    return [_row(record, labels[record["emo"]], parts[key], folder.name) for key, record in sorted(records.items())]


def corpus_of(folder: str | Path) -> Corpus:
    """Make the corpus of one of EmoBox's folders; nothing is read yet."""
    folder = Path(folder).expanduser()
    name, read_rows = folder.name, EmoBoxRows(folder)
    known = Corpus(
        name, name, read_rows, licence=f"See the terms of {name}.", source=f"EmoBox says where to get {name}."
    )
    known = get_corpus(registered_name(name)) if registered_name(name) in CORPORA else known
    return Corpus(
        name=f"emobox:{name}",
        title=f"{known.title} (EmoBox)",
        read_rows=read_rows,
        metadata=folder,
        group=known.group,
        speaker=known.speaker,
        language=known.language,
        licence=f"{known.licence} EmoBox's metadata are under the MIT licence.",
        source=f"{known.source} Put the recordings where {name}.jsonl names them, and give the folder of downloads/.",
        complete=f"the recordings that {name}.jsonl lists",
    )


def registered_name(dataset: str) -> str:
    """Return what the registry calls one of EmoBox's data sets."""
    return {"msppodcast": "msp_podcast"}.get(dataset, dataset)


def _row(record: dict[str, Any], emo: str, parts: list[str], dataset: str) -> Row:
    told = describe_name(registered_name(dataset), record["wav"])
    place = {"speaker": UNKNOWN_SPEAKER, "group": UNKNOWN_SPEAKER, **told}
    segment = {new: float(record[old]) for old, new in SEGMENT.items() if old in record}
    length = {"length": float(record["length"])} if isinstance(record.get("length"), (int, float)) else {}
    return {**place, **segment, **length, "id": record["key"], "wav": record["wav"], "emo": emo, "parts": parts}


def _find_folds(folder: Path) -> list[Path]:
    check_data_folder(folder, "holds EmoBox's metadata of a corpus, such as EmoBox/data/emodb", "check the path")
    if not (folder / f"{folder.name}.jsonl").is_file():
        inner = sorted(path.parent.name for path in folder.glob("*/label_map.json"))
        hint = f" It has the corpora {', '.join(inner)}: name one of them." if inner else ""
        raise InputError(f"{folder} holds no {folder.name}.jsonl, as EmoBox's folder for a corpus does.{hint}")
    found = {int(match[1]): path for path in folder.iterdir() if (match := FOLD.fullmatch(path.name))}
    if sorted(found) != list(range(1, len(found) + 1)) or not found:
        raise InputError(f"{folder} must hold fold_1, fold_2, ... without a gap, and has {sorted(found) or 'none'}.")
    return [found[k] for k in sorted(found)]


def _find_parts(fold: Path) -> dict[str, Path]:
    paths = {part: sorted(fold.glob(f"*_{part}_{fold.name}.jsonl")) for part in PARTS}
    for part in ("train", "test"):
        if len(paths[part]) != 1:
            raise InputError(f"{fold} must hold one file *_{part}_{fold.name}.jsonl, and has {len(paths[part])}.")
    return {part: found[0] for part, found in paths.items() if found}


def _read_lines(path: Path) -> Iterable[dict[str, Any]]:
    seen = set()
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"EmoBox's metadata cannot be read: {error}. Get {path.name} again.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number} is no JSON: {error}.") from error
        if not isinstance(record, dict) or any(not isinstance(record.get(key), str) for key in NEEDED):
            raise InputError(f"{path}, line {number} must be an object with the texts {', '.join(NEEDED)}.")
        if record.get("type", "raw") != "raw":
            raise InputError(
                f"{path}, line {number}: {record['key']} is of the type {record['type']!r}, and only recordings (raw) "
                "are read. Get the metadata of the recordings."
            )
        if any(key in record and not isinstance(record[key], (int, float)) for key in SEGMENT):
            raise InputError(f"{path}, line {number}: start_time and end_time must be seconds.")
        if record["key"] in seen:
            raise InputError(f"{path}, line {number}: {record['key']} stands twice. Leave one of them out.")
        seen.add(record["key"])
        yield record


def _map_labels(records: Iterable[dict[str, Any]], path: Path) -> dict[str, str]:
    """Find what each label is called in EmoBox's label map, which may write it with other capitals."""
    try:
        label_map = json.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise InputError(f"EmoBox's label map cannot be read: {error}. Get {path} again.") from error
    if not isinstance(label_map, dict) or not all(isinstance(label, str) for label in label_map.values()):
        raise InputError(f"{path} must be an object that names an emotion for each label.")
    counts = Counter(record["emo"] for record in records)
    plain = {label.strip().casefold(): label for label in reversed(label_map)}
    found: dict[str, str] = {}
    for label, n in sorted(counts.items()):
        key: Optional[str] = label if label in label_map else plain.get(label.strip().casefold())
        if key is None:
            raise InputError(f"{path} has no emotion for the label {label!r} of {n} utterances. Add it.")
        if key != label:
            logger.warning(
                "%s has %r where %d utterances are labelled %r: it is read as the same.", path, key, n, label
            )
        found[label] = label_map[key]
    return found
