"""The manifest: one validated description of a corpus, {id: {wav, duration, emo, speaker, group}}, sorted by id."""

import csv
import hashlib
import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.dataio.audio import probe_audio
from speechbrain_ext.errors import InputError

logger = logging.getLogger(__name__)

FIELDS = ("wav", "duration", "emo", "speaker", "group")
COLUMNS = ("id", "wav", "emo", "speaker", "group")
DATA_ROOT = "{data_root}"


def build_manifest(rows, data_root, sample_rate_hz=16000, n_threads=8, progress=True):
    """Check every utterance of a corpus and describe it.

    Arguments
    ---------
    rows : iterable of dict
        One utterance each: id, wav (absolute, or relative to `data_root`), emo, speaker, group.
    data_root : str or pathlib.Path
        Folder that the paths in the manifest are relative to.
    sample_rate_hz : int
        The rate at which recordings will be used; others are counted and said once.
    n_threads : int
        How many headers are read at the same time.
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
        If there is no row, an id stands twice, a field is empty or a recording cannot be used.
    """
    data_root = Path(os.path.abspath(data_root))  # links below it stay as they are named
    rows = sorted(rows, key=lambda row: row["id"])
    if not rows:
        raise InputError(f"the corpus in {data_root} has no utterance: check that its list is the right one.")
    for before, row in zip([None, *rows], rows):
        if before is not None and before["id"] == row["id"]:
            raise InputError(
                f"{row['id']}: the id stands twice (wav {before['wav']} and {row['wav']}). Leave one of them out."
            )
        for field in COLUMNS:
            if not row[field]:
                raise InputError(f"{row['id'] or row['wav']}: the field {field!r} is empty. Fill it in.")

    def probe(row):
        try:
            return probe_audio(data_root / row["wav"], row["id"])
        except InputError as error:
            return error

    with ThreadPoolExecutor(n_threads) as pool:
        headers = list(tqdm(pool.map(probe, rows), total=len(rows), desc="recordings", disable=not progress))
    faults = [str(header) for header in headers if isinstance(header, InputError)]
    if faults:
        more = f"\n... and {len(faults) - 10} more." if len(faults) > 10 else ""
        raise InputError(f"{len(faults)} of {len(rows)} recordings cannot be used:\n" + "\n".join(faults[:10]) + more)

    converted = [
        (row["id"], header)
        for row, header in zip(rows, headers)
        if header.n_channels != 1 or header.sample_rate_hz != sample_rate_hz
    ]
    if converted:
        utt_id, header = converted[0]
        logger.warning(
            "%d of %d recordings are not %d Hz mono and are converted when read (first: %s, %d Hz, %d channels).",
            len(converted),
            len(rows),
            sample_rate_hz,
            utt_id,
            header.sample_rate_hz,
            header.n_channels,
        )
    return {
        row["id"]: {
            "wav": _portable(data_root / row["wav"], data_root),
            "duration": header.duration_s,
            "emo": row["emo"],
            "speaker": row["speaker"],
            "group": row["group"],
        }
        for row, header in zip(rows, headers)
    }


def read_corpus_csv(path):
    """Read the rows of a corpus that somebody brings: a CSV with the columns id, wav, emo, speaker, group.

    Arguments
    ---------
    path : str or pathlib.Path
        The CSV file, UTF-8, with a header line. `group` is what a fold leaves out; paths are relative to the file.

    Returns
    -------
    list of dict
        Rows for `build_manifest`.

    Raises
    ------
    InputError
        If the file is missing or a column is.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{path}: the columns {missing} are missing; needed are {', '.join(COLUMNS)}.")
            return [{column: (row[column] or "").strip() for column in COLUMNS} for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the corpus CSV cannot be read: {error}. Give a UTF-8 file.") from error


def write_manifest(manifest, path):
    """Write a manifest as JSON, atomically.

    Arguments
    ---------
    manifest : dict
        The manifest.
    path : str or pathlib.Path
        The file; missing folders are made.
    """
    write_json(manifest, path)


def read_manifest(path, data_root=DATA_ROOT):
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

    def refuse_twice(pairs):
        entries = dict(pairs)
        if len(entries) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise InputError(f"{path}: {twice!r} stands twice. Leave one of them out.")
        return entries

    try:
        manifest = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=refuse_twice)
    except OSError as error:
        raise InputError(f"the manifest cannot be read: {error}. Prepare the corpus again.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no JSON: {error}. Prepare the corpus again.") from error
    if not isinstance(manifest, dict):
        raise InputError(f"{path} is no manifest: it holds a {type(manifest).__name__}, not an object of utterances.")
    for utt_id, entry in manifest.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("wav", ""), str):
            raise InputError(f"{path}: utterance {utt_id} is no object with a text as its wav.")
        missing = [field for field in FIELDS if field not in entry]
        if missing:
            raise InputError(f"{path}: utterance {utt_id} lacks the fields {missing}.")
    return {
        utt_id: {**entry, "wav": entry["wav"].replace(DATA_ROOT, str(data_root))}
        for utt_id, entry in sorted(manifest.items())
    }


def fingerprint(manifest):
    """Identify a corpus: the same ids, paths, lengths, labels, speakers and groups give the same fingerprint.

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
        {utt_id: [entry[field] for field in FIELDS] for utt_id, entry in manifest.items()}, sort_keys=True
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _portable(path, data_root):
    path = Path(os.path.abspath(path))
    try:
        return f"{DATA_ROOT}/{path.relative_to(data_root).as_posix()}"
    except ValueError:
        return path.as_posix()
