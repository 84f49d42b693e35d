"""MSP-Podcast: segments of podcasts in eight emotions, with the publishers' own split; all releases.

Lotfian and Busso, "Building Naturalistic Emotionally Balanced Speech Corpus by Retrieving Emotional Speech from
Existing Podcast Recordings", IEEE Transactions on Affective Computing 10(4), 2019.
"""

import csv
import io
from pathlib import Path

from speechbrain_ext.corpora.base import Corpus
from speechbrain_ext.corpora.sources import check_data_folder, read_text
from speechbrain_ext.dataio.manifest import Row, first_lines
from speechbrain_ext.errors import InputError

LISTS = ("labels_consensus.csv", "labels_concensus.csv")  # the second in early releases
COLUMNS = ("FileName", "EmoClass", "SpkrID", "Gender", "Split_Set")
LABELS = {
    "A": "ang", "S": "sad", "H": "hap", "U": "sur", "F": "fea", "D": "dis", "C": "con", "N": "neu",
    "O": "oth", "X": "xxx",
}  # fmt: skip
EMOTIONS = ("ang", "sad", "hap", "sur", "fea", "dis", "con", "neu")
TRAINED = {"Train": "train", "Development": "valid", "Validation": "valid"}


def read_rows(data_folder: Path) -> list[Row]:
    """Make a row of each segment that the list of consensus labels names.

    Fold 1 tests on Test1, fold 2 on Test2, and so on; all train on Train and validate on Development. A speaker whom
    nobody has identified counts as one speaker of that podcast.

    Raises
    ------
    InputError
        If the list is missing, or no list of MSP-Podcast.
    """
    check_data_folder(data_folder, "holds MSP-Podcast")
    places = [data_folder / folder / name for folder in ("Labels", ".") for name in LISTS]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise InputError(f"{data_folder} holds no Labels/{LISTS[0]}. Give the folder that holds Labels and Audios.")
    audio = next((name for name in ("Audios", "Audio", "Wav") if (data_folder / name).is_dir()), "Audios")
    reader = csv.DictReader(io.StringIO(read_text(path, "replace")))
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"{path} lacks the columns {', '.join(missing)}: it is not MSP-Podcast's list of labels.")
    lines = list(reader)
    tests = sorted({line["Split_Set"] for line in lines} - set(TRAINED))
    if not tests:
        raise InputError(f"{path} lists no test set: take the whole list again.")
    rows, faults = [], []
    for number, line in enumerate(lines, start=2):
        if line["EmoClass"] not in LABELS:
            faults.append(f"{path.name}, row {number}: the label {line['EmoClass']!r} is unknown.")
            continue
        utt_id, split = Path(line["FileName"]).stem, line["Split_Set"]
        podcast = utt_id.rpartition("_")[0]
        rows.append(
            {
                "id": utt_id,
                "wav": f"{audio}/{line['FileName']}",
                "emo": LABELS[line["EmoClass"]],
                "speaker": podcast if line["SpkrID"].lower() == "unknown" else line["SpkrID"],
                "group": split,
                "gender": line["Gender"].lower(),
                "parts": [TRAINED.get(split, "test" if split == test else "") for test in tests],
                "place": f"{path.name}, row {number}",
            }
        )
    if faults:
        raise InputError(*first_lines(faults))
    return rows


CORPUS = Corpus(
    name="msp_podcast",
    title="MSP-Podcast",
    read_rows=read_rows,
    emotions=EMOTIONS,
    group="the publishers' split",
    speaker="number, or the podcast for a speaker whom nobody has identified",
    language="en",
    licence="MSP-Podcast is released by the University of Texas at Dallas to institutions that sign its licence.",
    source="MSP-Podcast is requested at https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html.",
    complete="what its labels_consensus.csv lists",
)
