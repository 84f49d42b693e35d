"""The columns of a corpus's CSV: which there are, and which a user means by others."""

import difflib
import logging
from collections.abc import Sequence

from speechbrain_ext.corpora.table import SHARE, Table
from speechbrain_ext.errors import InputError
from speechbrain_ext.outside_text import printable

logger = logging.getLogger(__name__)

REQUIRED = ("wav", "emo", "speaker")
TIMES = ("start", "end")
ATTRIBUTES = ("text", "gender", "language", "style", "age", "session", "dialogue")
KNOWN = (*REQUIRED, "id", "group", *TIMES, *ATTRIBUTES)
# What entries of a manifest call otherwise, or measure.
NOT_READ = {
    **dict.fromkeys(("duration", "length"), "lengths are measured"),
    **dict.fromkeys(("labels", "parts", "place", "number", "tied", "copy_of", "same_file", "samples_hash"), ""),
}
# What others call the columns, for "did you mean".
SIMILAR = {
    "wav": ("path", "file", "filename", "file_name", "audio", "recording"),
    "emo": ("emotion", "label", "class", "category"),
    "speaker": ("spk", "speaker_id", "spk_id", "actor", "subject"),
    "id": ("utt", "utt_id", "utterance", "key", "name"),
    "group": ("fold", "split", "partition", "groups"),
    "start": ("begin", "onset", "start_s", "start_time", "from"),
    "end": ("stop", "offset", "end_s", "end_time", "to"),
    "gender": ("sex",),
    "language": ("lang",),
    "text": ("transcript", "transcription", "sentence"),
}
NEEDED = f"needed are {', '.join(REQUIRED)}"


def check_columns(table: Table) -> list[str]:
    """Check a table's columns; what is not what it may be meant for is logged.

    Arguments
    ---------
    table : Table
        The table.

    Returns
    -------
    list of str
        The columns that hold attributes of an utterance: all that have no meaning of their own.

    Raises
    ------
    InputError
        If a needed column is missing, or one seems to be meant for a segment or for shares and would not be read.
    """
    columns, path = table.columns, table.path
    if not columns and not table.faults:
        raise InputError(f"{path} is empty; {NEEDED}.")
    shares = [name for name in columns if name.startswith(SHARE)]
    missing = [name for name in REQUIRED if name not in columns and not (name == "emo" and shares)]
    free = [name for name in columns if name and name not in KNOWN and name not in shares]
    meant = {name: column for name in free if (column := _meant(name, columns))}
    if missing and not (table.unit != "row" and not columns):
        hints = [
            f" Is {name!r} meant for {column!r}? Rename it." for name, column in meant.items() if column in missing
        ]
        one_field = " They must be separated by commas, without quotes around the whole line."
        first = "item" if table.unit == "item" else "line"
        named = "must name them" if table.unit == "row" else "must have them as keys"
        raise InputError(
            f"{path}: the columns {missing} are missing; {NEEDED}. The first {first} {named}; it is {columns}."
            f"{one_field if len(columns) == 1 and table.unit == 'row' else ''}{''.join(hints)}"
        )
    for name, column in meant.items():
        if column in TIMES or column.startswith(SHARE):
            raise InputError(
                f"{path}: the column {name!r} is not read. Did you mean {column!r}? Rename it, or leave it out."
            )
    attributes = [name for name in columns if name in ATTRIBUTES or (name in free and name not in NOT_READ)]
    others = [name for name in free if name in NOT_READ]
    if others:
        reasons = "; ".join(dict.fromkeys(reason for name in others if (reason := NOT_READ[name])))
        logger.warning("%s: not read: %s%s.", path.name, ", ".join(others), f" ({reasons})" if reasons else "")
    strange = [
        name + (f" (did you mean {meant[name]}?)" if name in meant else "") for name in free if name not in others
    ]
    if strange:
        logger.warning("%s: kept as attributes of the utterances: %s.", path.name, printable(", ".join(strange)))
    deep = [
        name for name in attributes if any(isinstance(fields.get(name), (list, dict)) for _, fields in table.records)
    ]
    if deep:
        logger.warning("%s: not read where they are a list or an object: %s.", path.name, printable(", ".join(deep)))
    if "group" not in columns:
        logger.warning("%s has no column group: each speaker is one (see group_by and n_folds).", path.name)
    return attributes


def _meant(name: str, columns: Sequence[str]) -> str:
    """Return the absent column that a name may be meant for; "" for none."""
    if name[:3] == "emo" and name[3:4] in ("_", ".", "-", " ", "/"):
        return f"{SHARE}{name[4:]}"
    absent = [column for column in KNOWN if column not in columns]
    similar = [column for column in absent if name in SIMILAR.get(column, ())]
    return next(iter(similar + difflib.get_close_matches(name, absent, n=1, cutoff=0.75)), "")
