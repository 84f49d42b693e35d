"""CREMA-D: 91 actors say twelve English sentences in six emotions, one of them at several intensities.

Cao, Cooper, Keutmann, Gur, Nenkova and Verma, "CREMA-D: Crowd-Sourced Emotional Multimodal Actors Dataset", IEEE
Transactions on Affective Computing 5(4), 2014. The labels are the intended emotions: the files' names say them.
"""

import re
from pathlib import Path

from speechbrain_ext.corpora.base import Corpus
from speechbrain_ext.corpora.file_names import read_named_files
from speechbrain_ext.corpora.published_counts import PublishedCounts
from speechbrain_ext.dataio.manifest import Row

# 1001_DFA_ANG_XX: actor, sentence, emotion, intensity.
NAME = r"(?P<id>(?P<actor>10\d{2})_[A-Z]{3}_(?P<emo>ANG|DIS|FEA|HAP|NEU|SAD)_(?:LO|MD|HI|XX?))"
COUNTS = PublishedCounts(
    {"ang": 1271, "dis": 1271, "fea": 1271, "hap": 1271, "neu": 1087, "sad": 1271},
    {
        **dict.fromkeys(map(str, range(1001, 1092)), 82),
        **dict.fromkeys(("1002", "1076"), 81),
        **dict.fromkeys(("1008", "1009", "1019"), 76),
    },
)


def describe(name: re.Match[str]) -> Row:
    """Make a row of a file's name."""
    return {"id": name["id"], "emo": name["emo"].lower(), "speaker": name["actor"], "group": name["actor"]}


def read_rows(data_folder: Path) -> list[Row]:
    """Make a row of each recording; they lie in a folder AudioWAV."""
    return read_named_files(data_folder, "CREMA-D", NAME, "1001_DFA_ANG_XX.wav", describe)


CORPUS = Corpus(
    name="cremad",
    title="CREMA-D",
    read_rows=read_rows,
    emotions=tuple(COUNTS.emotions),
    group="speaker",
    speaker="actor, for instance 1001",
    language="en",
    licence="CREMA-D is available under the Open Database License 1.0 and the Database Contents License 1.0.",
    source="CREMA-D is free at https://github.com/CheyneyComputerScience/CREMA-D; its folder AudioWAV is enough.",
    complete="7442 utterances of six emotions by 91 speakers",
    hours=5.257,
    compare=COUNTS,
)
