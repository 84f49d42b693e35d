"""Recordings that are in a corpus twice, found by their samples."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Optional

import numpy as np

from speechbrain_ext.dataio.audio import Segment, read_audio
from speechbrain_ext.dataio.clip_measures import READERS
from speechbrain_ext.dataio.manifest import DATA_ROOT, Manifest, segment_of
from speechbrain_ext.dataio.sample_hash import SAMPLES_HASH, SampleHash

RATE_HZ = 16000  # at which recordings are compared that have no hash


def find_copies(manifest: Manifest, data_root: str | Path) -> list[tuple[str, str]]:
    """Find recordings that hold the same samples under two ids.

    They have the same `samples_hash`. Where a manifest has none, recordings of the same length are read. A copy in
    another rate, or in a format that loses something, is not found.

    Arguments
    ---------
    manifest : dict
        The manifest.
    data_root : str or pathlib.Path
        What stands for "{data_root}" in its paths.

    Returns
    -------
    list of tuple
        Pairs of ids, sorted; of more than two copies the first with each other one.
    """

    def place(utt_id: str) -> tuple[str, Optional[Segment]]:
        return manifest[utt_id]["wav"].replace(DATA_ROOT, str(data_root)), segment_of(manifest[utt_id])

    def read(utt_id: str) -> np.ndarray:
        wav, segment = place(utt_id)
        return read_audio(wav, utt_id, RATE_HZ, segment=segment)

    def find_hash(utt_id: str) -> str:
        return str(SampleHash(RATE_HZ, read(utt_id)))

    alike = group_equal(sorted(manifest), [manifest[utt_id]["duration"] for utt_id in sorted(manifest)])
    utt_ids = [utt_id for members in alike for utt_id in members]
    hashes = {utt_id: manifest[utt_id].get(SAMPLES_HASH) for utt_id in utt_ids}
    unknown = [utt_id for utt_id, found in hashes.items() if not found]
    with ThreadPoolExecutor(READERS) as pool:
        hashes.update(zip(unknown, pool.map(find_hash, unknown)))
        groups = group_equal(utt_ids, list(hashes.values()))
        are_silent = pool.map(lambda members: not read(members[0]).any(), groups)
        # Of silence only the file itself is the same recording.
        parts = [group_equal(m, list(map(place, m))) if silent else [m] for m, silent in zip(groups, are_silent)]
    return [(first, other) for part in parts for first, *others in part for other in others]


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
