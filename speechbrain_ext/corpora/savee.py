"""SAVEE: four men say 120 English sentences each, in seven emotions.

Haq and Jackson, "Speaker-Dependent Audio-Visual Emotion Recognition", AVSP 2009.
"""

import re
from pathlib import Path

from speechbrain_ext.corpora.base import Corpus
from speechbrain_ext.corpora.file_names import read_named_files
from speechbrain_ext.corpora.published_counts import PublishedCounts
from speechbrain_ext.dataio.manifest import Row

# DC/sa01 in the original folders, DC_sa01 in copies: speaker, emotion, number.
NAME = r"(?P<speaker>DC|JE|JK|KL)[/_](?P<emo>sa|su|[adfhn])(?P<number>\d{2})"
LABELS = {"a": "ang", "d": "dis", "f": "fea", "h": "hap", "n": "neu", "sa": "sad", "su": "sur"}
COUNTS = PublishedCounts(
    {**dict.fromkeys(LABELS.values(), 60), "neu": 120}, dict.fromkeys(("DC", "JE", "JK", "KL"), 120)
)


def describe(name: re.Match[str]) -> Row:
    """Make a row of a file's name."""
    return {
        "id": f"{name['speaker']}_{name['emo']}{name['number']}",
        "emo": LABELS[name["emo"]],
        "speaker": name["speaker"],
        "group": name["speaker"],
        "gender": "male",
    }


def read_rows(data_folder: Path) -> list[Row]:
    """Make a row of each recording; they lie in a folder for each speaker, or in one with the speaker in the name."""
    return read_named_files(data_folder, "SAVEE", NAME, "DC/a01.wav or DC_a01.wav", describe)


CORPUS = Corpus(
    name="savee",
    title="SAVEE",
    read_rows=read_rows,
    emotions=tuple(COUNTS.emotions),
    group="speaker",
    speaker="DC, JE, JK or KL",
    language="en",
    licence="SAVEE is free for research, to those who register with the University of Surrey.",
    source="SAVEE is free for research at http://kahlan.eps.surrey.ac.uk/savee/, after a registration.",
    complete="480 utterances of seven emotions by four speakers",
    hours=0.512,
    compare=COUNTS,
)
