"""Clips that share a stretch of one recording: segments that overlap, or a recording and a segment of it."""

from collections import Counter, defaultdict
from collections.abc import Mapping

from speechbrain_ext.dataio.manifest import DATA_ROOT, Manifest

TOUCHING_S = 0.001  # ends and starts are written with rounding


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
    n_clips = Counter(manifest[utt_id].get("wav") for utt_id in sides)
    if len(n_clips) == len(sides):  # no recording has two
        return []
    by_recording: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for utt_id in sides:
        entry = manifest[utt_id]
        if "duration" in entry and n_clips[entry.get("wav")] > 1:
            start_s = entry.get("start", 0.0)
            by_recording[entry["wav"]].append((start_s, start_s + entry["duration"], utt_id))
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
    return {
        other: f"{_clip(manifest, first)} and {_clip(manifest, other)} overlap in {_name(manifest[first]['wav'])}."
        for first, other in find_overlaps(manifest, groups)
    }


def _clip(manifest: Manifest, utt_id: str) -> str:
    entry = manifest[utt_id]
    start_s = entry.get("start", 0.0)
    return f"{utt_id} ({start_s:.2f} s to {start_s + entry['duration']:.2f} s, group {entry['group']})"


def _name(wav: str) -> str:
    return wav.removeprefix(f"{DATA_ROOT}/")
