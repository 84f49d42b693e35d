"""What a complete copy of a corpus holds, as it was published: numbers of utterances, and how long they last."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from speechbrain_ext.dataio.manifest import SHOWN, Row
from speechbrain_ext.errors import first_few

HOURS_TOLERANCE = 0.02  # conversions add and take a few frames


@dataclass(frozen=True)
class PublishedCounts:
    """What a complete copy holds; called with rows, it compares them, as `Corpus.compare` does.

    Attributes
    ----------
    emotions : dict
        The number of utterances by label.
    speakers : dict
        The number of utterances by speaker; empty where it was not published.

    Example
    -------
    >>> counts = PublishedCounts({"ang": 1, "sad": 1}, {"s1": 1, "s2": 1})
    >>> counts([{"emo": "ang", "speaker": "s1"}])
    (True, ['1 utterances found, 2 expected', '0 of sad, 1 expected', 'speaker s2 is missing'])
    """

    emotions: Mapping[str, int]
    speakers: Mapping[str, int] = field(default_factory=dict)

    def __call__(self, rows: Sequence[Row]) -> tuple[bool, list[str]]:
        """Return (True, what is missing or differs): the names of the files say that it is this corpus."""
        faults = []
        emotions = Counter(row["emo"] for row in rows)
        speakers = Counter(row["speaker"] for row in rows if row["speaker"])
        n_expected = sum(self.emotions.values())
        if len(rows) != n_expected:
            faults.append(f"{len(rows)} utterances found, {n_expected} expected")
        for emo, n in self.emotions.items():
            if emotions[emo] != n:
                faults.append(f"{emotions[emo]} of {emo}, {n} expected")
        if self.speakers:
            missing = [name for name in self.speakers if name not in speakers]
            strange = sorted(set(speakers) - set(self.speakers))
            differing = [name for name, n in self.speakers.items() if speakers[name] not in (0, n)]
            faults += [_list_speakers(missing, "missing")] if missing else []
            faults += [_list_speakers(strange, "unknown")] if strange else []
            faults += [
                f"{speakers[name]} of speaker {name}, {self.speakers[name]} expected" for name in differing[:SHOWN]
            ]
            faults += [f"{len(differing) - SHOWN} more speakers differ"] if len(differing) > SHOWN else []
        return True, faults


def _list_speakers(names: Sequence[str], what: str) -> str:
    if len(names) == 1:
        return f"speaker {names[0]} is {what}"
    return f"{len(names)} speakers are {what}: {first_few(names, SHOWN)}"


def compare_hours(durations_s: Sequence[float], expected_hours: float) -> list[str]:
    """Say it when recordings are not as long as the published ones: they may have been cut, padded or replaced.

    Example
    -------
    >>> compare_hours([2.0] * 450, 0.413)
    ['The recordings last 0.250 hours in all, each 2.00 s; expected are 0.413: they were altered.']
    """
    hours = sum(durations_s) / 3600
    if abs(hours / expected_hours - 1) < HOURS_TOLERANCE:
        return []
    each = f", each {durations_s[0]:.2f} s" if max(durations_s) - min(durations_s) < 0.005 else ""
    return [
        f"The recordings last {hours:.3f} hours in all{each}; expected are {expected_hours:.3f}: they were altered."
    ]
