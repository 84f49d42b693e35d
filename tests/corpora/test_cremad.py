"""CREMA-D: names."""

from itertools import product

from speechbrain_ext.corpora import cremad
from tests.corpora.corpus_trees import describe_names, read_incomplete, write_tree


def test_name_says_actor_and_emotion(tmp_path):
    names = ["1001_DFA_ANG_XX", "1040_ITH_SAD_X", "1091_IEO_SAD_HI"]
    write_tree(tmp_path, [f"AudioWAV/{name}.wav" for name in names])
    assert [[row[key] for key in ("id", "emo", "speaker", "group")] for row in cremad.NAMES(tmp_path)] == [
        ["1001_DFA_ANG_XX", "ang", "1001", "1001"],
        ["1040_ITH_SAD_X", "sad", "1040", "1040"],
        ["1091_IEO_SAD_HI", "sad", "1091", "1091"],
    ]
    assert "88 speakers are missing: 1002, 1003," in " ".join(read_incomplete("cremad", tmp_path).faults)


def test_published_counts_agree_with_each_other():
    """91 actors with 82 recordings each, of which 20 were not published."""
    assert sum(cremad.COUNTS.emotions.values()) == sum(cremad.COUNTS.speakers.values()) == 7442 == 91 * 82 - 20
    assert len(cremad.COUNTS.speakers) == 91


def test_actor_with_all_sentences_has_82_recordings():
    sentences = ("DFA", "IOM", "ITH", "ITS", "IWL", "IWW", "MTI", "TAI", "TIE", "TSI", "WSI")
    emotions = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
    names = [f"1001_{sentence}_{emo}_XX" for sentence, emo in product(sentences, emotions)]
    names += [f"1001_IEO_{emo}_{level}" for emo, level in product(emotions, ("LO", "MD", "HI")) if emo != "NEU"]
    rows = describe_names(cremad, [*names, "1001_IEO_NEU_XX"])
    assert len(rows) == cremad.COUNTS.speakers["1001"] and {row["speaker"] for row in rows} == {"1001"}
