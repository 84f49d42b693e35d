"""Rows: what a corpus says of its utterances before a recording is opened, and how all faulty ones are named."""

from collections.abc import Sequence
from typing import Any, Optional

from speechbrain_ext.errors import InputError
from speechbrain_ext.outside_text import CONTROLS

COLUMNS = ("id", "wav", "emo", "speaker", "group")
SHOWN = 10  # of a list of faults

# An utterance: COLUMNS; "place", where it is written, for messages; where the corpus has them "start" and "end" in
# seconds, "labels", "parts", and any other name with a text, an attribute.
Row = dict[str, Any]


class RowErrors(InputError):
    """Rows that cannot be used.

    Arguments
    ---------
    head : str
        The message's first line.
    faults : list of str
        One sentence for each fault; the message shows the first ones.
    rows : list of dict
        The rows that can be used, for who wants to say what is wrong with these as well.
    numbers : list of int
        The faults' rows, where they are numbered.
    n_faulty : int, optional
        How many rows cannot be used; by default as many as there are faults.
    """

    def __init__(
        self,
        head: str,
        faults: Sequence[str],
        rows: Sequence[Row] = (),
        numbers: Sequence[int] = (),
        n_faulty: Optional[int] = None,
    ):
        super().__init__(*[head] * bool(head), *first_lines(faults))
        self.faults = list(faults)
        self.rows = list(rows)
        self.numbers = list(numbers)
        self.n_faulty = len(self.faults) if n_faulty is None else n_faulty
        self._head = head

    def __reduce__(self) -> tuple[Any, ...]:  # processes send it to each other
        return type(self), (self._head, self.faults, self.rows, self.numbers, self.n_faulty)


def check_rows(rows: Sequence[Row]) -> None:
    """Refuse rows in which an id stands twice, or a field is empty or holds control characters; all are named.

    Arguments
    ---------
    rows : list of dict
        As `build_manifest` takes them; "place" is optional.

    Raises
    ------
    RowErrors
        Names them, and has the others.
    """
    faults: list[str] = []
    usable: list[Row] = []
    first: dict[str, Row] = {}
    for row in rows:
        before = first.setdefault(row["id"], row)
        empty = [field for field in COLUMNS if not row[field]]
        faults += [f"{_name(row)}: the field {field!r} is empty. Fill it in." for field in empty]
        held = [field for field in COLUMNS if CONTROLS.search(str(row[field]))]
        held += [f"label {label}" for label in row.get("labels", ()) if CONTROLS.search(label)]
        faults += [f"{_name(row)}: the field {field!r} holds control characters. Rename it." for field in held]
        is_twice = before is not row and bool(row["id"])
        if is_twice:
            faults.append(
                f"{row['id']}: the id stands twice ({_place(before)} and {_place(row)}). Leave one of them out."
            )
        if not (empty or held or is_twice):
            usable.append(row)
    if faults:
        raise RowErrors("", faults, usable, n_faulty=len(rows) - len(usable))


def first_lines(faults: Sequence[str], n_shown: int = SHOWN) -> list[str]:
    """Return the first faults, and how many more there are."""
    more = [f"... and {len(faults) - n_shown} more."] if len(faults) > n_shown else []
    return [*faults[:n_shown], *more]


def _place(row: Row) -> str:
    return row.get("place", f"wav {row['wav']}")


def _name(row: Row) -> str:
    return ", ".join(text for text in (row.get("place"), row["id"] or row["wav"]) if text)
