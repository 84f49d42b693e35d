"""URDU: 400 utterances of 38 speakers from Urdu talk shows, in four emotions.

Latif, Qayyum, Usman and Qadir, "Cross Lingual Speech Emotion Recognition: Urdu vs. Western Languages", FIT 2018.
"""

import re
from pathlib import Path

from speechbrain_ext.corpora.base import Corpus
from speechbrain_ext.corpora.file_names import read_named_files
from speechbrain_ext.corpora.published_counts import PublishedCounts
from speechbrain_ext.dataio.manifest import Row

# SM1_F1_A01: speaker (M: male, F: female), the speaker's file in this emotion, emotion with number.
NAME = r"(?P<id>(?P<speaker>S(?P<gender>[MF])\d+)_F\d+_(?P<emo>[AHNS])\d+)"
LABELS = {"A": "ang", "H": "hap", "N": "neu", "S": "sad"}
COUNTS = PublishedCounts(dict.fromkeys(LABELS.values(), 100))


def describe(name: re.Match[str]) -> Row:
    """Make a row of a file's name."""
    return {
        "id": name["id"],
        "emo": LABELS[name["emo"]],
        "speaker": name["speaker"],
        "group": name["speaker"],
        "gender": {"F": "female", "M": "male"}[name["gender"]],
    }


def read_rows(data_folder: Path) -> list[Row]:
    """Make a row of each recording; they lie in folders Angry, Happy, Neutral and Sad."""
    return read_named_files(data_folder, "URDU", NAME, "SM1_F1_A01.wav", describe)


CORPUS = Corpus(
    name="urdu",
    title="URDU",
    read_rows=read_rows,
    emotions=tuple(COUNTS.emotions),
    group="speaker",
    speaker="for instance SM1",
    language="ur",
    licence="URDU may be used for research only, as its authors say.",
    source="URDU is free for research at https://github.com/siddiquelatif/URDU-Dataset.",
    complete="400 utterances of four emotions by 38 speakers",
    compare=COUNTS,
)
