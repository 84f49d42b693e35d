"""SAVEE: names in folders and names with the speaker."""

import pytest

from speechbrain_ext.corpora import savee
from tests.corpora.corpus_trees import describe_names, write_tree


@pytest.mark.parametrize("path", ["AudioData/DC/sa01.wav", "ALL/DC_sa01.wav"])
def test_name_says_speaker_and_emotion(tmp_path, path):
    write_tree(tmp_path, [path, "DC/info.wav"])
    assert savee.NAMES(tmp_path) == [
        {"id": "DC_sa01", "emo": "sad", "speaker": "DC", "group": "DC", "gender": "male", "wav": path}
    ]


def test_sad_and_surprised_are_told_apart():
    assert [row["emo"] for row in describe_names(savee, ["KL/su15", "KL/sa15", "KL/a15", "KL/n30"])] == [
        "sur", "sad", "ang", "neu"
    ]  # fmt: skip


def test_complete_copy_has_the_published_counts():
    numbers = {"a": 15, "d": 15, "f": 15, "h": 15, "n": 30, "sa": 15, "su": 15}
    names = [f"{speaker}/{emo}{i:02}" for speaker in ("DC", "JE", "JK", "KL") for emo, n in numbers.items()
             for i in range(1, n + 1)]  # fmt: skip
    assert savee.COUNTS(describe_names(savee, names)) == (True, [])
    assert savee.COUNTS(describe_names(savee, names[:-1]))[1] == [
        "479 utterances found, 480 expected", "59 of sur, 60 expected", "119 of speaker KL, 120 expected"
    ]  # fmt: skip
