"""Your own corpus: recordings, or segments of them, listed in a CSV or JSON Lines file."""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechbrain_ext.corpora.base import Corpus
from speechbrain_ext.corpora.columns import KNOWN, TIMES, check_columns
from speechbrain_ext.corpora.soft_labels import find_truth, read_shares
from speechbrain_ext.corpora.table import SHARE, Fault, read_table
from speechbrain_ext.dataio.rows import COLUMNS, Row, RowErrors
from speechbrain_ext.errors import InputError


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a corpus's CSV or JSON Lines file.

    Arguments
    ---------
    path : pathlib.Path
        The file, as `read_table` reads it. Recordings are relative to it.

    Returns
    -------
    list of dict
        Rows for `build_manifest`, of all labels.

    Raises
    ------
    InputError
        If the file is no such table. `RowErrors`, which names all faulty rows and has the others, for faults in rows.
    """
    table = read_table(path, KNOWN)
    attributes = check_columns(table)
    faults, rows = list(table.faults), []
    for number, fields in table.records:
        row: Row = {"place": table.place(number), "number": number}
        texts = _read_row(row, fields, table.columns, attributes)
        faults += [Fault(number, f"{row['place']}: {text}") for text in texts]
        if not texts:
            rows.append({**row, "wav": _find_wav(row["wav"], path.parent)})
    if not rows and not faults:
        raise InputError(f"{path} has a header, but no row: list a recording in each.")
    if "id" not in table.columns:
        _make_ids(rows)
    rows = _leave_out_doubles(rows, faults)
    _check_spellings(rows, faults, path)
    if faults:
        faults.sort()
        numbers = [fault.number for fault in faults]
        n_all = len(table.records) + len(table.faults)
        head = f"{path}: {len(set(numbers))} of {n_all} {table.unit}s cannot be used:"
        raise RowErrors(head, [fault.text for fault in faults], rows, numbers, n_all - len(rows))
    return rows


def _read_row(row: Row, fields: Mapping[str, Any], columns: Sequence[str], attributes: Sequence[str]) -> list[str]:
    """Read a record's fields into a row; return what is wrong with them."""
    faults = []
    for column in (name for name in COLUMNS if name in columns or name in ("emo", "speaker", "wav")):
        row[column] = _text(fields.get(column))
        if isinstance(fields.get(column), list):
            faults.append(f"the field {column!r} is a list or an object. Write a text.")
            row[column] = "?"
        if re.search(r"[\x00-\x1f\x7f]", row[column]):
            faults.append(f"the field {column!r} holds a line break or the like: {row[column]!r}. Correct it.")
    shares: dict[str, float] = {}
    try:
        given = {name[len(SHARE) :]: value for name, value in fields.items() if name.startswith(SHARE)}
        shares = read_shares(given)
        if shares:
            row["emo"], tied = find_truth(shares, row["emo"])
            row["labels"] = shares
            if tied:
                row["tied"] = tied
    except ValueError as error:
        faults.append(str(error))
        row["emo"] = row["emo"] or "?"  # one sentence is enough
    if "group" not in columns:
        row["group"] = row["speaker"]
    empty = [column for column in COLUMNS if row.get(column) == "" and (column != "group" or "group" in columns)]
    for column in empty:
        more = ", or a share of a label" if column == "emo" and any(name.startswith(SHARE) for name in columns) else ""
        faults.append(f"the field {column!r} is empty. Fill it in{more}.")
    faults += _read_times(row, fields)
    row.update({name: text for name in attributes if (text := _text(fields.get(name)))})
    return faults


def _text(value: Any) -> str:
    """Return a value as text without spaces around it: numbers as they are written, nothing for null and lists."""
    return "" if value is None or isinstance(value, list) else str(value).strip()


def _read_times(row: Row, fields: Mapping[str, Any]) -> list[str]:
    """Read start and end of a segment; a row without them is a whole recording."""
    faults = []
    for name in TIMES:
        text = _text(fields.get(name))
        if not text:
            continue
        try:
            row[name] = float(text)
        except ValueError:
            row[name] = -1.0
        if not 0 <= row[name] < float("inf"):
            clock = re.fullmatch(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", text)
            seconds = sum(float(part or 0) * 60**i for i, part in enumerate(reversed(clock.groups()))) if clock else 0
            hint = f"Write {seconds:g}." if clock else "Write 1.5 with a point." if "," in text else "Correct it."
            faults.append(f"{name} must be a number of seconds from 0, got {text!r}. {hint}")
    if not faults and row.get("end", float("inf")) <= row.get("start", 0.0):
        faults.append(f"end must be after start, got {row['end']:g} s and {row.get('start', 0.0):g} s. Correct them.")
    return faults


def _find_wav(wav: str, folder: Path) -> str:
    """Expand "~", and read Windows's backslashes."""
    wav = os.path.expanduser(wav)
    return wav.replace("\\", "/") if "\\" in wav and not (folder / wav).exists() else wav


def _make_ids(rows: Sequence[Row]) -> None:
    """Name each row by its recording's path without the ending, where that is unique, and by its segment's times."""
    stems = {row["wav"]: os.path.splitext(row["wav"])[0] for row in rows}
    n_wavs = Counter(stems.values())
    for row in rows:
        name = stems[row["wav"]] if n_wavs[stems[row["wav"]]] == 1 else row["wav"]
        times = [f"{row[time]:g}" if time in row else "" for time in TIMES]
        row["id"] = name + ("_" + "-".join(times) if any(times) else "")


def _leave_out_doubles(rows: Sequence[Row], faults: list[Fault]) -> list[Row]:
    """Return rows with different ids; the second of each is a fault."""
    first: dict[str, Row] = {}
    for row in rows:
        before = first.setdefault(row["id"], row)
        if before is not row:
            text = f"{row['place']}: the id {row['id']!r} stands already in {before['place'].rpartition(', ')[2]}."
            faults.append(Fault(row["number"], f"{text} Leave one of them out, or give it an id of its own."))
    return list(first.values())


def _check_spellings(rows: Sequence[Row], faults: list[Fault], path: Path) -> None:
    """Add as faults labels, speakers and groups that are most likely one, written in several ways."""
    for column in ("emo", "speaker", "group"):
        if column == "group" and all(row["group"] == row["speaker"] for row in rows):
            continue
        places: dict[str, Row] = {}
        for row in rows:
            for value in row.get("labels", [row[column]]) if column == "emo" else [row[column]]:
                places.setdefault(value, row)
        spellings: dict[str, list[str]] = defaultdict(list)
        for value in places:
            spellings[_plain(value)].append(value)
        for found in spellings.values():
            if len(found) > 1:
                written = ", ".join(f"{value!r} ({places[value]['place'].rpartition(', ')[2]})" for value in found)
                text = f"{column}: {written} differ in capitals, spaces or zeros only. Write them in one way."
                last = max((places[value] for value in found), key=lambda row: row["number"])
                faults.append(Fault(last["number"], f"{last['place']}: {text}"))


def _plain(value: str) -> str:
    """Reduce a text to what a reader sees: no capitals, accents in one form, no invisible characters, 03 as 3."""
    value = "".join(char for char in unicodedata.normalize("NFKC", value) if unicodedata.category(char) != "Cf")
    value = "".join(value.casefold().split())
    return str(int(value)) if value.isdecimal() else value


CORPUS = Corpus(
    name="csv",
    title="recordings listed in a CSV",
    read_rows=read_rows,
    source="A CSV or JSON Lines file lists your own recordings, with wav, emo and speaker of each.",
)
