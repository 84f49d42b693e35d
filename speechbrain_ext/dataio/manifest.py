"""The manifest: one validated description of a corpus, {id: {wav, duration, emo, speaker, group}}, sorted by id.

An entry may also have `start` (the clip is the segment of that recording from there on, in seconds), `labels` (the
share of each emotion, where annotators disagree), `parts` (what it is in each of the corpus's own folds), and
attributes of the speaker or the utterance, as texts. `samples_hash` says which samples the clip held when the corpus
was prepared; each reading is checked against it. Manifests of earlier versions lack it.
"""

import functools
import hashlib
import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Optional

from tqdm import tqdm

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.dataio.audio import Segment
from speechbrain_ext.dataio.clip_measures import READERS, Measured, measure_recording
from speechbrain_ext.dataio.rows import COLUMNS, SHOWN, Row, check_rows, first_lines
from speechbrain_ext.dataio.sample_hash import SAMPLES_HASH
from speechbrain_ext.errors import InputError, first_few
from speechbrain_ext.json_reader import read_json

logger = logging.getLogger(__name__)

FIELDS = ("wav", "duration", "emo", "speaker", "group")
OPTIONAL_FIELDS = ("start", "labels", "parts")  # with FIELDS, what a run's results depend on
NOT_KEPT = ("end", "place", "number", "tied")  # of a row
UNKNOWN_SPEAKER = "unknown"  # where a corpus does not say who speaks
DATA_ROOT = "{data_root}"

Manifest = dict[str, dict[str, Any]]


def build_manifest(
    rows: Iterable[Row],
    data_root: str | Path,
    sample_rate_hz: int = 16000,
    progress: bool = True,
) -> Manifest:
    """Read every utterance of a corpus, and describe it.

    Arguments
    ---------
    rows : iterable of dict
        One utterance each: id, wav (absolute, or relative to `data_root`), emo, speaker, group; and what `Row` names.
    data_root : str or pathlib.Path
        Folder that the paths in the manifest are relative to.
    sample_rate_hz : int
        The rate at which recordings will be used; others are counted and said once.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    dict
        The manifest, sorted by id. `wav` begins with "{data_root}" where the file lies below `data_root`;
        `duration` is in seconds.

    Raises
    ------
    InputError
        If there is no row, an id stands twice, a field is empty, or a recording or a segment cannot be used.
    """
    data_root = Path(os.path.abspath(data_root))  # links below it stay as they are named
    rows = sorted(rows, key=lambda row: row["id"])
    if not rows:
        raise InputError(f"the corpus in {data_root} has no utterance: check that its list is the right one.")
    check_rows(rows)

    recordings: dict[str, list[Row]] = defaultdict(list)  # many segments may lie in one
    for row in rows:
        recordings[row["wav"]].append(row)

    def measure(group: list[Row]) -> list[Measured | str] | InputError:
        try:
            return measure_recording(group, data_root)
        except InputError as error:
            return error

    with ThreadPoolExecutor(READERS) as pool:
        measuring = pool.map(measure, recordings.values())
        found = list(tqdm(measuring, total=len(recordings), desc="recordings", disable=not progress))
    bad = [(wav, error) for wav, error in zip(recordings, found) if isinstance(error, InputError)]
    if bad:
        near = NearNames()
        faults = [f"{error}{near.ask(data_root / wav) if i < SHOWN else ''}" for i, (wav, error) in enumerate(bad)]
        where = f" (their paths are relative to {data_root})" if len(faults) == len(recordings) else ""
        raise InputError(f"{len(faults)} of {len(recordings)} recordings cannot be used{where}:", *first_lines(faults))
    measured = {
        row["id"]: one
        for group, clips in zip(recordings.values(), found)
        if not isinstance(clips, InputError)
        for row, one in zip(group, clips)
    }
    faults = [one for row in rows if isinstance(one := measured[row["id"]], str)]
    if faults:
        raise InputError(f"{len(faults)} of {len(rows)} segments cannot be used:", *first_lines(faults))
    clips = [(row, *one) for row in rows if not isinstance(one := measured[row["id"]], str)]
    converted = [
        (row["id"], measures)
        for row, _, measures in clips
        if measures.n_channels != 1 or measures.sample_rate_hz != sample_rate_hz
    ]
    if converted:
        utt_id, measures = converted[0]
        logger.warning(
            "%d of %d recordings are not %d Hz mono and are converted when read (first: %s, %d Hz, %d channels).",
            len(converted),
            len(rows),
            sample_rate_hz,
            utt_id,
            measures.sample_rate_hz,
            measures.n_channels,
        )
    return {row["id"]: describe_row(row, entry, data_root) for row, entry, _ in clips}


