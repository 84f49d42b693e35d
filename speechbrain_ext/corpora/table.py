"""A list of utterances as a table: a CSV, however it was saved, or JSON Lines."""

import csv
import difflib
import io
import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from speechbrain_ext.corpora.sources import check_no_archive
from speechbrain_ext.errors import InputError

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
JSON_LINES = (".jsonl", ".ndjson", ".json")
SAVE_AS = 'Save it as "CSV UTF-8", and give that file.'
SHARE = "emo:"  # how the name of a column begins that holds the share of a label


class Fault(NamedTuple):
    """What is wrong with a row: its number, and a sentence."""

    number: int
    text: str


@dataclass(frozen=True)
class Table:
    """Records that have named fields.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    columns : list of str
        The names, in lower case, in the order of their first appearance.
    records : list of tuple
        (number, fields) of each record: fields are {column: text}, in JSON Lines {column: any value}.
    faults : list of Fault
        What is wrong with records that could not be read.
    unit : str
        What is numbered: "row", as a spreadsheet counts, or "line".
    """

    path: Path
    columns: list[str]
    records: list[tuple[int, dict[str, Any]]]
    faults: list[Fault]
    unit: str

    def place(self, number: int) -> str:
        """Return where a record stands: "my.csv, row 3"."""
        return f"{self.path.name}, {self.unit} {number}"


def read_table(path: Path, known: Collection[str]) -> Table:
    """Read a CSV or JSON Lines file.

    Also read are, in a CSV: capitals and spaces in the header; semicolons, tabs or bars in place of commas, and spaces
    after them; a byte order mark, UTF-16 with one, CRLF, and empty lines.

    Arguments
    ---------
    path : pathlib.Path
        The file; JSON Lines by its ending, or by its first character.
    known : collection of str
        Names of columns, by which the separator is told.

    Raises
    ------
    InputError
        If the file is no such table. Single faulty records are in the table's faults.
    """
    text = _read_text(path)
    if path.suffix.lower() in JSON_LINES or text.lstrip()[:1] == "{":
        return _read_json_lines(text, path)
    return _read_csv(text, path, known)


def _read_text(path: Path) -> str:
    check_no_archive(path)
    if path.is_dir():
        inner = next((found for found in sorted(path.iterdir()) if found.suffix in (".csv", ".jsonl")), None)
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


def _read_csv(text: str, path: Path, known: Collection[str]) -> Table:
    told = re.match(r"sep=(.)\r?\n", text)  # Excel's own hint
    lines = (line for line in text[told.end() if told else 0 :].splitlines() if line.strip(' "\t\r,;|'))
    first = next(lines, None)
    if first is None:
        return Table(path, [], [], [], "row")
    delimiter = told[1] if told else max(DELIMITERS, key=lambda mark: len(set(_names(first.split(mark))) & set(known)))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    records: list[tuple[int, list[str]]] = []
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
    twice = [column for column in header if column and header.count(column) > 1]
    if twice:
        raise InputError(f"{path}: the column {twice[0]!r} stands twice in {header}. Leave one of them out.")
    table = Table(path, header, [], [], "row")
    for number, fields in records[1:]:
        if len(fields) == len(header):
            table.records.append((number, {column: field.strip() for column, field in zip(header, fields)}))
            continue
        cure = "Add the rest."
        if len(fields) > len(header):
            mark = DELIMITERS.get(delimiter, repr(delimiter))
            cure = f'Put a field that holds a {mark} in quotes: "...".'
        shown = str(fields) if len(str(fields)) < 200 else f"{str(fields)[:200]} ..."
        text = f"{len(fields)} fields in place of {len(header)} ({', '.join(header)}): {shown}. {cure}"
        table.faults.append(Fault(number, f"{table.place(number)}: {text}"))
    return table


def _names(fields: Iterable[str]) -> list[str]:
    """Return names in lower case, but for what follows "emo:", which is a label."""
    names = [field.strip(' "\t\r') for field in fields]
    return [f"{SHARE}{name[4:].strip()}" if name[:4].lower() == SHARE else name.lower() for name in names]


def _read_json_lines(text: str, path: Path) -> Table:
    if text.lstrip()[:1] == "[":
        raise InputError(
            f"{path} holds a JSON list, and JSON Lines are read: write each utterance as one line, {{...}}."
        )
    table = Table(path, [], [], [], "line")
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            pairs = json.loads(line, object_pairs_hook=list)
            is_object = line.lstrip()[0] == "{"
        except (ValueError, RecursionError) as error:  # no JSON, or a number of too many digits
            table.faults.append(Fault(number, f"{table.place(number)}: no JSON: {error}. Correct the line."))
            continue
        if not is_object:
            table.faults.append(Fault(number, f"{table.place(number)}: no object, but {line[:80]}. Write {{...}}."))
            continue
        names = _names(name for name, _ in pairs)
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            text = f"{twice[0]!r} stands twice. Leave one of them out."
            table.faults.append(Fault(number, f"{table.place(number)}: {text}"))
            continue
        fields: dict[str, Any] = {}
        for name, (_, value) in zip(names, pairs):
            if name == "emo" and isinstance(value, list) and all(isinstance(pair, tuple) for pair in value):
                fields.update({f"{SHARE}{label}": share for label, share in value})  # an object, by the hook
            else:
                fields[name] = value
        table.records.append((number, fields))
        table.columns.extend(name for name in fields if name not in table.columns)
    return table
