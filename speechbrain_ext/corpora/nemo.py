"""nEMO: nine actors say 90 Polish sentences in six emotions.

Christop, "nEMO: Dataset of Emotional Speech in Polish", LREC-COLING 2024.
"""

import re
from pathlib import Path

from speechbrain_ext.corpora.base import Corpus
from speechbrain_ext.corpora.file_names import read_named_files
from speechbrain_ext.corpora.published_counts import PublishedCounts
from speechbrain_ext.dataio.manifest import Row

LABELS = {"anger": "ang", "fear": "fea", "happiness": "hap", "neutral": "neu", "sadness": "sad", "surprised": "sur"}
GENDERS = {
    **dict.fromkeys(("EB0", "IC0", "KD0", "MK0"), "female"),
    **dict.fromkeys(("KS0", "MP0", "SM0", "TP0", "WR0"), "male"),
}
# EB0_anger_11: speaker, emotion, sentence.
NAME = rf"(?P<id>(?P<speaker>{'|'.join(GENDERS)})_(?P<emo>{'|'.join(LABELS)})_\d+)"
COUNTS = PublishedCounts({"ang": 749, "fea": 736, "hap": 749, "neu": 809, "sad": 769, "sur": 669})


def describe(name: re.Match[str]) -> Row:
    """Make a row of a file's name."""
    return {
        "id": name["id"],
        "emo": LABELS[name["emo"]],
        "speaker": name["speaker"],
        "group": name["speaker"],
        "gender": GENDERS[name["speaker"]],
    }


def read_rows(data_folder: Path) -> list[Row]:
    """Make a row of each recording; they lie in a folder samples."""
    return read_named_files(data_folder, "nEMO", NAME, "EB0_anger_1.wav", describe)


CORPUS = Corpus(
    name="nemo",
    title="nEMO",
    read_rows=read_rows,
    emotions=tuple(COUNTS.emotions),
    group="speaker",
    speaker="actor, for instance EB0",
    language="pl",
    licence="nEMO is licensed CC BY-NC-SA 4.0.",
    source="nEMO is free at https://github.com/amu-cai/nEMO and https://huggingface.co/datasets/amu-cai/nEMO.",
    complete="4481 utterances of six emotions by nine speakers",
    compare=COUNTS,
)