def describe_row(row: Row, measured: Mapping[str, Any], data_root: Path) -> dict[str, Any]:
    """Make the manifest's entry of a row.

    Arguments
    ---------
    row : dict
        The row.
    measured : dict
        What the entry has from the recording, see `measure_recording`.
    data_root : pathlib.Path
        Absolute folder that the entry's path is relative to.
    """
    known = (*COLUMNS, *NOT_KEPT, "start", "duration", SAMPLES_HASH)
    others = {key: value for key, value in row.items() if key not in known}
    if "parts" in others:
        others["parts"] = list(others["parts"])  # as JSON will give it back
    of_row = {key: row[key] for key in ("emo", "speaker", "group")}
    return {"wav": _portable(row["wav"], data_root), **measured, **of_row, **others}


def segment_of(entry: Mapping[str, Any]) -> Optional[Segment]:
    """Return the segment of its recording that an entry is, as `read_audio` takes it; None for the whole recording.

    Example
    -------
    >>> segment_of({"wav": "a.wav", "start": 2.5, "duration": 1.0}), segment_of({"wav": "a.wav", "duration": 1.0})
    ((2.5, 1.0), None)
    """
    return (entry["start"], entry["duration"]) if "start" in entry else None


def write_manifest(manifest: Manifest, path: str | Path) -> None:
    """Write a manifest as JSON, atomically.

    Arguments
    ---------
    manifest : dict
        The manifest.
    path : str or pathlib.Path
        The file; missing folders are made.
    """
    write_json(manifest, path)


def read_manifest(path: str | Path, data_root: str | Path = DATA_ROOT) -> Manifest:
    """Read and validate a manifest.

    Arguments
    ---------
    path : str or pathlib.Path
        The JSON file.
    data_root : str or pathlib.Path
        What stands for "{data_root}" in the paths; by default they stay as they are.

    Returns
    -------
    dict
        The manifest, sorted by id.

    Raises
    ------
    InputError
        If the file is missing, no JSON, holds an id twice or lacks a field.
    """
    manifest = read_json(path, "Prepare the corpus again.")
    for utt_id, entry in manifest.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("wav", ""), str):
            raise InputError(f"{path}: utterance {utt_id} is no object with a text as its wav.")
        missing = [field for field in FIELDS if field not in entry]
        if missing:
            raise InputError(f"{path}: utterance {utt_id} lacks the fields {missing}.")
    return located(dict(sorted(manifest.items())), data_root)


def located(manifest: Manifest, data_root: str | Path) -> Manifest:
    """Put the corpus's folder on this machine into the paths, in place of "{data_root}"."""
    root = str(data_root)
    return {utt_id: {**entry, "wav": entry["wav"].replace(DATA_ROOT, root)} for utt_id, entry in manifest.items()}


def fingerprint(manifest: Mapping[str, Mapping[str, Any]]) -> str:
    """Identify a corpus: the same ids, paths, segments, labels, speakers, groups and folds give the same fingerprint.

    Attributes do not count: no result depends on them.

    Arguments
    ---------
    manifest : dict
        A manifest whose paths still begin with "{data_root}".

    Returns
    -------
    str
        SHA-256 in hexadecimal.

    Example
    -------
    >>> entry = {"wav": "{data_root}/a.wav", "duration": 1.5, "emo": "sad", "speaker": "s1", "group": "g1"}
    >>> fingerprint({"a": entry}) == fingerprint({"a": dict(entry, emo="ang")})
    False
    """
    text = json.dumps(
        {
            utt_id: [entry[field] for field in FIELDS]
            + [{field: entry[field]} for field in OPTIONAL_FIELDS if field in entry]
            for utt_id, entry in manifest.items()
        },
        sort_keys=True,
    )
    return hashlib.sha256(text.encode()).hexdigest()


def samples_fingerprint(manifest: Mapping[str, Mapping[str, Any]]) -> str:
    """Identify what a corpus's recordings hold, as `fingerprint` identifies what is said of them.

    Example
    -------
    >>> samples_fingerprint({"a": {"samples_hash": "x"}}) == samples_fingerprint({"a": {"samples_hash": "y"}})
    False
    """
    text = json.dumps([[utt_id, entry.get(SAMPLES_HASH)] for utt_id, entry in sorted(manifest.items())])
    return hashlib.sha256(text.encode()).hexdigest()


