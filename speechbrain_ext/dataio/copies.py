"""Recordings that are in a corpus twice, found by their samples."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Optional

from speechbrain_ext.dataio.audio import read_audio
from speechbrain_ext.dataio.manifest import DATA_ROOT, Manifest, segment_of
from speechbrain_ext.dataio.rows import first_lines
from speechbrain_ext.errors import InputError


def find_copies(manifest: Manifest, data_root: str | Path, n_threads: int = 8) -> list[tuple[str, str]]:
    """Find recordings that hold the same samples under two ids.

    Only recordings of the same length are read: half a second of each, and all of it where that is the same. A copy in
    another rate, or in a format that loses something, is not found.

    Arguments
    ---------
    manifest : dict
        The manifest.
    data_root : str or pathlib.Path
        What stands for "{data_root}" in its paths.
    n_threads : int
        How many recordings are read at the same time.

    Returns
    -------
    list of tuple
        Pairs of ids, sorted; of more than two copies the first with each other one.
    """

    def digest(utt_id: str, max_s: Optional[float]) -> str:
        wav = manifest[utt_id]["wav"].replace(DATA_ROOT, str(data_root))
        segment = segment_of(manifest[utt_id])
        samples = read_audio(wav, utt_id, 16000, max_s, segment)
        if max_s is None and not samples.any():
            return f"{wav} {segment}"  # silence: only the file itself is the same recording
        return hashlib.sha256(samples.tobytes()).hexdigest()

    alike: list[list[str]] = _groups_of(sorted(manifest), [manifest[utt_id]["duration"] for utt_id in sorted(manifest)])
    with ThreadPoolExecutor(n_threads) as pool:
        for max_s in (0.5, None):
            utt_ids = [utt_id for members in alike for utt_id in members]
            keys = list(pool.map(digest, utt_ids, [max_s] * len(utt_ids)))
            alike = _groups_of(utt_ids, [(manifest[utt_id]["duration"], key) for utt_id, key in zip(utt_ids, keys)])
    return [(first, other) for first, *others in alike for other in others]


def check_copies(manifest: Manifest, data_root: str | Path) -> list[str]:
    """Refuse a corpus in which one recording is in two groups, where a fold would test on what it trains on.

    Returns
    -------
    list of str
        A sentence for each recording that is twice in one group.

    Raises
    ------
    InputError
        Names the recordings that are in two groups.
    """
    leaks, others = [], []
    for first, other in find_copies(manifest, data_root):
        a, b = manifest[first], manifest[other]
        wavs = " and ".join(entry["wav"].removeprefix(f"{DATA_ROOT}/") for entry in (a, b))
        text = f"{first} and {other} are one recording ({wavs})"
        if a["group"] == b["group"]:
            others.append(f"{text}, labelled {' and '.join(sorted({a['emo'], b['emo']}))}.")
        else:
            leaks.append(f"{text}, in the groups {a['group']} and {b['group']}.")
    if leaks:
        raise InputError(
            "a recording is in two groups, so that a fold would test on what it trains on. Leave one of the two out, "
            f"or give both the same group:\n{first_lines(leaks)}"
        )
    return others


def mark_copies(manifest: Manifest, data_root: str | Path) -> None:
    """Note in each entry that holds the samples of another one which that is: `copy_of`, the first of their ids."""
    for first, other in find_copies(manifest, data_root):
        manifest[other]["copy_of"] = first


def _groups_of(utt_ids: Sequence[str], keys: Sequence[Any]) -> list[list[str]]:
    """Group ids whose keys are equal; those that stand alone are left out."""
    groups: dict[Any, list[str]] = {}
    for utt_id, key in zip(utt_ids, keys):
        groups.setdefault(key, []).append(utt_id)
    return [members for members in groups.values() if len(members) > 1]
