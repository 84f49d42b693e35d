"""RAVDESS: 24 actors say, and 23 of them sing, two English sentences in eight emotions.

Livingstone and Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS)", PLoS ONE 13(5), 2018.
"""

import re
from collections import Counter
from pathlib import Path

from speechbrain_ext.corpora.base import Corpus
from speechbrain_ext.corpora.file_names import read_named_files
from speechbrain_ext.corpora.published_counts import PublishedCounts
from speechbrain_ext.dataio.manifest import Row

# 03-01-06-01-02-01-12: modality (03: audio only), channel, emotion, intensity, sentence, repetition, actor.
NAME = r"03-(?P<channel>0[12])-(?P<emo>0[1-8])-0[12]-0[12]-0[12]-(?P<actor>0[1-9]|1\d|2[0-4])"
LABELS = {
    "01": "neu", "02": "cal", "03": "hap", "04": "sad", "05": "ang", "06": "fea", "07": "dis", "08": "sur"
}  # fmt: skip
PARTS = {"01": "speech", "02": "song"}
ACTORS = tuple(f"{actor:02}" for actor in range(1, 25))
SPEECH = PublishedCounts(
    {"neu": 96, **dict.fromkeys(("cal", "hap", "sad", "ang", "fea", "dis", "sur"), 192)}, dict.fromkeys(ACTORS, 60)
)
SONG = PublishedCounts(
    {"neu": 92, **dict.fromkeys(("cal", "hap", "sad", "ang", "fea"), 184)},
    {actor: 44 for actor in ACTORS if actor != "18"},
)


def describe(name: re.Match[str]) -> Row:
    """Make a row of a file's name."""
    return {
        "id": name[0].rpartition("/")[2],
        "emo": LABELS[name["emo"]],
        "speaker": name["actor"],
        "group": name["actor"],
        "gender": "male" if int(name["actor"]) % 2 else "female",
    }


def read_rows(data_folder: Path) -> list[Row]:
    """Make a row of each recording, spoken and sung; they lie in folders Actor_01 to Actor_24."""
    return read_named_files(data_folder, "RAVDESS", NAME, "03-01-06-01-02-01-12.wav", describe)


def part_of(utt_id: str) -> str:
    """Name the part that an utterance belongs to: speech or song."""
    return PARTS[utt_id[3:5]]


CORPUS = Corpus(
    name="ravdess",
    title="RAVDESS",
    read_rows=read_rows,
    emotions=tuple(SPEECH.emotions),
    group="speaker",
    speaker="actor, for instance 12",
    language="en",
    licence="RAVDESS is licensed CC BY-NC-SA 4.0; a licence for commercial use is sold by its authors.",
    source="RAVDESS is a free download at https://zenodo.org/records/1188976; Audio_Speech_Actors_01-24.zip is enough.",
    complete="1440 spoken utterances of eight emotions by 24 speakers (and 1012 sung ones, which are another part)",
    part_of=part_of,
    part="speech",
    compare=PublishedCounts(dict(Counter(SPEECH.emotions) + Counter(SONG.emotions))),
    part_counts={"speech": SPEECH, "song": SONG},
)
