"""Your own corpus: recordings listed in a CSV with the columns id, wav, emo, speaker, group."""

import csv
import difflib
import io
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from speechbrain_ext.corpora.base import Corpus
from speechbrain_ext.corpora.sources import check_no_archive
from speechbrain_ext.dataio.manifest import COLUMNS, Row, first_lines
from speechbrain_ext.errors import InputError

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
NEEDED = f"needed are {', '.join(COLUMNS)}"
SAVE_AS = 'Save it as "CSV UTF-8", and give that file.'
# What others call the columns, for "did you mean".
SIMILAR = {
    "id": ("utt", "utt_id", "utterance", "key", "name"),
    "wav": ("path", "file", "filename", "audio", "recording"),
    "emo": ("emotion", "label", "class", "category"),
    "speaker": ("spk", "spk_id", "actor", "subject"),
    "group": ("fold", "session", "split"),
}


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a corpus's CSV.

    Also read are: columns in any order, and further ones; capitals and spaces in the header; semicolons, tabs or bars
    in place of commas, and spaces after them; a byte order mark, UTF-16 with one, CRLF, and empty lines.

    Arguments
    ---------
    path : pathlib.Path
        The CSV file, with a header line. `group` is what a fold leaves out; recordings are relative to the file.

    Returns
    -------
    list of dict
        Rows for `build_manifest`.

    Raises
    ------
    InputError
        If the file is no such CSV. All rows are checked, and the faulty ones named.
    """
    header, records, delimiter = _parse(_read_text(path), path)
    rows, faults = [], []
    for number, fields in records:
        if len(fields) != len(header):
            cure = "Add the rest."
            if len(fields) > len(header):
                cure = f'Put a field that holds a {delimiter} in quotes: "...".'
            shown = str(fields) if len(str(fields)) < 200 else f"{str(fields)[:200]} ..."
            faults.append(f"row {number}: {len(fields)} fields in place of {len(header)}: {shown}. {cure}")
            continue
        row = {column: fields[header.index(column)].strip() for column in COLUMNS}
        bad = next((column for column in COLUMNS if re.search(r"[\x00-\x1f\x7f]", row[column])), None)
        if bad:
            faults.append(f"row {number}: the field {bad!r} holds a line break or the like: {row[bad]!r}. Correct it.")
        rows.append({**row, "wav": _find_wav(row["wav"], path.parent), "place": f"{path.name}, row {number}"})
    if faults:
        raise InputError(
            f"{path}: {len(faults)} of {len(records)} rows do not fit the header {', '.join(header)}:\n"
            + first_lines(faults)
        )
    if not rows:
        raise InputError(f"{path} has a header, but no row: list a recording in each.")
    _check_spellings(rows, path)
    return rows


def _read_text(path: Path) -> str:
    check_no_archive(path)
    if path.is_dir():
        inner = next(iter(sorted(path.glob("*.csv"))), None)
        raise InputError(
            f"the corpus CSV {path} is a folder." + (f" Did you mean {inner}?" if inner else " Give a file.")
        )
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        near = difflib.get_close_matches(path.name, [found.name for found in path.parent.glob("*.*")], n=1)
        hint = f"Did you mean {path.parent / near[0]}?" if near else "Check the path."
        raise InputError(f"the corpus CSV {path} does not exist. {hint}") from error
    except OSError as error:
        raise InputError(f"the corpus CSV cannot be read: {error}.") from error
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise InputError(f"{path} is a spreadsheet (Excel, LibreOffice), not a CSV. {SAVE_AS}")
    try:
        text = data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError as error:
        n_lines = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {n_lines} is not UTF-8 ({error.reason}). {SAVE_AS}") from error
    if "\0" in text:
        raise InputError(f"{path} is no text in UTF-8: it holds zero bytes. {SAVE_AS}")
    return text


def _parse(text: str, path: Path) -> tuple[list[str], list[tuple[int, list[str]]], str]:
    """Return the columns' names, the rows that hold something, numbered as a spreadsheet does, and what parts them."""
    told = re.match(r"sep=(.)\r?\n", text)  # Excel's own hint
    lines = (line for line in text[told.end() if told else 0 :].splitlines() if line.strip(' "\t\r,;|'))
    first = next(lines, None)
    if first is None:
        raise InputError(f"the corpus CSV {path} is empty; {NEEDED}.")
    delimiter = (
        told[1] if told else max(DELIMITERS, key=lambda mark: len(set(_names(first.split(mark))) & set(COLUMNS)))
    )
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    records = []
    try:
        for number, fields in enumerate(reader, start=1):
            if any(field.strip() for field in fields) and not (told and number == 1):
                records.append((number, fields))
    except csv.Error as error:
        number = records[-1][0] + 1 if records else 1
        raise InputError(
            f"{path}, row {number}: {error}. A quote is not closed; or it stands within a quoted field, where it is "
            'written twice ("").'
        ) from error
    header = _names(records[0][1])
    _check_header(header, path)
    return header, records[1:], DELIMITERS.get(delimiter, repr(delimiter))


def _names(fields: Iterable[str]) -> list[str]:
    return [field.strip(' "\t\r').lower() for field in fields]


def _check_header(header: list[str], path: Path) -> None:
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        free = [name for name in header if name not in COLUMNS]
        one_field = (
            " They must be separated by commas, without quotes around the whole line." if len(header) == 1 else ""
        )
        hints = [one_field]
        for column in missing:
            near = [name for name in free if name in SIMILAR[column]] + difflib.get_close_matches(column, free, n=1)
            hints += [f" Is {near[0]!r} meant for {column!r}? Rename it."] if near else []
        raise InputError(
            f"{path}: the columns {missing} are missing; {NEEDED}. The first line must name them; it is {header}."
            f"{''.join(hints)}"
        )
    twice = [column for column in COLUMNS if header.count(column) > 1]
    if twice:
        raise InputError(f"{path}: the column {twice[0]!r} stands twice in {header}. Leave one of them out.")


def _find_wav(wav: str, folder: Path) -> str:
    """Expand "~", and read Windows's backslashes."""
    wav = os.path.expanduser(wav)
    return wav.replace("\\", "/") if "\\" in wav and not (folder / wav).exists() else wav


def _check_spellings(rows: list[Row], path: Path) -> None:
    """Refuse labels, speakers and groups that are most likely one, written in several ways."""
    faults = []
    for column in ("emo", "speaker", "group"):
        places: dict[str, str] = {}
        for row in rows:
            places.setdefault(row[column], row["place"].rpartition(", ")[2])
        spellings: dict[str, list[str]] = defaultdict(list)
        for value, place in places.items():
            spellings[_plain(value)].append(f"{value!r} ({place})")
        for found in spellings.values():
            if len(found) > 1:
                faults.append(
                    f"{column}: {', '.join(found)} differ in capitals, spaces or zeros only. Write them in one way."
                )
    if faults:
        raise InputError(f"{path}:\n{first_lines(faults)}")


def _plain(value: str) -> str:
    """Reduce a text to what a reader sees: no capitals, accents in one form, no invisible characters, 03 as 3."""
    value = "".join(char for char in unicodedata.normalize("NFKC", value) if unicodedata.category(char) != "Cf")
    value = "".join(value.casefold().split())
    return str(int(value)) if value.isdecimal() else value


CORPUS = Corpus(
    name="csv",
    title="recordings listed in a CSV",
    read_rows=read_rows,
    source="A CSV lists your own recordings; its columns are id, wav, emo, speaker, group.",
)
