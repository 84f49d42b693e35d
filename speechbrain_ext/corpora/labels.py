"""What emotions are called, and which of a corpus's labels a user means by a list of them."""

import difflib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechbrain_ext.errors import InputError

# Columns of the files that hold predictions, each beside a column for every label.
RESERVED = ("id", "true", "predicted", "path", "speech", "duration_s", "model", "error")


def check_reserved(labels: Sequence[str], source: str | Path) -> None:
    """Refuse labels that are called as a column of the files with predictions, or cannot stand in a YAML file.

    Raises
    ------
    InputError
        Names the label.
    """
    for label in labels:
        if label in RESERVED:
            raise InputError(
                f"{source}: the label {label!r} is also a column of the files with predictions "
                f"({', '.join(RESERVED)}). Call it otherwise."
            )
        if re.fullmatch(r"\(.*\)", label):
            raise InputError(
                f"{source}: the label {label!r} is in parentheses, which YAML files of SpeechBrain take for a tuple. "
                "Call it otherwise."
            )


def find_labels(
    emotions: Sequence[Any], counts: Mapping[str, int], source: str | Path, merged: Sequence[tuple[str, str]] = ()
) -> list[str]:
    r"""Find the labels that a user means.

    Arguments
    ---------
    emotions : list
        What was given: labels, or what YAML makes of them, such as the number 3 for 03.
    counts : dict
        The labels that there are: how many utterances have each.
    source : str or pathlib.Path
        The corpus, for the message.
    merged : list of tuple
        Labels that are read as another one, for the message.

    Returns
    -------
    list of str
        The labels, in the order of `emotions`.

    Raises
    ------
    InputError
        If nobody has one of them, or one stands twice.

    Example
    -------
    >>> find_labels([3, 1], {"01": 5, "02": 8, "03": 2}, "c.csv")
    ['03', '01']
    >>> find_labels(["e\u0301mu"], {"\u00e9mu": 5}, "c.csv") == ["\u00e9mu"]
    True
    """
    if isinstance(emotions, str) or not isinstance(emotions, Sequence):
        raise InputError(f"emotions must be a list of labels, got {emotions!r}.")
    labels = [next((label for label in sorted(counts) if _is_label(label, emo)), None) for emo in emotions]
    for emo, label in zip(emotions, labels):
        if label is None:
            word = str(emo).lower()
            near = [label for label in counts if word.startswith(label.lower()) or label.lower().startswith(word)]
            near += difflib.get_close_matches(word, counts, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            hint = next((f" {old} counts as {new}." for old, new in merged if word.startswith(old)), hint)
            raise InputError(
                f"emotions: no utterance of {source} is labelled {emo!r}; it has {list_counts(counts)}.{hint}"
            )
    if len(set(labels)) < len(labels):
        raise InputError(f"emotions must differ from one another, got {emotions}.")
    return [label for label in labels if label is not None]


def one_line(label: str) -> str:
    r"""Return a label without line breaks and spaces around them: one space stands for each.

    Example
    -------
    >>> one_line(" not\r\n  happy ")
    'not happy'
    """
    return " ".join(line.strip() for line in label.splitlines() if line.strip())


def match_label(label: str, emotions: Sequence[str], merged: Sequence[tuple[str, str]] = ()) -> str:
    """Return what a corpus calls a label that others write as a word or with capitals; the label itself for none.

    Example
    -------
    >>> [match_label(label, ["ang", "hap"], [("exc", "hap")]) for label in ("Angry", "HAP", "excited", "bored")]
    ['ang', 'hap', 'hap', 'bored']
    """
    short = label.strip().casefold()[:3]
    short = dict(merged).get(short, short)
    return label if label in emotions or short not in emotions else short


def _is_label(label: str, emo: Any) -> bool:
    """Tell whether an emotion means a label: YAML reads 03 as the number 3, and true and null as no text."""
    if isinstance(emo, str):  # accents come in two forms that look the same
        return unicodedata.normalize("NFC", label) == unicodedata.normalize("NFC", one_line(emo))
    if isinstance(emo, bool) or emo is None:
        return label.lower() == {True: "true", False: "false", None: "null"}[emo]
    try:
        return float(label) == emo
    except ValueError:
        return False


def list_counts(counts: Mapping[str, int]) -> str:
    """List labels with their counts, sorted: "ang 3, sad 2"."""
    return ", ".join(f"{emo} {n}" for emo, n in sorted(counts.items()))
