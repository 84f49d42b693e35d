"""TESS: a younger and an older woman say "Say the word ..." with 200 English words in seven emotions.

Pichora-Fuller and Dupuis, "Toronto emotional speech set (TESS)", University of Toronto, 2010, doi:10.5683/SP2/E8H2MF.
"""

import re
from pathlib import Path

from speechbrain_ext.corpora.base import Corpus
from speechbrain_ext.corpora.file_names import read_named_files
from speechbrain_ext.corpora.published_counts import PublishedCounts
from speechbrain_ext.dataio.manifest import Row

# OAF_back_angry: speaker, word, emotion ("ps": pleasant surprise). One file is called OA_bite_neutral.
NAME = r"(?P<speaker>OAF?|YAF)_(?P<rest>[A-Za-z]+_(?P<emo>angry|disgust|fear|happy|neutral|ps|sad))"
LABELS = {
    "angry": "ang", "disgust": "dis", "fear": "fea", "happy": "hap", "neutral": "neu", "ps": "sur", "sad": "sad"
}  # fmt: skip
COUNTS = PublishedCounts(dict.fromkeys(LABELS.values(), 400), {"OAF": 1400, "YAF": 1400})


def describe(name: re.Match[str]) -> Row:
    """Make a row of a file's name."""
    speaker = "OAF" if name["speaker"].startswith("O") else "YAF"
    return {
        "id": f"{speaker}_{name['rest']}",
        "emo": LABELS[name["emo"]],
        "speaker": speaker,
        "group": speaker,
        "gender": "female",
    }


def read_rows(data_folder: Path) -> list[Row]:
    """Make a row of each recording; copies differ in their folders, and some hold all of them twice."""
    return read_named_files(data_folder, "TESS", NAME, "OAF_back_angry.wav", describe)


CORPUS = Corpus(
    name="tess",
    title="TESS",
    read_rows=read_rows,
    emotions=tuple(COUNTS.emotions),
    group="speaker",
    speaker="OAF or YAF (older, younger)",
    language="en",
    licence="TESS is licensed CC BY-NC-ND 4.0.",
    source="TESS is a free download at https://doi.org/10.5683/SP2/E8H2MF.",
    complete="2800 utterances of seven emotions by two speakers",
    compare=COUNTS,
)
