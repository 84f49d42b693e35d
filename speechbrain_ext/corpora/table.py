"""A list of utterances as a table: a CSV, however it was saved, JSON Lines, or a JSON list."""

import csv
import difflib
import io
import json
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from speechbrain_ext.corpora.labels import one_line
from speechbrain_ext.corpora.sources import check_no_archive, read_bytes
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
        What is numbered: "row", as a spreadsheet counts, "line", or "item" of a JSON list.
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
    """Read a CSV, JSON Lines, or a JSON list of objects.

    Also read are, in a CSV: capitals and spaces in the header; semicolons, tabs or bars in place of commas, and spaces
    after them; a byte order mark, UTF-16 with one, CRLF, and empty lines.

    Arguments
    ---------
    path : pathlib.Path
        The file; JSON by its ending, or by its first characters.
    known : collection of str
        Names of columns, by which the separator is told.

    Raises
    ------
    InputError
        If the file is no such table. Single faulty records are in the table's faults.
    """
    text = _read_text(path)
    if path.suffix.lower() in JSON_LINES or re.match(r"\s*(\[\s*)?\{", text):
        return _read_json(text, path)
    return _read_csv(text, path, known)


def _read_text(path: Path) -> str:
    check_no_archive(path)
    if path.is_dir():
        inner = next((found for found in sorted(path.iterdir()) if found.suffix in (".csv", ".jsonl")), None)
        raise InputError(
            f"{path} is a folder, and a list is needed." + (f" Did you mean {inner}?" if inner else " Give a file.")
        )
    try:
        data = read_bytes(path)
    except FileNotFoundError as error:
        near = difflib.get_close_matches(path.name, [found.name for found in path.parent.glob("*.*")], n=1)
        hint = f"Did you mean {path.parent / near[0]}?" if near else "Check the path."
        raise InputError(f"the list {path} does not exist. {hint}") from error
    except OSError as error:
        raise InputError(f"the list cannot be read: {error}.") from error
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
        cure = 'A quote is not closed; or it stands within a quoted field, where it is written twice ("").'
        if "limit" in str(error):
            cure = "Is it a list of utterances? If so, a quote is not closed, or a line does not end."
        raise InputError(f"{path}, row {number}: {error}. {cure}") from error
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


def text_of(value: Any) -> str:
    """Return a value as text without spaces around it: numbers as they are written, nothing for null and others."""
    return "" if value is None or value != value or kind_of(value) else str(value).strip()


def kind_of(value: Any) -> str:
    """Say what a value of JSON is, if it is no text and no number; NaN is what some programs write for nothing."""
    if isinstance(value, bool):
        return json.dumps(value)
    return "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else ""


def _names(fields: Iterable[str]) -> list[str]:
    """Return names in lower case, but for what follows "emo:", which is a label."""
    names = [field.strip(' "\t\r') for field in fields]
    return [f"{SHARE}{one_line(name[4:])}" if name[:4].lower() == SHARE else name.lower() for name in names]


class _Twice(NamedTuple):
    """Stands for a JSON object in which a name stands twice."""

    name: str


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Twice:
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    names = [name for name, _ in pairs]
    return _Twice(next(name for name in names if names.count(name) > 1))


def _parse(text: str) -> tuple[Any, str]:
    """Parse JSON: (value, ""), or (None, a sentence on what is wrong)."""
    try:
        return json.loads(text, object_pairs_hook=_object), ""
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text.strip() else ""
        return None, f"no JSON: {error.msg} ({line}column {error.colno}). Correct it."
    except (ValueError, RecursionError) as error:  # a number of too many digits
        return None, f"no JSON: {error}. Correct it."


def _read_json(text: str, path: Path) -> Table:
    """Read JSON Lines; or all of it as a list of objects, or as an object that has them by id."""
    lines = [(number, line) for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1) if line.strip()]
    table = Table(path, [], [], [], "line")
    parsed = ((number, line, *_parse(line)) for number, line in lines)
    if lines and (len(lines) == 1 or _parse(lines[0][1])[1]):
        whole, fault = _parse(text)
        if fault and text.lstrip()[0] == "[":
            raise InputError(f"{path} holds a JSON list that cannot be read: {fault}")
        if isinstance(whole, _Twice) and len(lines) > 1:
            raise InputError(f"{path}: {whole.name!r} stands twice. Leave one of them out.")
        if isinstance(whole, dict) and whole and all(isinstance(one, dict) for one in whole.values()):
            whole = [{**fields, "id": utt_id} for utt_id, fields in whole.items()]
        elif isinstance(whole, dict) and len(lines) > 1:
            whole = [whole]
        if isinstance(whole, list):
            table = Table(path, [], [], [], "item")
            parsed = ((number, json.dumps(item), item, "") for number, item in enumerate(whole, start=1))
    columns: dict[str, None] = {}
    for number, written, value, fault in parsed:
        fields, fault = ({}, fault) if fault else fields_of(value, written)
        if fault:
            table.faults.append(Fault(number, f"{table.place(number)}: {fault}"))
            continue
        table.records.append((number, fields))
        columns.update(dict.fromkeys(fields))
    table.columns.extend(columns)
    return table


def fields_of(value: Any, written: str) -> tuple[dict[str, Any], str]:
    """Return an object's fields by their columns' names, and what is wrong with them."""
    within = [value, *(value.values() if isinstance(value, dict) else ())]
    if twice := [one.name for one in within if isinstance(one, _Twice)]:
        return {}, f"{twice[0]!r} stands twice. Leave one of them out."
    if not isinstance(value, dict):
        return {}, f"no object, but {written.strip()[:80]}. Write {{...}}."
    if half := re.search(r"[\ud800-\udfff]", json.dumps(value, ensure_ascii=False) if "\\u" in written else ""):
        return {}, f"{ascii(half[0])} is half of a character, and no text. Correct or remove it."
    pairs: list[tuple[str, Any]] = []
    for name, field in value.items():
        is_shares = name.strip().lower() == "emo" and isinstance(field, dict)
        pairs += [(f"{SHARE}{label}", share) for label, share in field.items()] if is_shares else [(name, field)]
    names = _names(name for name, _ in pairs)
    if twice := [name for name in names if names.count(name) > 1]:
        return {}, f"{twice[0]!r} stands twice. Leave one of them out."
    return dict(zip(names, (field for _, field in pairs))), ""
