"""The recordings that lists name: which of them are there, as long as listed, and the same by their samples."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, Optional

from tqdm import tqdm

from speechbrain_ext.dataio.audio import probe_audio
from speechbrain_ext.dataio.clip_measures import READERS
from speechbrain_ext.dataio.copies import find_copies
from speechbrain_ext.dataio.manifest import Manifest
from speechbrain_ext.errors import InputError

SAME_LENGTH_S = 0.05


def compare_recordings(
    utterances: Mapping[str, Mapping[str, Any]], roots: Sequence[Path], audio: Sequence[Path] = ()
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Find the recordings that are there, and those of them that hold the same samples.

    Arguments
    ---------
    utterances : dict
        {id: {wav, start, end, length, ...}}, texts, each where it is known; times in seconds.
    roots, audio : list of pathlib.Path
        Folders that paths may be relative to; `audio` are those that the user has named, and come first.

    Returns
    -------
    tuple
        (the utterances, those whose samples were compared with "content", which is the same for the same samples;
        a dict: "listed", "found" and "compared" (numbers), "unreadable" and "altered" (sentences: what cannot be read,
        and what is not as long as listed), "copies" (pairs of ids), "unused" (folders of `audio` that hold none)).
    """
    known = {utt_id: dict(one) for utt_id, one in utterances.items()}
    listed = {utt_id: one["wav"] for utt_id, one in known.items() if "wav" in one}
    present = find_files(listed, [*audio, *roots, Path()])
    manifest: Manifest = {}
    unreadable = []

    def probe(utt_id: str) -> dict[str, Any] | InputError:
        try:
            one, header = known[utt_id], probe_audio(present[utt_id], utt_id)
            entry = {"wav": str(present[utt_id]), "duration": header.duration_s}
            if "start" in one:
                start, end = float(one["start"]), float(one.get("end") or "inf")
                entry |= {"start": start, "duration": min(end, header.duration_s) - start}
            return entry
        except (InputError, ValueError) as error:
            return InputError(str(error))

    with ThreadPoolExecutor(READERS) as pool:
        probed = tqdm(pool.map(probe, present), "recordings", total=len(present), delay=2, disable=None)
        for utt_id, entry in zip(present, probed):
            if isinstance(entry, InputError):
                unreadable.append(str(entry))
            else:
                manifest[utt_id] = entry
    altered = [
        f"{utt_id} lasts {entry['duration']:.2f} s, listed {float(known[utt_id]['length']):.2f} s"
        for utt_id, entry in manifest.items()
        if abs(entry["duration"] - _number(known[utt_id].get("length", math.nan))) > SAME_LENGTH_S
    ]
    try:
        copies = find_copies(manifest, "")
    except InputError as error:  # of a recording whose header could be read
        unreadable.append(str(error))
        copies, manifest = [], {}
    for utt_id in manifest:
        known[utt_id]["content"] = utt_id
    for first, other in copies:
        known[other]["content"] = first
    return known, {
        "listed": len(listed),
        "found": len(present),
        "compared": len(manifest),
        "unreadable": unreadable,
        "altered": altered,
        "copies": [list(pair) for pair in copies],
        "unused": [str(folder) for folder in audio if not any(_is_below(path, folder) for path in present.values())],
    }


def find_files(listed: Mapping[str, str], roots: Iterable[Path]) -> dict[str, Path]:
    """Find {id: path} below the first of the folders that has it; each folder is listed once."""
    places = list(dict.fromkeys(map(str, roots)))

    @cache
    def names_in(folder: str) -> frozenset[str]:
        try:
            with os.scandir(folder or ".") as entries:
                return frozenset(entry.name for entry in entries if entry.is_file())
        except (OSError, ValueError):  # no such folder, or no such name
            return frozenset()

    def find(wav: str) -> Optional[Path]:
        for root in places:
            folder, name = os.path.split(os.path.join(root, wav))
            if name in names_in(folder):
                return Path(folder, name)
        return None

    return {utt_id: path for utt_id, wav in listed.items() if (path := find(wav))}


def _is_below(path: Path, folder: Path) -> bool:
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))


def _number(text: Any) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
