"""What is in a corpus: counts, lengths, levels, what each fold would be, and what is wrong, for people and programs."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from tqdm import tqdm

from speechbrain_ext.corpora.examination import Examination
from speechbrain_ext.corpora.preparation import count_table, prepare_corpus
from speechbrain_ext.dataio.clip_measures import ClipMeasures
from speechbrain_ext.dataio.copies import describe_copies
from speechbrain_ext.dataio.folds import Fold, fold_names, make_fold, shared_speakers
from speechbrain_ext.dataio.manifest import Manifest
from speechbrain_ext.dataio.overlaps import find_overlaps
from speechbrain_ext.dataio.rows import SHOWN, first_lines
from speechbrain_ext.errors import InputError, first_few

SHORT_S, LONG_S = 0.5, 30.0  # clips beyond are named
PARTS = ("train", "valid", "test")
FOLDS_SHOWN = 6  # at each end of a long list


@dataclass(frozen=True)
class CorpusCheck:
    """A corpus that was read whole.

    Attributes
    ----------
    name : str
        One of `CORPORA`.
    manifest : dict
        The clips that can be used.
    emotions : list of str
        The classes.
    measures : dict
        ClipMeasures of each clip, by id.
    n_faulty : int
        How many rows or recordings cannot be used.
    folds : list of Fold
        What each fold would be; None for one that cannot be made.
    faults, remarks : list of str
        What is wrong; what is worth a look.
    """

    name: str
    manifest: Manifest
    emotions: list[str]
    measures: dict[str, ClipMeasures]
    n_faulty: int
    folds: list[Optional[Fold]]
    faults: list[str]
    remarks: list[str]

    def as_text(self, n_faults: int = SHOWN) -> str:
        """Return all but the counts by group, which `prepare_corpus` prints, as text with the first faults."""
        parts = []
        groups = {entry["group"] for entry in self.manifest.values()}
        if len({(entry["group"], entry["speaker"]) for entry in self.manifest.values()}) > len(groups):
            parts.append(f"By speaker\n{count_table(self.manifest, self.emotions, 'speaker')}")
        lengths = self.lengths()
        parts.append(
            f"Lengths: {lengths['min']:.2f} s ({lengths['shortest']}) to {lengths['max']:.2f} s "
            f"({lengths['longest']}), mean {lengths['mean']:.2f} s, median {lengths['median']:.2f} s."
        )
        kinds = ", ".join(f"{n} of {rate_hz} Hz, {channels(n_channels)}" for (rate_hz, n_channels), n in self.formats())
        parts[-1] += f"\nClips: {kinds}."
        if any(self.folds):
            parts.append(f"Folds\n{fold_table(self.folds, self.manifest, self.emotions)}")
        if self.remarks:
            parts.append("\n".join(["Worth a look", *first_lines(self.remarks, max(n_faults, SHOWN))]))
        if self.faults:
            left_out = f" ({self.n_faulty} clips are left out above)" if self.n_faulty else ""
            parts.append("\n".join([f"What is wrong{left_out}", *first_lines(self.faults, n_faults)]))
        else:
            parts.append("Nothing is wrong.")
        return "\n\n".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return {
            "corpus": self.name,
            "emotions": self.emotions,
            "n_clips": len(self.manifest),
            "n_faulty": self.n_faulty,
            "n_recordings": len({entry["wav"] for entry in self.manifest.values()}),
            "hours": sum(entry["duration"] for entry in self.manifest.values()) / 3600,
            "by_group": self._count_by("group"),
            "by_speaker": self._count_by("speaker"),
            "lengths_s": self.lengths(),
            "formats": [
                {"sample_rate_hz": rate_hz, "n_channels": n_channels, "n_clips": n}
                for (rate_hz, n_channels), n in self.formats()
            ],
            "clipped": [utt_id for utt_id in self.manifest if self.measures[utt_id].is_clipped],
            "silent": [utt_id for utt_id in self.manifest if self.measures[utt_id].is_silent],
            "folds": [fold and _describe_fold(fold, self.manifest) for fold in self.folds],
            "faults": self.faults,
            "remarks": self.remarks,
        }

    def lengths(self) -> dict[str, Any]:
        """Return min, median, mean and max of the clips' lengths in seconds, and the ids of the extremes."""
        by_length = sorted((entry["duration"], utt_id) for utt_id, entry in self.manifest.items())
        seconds = [duration for duration, _ in by_length]
        return {
            "min": seconds[0],
            "median": statistics.median(seconds),
            "mean": statistics.fmean(seconds),
            "max": seconds[-1],
            "shortest": by_length[0][1],
            "longest": by_length[-1][1],
        }

    def formats(self) -> list[tuple[tuple[int, int], int]]:
        """Return ((sample rate in Hz, channels), number of clips), the most frequent first."""
        return Counter((one.sample_rate_hz, one.n_channels) for one in self.measures.values()).most_common()

    def _count_by(self, field: str) -> dict[str, dict[str, int]]:
        counts: dict[str, Counter[str]] = {}
        for entry in self.manifest.values():
            counts.setdefault(entry[field], Counter())[entry["emo"]] += 1
        return {name: dict(sorted(count.items())) for name, count in sorted(counts.items())}


