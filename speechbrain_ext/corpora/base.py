"""What is known about each corpus, by its name."""

import difflib
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from speechbrain_ext.corpora.published_counts import PublishedCounts
from speechbrain_ext.corpora.sources import check_data_folder, check_no_archive
from speechbrain_ext.dataio.rows import Row
from speechbrain_ext.errors import InputError

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


def nothing_to_compare(rows: Sequence[Row]) -> tuple[bool, list[str]]:
    """Stand for what was published of a corpus where nothing was, see `Corpus.compare`."""
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
    compare: Callable[[Sequence[Row]], tuple[bool, list[str]]] = nothing_to_compare

    def emotions_of(self, part: Optional[str]) -> tuple[str, ...]:
        """Return the default classes of a part, None for the whole."""
        known = self.part_counts[part].emotions if part and part in self.part_counts else self.emotions
        return tuple(emo for emo in self.emotions if emo in known)


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
