"""URDU: names."""

from speechbrain_ext.corpora import urdu
from tests.corpora.corpus_trees import read_incomplete, write_tree


def test_name_says_speaker_emotion_and_gender(tmp_path):
    names = ["Angry/SM1_F10_A010", "Neutral/SF9_F1_N01", "Angry/SM4_F48_A0100", "Sad/SM4_F1_S01"]
    write_tree(tmp_path, [f"{name}.wav" for name in names])
    assert [[row[key] for key in ("id", "emo", "speaker", "gender")] for row in urdu.NAMES(tmp_path)] == [
        ["SM1_F10_A010", "ang", "SM1", "male"],
        ["SM4_F48_A0100", "ang", "SM4", "male"],
        ["SF9_F1_N01", "neu", "SF9", "female"],
        ["SM4_F1_S01", "sad", "SM4", "male"],
    ]
    assert read_incomplete("urdu", tmp_path).faults == [
        "4 utterances found, 400 expected.",
        *("2 of ang, 100 expected.", "0 of hap, 100 expected.", "1 of neu, 100 expected.", "1 of sad, 100 expected."),
    ]