def check_corpus(
    name: str, source: str | Path, validation: str = "random", sample_rate_hz: int = 16000, **choices: Any
) -> CorpusCheck:
    """Read a corpus whole, and say what is in it and what is wrong.

    Arguments
    ---------
    name, source, sample_rate_hz
        As for `prepare_corpus`, which prints the counts by group.
    validation : str
        How folds take their validation part, see `make_fold`.
    choices
        Further arguments of `prepare_corpus`: emotions, group_by, n_folds, part, progress.

    Raises
    ------
    InputError
        If nothing of it can be read.
    """
    examination = Examination()
    prepared = prepare_corpus(
        name, source, allow_incomplete=True, sample_rate_hz=sample_rate_hz, reading=examination, **choices
    )
    manifest, emotions = prepared.manifest, prepared.emotions
    measures = {utt_id: examination.measures[utt_id] for utt_id in manifest}
    folds, fold_faults, fold_remarks = _make_folds(manifest, emotions, validation)
    shared = shared_speakers(manifest)
    if shared:  # each fold would say the same
        fold_faults, fold_remarks = [], []
    elif examination.n_faulty:  # which may be all that the folds lack
        fold_remarks += [f"Of the clips that can be used: {text}" for text in fold_faults]
        fold_faults = []
    faults = [*examination.faults, *prepared.faults, *prepared.copies, *shared, *fold_faults]
    remarks = [
        *prepared.notes,
        *_remark_on_clips(manifest, measures, sample_rate_hz),
        *_remark_on_copies(manifest, examination, faults),
        *fold_remarks,
    ]
    return CorpusCheck(name, manifest, emotions, measures, examination.n_faulty, folds, faults, remarks)


def _make_folds(
    manifest: Manifest, emotions: Sequence[str], validation: str
) -> tuple[list[Optional[Fold]], list[str], list[str]]:
    """Make all folds: (the folds, what is wrong, what is worth a look)."""
    folds: list[Optional[Fold]] = []
    faults: list[str] = []
    remarks: list[str] = []
    for k in tqdm(range(1, len(fold_names(manifest)) + 1), desc="folds", delay=2, leave=False):
        try:
            fold = make_fold(manifest, k, validation=validation, emotions=emotions)
        except InputError as error:
            try:
                fold = make_fold(manifest, k, validation="none", emotions=emotions)
                remarks.append(str(error))
            except InputError:
                folds.append(None)
                faults.append(str(error))
                continue
        folds.append(fold)
        faults += fold.cautions
        lacks = []
        for verb, utt_ids in (("test", fold.test), ("validate", fold.valid)):
            there = {manifest[utt_id]["emo"] for utt_id in utt_ids}
            absent = [emo for emo in emotions if emo not in there]
            if absent and utt_ids:
                lacks.append(f"no {', '.join(absent)} to {verb} on")
        if lacks:
            remarks.append(f"Fold {k} ({fold.test_group}) has {'; '.join(lacks)}.")
    return folds, list(dict.fromkeys(faults)), list(dict.fromkeys(remarks))


