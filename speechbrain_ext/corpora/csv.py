"""Your own corpus: recordings, or segments of them, listed in a CSV or JSON file."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechbrain_ext.corpora.base import Corpus
from speechbrain_ext.corpora.columns import KNOWN, TIMES, check_columns
from speechbrain_ext.corpora.labels import one_line
from speechbrain_ext.corpora.soft_labels import number_cure, read_labels
from speechbrain_ext.corpora.spelling import as_seen
from speechbrain_ext.corpora.table import SHARE, Fault, kind_of, read_table, text_of
from speechbrain_ext.dataio.rows import COLUMNS, Row, RowErrors
from speechbrain_ext.errors import InputError
from speechbrain_ext.outside_text import CONTROLS

LONGEST_NUMBER = 100  # digits; Python converts no more than 4300


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a corpus's CSV or JSON file, as `read_table` reads it; recordings are relative to it.

    Raises
    ------
    InputError
        If the file is no such table. `RowErrors`, which names all faulty rows and has the others, for faults in rows.
    """
    table = read_table(path, KNOWN)
    attributes = check_columns(table)
    faults = list(table.faults)
    all_rows: list[Row] = []
    for number, fields in table.records:
        row: Row = {"place": table.place(number), "number": number}
        texts = _read_row(row, fields, table.columns, attributes)
        row["wav"] = _find_wav(row["wav"], path.parent)
        named = f", {row['id']}" if row.get("id") else ""
        faults += [Fault(number, f"{row['place']}{named}: {text}") for text in texts]
        all_rows.append({**row, "is_faulty": bool(texts)})
    if not all_rows and not faults:
        raise InputError(f"{path} has a header, but no row: list a recording in each.")
    if "id" not in table.columns:
        _make_ids([row for row in all_rows if not row["is_faulty"]])
    first = _find_doubles(all_rows, faults)
    _check_spellings(all_rows, faults)
    rows = [row for row in first if not row.pop("is_faulty")]
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
    unclear = set()  # of these another sentence is said than that they are empty
    for column in (name for name in COLUMNS if name in columns or name in ("emo", "speaker", "wav")):
        row[column] = text_of(fields.get(column))
        row[column] = one_line(row[column]) if column == "emo" else row[column]
        kind = kind_of(fields.get(column))
        if kind:
            faults.append(f"the field {column!r} is {kind}. Write a text.")
            unclear.add(column)
        elif CONTROLS.search(row[column]):
            faults.append(f"the field {column!r} holds a line break or the like: {row[column]!r}. Correct it.")
            row[column] = ""
            unclear.add(column)
    try:
        row.update(read_labels(fields, row["emo"]))
    except ValueError as error:
        faults += error.args
        unclear.add("emo")
    if "group" not in columns:
        row["group"] = row["speaker"]
    for column in (name for name in COLUMNS if row.get(name) == "" and name not in unclear):
        if column == "group" and "group" not in columns:
            continue
        more = ", or a share of a label" if column == "emo" and any(name.startswith(SHARE) for name in columns) else ""
        faults.append(f"the field {column!r} is empty. Fill it in{more}.")
    faults += _read_times(row, fields)
    row.update({name: text for name in attributes if (text := text_of(fields.get(name)))})
    return faults


def _read_times(row: Row, fields: Mapping[str, Any]) -> list[str]:
    """Read start and end of a segment; a row without them is a whole recording."""
    faults = []
    for name in TIMES:
        text, kind = text_of(fields.get(name)), kind_of(fields.get(name))
        if kind:
            faults.append(f"{name} must be a number of seconds from 0, got {kind}. Correct it.")
        if not text:
            continue
        try:
            row[name] = float(text)
        except ValueError:
            row[name] = -1.0
        if not 0 <= row[name] < float("inf"):
            clock = re.fullmatch(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", text)
            seconds = sum(float(part or 0) * 60**i for i, part in enumerate(reversed(clock.groups()))) if clock else 0
            hint = f"Write {seconds:g}." if clock else number_cure(text)
            faults.append(f"{name} must be a number of seconds from 0, got {text!r}. {hint}")
    if not faults and row.get("end", float("inf")) <= row.get("start", 0.0):
        faults.append(f"end must be after start, got {row['end']:g} s and {row.get('start', 0.0):g} s. Correct them.")
    return faults


def _find_wav(wav: str, folder: Path) -> str:
    """Expand "~", and read Windows's backslashes."""
    wav = os.path.expanduser(wav)
    return wav.replace("\\", "/") if "\\" in wav and not os.path.exists(folder / wav) else wav


def _make_ids(rows: Sequence[Row]) -> None:
    """Name each row by its recording's path without the ending, where that is unique, and by its segment's times."""
    stems = {row["wav"]: os.path.splitext(row["wav"])[0] for row in rows}
    n_wavs = Counter(stems.values())
    for row in rows:
        name = stems[row["wav"]] if n_wavs[stems[row["wav"]]] == 1 else row["wav"]
        times = [f"{row[time]:g}" if time in row else "" for time in TIMES]
        row["id"] = name + ("_" + "-".join(times) if any(times) else "")


def _find_doubles(rows: Sequence[Row], faults: list[Fault]) -> list[Row]:
    """Return the first row of each id, and those without one; the second of an id is a fault."""
    first: dict[str, Row] = {}
    for row in rows:
        before = first.setdefault(row.get("id") or row["place"], row)
        if before is not row:
            text = f"{row['place']}: the id {row['id']!r} stands already in {before['place'].rpartition(', ')[2]}."
            faults.append(Fault(row["number"], f"{text} Leave one of them out, or give it an id of its own."))
    return list(first.values())


def _check_spellings(rows: Sequence[Row], faults: list[Fault]) -> None:
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
            if value:
                spellings[_plain(value)].append(value)
        for found in spellings.values():
            if len(found) > 1:
                n_seen = len({as_seen(value) for value in found})  # of texts that look alike, the code points are shown
                show = repr if n_seen == len(found) else ascii
                written = ", ".join(f"{show(value)} ({places[value]['place'].rpartition(', ')[2]})" for value in found)
                how = "differ in capitals, spaces or zeros only"
                if n_seen < len(found):
                    how = "look alike, and are written with other Unicode characters"
                text = f"{column}: {written} {how}. Write them in one way."
                last = max((places[value] for value in found), key=lambda row: row["number"])
                faults.append(Fault(last["number"], f"{last['place']}: {text}"))


def _plain(value: str) -> str:
    """Reduce a text to what a reader takes it for: as it is seen, without capitals and spaces, 03 as 3."""
    value = "".join(as_seen(value).casefold().split())
    return str(int(value)) if value.isdecimal() and len(value) < LONGEST_NUMBER else value


CORPUS = Corpus(
    name="csv",
    title="recordings listed in a CSV",
    read_rows=read_rows,
    source="A CSV or JSON Lines file lists your own recordings, with wav, emo and speaker of each.",
)
