"""What is known about each corpus, by its name, and how a copy of one is read."""

import difflib
import importlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

from speechbrain_ext.corpora.labels import check_reserved, find_labels, list_counts
from speechbrain_ext.corpora.published_counts import PublishedCounts, compare_hours
from speechbrain_ext.corpora.reading import Reading
from speechbrain_ext.corpora.soft_labels import share_out
from speechbrain_ext.corpora.sources import check_data_folder, check_no_archive
from speechbrain_ext.dataio.copies import describe_copies, mark_copies
from speechbrain_ext.dataio.grouping import regroup
from speechbrain_ext.dataio.manifest import SHOWN, Manifest, Row, fingerprint, first_lines, samples_fingerprint
from speechbrain_ext.dataio.overlaps import describe_overlaps, mark_same_files
from speechbrain_ext.dataio.published_folds import count_published_folds
from speechbrain_ext.errors import InputError
from speechbrain_ext.limits import MOST_LABELS

# Each name is a module of this room that has CORPUS.
CORPORA = {
    "iemocap": "IEMOCAP_full_release, or another corpus in its folders and format",
    "synthetic": "the demo corpus that make_demo_corpus.py makes",
    "csv": "your own recordings, listed in a CSV or JSON Lines file with wav, emo and speaker",
    "emodb": "EmoDB: German, 10 actors, 7 emotions",
    "ravdess": "RAVDESS: English, 24 actors, 8 emotions; speech, or song",
    "cremad": "CREMA-D: English, 91 actors, 6 emotions",
    "savee": "SAVEE: English, 4 men, 7 emotions",
    "tess": "TESS: English, 2 women, 7 emotions",
    "meld": "MELD: English, dialogues of a television series, 7 emotions; its own split",
    "msp_podcast": "MSP-Podcast: English, podcasts, 8 emotions; its own split",
    "msp_improv": "MSP-IMPROV: English, 12 actors in 6 sessions, 4 emotions",
    "esd": "ESD: English and Mandarin, 10 speakers each, 5 emotions",
    "nemo": "nEMO: Polish, 9 actors, 6 emotions",
    "urdu": "URDU: Urdu, 38 speakers of talk shows, 4 emotions",
}
# Modules that have corpus_of(folder): corpora whose folds and labels are described in a folder of their own.
COLLECTIONS = {
    "emobox": "a corpus with EmoBox's folds, as --corpus=emobox:PATH/data/emodb; DATA_FOLDER holds downloads"
}
DEMO_MARKER = "demo_corpus.json"  # in what make_demo_corpus.py makes


@dataclass(frozen=True)
class PublishedResult:
    """One row of a paper's table: a method, its year, and its WA and UA in percent."""

    method: str
    year: int
    WA: float
    UA: float


def _no_part(utt_id: str) -> Optional[str]:
    return None


def _nothing_to_compare(rows: Sequence[Row]) -> tuple[bool, list[str]]:
    return True, []


@dataclass(frozen=True)
class Corpus:
    """What is known about a corpus.

    Attributes
    ----------
    name, title : str
        What settings and files say, for instance "iemocap"; what a reader sees, "IEMOCAP".
    read_rows : callable
        Reads the annotations below a path: one row an utterance, of all labels, as `build_manifest` takes them.
    emotions : tuple of str
        The default classes in their order; empty where they are read from the data.
    merged : tuple of tuple
        Labels that count as another one, unless they are chosen themselves: (label, what it counts as).
    group, speaker : str
        What a fold leaves out, for instance "session"; who is a speaker.
    language : str, optional
        As a BCP 47 tag, for instance "en".
    metadata : pathlib.Path, optional
        The folder that a name such as emobox:PATH/data/emodb names; only `read_rows` reads it.
    licence, source, complete : str
        Its terms; where to get it; what a complete copy holds.
    hours : float, optional
        How long the recordings of the default emotions last in all, in a complete copy.
    note : str
        What stands beside every number on this corpus; "" for nothing.
    published : tuple of PublishedResult
        Results of others for its default emotions, in percent.
    part_of : callable
        Names the part that an utterance belongs to, by its id; None for corpora without parts.
    part : str, optional
        The part that is used where none is chosen; None: all of them.
    part_counts : dict
        For each part that can be chosen, what `compare` is for the whole.
    compare : callable
        Compares rows of the default emotions with the published corpus: (whether they are this corpus, what is missing
        or differs).
    """

    name: str
    title: str
    read_rows: Callable[[Path], list[Row]]
    emotions: tuple[str, ...] = ()
    merged: tuple[tuple[str, str], ...] = ()
    group: str = "group"
    speaker: str = "speaker"
    language: Optional[str] = None
    metadata: Optional[Path] = None
    licence: str = ""
    source: str = ""
    complete: str = ""
    hours: Optional[float] = None
    note: str = ""
    published: tuple[PublishedResult, ...] = ()
    part_of: Callable[[str], Optional[str]] = _no_part
    part: Optional[str] = None
    part_counts: Mapping[str, PublishedCounts] = field(default_factory=dict)
    compare: Callable[[Sequence[Row]], tuple[bool, list[str]]] = _nothing_to_compare

    def emotions_of(self, part: Optional[str]) -> tuple[str, ...]:
        """Return the default classes of a part, None for the whole."""
        known = self.part_counts[part].emotions if part and part in self.part_counts else self.emotions
        return tuple(emo for emo in self.emotions if emo in known)


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


