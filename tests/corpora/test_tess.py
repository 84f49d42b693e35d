"""TESS: names, one that is wrong, and copies that hold everything twice."""

from speechbrain_ext.corpora import tess
from tests.corpora.corpus_trees import describe_names, read_incomplete, write_tree


def test_name_says_speaker_and_emotion(tmp_path):
    folder = "TESS Toronto emotional speech set data"
    names = ["OAF_Pleasant_surprise/OAF_back_ps.wav", "OAF_neutral/OA_bite_neutral.wav", "YAF_sad/YAF_back_sad.wav"]
    write_tree(tmp_path, [f"{folder}/{name}" for name in names] + [f"{folder}/{folder}/{name}" for name in names])
    manifest = read_incomplete("tess", tmp_path).manifest
    assert [(utt_id, entry["emo"], entry["speaker"], entry["group"]) for utt_id, entry in manifest.items()] == [
        ("OAF_back_ps", "sur", "OAF", "OAF"),
        ("OAF_bite_neutral", "neu", "OAF", "OAF"),
        ("YAF_back_sad", "sad", "YAF", "YAF"),
    ]


def test_complete_copy_has_the_published_counts():
    words = [f"word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(200)]
    emotions = ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad")
    names = [f"{speaker}_{word}_{emo}" for speaker in ("OAF", "YAF") for word in words for emo in emotions]
    assert tess.COUNTS(describe_names(tess, names)) == (True, [])
