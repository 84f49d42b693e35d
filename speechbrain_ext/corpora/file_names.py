"""Corpora whose file names say everything: their recordings are found, and read as rows."""

import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from speechbrain_ext.corpora.sources import check_data_folder, is_archive
from speechbrain_ext.dataio.manifest import Row
from speechbrain_ext.errors import InputError

logger = logging.getLogger(__name__)

ENDINGS = (".wav", ".flac")


def read_named_files(
    data_folder: Path,
    title: str,
    pattern: str,
    example: str,
    describe: Callable[[re.Match[str]], Row],
    endings: Sequence[str] = ENDINGS,
) -> list[Row]:
    """Make a row of each recording below a folder whose path ends as the corpus's naming scheme says.

    Recordings that are named otherwise are left out and counted in a warning, and so is the second of two files of the
    same utterance and the same size: some copies hold a folder twice.

    Arguments
    ---------
    data_folder : pathlib.Path
        The folder; the recordings may lie at any depth.
    title, example : str
        The corpus's title and one of its file names, for messages.
    pattern : str
        A regular expression for the end of the path: the file's name without its ending, and the folders above it
        that count.
    describe : callable
        Makes id, emo, speaker and group (and further attributes) of the match.
    endings : sequence of str
        The files' endings, in lower case; capitals are read as well.

    Returns
    -------
    list of dict
        Rows for `build_manifest`, sorted by path.

    Raises
    ------
    InputError
        If no recording is named so.
    """
    check_data_folder(data_folder, f"holds {title}")
    whole = re.compile(rf"(?:.*/)?(?:{pattern})")
    rows: dict[str, Row] = {}
    others: list[Path] = []
    copies: list[Row] = []
    clashes: list[Row] = []
    for path in list_files(data_folder, endings):
        match = whole.fullmatch(path.with_suffix("").as_posix())
        if not match:
            others.append(path)
            continue
        row = {**describe(match), "wav": path.as_posix()}
        first = rows.setdefault(row["id"], row)
        if first is not row:
            same = _size(data_folder / first["wav"]) == _size(data_folder / path)
            (copies if same else clashes).append(row)
    if not rows:
        raise InputError(_nothing_found(data_folder, title, example, others))
    if others:
        logger.warning(
            "%d recordings in %s are not named as %s's are (%s), and are left out: %s%s.",
            *(len(others), data_folder, title, example, others[0], ", ..." * (len(others) > 1)),
        )
    if copies:
        logger.warning(
            "%d recordings in %s are there twice; the second is left out: %s%s.",
            *(len(copies), data_folder, copies[0]["wav"], ", ..." * (len(copies) > 1)),
        )
    return [*rows.values(), *clashes]  # an id that stands twice is refused where rows are checked


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
    packed = next((path for path in sorted(data_folder.glob("*.*")) if is_archive(path)), None)
    if packed:
        hint = f" {packed} is still packed: unpack it first."
    elif others:
        hint = f" It has {len(others)} recordings with other names, the first is {others[0]}. Is it another corpus?"
    else:
        hint = " It has no recordings. Check the path."
    return f"the data folder {data_folder} holds no recording named as {title}'s are, for instance {example}.{hint}"
