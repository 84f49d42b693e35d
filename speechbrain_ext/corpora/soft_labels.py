"""Soft labels: the share of each emotion where annotators disagree, and which emotion then is the truth."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from speechbrain_ext.corpora.table import SHARE
from speechbrain_ext.dataio.rows import Row


def read_labels(fields: Mapping[str, Any], emo: str) -> dict[str, Any]:
    """Read the shares of labels among a record's fields, and find the label that is the truth.

    Arguments
    ---------
    fields : dict
        The fields; those that are called "emo:" and a label are shares.
    emo : str
        The label that was given, "" for none; it decides between equals.

    Returns
    -------
    dict
        "emo", "labels" (label -> count or share, above 0) and, where the largest are equal and the first in
        alphabetical order was taken, "tied" (these); empty where no share is given.

    Raises
    ------
    ValueError
        With a sentence as each argument: on each share that is no number from 0, that all are 0, or that `emo` is not
        the largest.

    Example
    -------
    >>> read_labels({"id": "a", "emo:sad": "2", "emo:ang": 2, "emo:hap": ""}, "")
    {'emo': 'ang', 'labels': {'sad': 2.0, 'ang': 2.0}, 'tied': ['ang', 'sad']}
    """
    shares = _read_shares({name[len(SHARE) :]: value for name, value in fields.items() if name.startswith(SHARE)})
    if not shares:
        return {}
    emo, tied = _find_truth(shares, emo)
    return {"emo": emo, "labels": shares, **({"tied": tied} if tied else {})}


def _read_shares(fields: Mapping[str, Any]) -> dict[str, float]:
    """Read how many annotators, or which share of them, chose each label; those that nobody chose are left out."""
    given = {label: value for label, value in fields.items() if value is not None and value != ""}
    shares, faults = {}, []
    for label, value in given.items():
        try:
            shares[label] = float("nan" if isinstance(value, bool) else value)
        except (TypeError, ValueError, OverflowError):
            shares[label] = float("nan")
        if not 0 <= shares[label] < 1e12:  # their sum is a number as well
            shown = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            faults.append(f"the share of {label!r} must be a number from 0, got {shown}. {number_cure(value)}")
    if given and not faults and not any(shares.values()):
        faults.append(f"the shares of {', '.join(given)} add up to 0. Correct one, or leave all of them empty.")
    if faults:
        raise ValueError(*faults)
    return {label: share for label, share in shares.items() if share > 0}


def number_cure(value: Any) -> str:
    """Say how a number with a decimal comma is written; "Correct it." for what else is no number.

    Example
    -------
    >>> number_cure("0,25"), number_cure("many")
    ('Write 0.25 with a point.', 'Correct it.')
    """
    is_comma = isinstance(value, str) and re.fullmatch(r"\d*,\d+", value.strip())
    return f"Write {value.strip().replace(',', '.')} with a point." if is_comma else "Correct it."


def _find_truth(shares: Mapping[str, float], emo: str) -> tuple[str, list[str]]:
    """Return the label with the largest share, and the equals that it was chosen from; `emo` decides between these."""
    largest = sorted(label for label, share in shares.items() if share == max(shares.values()))
    if emo and emo not in largest:
        raise ValueError(
            f"emo is {emo!r}, and the largest share is that of {largest[0]!r}. Correct one, or leave emo empty."
        )
    if emo or len(largest) == 1:
        return emo or largest[0], []
    return largest[0], largest


def share_out(rows: Sequence[Row], chosen: Collection[str]) -> tuple[list[Row], list[str]]:
    """Leave out rows of other emotions than the chosen ones, and normalise what `labels` hold over these.

    Arguments
    ---------
    rows : list of dict
        Rows, some with `labels` (label -> count or share) and `tied` (the equals that `emo` was chosen from).
    chosen : collection of str
        The emotions.

    Returns
    -------
    tuple
        (rows whose labels sum to 1, without `labels` where all say `emo`; sentences on how they count, and on labels
        that are no class because they are never the largest).

    Example
    -------
    >>> share_out([{"emo": "ang", "labels": {"ang": 2, "fru": 1, "sad": 1}}], ["ang", "sad"])[0]
    [{'emo': 'ang', 'labels': {'ang': 0.6666666666666666, 'sad': 0.3333333333333333}}]
    """
    kept: list[Row] = []
    n_soft = n_tied = 0
    for row in rows:
        labels, tied = row.get("labels"), [label for label in row.get("tied", ()) if label in chosen]
        emo = tied[0] if tied else row["emo"]
        if emo not in chosen:
            continue
        others = {key: value for key, value in row.items() if key not in ("labels", "tied")}
        shares = {label: share for label, share in (labels or {}).items() if label in chosen}
        if len(shares) > 1:
            total = sum(shares.values())
            others["labels"] = {label: share / total for label, share in sorted(shares.items())}
            n_soft += 1
            n_tied += len(tied) > 1
        kept.append({**others, "emo": emo})
    notes = []
    if n_soft:
        notes.append(
            f"{n_soft} of {len(kept)} utterances have shares of several emotions as their target; WA and UA count the "
            "largest share as the truth."
        )
    if n_tied:
        notes.append(f"{n_tied} of them have several largest shares: the first in alphabetical order counts.")
    shared = {label for row in rows for label in row.get("labels") or ()}
    never = sorted(shared - set(chosen) - {row["emo"] for row in rows})
    if never:
        notes.append(
            f"No class, because they are nobody's largest share: {', '.join(never)}. What they were given is left out, "
            "and the other shares are divided by their sum."
        )
    return kept, notes