def check_lengths(
    manifest: Manifest,
    encoder: Any,
    sample_rate_hz: int,
    max_train_s: float | None = None,
    max_eval_s: float | None = None,
    fixed_length_s: float | None = None,
) -> None:
    """Refuse recordings that are too short for an encoder, or that stay too long for it where they are cut.

    Arguments
    ---------
    manifest : dict
        The manifest.
    encoder : torch.nn.Module
        Has `min_samples` and `max_samples` where it does not take all lengths.
    sample_rate_hz : int
        Sample rate of its waveforms.
    max_train_s, max_eval_s : float, optional
        Lengths to which recordings are cut, in training and in evaluation; None where they are not.
    fixed_length_s : float, optional
        Length to which they are padded.

    Raises
    ------
    InputError
        Counts the utterances, and names the first ones.
    """
    lengths_s = {utt_id: entry["duration"] for utt_id, entry in manifest.items()}
    min_s = getattr(encoder, "min_samples", 1) / sample_rate_hz - (fixed_length_s or 0)
    short = [f"{utt_id}: {length_s:.4g} s" for utt_id, length_s in lengths_s.items() if length_s < min_s]
    if short:
        raise InputError(
            f"{len(short)} of {len(manifest)} recordings are shorter than the {min_s:.4g} s that the encoder needs. "
            "Leave them out of the corpus:",
            *first_lines(short),
        )
    max_samples = getattr(encoder, "max_samples", None)
    if max_samples is None:
        return
    max_s = max_samples / sample_rate_hz
    if (fixed_length_s or 0) > max_s:
        raise InputError(
            f"fixed_length_s must be at most the {max_s:.4g} s that the encoder takes, got {fixed_length_s}."
        )
    if all(cut_s and cut_s <= max_s for cut_s in (max_train_s, max_eval_s)):
        return
    long = [f"{utt_id}: {length_s:.4g} s" for utt_id, length_s in lengths_s.items() if length_s > max_s]
    if long:
        raise InputError(
            f"{len(long)} of {len(manifest)} recordings are longer than the {max_s:.4g} s that the encoder takes. Set "
            f"max_train_s and max_eval_s to {max_s:.4g} or less, or leave them out of the corpus:",
            *first_lines(long),
        )


def describe_changes(before: Manifest, now: Manifest) -> str:
    """Say in what two manifests differ.

    Arguments
    ---------
    before, now : dict
        The manifests, of one corpus at two times.

    Returns
    -------
    str
        How many utterances are new, gone or changed, with the first of each; "" where nothing differs.

    Example
    -------
    >>> entry = {"wav": "a.wav", "duration": 1.5, "emo": "sad", "speaker": "s1", "group": "g1"}
    >>> describe_changes({"a": entry, "b": entry}, {"a": {**entry, "emo": "ang"}, "c": entry})
    '1 utterance is new (c), 1 is gone (b), 1 has another emo (a: sad, now ang)'
    """

    def count(utt_ids: list[str], text: str, examples: list[str]) -> str:
        noun = " utterance" * (not parts) + "s" * (not parts and len(utt_ids) > 1)
        verb = text if len(utt_ids) == 1 else text.replace("is ", "are ").replace("has ", "have ")
        return f"{len(utt_ids)}{noun} {verb} ({first_few(examples)})"

    parts: list[str] = []
    for text, utt_ids in (("is new", sorted(set(now) - set(before))), ("is gone", sorted(set(before) - set(now)))):
        if utt_ids:
            parts.append(count(utt_ids, text, utt_ids))
    both = sorted(set(before) & set(now))
    for field in (*FIELDS, *OPTIONAL_FIELDS):
        changed = [utt_id for utt_id in both if before[utt_id].get(field) != now[utt_id].get(field)]
        if changed:
            examples = [f"{utt_id}: {before[utt_id].get(field)}, now {now[utt_id].get(field)}" for utt_id in changed]
            parts.append(count(changed, f"has another {field}", examples))
    hashes = {utt_id: (before[utt_id].get(SAMPLES_HASH), now[utt_id].get(SAMPLES_HASH)) for utt_id in both}
    changed = [utt_id for utt_id, (a, b) in hashes.items() if a and b and a != b]  # earlier manifests have none
    if changed:
        files = [now[utt_id]["wav"].removeprefix(f"{DATA_ROOT}/") for utt_id in changed]
        parts.append(count(changed, "has other samples", [f"{utt_id}: {wav}" for utt_id, wav in zip(changed, files)]))
    return ", ".join(parts)


class NearNames:
    """Finds files that a missing one may be meant for; each folder is listed once."""

    def __init__(self) -> None:
        self._by_stem: dict[Path, dict[str, list[str]]] = {}

    def ask(self, path: Path) -> str:
        """Ask for a file that differs from a missing one in its ending or in capitals only; "" if there is none."""
        if path.exists():
            return ""
        if path.parent not in self._by_stem:
            stems = self._by_stem[path.parent] = defaultdict(list)
            for name in sorted(os.listdir(path.parent)) if path.parent.is_dir() else ():
                stems[os.path.splitext(name)[0].lower()].append(name)
        near = self._by_stem[path.parent].get(path.stem.lower())
        return f" Did you mean {path.parent / near[0]}?" if near else ""


@functools.lru_cache(maxsize=1024)  # many segments may lie in one recording
def _portable(wav: str | Path, data_root: Path) -> str:
    path = Path(os.path.abspath(data_root / wav))
    try:
        return f"{DATA_ROOT}/{path.relative_to(data_root).as_posix()}"
    except ValueError:
        return path.as_posix()
