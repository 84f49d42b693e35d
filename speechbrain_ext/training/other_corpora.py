"""Other corpora that a run is tested on after its own fold: which they are, and which of their clips count."""

import os
import re
from collections import Counter
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from speechbrain_ext.corpora.base import COLLECTIONS, CORPORA, get_corpus
from speechbrain_ext.corpora.preparation import PreparedCorpus, prepare_corpus
from speechbrain_ext.corpora.sources import check_data_folder
from speechbrain_ext.dataio.manifest import Manifest, fingerprint, located
from speechbrain_ext.dataio.sample_hash import SAMPLES_HASH, is_silence
from speechbrain_ext.errors import InputError, first_few

ACROSS = "across"  # the folder in a run's, with a folder for each corpus
HINT = "Write [nemo=/path/to/nEMO, my_corpus.csv], or [nemo] where the variable NEMO_ROOT names the folder."


@dataclass(frozen=True)
class OtherCorpus:
    """A corpus that a run is only tested on.

    Attributes
    ----------
    name, title : str
        As a `Corpus` has them.
    emotions : list of str
        Those that the run and the corpus both have, in the run's order: only between these is decided.
    manifest : dict
        The clips with these emotions, with the paths of this machine.
    fingerprint : str
        What the clips are.
    faults : list of str
        As in a `PreparedCorpus`.
    left_out : dict
        Labels of the corpus that the run does not have -> their clips.
    not_there : list of str
        The run's emotions that the corpus does not have.
    """

    name: str
    title: str
    emotions: list[str]
    manifest: Manifest
    fingerprint: str
    faults: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    not_there: list[str] = field(default_factory=list)

    @property
    def place(self) -> str:
        """The folder of its results in the run's."""
        name = re.sub(r"[^\w.-]+", "_", self.name)
        return f"{ACROSS}/{name}"

    def describe(self) -> str:
        """Say what is tested, and which labels only one side has."""
        parts = [f"Tested on {self.title} too: {len(self.manifest)} clips of {', '.join(self.emotions)}."]
        if self.left_out:
            counts = ", ".join(f"{emo} {n}" for emo, n in self.left_out.items())
            parts.append(f"Left out, because this run does not know them: {counts}.")
        if self.not_there:
            parts.append(f"Never decided, because {self.title} does not have them: {', '.join(self.not_there)}.")
        return " ".join(parts)


def find_other_corpora(value: Any, own: str, own_source: str) -> Optional[list[str]]:
    """Check the setting `test_corpus`, and write each item as NAME=PATH with an absolute path.

    Arguments
    ---------
    value
        None, or a list of NAME=PATH, of NAME, or of the path of a CSV.
    own, own_source : str
        The corpus that is trained on, and where it lies, absolute.

    Raises
    ------
    InputError
        If an item names no corpus, nothing is there, or it is the corpus that is trained on.
    """
    if value is None or value == []:
        return None
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) and item for item in items):
        raise InputError(f"test_corpus must be a list of corpora, got {value!r}. {HINT}")
    found = []
    for item in items:
        name, _, path = item.rpartition("=")
        if name.partition(":")[0] not in {**CORPORA, **COLLECTIONS}:  # no name of a corpus: a path, or a name alone
            name, path = ("csv", item) if _is_csv(item) else (item, "")
        corpus = get_corpus(name)
        if corpus.metadata is not None:
            name = f"{name.partition(':')[0]}:{corpus.metadata.expanduser().resolve()}"
        variable = f"{name.partition(':')[0].upper()}_ROOT"
        path = path or os.environ.get(variable, "")
        if not path:
            raise InputError(f"test_corpus names {item}, and not where it is: write {item}=PATH, or set {variable}.")
        source = Path(path).expanduser().resolve()
        if corpus.name != "csv":
            check_data_folder(source, f"holds {corpus.title}")
        elif not source.is_file():
            raise InputError(f"test_corpus names {item}, and {source} is no file. Give the path of a CSV.")
        if (corpus.name == own and own != "csv") or str(source) == own_source:
            raise InputError(
                f"test_corpus names {item}, which is trained on: its test fold is tested anyway, and its other clips "
                "are no test. Name other corpora."
            )
        found.append(f"{name}={source}")
    if len(set(found)) < len(found):
        raise InputError(f"test_corpus must name different corpora, got {', '.join(items)}.")
    return found


