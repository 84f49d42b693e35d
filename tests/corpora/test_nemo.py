"""nEMO: names."""

from speechbrain_ext.corpora import nemo
from tests.corpora.corpus_trees import read_incomplete, write_tree


def test_name_says_speaker_emotion_and_gender(tmp_path):
    write_tree(tmp_path, ["samples/EB0_anger_11.wav", "samples/WR0_surprised_9.flac"])
    assert nemo.NAMES(tmp_path) == [
        {"id": "EB0_anger_11", "emo": "ang", "speaker": "EB0", "group": "EB0", "gender": "female",
         "wav": "samples/EB0_anger_11.wav"},
        {"id": "WR0_surprised_9", "emo": "sur", "speaker": "WR0", "group": "WR0", "gender": "male",
         "wav": "samples/WR0_surprised_9.flac"},
    ]  # fmt: skip
    assert read_incomplete("nemo", tmp_path).faults[:2] == [
        "2 utterances found, 4481 expected.",
        "1 of ang, 749 expected.",
    ]


def test_published_counts_agree_with_each_other():
    assert sum(nemo.COUNTS.emotions.values()) == 4481
