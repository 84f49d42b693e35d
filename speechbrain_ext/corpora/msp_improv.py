"""MSP-IMPROV: twelve actors in six sessions improvise scenes around twenty English sentences, and read the sentences.

Busso, Parthasarathy, Burmania, AbdelWahab, Sadoughi and Mower Provost, "MSP-IMPROV: An Acted Corpus of Dyadic
Interactions to Study Emotion Perception", IEEE Transactions on Affective Computing 8(1), 2017. The labels are those
that most listeners gave (the corpus's file Evaluation.txt).
"""

import re
from pathlib import Path
from typing import Optional

from speechbrain_ext.corpora.base import Corpus
from speechbrain_ext.corpora.file_names import ENDINGS, GENDERS, list_files
from speechbrain_ext.corpora.published_counts import PublishedCounts
from speechbrain_ext.corpora.sources import check_data_folder, read_text
from speechbrain_ext.dataio.manifest import Row
from speechbrain_ext.errors import InputError

# UTD-IMPROV-S01A-F01-P-FM01.avi; N; A:2.83; V:3.17; D:3.00 ; N:3.83;   (its sound is MSP-IMPROV-S01A-F01-P-FM01.wav)
LINE = re.compile(r"UTD-IMPROV-(?P<name>\S+)\.avi;\s*(?P<code>[A-Z])\s*;")
# Sentence with the emotion of its scene, speaker with the session's number, part, who speaks to whom with the turn.
NAME = r"S\d{2}[AHNS]-(?P<speaker>(?P<gender>[FM])0(?P<session>[1-6]))-(?P<part>[PRST])-[FM]{1,2}\d+"
LABELS = {"A": "ang", "H": "hap", "S": "sad", "N": "neu", "O": "oth", "X": "xxx"}
PARTS = {"T": "target", "R": "read", "S": "improvised", "P": "natural"}
EMOTIONS = ("ang", "hap", "sad", "neu")
PART_COUNTS = {
    "target": PublishedCounts(dict(zip(EMOTIONS, (115, 136, 106, 283)))),
    "read": PublishedCounts(dict(zip(EMOTIONS, (169, 88, 80, 241)))),
    "improvised": PublishedCounts(dict(zip(EMOTIONS, (470, 1048, 633, 1789)))),
    "natural": PublishedCounts(dict(zip(EMOTIONS, (38, 1372, 66, 1164)))),
}
COUNTS = PublishedCounts({emo: sum(part.emotions[emo] for part in PART_COUNTS.values()) for emo in EMOTIONS})


def read_rows(data_folder: Path) -> list[Row]:
    """Make a row of each recording that the file with the evaluations has a label for.

    Raises
    ------
    InputError
        If there is no such file, or none of its recordings.
    """
    check_data_folder(data_folder, "holds MSP-IMPROV")
    files = list(list_files(data_folder, (*ENDINGS, ".txt")))
    lists = [
        path for path in files if path.name.lower() in ("evaluation.txt", "evalution.txt")
    ]  # the corpus's spelling
    if not lists:
        raise InputError(
            f"{data_folder} holds no Evaluation.txt, which has MSP-IMPROV's labels: copy it from the corpus there."
        )
    wavs = {path.stem.partition("-IMPROV-")[2]: path for path in files if path.suffix.lower() in ENDINGS}
    text = read_text(data_folder / lists[0], "replace")
    rows = []
    for line in LINE.finditer(text):
        name = re.fullmatch(NAME, line["name"])
        if name and name[0] in wavs:
            emo = LABELS.get(line["code"], "xxx")
            rows.append({"id": f"MSP-IMPROV-{name[0]}", "wav": wavs[name[0]].as_posix(), "emo": emo, **describe(name)})
    if not rows:
        raise InputError(
            f"{data_folder}: none of the recordings that {lists[0]} names is there, for instance session1/S01A/P/"
            "MSP-IMPROV-S01A-F01-P-FM01.wav. Give the folder that holds both."
        )
    return rows


def describe(name: re.Match[str]) -> Row:
    """Tell what an utterance's name says: its speaker and group, the speaker's gender, and how it was recorded."""
    return {
        "speaker": name["speaker"],
        "group": f"session{name['session']}",
        **GENDERS[name["gender"]],
        "style": "scripted" if name["part"] == "R" else "improvised",
    }


def part_of(utt_id: str) -> Optional[str]:
    """Name the part that an utterance belongs to: target, read, improvised or natural."""
    name = re.fullmatch(NAME, utt_id.removeprefix("MSP-IMPROV-"))
    return PARTS[name["part"]] if name else None


CORPUS = Corpus(
    name="msp_improv",
    title="MSP-IMPROV",
    read_rows=read_rows,
    emotions=EMOTIONS,
    group="session",
    speaker="for instance F01",
    language="en",
    licence="MSP-IMPROV is released by the University of Texas at Dallas to institutions that sign its licence.",
    source="MSP-IMPROV is requested at https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Improv.html.",
    complete="7798 utterances of four emotions, in six sessions of two speakers each",
    part_of=part_of,
    part_counts=PART_COUNTS,
    compare=COUNTS,
)
