"""Clips that share a stretch of one recording: segments that overlap, or a recording and a segment of it."""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechbrain_ext.checksums import sha256_of
from speechbrain_ext.dataio.manifest import DATA_ROOT, Manifest

TOUCHING_S = 0.001  # ends and starts are written with rounding
SAME_FILE = "same_file"  # an entry's key: the first recording of which its own is a copy


def mark_same_files(manifest: Manifest, data_root: str | Path) -> None:
    """Note in each entry whose recording is another file once more, byte for byte or by a link, which that is.

    Files are compared where one of them has segments: whole copies are found by their samples, see `find_copies`.

    Arguments
    ---------
    manifest : dict
        The manifest; entries get `same_file`, the first of the paths.
    data_root : str or pathlib.Path
        What stands for "{data_root}" in its paths.
    """
    segmented = {entry["wav"] for entry in manifest.values() if "start" in entry}
    places = {entry["wav"]: entry["wav"].replace(DATA_ROOT, str(data_root)) for entry in manifest.values() if segmented}
    by_size: dict[int, list[str]] = defaultdict(list)
    for wav in sorted(places):
        by_size[os.path.getsize(places[wav])].append(wav)
    firsts: dict[str, str] = {}  # SHA-256 -> path
    same: dict[str, str] = {}
    for wavs in by_size.values():
        if len(wavs) > 1 and segmented.intersection(wavs):
            same.update((wav, firsts.setdefault(sha256_of(places[wav]), wav)) for wav in wavs)
    for entry in manifest.values():
        if same.get(entry["wav"], entry["wav"]) != entry["wav"]:
            entry[SAME_FILE] = same[entry["wav"]]


def find_overlaps(manifest: Manifest, sides: Mapping[str, str]) -> list[tuple[str, str]]:
    """Find clips on different sides that overlap in their recording.

    Arguments
    ---------
    manifest : dict
        {id: {wav, duration, ...}}, with `start` for segments.
    sides : dict
        Utterance id -> the side that it is on, for instance its group; others are not looked at.

    Returns
    -------
    list of tuple
        For each clip at most one pair (earlier clip, clip), in the order of recordings and times.

    Example
    -------
    >>> manifest = {utt_id: {"wav": "a.wav", "start": s, "duration": 1.0} for utt_id, s in (("x", 0.0), ("y", 0.5))}
    >>> find_overlaps(manifest, {"x": "train", "y": "test"})
    [('x', 'y')]
    """
    n_clips = Counter(_recording(manifest[utt_id]) for utt_id in sides)
    if len(n_clips) == len(sides):  # no recording has two
        return []
    by_recording: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for utt_id in sides:
        entry = manifest[utt_id]
        if "duration" in entry and n_clips[_recording(entry)] > 1:
            start_s = entry.get("start", 0.0)
            by_recording[_recording(entry)].append((start_s, start_s + entry["duration"], utt_id))
    pairs = []
    for _, clips in sorted(by_recording.items()):
        last: dict[str, tuple[float, str]] = {}  # side -> the clip that ends last, of those before
        for start_s, end_s, utt_id in sorted(clips):
            side = sides[utt_id]
            others = [(end, other) for name, (end, other) in last.items() if name != side]
            if others and max(others)[0] > start_s + TOUCHING_S:
                pairs.append((max(others)[1], utt_id))
            last[side] = max(last.get(side, (0.0, "")), (end_s, utt_id))
    return pairs


def describe_overlaps(manifest: Manifest) -> dict[str, str]:
    """Return a sentence for each clip that overlaps, in its recording, with an earlier one of another group; by id."""
    groups = {utt_id: entry["group"] for utt_id, entry in manifest.items()}
    pairs = find_overlaps(manifest, groups)
    return {
        b: f"{_clip(manifest, a)} and {_clip(manifest, b)} overlap in {_names(manifest[a], manifest[b])}."
        for a, b in pairs
    }


def _clip(manifest: Manifest, utt_id: str) -> str:
    entry = manifest[utt_id]
    start_s = entry.get("start", 0.0)
    return f"{utt_id} ({start_s:.2f} s to {start_s + entry['duration']:.2f} s, group {entry['group']})"


def _recording(entry: Mapping[str, Any]) -> Any:
    return entry.get(SAME_FILE, entry.get("wav"))


def _names(*entries: Mapping[str, Any]) -> str:
    wavs = dict.fromkeys(entry["wav"].removeprefix(f"{DATA_ROOT}/") for entry in entries)
    return " and ".join(wavs) + ", which are one recording" * (len(wavs) > 1)
