"""Preparation: a copy of a corpus is read, checked, and described in a manifest."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

from speechbrain_ext.corpora.base import Corpus, check_part, get_corpus, nothing_to_compare
from speechbrain_ext.corpora.labels import check_reserved, find_labels, list_counts
from speechbrain_ext.corpora.published_counts import compare_hours
from speechbrain_ext.corpora.reading import Reading
from speechbrain_ext.corpora.soft_labels import share_out
from speechbrain_ext.dataio.copies import describe_copies, mark_copies
from speechbrain_ext.dataio.grouping import regroup
from speechbrain_ext.dataio.manifest import SHOWN, Manifest, Row, fingerprint, first_lines, samples_fingerprint
from speechbrain_ext.dataio.overlaps import describe_overlaps, mark_same_files
from speechbrain_ext.dataio.published_folds import count_published_folds
from speechbrain_ext.errors import InputError
from speechbrain_ext.limits import MOST_LABELS


@dataclass(frozen=True)
class PreparedCorpus:
    """A copy of a corpus that was read and checked.

    Attributes
    ----------
    manifest : dict
        As `build_manifest` returns it.
    emotions : list of str
        The classes, in their order.
    faults : list of str
        Why this copy is not the complete published corpus; empty for a complete one.
    copies : list of str
        A sentence for each recording that is in its group under two ids.
    limits : list of str
        What of a corpus was not used by choice; published results are not comparable.
    notes : list of str
        How labels count that are shares of several emotions; nothing for others.
    """

    manifest: Manifest
    emotions: list[str]
    faults: list[str]
    copies: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """What identifies it: `fingerprint` and `samples_fingerprint` of its manifest."""
        return {"manifest": fingerprint(self.manifest), "samples": samples_fingerprint(self.manifest)}


def prepare_corpus(
    name: str,
    source: str | Path,
    emotions: Optional[Sequence[Any]] = None,
    allow_incomplete: bool = False,
    sample_rate_hz: int = 16000,
    progress: bool = True,
    group_by: Optional[str] = None,
    n_folds: Optional[int] = None,
    part: Optional[str] = None,
    reading: Optional[Reading] = None,
) -> PreparedCorpus:
    """Read, check and describe a copy of a corpus; prints a table of its utterances, and what was left out.

    Arguments
    ---------
    name : str
        One of `CORPORA`.
    source : str or pathlib.Path
        The corpus's folder; for "csv" the CSV file.
    emotions : list, optional
        The classes, in their order; utterances with other labels are left out. By default the corpus's own, or all
        labels of a CSV, sorted. Numbers stand for labels that are numbers: 3 for "03".
    allow_incomplete : bool
        Whether a copy of a published corpus is accepted of which a part is missing, or whose labels differ.
    sample_rate_hz : int
        The rate at which recordings will be used.
    progress : bool
        Whether to show a progress bar.
    group_by, n_folds : optional
        What a fold leaves out in place of the corpus's own groups, as `regroup` takes them.
    part : str, optional
        The part of the corpus to use, or "all"; by default the corpus's own choice.
    reading : Reading, optional
        How rows and recordings are read; an `Examination` goes on where something is wrong.

    Raises
    ------
    InputError
        If something in the corpus cannot be used, or nobody has one of the emotions.
    """
    corpus = get_corpus(name)
    source = Path(source).expanduser()
    part, reading = check_part(corpus, part), reading or Reading()
    all_rows = reading.rows(corpus.read_rows, source)
    is_this, differences, all_rows = _choose_rows(corpus, all_rows, part, emotions)
    counts = Counter(label for row in all_rows for label in row.get("tied", [row["emo"]]))
    if emotions is None:
        chosen = list(corpus.emotions_of(part) or sorted({row["emo"] for row in all_rows}))
    else:
        chosen = find_labels(emotions, counts, source, corpus.merged)
    _check_emotions(chosen, source)
    rows, notes = share_out(all_rows, chosen)
    if not rows:
        raise InputError(f"{source} holds no utterance labelled {', '.join(chosen)}: it has {list_counts(counts)}.")
    faults, faults_said = _describe_differences(corpus, is_this, differences, allow_incomplete)

    root = source.parent if source.is_file() else source
    listed_s = [row.pop("length", 0.0) for row in rows]  # by the metadata, where they say it
    whole = part is None and set(chosen) == set(corpus.emotions)
    expected_hours = corpus.hours if whole else sum(listed_s) / 3600
    manifest = regroup(reading.manifest(rows, root, sample_rate_hz, progress), group_by, n_folds)
    mark_same_files(manifest, root)
    if is_this and not faults and expected_hours:
        faults = compare_hours([entry["duration"] for entry in manifest.values()], expected_hours)
        faults_said = f"These are {corpus.title}'s utterances, but not its recordings. {' '.join(faults)}"
    is_published = is_this and corpus.compare is not nothing_to_compare  # it holds what its publishers put into it
    copies = _examine_copies(manifest, root, reading, is_published)

    print(count_table(manifest, chosen))
    kept = {row["id"] for row in rows}
    left_out = Counter(row["emo"] for row in all_rows if row["id"] not in kept)
    if left_out:
        print(f"Left out, because of other labels: {sum(left_out.values())} utterances ({list_counts(left_out)}).")
    if notes:
        print("\n".join(notes))
    if copies:
        print("Twice in the corpus, in one group each:", *first_lines(copies), sep="\n")
    if not is_this:
        print(faults[0])
    elif faults:
        print(f"WARNING: {faults_said} The numbers are not comparable with published ones.")
    limits = [f"Only the {part} part is used."] if part and part != corpus.part else []
    for limit in limits:
        print(limit)
    return PreparedCorpus(manifest, chosen, faults, copies, limits, notes)


def _choose_rows(
    corpus: Corpus, rows: Sequence[Row], part: Optional[str], emotions: Any
) -> tuple[bool, list[str], list[Row]]:
    """Return what `Corpus.compare` says, and the rows of a part, in which labels are merged that are not chosen."""
    merged = [{**row, "emo": dict(corpus.merged).get(row["emo"], row["emo"])} for row in rows]
    labels = emotions if isinstance(emotions, Sequence) else ()
    chosen = [row if row["emo"] in labels else other for row, other in zip(rows, merged)]
    is_this, differences = corpus.compare([row for row in merged if row["emo"] in corpus.emotions])
    if part is None:
        return is_this, differences, chosen
    chosen, merged = ([row for row in some if corpus.part_of(row["id"]) == part] for some in (chosen, merged))
    if is_this:
        _, differences = corpus.part_counts[part]([row for row in merged if row["emo"] in corpus.emotions])
    return is_this, differences, chosen


def _check_emotions(chosen: Sequence[str], source: Path) -> None:
    """Refuse labels that cannot be classes, and too few or too many of them."""
    check_reserved(chosen, source)
    if len(chosen) < 2:
        raise InputError(
            f"{source}: emotions must be at least two different labels, got {', '.join(chosen) or 'none'}."
        )
    if len(chosen) > MOST_LABELS:
        raise InputError(
            f"{source}: emotions must be at most {MOST_LABELS} labels, and there are {len(chosen)}. Is emo the right "
            "column? If so, choose some with --emotions."
        )


def _describe_differences(
    corpus: Corpus, is_this: bool, differences: Sequence[str], allow_incomplete: bool
) -> tuple[list[str], str]:
    """Say why a copy is not the published corpus, in sentences and in one text; refuse it unless that is allowed."""
    if not is_this:
        return [f"These utterances are not {corpus.title}'s; results on them are not results on {corpus.title}."], ""
    faults = [f"{text[0].upper()}{text[1:]}." for text in differences]
    said = f"This is {corpus.title}, but not all of it. {' '.join(faults)}"
    if faults and not allow_incomplete:
        raise InputError(
            f"{said} A complete copy holds {corpus.complete}. Complete it; or, to use what there is, set "
            "allow_incomplete (train.py --allow_incomplete=True, prepare --allow_incomplete): the numbers are then "
            "not comparable with published ones."
        )
    return faults, said


def _examine_copies(manifest: Manifest, root: Path, reading: Reading, is_published: bool) -> list[str]:
    """Find recordings that are there twice, and clips that overlap; return what is to be said of those in one group.

    Where a fold would test on what it trains on, the corpus is refused, unless it was published so.
    """
    found = reading.copies(manifest, root)
    if count_published_folds(manifest):
        mark_copies(manifest, found)  # the folds stay as they are, and each run says what its fold leaks
        return []
    leaks, others = describe_copies(manifest, found)
    if is_published:
        if said := [*leaks.values(), *others]:
            print("Twice in the corpus, as published or by a wrong copy:", *first_lines(said), sep="\n")
        return []
    reading.refuse(
        "a recording is in two groups, so that a fold would test on what it trains on. Leave one of the two out, "
        "or give both the same group",
        leaks,
    )
    reading.refuse(
        "clips of two groups overlap, so that a fold would test on what it trains on. Correct start and end, or "
        "give both the same group",
        describe_overlaps(manifest),
    )
    return others


def count_table(manifest: Manifest, emotions: Sequence[str], by: str = "group") -> str:
    """Return the numbers of utterances by group (or by "speaker") and label, of speakers and of hours, as text."""
    counts = Counter((entry[by], entry["emo"]) for entry in manifest.values())
    names = sorted({name for name, _ in counts})

    def row(title: str, *chosen: str) -> list[str]:
        numbers = [sum(counts[name, emo] for name in chosen) for emo in emotions]
        return [title, *map(str, (sum(numbers), *numbers))]

    rows = [row(name, name) for name in names]
    if len(rows) > 2 * SHOWN:
        rows[SHOWN:-SHOWN] = [["...", *[""] * (len(emotions) + 1)]]
    table = [["", "all", *emotions], *rows, row("total", *names)]
    widths = [max(8, *(len(row[i]) for row in table)) + 1 for i in range(len(table[0]))]
    lines = ["".join(f"{cell:>{width}}" for cell, width in zip(row, widths)) for row in table]
    hours = sum(entry["duration"] for entry in manifest.values()) / 3600
    return "\n".join([*lines, f"{len({entry['speaker'] for entry in manifest.values()})} speakers, {hours:.2f} hours."])
