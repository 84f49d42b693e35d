"""EmoDB, the Berlin Database of Emotional Speech: ten actors say ten German sentences in seven emotions.

Burkhardt, Paeschke, Rolfes, Sendlmeier and Weiss, "A Database of German Emotional Speech", Interspeech 2005.
"""

import re
from pathlib import Path

from speechbrain_ext.corpora.base import Corpus
from speechbrain_ext.corpora.file_names import read_named_files
from speechbrain_ext.corpora.published_counts import PublishedCounts
from speechbrain_ext.dataio.manifest import Row

# 03a01Wa: speaker, text, emotion (the German word's first letter), version.
NAME = r"(?P<id>(?P<speaker>\d{2})(?P<text>[ab]\d{2})(?P<emo>[WLEAFTN])[a-z]?)"
LABELS = {"W": "ang", "L": "bor", "E": "dis", "A": "fea", "F": "hap", "N": "neu", "T": "sad"}
WOMEN = ("08", "09", "13", "14", "16")
COUNTS = PublishedCounts(
    emotions={"ang": 127, "bor": 81, "dis": 46, "fea": 69, "hap": 71, "neu": 79, "sad": 62},
    speakers={
        "03": 49, "08": 58, "09": 43, "10": 38, "11": 55, "12": 35, "13": 61, "14": 69, "15": 56, "16": 71
    },
)  # fmt: skip


def describe(name: re.Match[str]) -> Row:
    """Make a row of a file's name."""
    return {
        "id": name["id"],
        "emo": LABELS[name["emo"]],
        "speaker": name["speaker"],
        "group": name["speaker"],
        "gender": "female" if name["speaker"] in WOMEN else "male",
    }


def read_rows(data_folder: Path) -> list[Row]:
    """Make a row of each recording; they lie in a folder wav."""
    return read_named_files(data_folder, "EmoDB", NAME, "03a01Wa.wav", describe)


CORPUS = Corpus(
    name="emodb",
    title="EmoDB",
    read_rows=read_rows,
    emotions=tuple(COUNTS.emotions),
    group="speaker",
    speaker="actor, for instance 03",
    language="de",
    licence="EmoDB is offered by its authors for free use; cite their paper of 2005 (http://emodb.bilderbar.info).",
    source="EmoDB is a free download at http://emodb.bilderbar.info.",
    complete="535 utterances of seven emotions by ten speakers",
    hours=0.413,
    compare=COUNTS,
)