def _remark_on_clips(manifest: Manifest, measures: Mapping[str, ClipMeasures], sample_rate_hz: int) -> list[str]:
    """Say which clips are very short, very long, clipped, silent, converted, or overlap in their group."""
    kinds = {
        f"Shorter than {SHORT_S:g} s": [u for u, entry in manifest.items() if entry["duration"] < SHORT_S],
        f"Longer than {LONG_S:g} s": [u for u, entry in manifest.items() if entry["duration"] > LONG_S],
        "Clipped, more than 0.1% of the samples at full scale": [u for u in manifest if measures[u].is_clipped],
        "Silent, below -60 dB of full scale": [u for u in manifest if measures[u].is_silent],
        f"Not {sample_rate_hz} Hz mono, and converted when read": [
            u for u in manifest if (measures[u].sample_rate_hz, measures[u].n_channels) != (sample_rate_hz, 1)
        ],
    }
    remarks = [
        f"{what}: {len(utt_ids)} of {len(manifest)} clips ({first_few(utt_ids)})."
        for what, utt_ids in kinds.items()
        if utt_ids
    ]
    overlaps = find_overlaps(manifest, {utt_id: utt_id for utt_id in manifest})
    overlaps = [pair for pair in overlaps if manifest[pair[0]]["group"] == manifest[pair[1]]["group"]]
    if overlaps:
        first, other = overlaps[0]
        remarks.append(f"{len(overlaps)} clips overlap with another of their group ({first} and {other}, for one).")
    return remarks


def _remark_on_copies(manifest: Manifest, examination: Examination, faults: Sequence[str]) -> list[str]:
    """Say which clips hold the same samples, unless that is among the faults: published corpora keep their copies."""
    leaks, others = describe_copies(manifest, examination.copies(manifest, examination.root))
    said = "\n".join(faults)
    return [text for text in [*leaks.values(), *others] if text not in said]


def _describe_fold(fold: Fold, manifest: Manifest) -> dict[str, Any]:
    described: dict[str, Any] = {"tests_on": fold.test_group, "validation": fold.validation}
    for part in PARTS:
        entries = [manifest[utt_id] for utt_id in getattr(fold, part)]
        described[part] = {
            "n_clips": len(entries),
            "n_speakers": len({entry["speaker"] for entry in entries}),
            "emotions": dict(sorted(Counter(entry["emo"] for entry in entries).items())),
        }
    return described


def fold_table(folds: Sequence[Optional[Fold]], manifest: Manifest, emotions: Sequence[str]) -> str:
    """Return the numbers of clips, speakers and emotions in each part of each fold as text; a long list is cut."""
    rows = [["fold", "tests on", "part", "clips", "speakers", *emotions]]
    numbered = list(enumerate(folds, start=1))
    if len(numbered) > 2 * FOLDS_SHOWN + 1:
        numbered = [*numbered[:FOLDS_SHOWN], (0, None), *numbered[-FOLDS_SHOWN:]]
    for k, fold in numbered:
        if fold is None:
            rows.append([str(k), "cannot be made"] if k else ["..."])
            continue
        described = _describe_fold(fold, manifest)
        for part in (part for part in PARTS if described[part]["n_clips"]):
            one = described[part]
            counts = [str(one["emotions"].get(emo, 0)) for emo in emotions]
            head = [str(k), fold.test_group] if part == PARTS[0] else ["", ""]
            rows.append([*head, part, str(one["n_clips"]), str(one["n_speakers"]), *counts])
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(rows[0]))]
    left = (1, 2)  # texts; numbers stand on the right
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))
        )
        for row in rows
    )


def channels(n_channels: int) -> str:
    """Return a number of channels in words."""
    return {1: "mono", 2: "stereo"}.get(n_channels, f"{n_channels} channels")