def get_corpus(name: str) -> Corpus:
    """Find a corpus by its name: one of `CORPORA`, or of `COLLECTIONS` with a folder, such as emobox:PATH/data/emodb.

    Raises
    ------
    InputError
        If there is no corpus of this name.

    Example
    -------
    >>> get_corpus("iemocap").title
    'IEMOCAP'
    """
    collection, mark, folder = name.partition(":") if isinstance(name, str) else ("", "", "")
    if collection in COLLECTIONS and Path(folder).name:
        return importlib.import_module(f"speechbrain_ext.corpora.{collection}").corpus_of(folder)
    if not isinstance(name, str) or name not in CORPORA:
        known = COLLECTIONS if mark else CORPORA
        near = difflib.get_close_matches((collection if mark else str(name)).lower(), known, n=1)
        hint = f" Did you mean {near[0]}{mark}{folder}?" if near else " Your own recordings are read with csv."
        hint = f" Name the folder: {collection}:PATH/data/emodb." if collection in COLLECTIONS else hint
        raise InputError(f"corpus must be one of {', '.join(CORPORA)}, got {name!r}.{hint}")
    return importlib.import_module(f"speechbrain_ext.corpora.{name}").CORPUS


def find_corpus_name(source: str | Path, name: Optional[str] = None) -> str:
    """Return a corpus's name, or tell it by what `source` is: a file lists one, and the demo corpus has its marker.

    Raises
    ------
    InputError
        If nothing tells it: a folder's name and its files may be anybody's.
    """
    if name is not None:
        get_corpus(name)
        return name
    source = Path(source).expanduser()
    check_no_archive(source)
    if source.is_file() or source.suffix.lower() == ".csv":
        return "csv"
    if (source / DEMO_MARKER).is_file():
        return "synthetic"
    if not source.exists():
        check_data_folder(source, "holds the corpus")
    known = [f"    --corpus={name:12}{text}" for name, text in {**CORPORA, **COLLECTIONS}.items()]
    raise InputError(f"which corpus is in {source}? Say one of", *known)


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
    rows, notes = share_out(all_rows, chosen)
    if not rows:
        raise InputError(f"{source} holds no utterance labelled {', '.join(chosen)}: it has {list_counts(counts)}.")

    faults = [f"{text[0].upper()}{text[1:]}." for text in differences]
    if not is_this:
        faults = [f"These utterances are not {corpus.title}'s; results on them are not results on {corpus.title}."]
    elif faults:
        faults_said = f"This is {corpus.title}, but not all of it. {' '.join(faults)}"
        if not allow_incomplete:
            raise InputError(
                f"{faults_said} A complete copy holds {corpus.complete}. Complete it; or, to use what there is, set "
                "allow_incomplete (train.py --allow_incomplete=True, prepare --allow_incomplete): the numbers are then "
                "not comparable with published ones."
            )

    root = source.parent if source.is_file() else source
    listed_s = [row.pop("length", 0.0) for row in rows]  # by the metadata, where they say it
    whole = part is None and set(chosen) == set(corpus.emotions)
    expected_hours = corpus.hours if whole else sum(listed_s) / 3600
    manifest = regroup(reading.manifest(rows, root, sample_rate_hz, progress), group_by, n_folds)
    mark_same_files(manifest, root)
    if is_this and not faults and expected_hours:
        faults = compare_hours([entry["duration"] for entry in manifest.values()], expected_hours)
        faults_said = f"These are {corpus.title}'s utterances, but not its recordings. {' '.join(faults)}"
    is_published = is_this and corpus.compare is not _nothing_to_compare  # it holds what its publishers put into it
    copies: list[str] = []
    if count_published_folds(manifest):
        # The folds stay as they are, and each run says what its fold leaks.
        mark_copies(manifest, reading.copies(manifest, root))
    elif is_published:
        leaks, others = describe_copies(manifest, reading.copies(manifest, root))
        if said := [*leaks.values(), *others]:
            print("Twice in the corpus, as published or by a wrong copy:", *first_lines(said), sep="\n")
    else:
        leaks, copies = describe_copies(manifest, reading.copies(manifest, root))
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


def check_part(corpus: Corpus, part: Optional[str]) -> Optional[str]:
    """Return the part of a corpus that is meant, None for all of it.

    Raises
    ------
    InputError
        If the corpus has no such part.

    Example
    -------
    >>> check_part(get_corpus("ravdess"), None), check_part(get_corpus("ravdess"), "all")
    ('speech', None)
    """
    if part is None:
        return corpus.part
    if part != "all" and part not in corpus.part_counts:
        if not corpus.part_counts:
            raise InputError(f"{corpus.title} has no parts, got corpus_part {part!r}: leave it out.")
        known = ", ".join((*corpus.part_counts, "all"))
        raise InputError(f"corpus_part of {corpus.title} must be one of {known}, got {part!r}.")
    return None if part == "all" else part


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
