"""What is said of a corpus; the command's tests read the text."""

from speechbrain_ext.corpora.corpus_check import check_corpus, fold_table
from speechbrain_ext.dataio.folds import make_fold
from tests.corpora.csv_files import write


def test_fold_table_is_cut_in_the_middle():
    manifest = {
        f"u{i:02}{emo}": {"wav": f"{i}{emo}", "emo": emo, "speaker": f"s{i:02}", "group": f"s{i:02}"}
        for i in range(20)
        for emo in ("ang", "sad")
    }
    folds = [make_fold(manifest, k, validation="group") for k in range(1, 21)]
    table = [line.split() for line in fold_table([*folds[:2], None, *folds[3:]], manifest, ["ang", "sad"]).splitlines()]
    assert table[1:4] == [
        ["1", "s00", "train", "36", "18", "18", "18"],
        ["valid", "2", "1", "1", "1"],
        ["test", "2", "1", "1", "1"],
    ]
    assert ["3", "cannot", "be", "made"] in table and ["..."] in table
    assert [row[0] for row in table if row[0].isdigit()] == [str(k) for k in (*range(1, 7), *range(15, 21))]


def test_check_gives_what_programs_read(recordings):
    lines = ["a.wav,ang,s1,g1", "b.wav,sad,s1,g1", "c.wav,ang,s2,g2", "deep/d.wav,sad,s2,g2"]
    check = check_corpus("csv", write(recordings, "\n".join(["wav,emo,speaker,group", *lines])), "none", progress=False)
    found = check.as_dict()
    assert (found["n_clips"], found["n_recordings"], found["hours"], found["faults"]) == (4, 4, 4 / 3600, [])
    assert found["by_speaker"] == {"s1": {"ang": 1, "sad": 1}, "s2": {"ang": 1, "sad": 1}}
    assert [fold["tests_on"] for fold in found["folds"]] == ["g1", "g2"]
    assert found["clipped"] == found["silent"] == []


def test_check_says_once_which_speakers_groups_share(recordings):
    lines = ["a.wav,ang,s1,g1", "b.wav,sad,s1,g1", "c.wav,ang,s1,g2", "deep/d.wav,sad,s2,g2"]
    check = check_corpus("csv", write(recordings, "\n".join(["wav,emo,speaker,group", *lines])), "none", progress=False)
    assert [fault[:36] for fault in check.faults] == ["Speaker 's1' is in the groups g1, g2"]
