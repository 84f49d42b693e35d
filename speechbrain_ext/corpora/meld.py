"""MELD: 13,708 utterances of dialogues in the series Friends, in seven emotions, with the publishers' own split.

Poria, Hazarika, Majumder, Naik, Cambria and Mihalcea, "MELD: A Multimodal Multi-Party Dataset for Emotion Recognition
in Conversations", ACL 2019. Each part has dialogues of its own; the six main speakers are in all three.
"""

import csv
import io
import logging
import re
from pathlib import Path

from speechbrain_ext.corpora.base import Corpus
from speechbrain_ext.corpora.file_names import ENDINGS, list_files
from speechbrain_ext.corpora.published_counts import PublishedCounts
from speechbrain_ext.corpora.sources import check_data_folder, read_text
from speechbrain_ext.dataio.manifest import Row
from speechbrain_ext.errors import InputError

logger = logging.getLogger(__name__)

PARTS = {"train": "train", "dev": "valid", "test": "test"}
# train_splits/dia0_utt0.mp4, dev_splits_complete/dia0_utt0.mp4, output_repeated_splits_test/dia0_utt0.mp4
NAME = r"[^/]*(?P<part>train|dev|test)[^/]*/(?P<name>(?P<dialogue>dia\d+)_utt\d+)"
LABELS = {
    "anger": "ang", "disgust": "dis", "fear": "fea", "joy": "hap", "neutral": "neu", "sadness": "sad", "surprise": "sur"
}  # fmt: skip
BROKEN = ("train_dia125_utt3", "dev_dia110_utt7")  # the first cannot be decoded, the second was never published
COUNTS = PublishedCounts(
    {"ang": 1607, "dis": 361, "fea": 358, "hap": 2308, "neu": 6434, "sad": 1002, "sur": 1636}  # without the broken ones
)


def read_rows(data_folder: Path) -> list[Row]:
    """Make a row of each clip that the three lists name; a clip's sound may also lie beside it as WAV or FLAC.

    Raises
    ------
    InputError
        If a list or all clips are missing, or a line cannot be used.
    """
    check_data_folder(data_folder, "holds MELD")
    files = list(list_files(data_folder, (".csv", ".mp4", *ENDINGS)))
    lists = {path.name.lower(): path for path in reversed(files)}
    clips: dict[str, Path] = {}
    scheme = re.compile(rf"(?:.*/)?{NAME}")
    for path in files:
        clip = scheme.fullmatch(path.with_suffix("").as_posix())
        if clip and path.suffix.lower() != ".csv":
            key = f"{clip['part']}_{clip['name']}"
            if key not in clips or clips[key].suffix.lower() == ".mp4":
                clips[key] = path
    rows: list[Row] = []
    for part in PARTS:
        name = f"{part}_sent_emo.csv"
        if name not in lists:
            raise InputError(
                f"{data_folder} holds no {name}, which lists a part of MELD: take it from "
                "https://github.com/declare-lab/MELD (data/MELD), and put it beside the clips."
            )
        rows += _read_list(data_folder, lists[name], part, clips)
    if not rows:
        raise InputError(f"{data_folder} holds no clip of MELD, such as train_splits/dia0_utt0.mp4. Unpack MELD.Raw.")
    return rows


def describe(name: re.Match[str]) -> Row:
    """Tell what a clip's path says: its dialogue."""
    return {"group": f"{name['part']}_{name['dialogue']}"}


def _read_list(data_folder: Path, path: Path, part: str, clips: dict[str, Path]) -> list[Row]:
    text = read_text(data_folder / path, "replace")
    rows = []
    for number, line in enumerate(csv.DictReader(io.StringIO(text)), start=2):
        place = f"{path.name}, row {number}"
        try:
            utt_id = f"{part}_dia{int(line['Dialogue_ID'])}_utt{int(line['Utterance_ID'])}"
            emo, speaker, words = LABELS[line["Emotion"].strip().lower()], line["Speaker"].strip(), line["Utterance"]
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{place} is no line of MELD's: {error!r} in {line}. Take the list again.") from error
        if utt_id in BROKEN:
            logger.warning("%s is left out: it is broken in every copy of MELD.", utt_id)
        elif utt_id in clips:
            rows.append(
                {
                    "id": utt_id,
                    "wav": clips[utt_id].as_posix(),
                    "emo": emo,
                    "speaker": speaker,
                    "group": utt_id.rpartition("_")[0],  # as `describe` tells it of the clip
                    "text": words,
                    "parts": [PARTS[part]],
                    "place": place,
                }
            )
    return rows


CORPUS = Corpus(
    name="meld",
    title="MELD",
    read_rows=read_rows,
    emotions=tuple(COUNTS.emotions),
    group="dialogue",
    speaker="character, for instance Rachel",
    language="en",
    licence="MELD's annotations are licensed GPL-3.0; the clips are of a series whose rights are its owners'.",
    source="MELD is a free download at https://affective-meld.github.io: MELD.Raw.tar.gz, and the archives in it.",
    complete="13706 clips of seven emotions that can be read: 9988 to train, 1108 to validate, 2610 to test",
    hours=12.14,
    compare=COUNTS,
)