def _is_csv(item: str) -> bool:
    return item not in CORPORA and (Path(item).suffix.lower() in (".csv", ".jsonl") or Path(item).is_file())


def read_other_corpora(
    items: Optional[Sequence[str]],
    emotions: Sequence[str],
    sample_rate_hz: int,
    corpora: MutableMapping[tuple, PreparedCorpus],
) -> tuple[OtherCorpus, ...]:
    """Read the corpora that `find_other_corpora` has found.

    Arguments
    ---------
    items : list of str, optional
        What it returned.
    emotions : list of str
        The run's emotions.
    sample_rate_hz : int
        The rate at which recordings are used.
    corpora : dict
        Corpora that were read before; it is added to.

    Raises
    ------
    InputError
        If a corpus cannot be read, or has fewer than two of the emotions.
    """
    found: dict[str, OtherCorpus] = {}
    for item in items or ():
        name, _, path = item.rpartition("=")
        source = Path(path)
        key = ("tested", name, path, sample_rate_hz)
        if key not in corpora:
            corpora[key] = prepare_corpus(name, source, allow_incomplete=True, sample_rate_hz=sample_rate_hz)
        other = _common_part(name, source, corpora[key], emotions)
        if other.place in found:
            raise InputError(f"test_corpus names two corpora called {other.name}: test on one at a time.")
        found[other.place] = other
    return tuple(found.values())


def check_no_copies(manifest: Manifest, others: Sequence[OtherCorpus]) -> None:
    """Refuse other corpora that hold recordings of the corpus that is trained on, under whatever names.

    Raises
    ------
    InputError
        Names the first ones.
    """
    own = {entry[SAMPLES_HASH]: utt_id for utt_id, entry in manifest.items() if SAMPLES_HASH in entry}
    for other in others:
        alike = [(utt_id, entry.get(SAMPLES_HASH, "")) for utt_id, entry in other.manifest.items()]
        copies = [f"{utt_id} is {own[found]}" for utt_id, found in alike if found in own and not is_silence(found)]
        if copies:
            raise InputError(
                f"test_corpus: {len(copies)} of {len(alike)} recordings of {other.title} are in the corpus that is "
                f"trained on ({first_few(copies)}), and are no test. Leave them out of {other.title}, or do not test "
                "on it."
            )


def _common_part(name: str, source: Path, prepared: PreparedCorpus, emotions: Sequence[str]) -> OtherCorpus:
    """Keep the clips whose emotion the run knows."""
    corpus = get_corpus(name)
    is_csv = corpus.name == "csv"
    title = source.name if is_csv else corpus.title
    counts = Counter(entry["emo"] for entry in prepared.manifest.values())
    common = [emo for emo in emotions if counts[emo]]
    if len(common) < 2:
        raise InputError(
            f"test_corpus: {title} has the labels {', '.join(sorted(counts))}, and this run knows "
            f"{', '.join(emotions)}: at least two must be the same. Rename the labels of one of them in a CSV."
        )
    root = source.parent if source.is_file() else source
    chosen = {utt_id: entry for utt_id, entry in prepared.manifest.items() if entry["emo"] in common}
    return OtherCorpus(
        name=source.stem if is_csv else corpus.name,
        title=title,
        emotions=common,
        # The truth of a soft label is its largest share.
        manifest={utt_id: {**entry, "labels": None} for utt_id, entry in located(chosen, root).items()},
        fingerprint=fingerprint(chosen),
        faults=[*prepared.faults, *prepared.limits],
        left_out={emo: counts[emo] for emo in sorted(counts) if emo not in common},
        not_there=[emo for emo in emotions if emo not in common],
    )
