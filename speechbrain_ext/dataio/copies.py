"""Recordings that are in a corpus twice, found by their samples."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Optional

from speechbrain_ext.dataio.audio import read_audio
from speechbrain_ext.dataio.manifest import DATA_ROOT, Manifest, segment_of


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

    alike: list[list[str]] = group_equal(
        sorted(manifest), [manifest[utt_id]["duration"] for utt_id in sorted(manifest)]
    )
    with ThreadPoolExecutor(n_threads) as pool:
        for max_s in (0.5, None):
            utt_ids = [utt_id for members in alike for utt_id in members]
            keys = list(pool.map(digest, utt_ids, [max_s] * len(utt_ids)))
            alike = group_equal(utt_ids, [(manifest[utt_id]["duration"], key) for utt_id, key in zip(utt_ids, keys)])
    return [(first, other) for first, *others in alike for other in others]


def describe_copies(manifest: Manifest, pairs: Sequence[tuple[str, str]]) -> tuple[dict[str, str], list[str]]:
    """Describe pairs of ids that `find_copies` has found.

    Returns
    -------
    tuple
        (sentences on recordings that are in two groups, where a fold would test on what it trains on, by the second's
        id; sentences on those that are twice in one group).
    """
    leaks: dict[str, str] = {}
    others = []
    for first, other in pairs:
        a, b = manifest[first], manifest[other]
        wavs = " and ".join(entry["wav"].removeprefix(f"{DATA_ROOT}/") for entry in (a, b))
        text = f"{first} and {other} are one recording ({wavs})"
        if a["group"] == b["group"]:
            others.append(f"{text}, labelled {' and '.join(sorted({a['emo'], b['emo']}))}.")
        else:
            leaks[other] = f"{text}, in the groups {a['group']} and {b['group']}."
    return leaks, others


def mark_copies(manifest: Manifest, pairs: Sequence[tuple[str, str]]) -> None:
    """Note in each entry that holds the samples of another one which that is: `copy_of`, the first of their ids."""
    for first, other in pairs:
        manifest[other]["copy_of"] = first


def group_equal(utt_ids: Sequence[str], keys: Sequence[Any]) -> list[list[str]]:
    """Group ids whose keys are equal; those that stand alone are left out."""
    groups: dict[Any, list[str]] = {}
    for utt_id, key in zip(utt_ids, keys):
        groups.setdefault(key, []).append(utt_id)
    return [members for members in groups.values() if len(members) > 1]
