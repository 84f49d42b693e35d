"""Corpora whose file names say everything: their recordings are found, and read as rows."""

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from speechbrain_ext.corpora.base import Corpus
from speechbrain_ext.corpora.published_counts import PublishedCounts
from speechbrain_ext.corpora.sources import check_data_folder, packed_in
from speechbrain_ext.dataio.manifest import Row
from speechbrain_ext.errors import InputError, first_few

logger = logging.getLogger(__name__)

ENDINGS = (".wav", ".flac")
FEMALE, MALE = {"gender": "female"}, {"gender": "male"}
GENDERS = {"F": FEMALE, "M": MALE}


@dataclass(frozen=True)
class NamedFiles:
    """How a corpus names its recordings, and what the names say; called with a data folder, it reads the rows.

    Capitals in names do not matter: copies made on Windows may have others.

    Attributes
    ----------
    title, example : str
        The corpus's title and one of its file names, for messages.
    pattern : str
        A regular expression for the end of the path: the file's name without its ending, and the folders above it
        that count. It has the groups emo and speaker, and either id, or what follows the speaker as rest; with a group
        gender, F or M.
    labels : dict
        What a name says as emo -> the label.
    speakers : dict
        Speaker -> what is known of the speaker, for instance `MALE`; a name that begins so is the speaker's.
    """

    title: str
    example: str
    pattern: str
    labels: Mapping[str, str]
    speakers: Mapping[str, Row] = field(default_factory=dict)

    @property
    def scheme(self) -> str:
        """The pattern, for names with any capitals."""
        return f"(?i:{self.pattern})"

    def describe(self, name: re.Match[str]) -> Row:
        """Make a row of a match: id, emo, speaker and group, and what is known of the speaker."""
        said = name.groupdict()
        emo = next(label for key, label in self.labels.items() if key.lower() == said["emo"].lower())
        written = said["speaker"].lower()
        speaker = next((key for key in self.speakers if key.lower().startswith(written)), said["speaker"])
        row = {"id": said.get("id") or f"{speaker}_{said['rest']}", "emo": emo, "speaker": speaker, "group": speaker}
        return {**row, **(GENDERS[said["gender"].upper()] if "gender" in said else self.speakers.get(speaker, {}))}

    def __call__(self, data_folder: Path) -> list[Row]:
        """Make a row of each recording below a folder, at any depth.

        Recordings that are named otherwise are left out and counted in a warning, and so is the second of two files of
        the same utterance and the same size: some copies hold a folder twice.

        Returns
        -------
        list of dict
            Rows for `build_manifest`, sorted by path.

        Raises
        ------
        InputError
            If no recording is named so.
        """
        check_data_folder(data_folder, f"holds {self.title}")
        whole = re.compile(rf"(?:.*/)?{self.scheme}")
        rows: dict[str, Row] = {}
        others: list[Path] = []
        copies: list[Row] = []
        clashes: list[Row] = []
        for path in list_files(data_folder, ENDINGS):
            match = whole.fullmatch(path.with_suffix("").as_posix())
            if not match:
                others.append(path)
                continue
            row = {**self.describe(match), "wav": path.as_posix()}
            first = rows.setdefault(row["id"], row)
            if first is not row:
                same = _size(data_folder / first["wav"]) == _size(data_folder / path)
                (copies if same else clashes).append(row)
        if not rows:
            raise InputError(_nothing_found(data_folder, self.title, self.example, others))
        if others:
            logger.warning(
                "%d recordings in %s are not named as %s's are (%s), and are left out: %s.",
                *(len(others), data_folder, self.title, self.example, first_few([*map(str, others)], 1)),
            )
        if copies:
            logger.warning(
                "%d recordings in %s are there twice; the second is left out: %s.",
                *(len(copies), data_folder, first_few([row["wav"] for row in copies], 1)),
            )
        return [*rows.values(), *clashes]  # an id that stands twice is refused where rows are checked


def named_corpus(name: str, names: NamedFiles, counts: PublishedCounts, **facts: Any) -> Corpus:
    """Make the corpus of files that are named so; `facts` are further attributes of `Corpus`."""
    emotions = tuple(counts.emotions)
    return Corpus(name, names.title, names, emotions, group="speaker", compare=counts, **facts)


def list_files(folder: Path, endings: Sequence[str]) -> Iterator[Path]:
    """Go once through a folder, its links too, and yield the files with one of the endings, relative to it and sorted.

    Hidden files and folders are passed over: macOS leaves ``._a.wav`` and ``__MACOSX`` in copies.
    """
    found, seen = [], set()
    with tqdm(desc="files", unit="", delay=2, disable=None) as progress:
        for place, folders, files in os.walk(folder, followlinks=True):
            real = os.path.realpath(place)
            if real in seen:  # a link back to a folder above
                folders.clear()
                continue
            seen.add(real)
            folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
            progress.update(len(files))
            found += [
                Path(place, name).relative_to(folder)
                for name in files
                if name.lower().endswith(tuple(endings)) and not name.startswith(".")
            ]
    yield from sorted(found)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1  # a broken link


def _nothing_found(data_folder: Path, title: str, example: str, others: Sequence[Path]) -> str:
    hint = packed_in(data_folder)
    if not hint and others:
        hint = f" It has {len(others)} recordings with other names, the first is {others[0]}. Is it another corpus?"
    hint = hint or " It has no recordings. Check the path."
    return f"the data folder {data_folder} holds no recording named as {title}'s are, for instance {example}.{hint}"
