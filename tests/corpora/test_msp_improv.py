"""MSP-IMPROV: its file with the evaluations, names, sessions and parts."""

from itertools import cycle, islice

import pytest

from speechbrain_ext.corpora import msp_improv, prepare_corpus
from speechbrain_ext.errors import InputError
from tests.corpora.corpus_trees import read_incomplete, write_tree

NAMES = (
    "S01A-F01-P-FM01",
    "S01A-M01-S-MF02",
    "S02H-F02-T-FM01",
    "S02H-F02-R-FF01",
    "S20N-M06-S-MF11",
    "S03S-M03-S-MF01",
)
LINE = "UTD-IMPROV-{}.avi; {}; A:2.833333; V:3.166667; D:3.000000 ; N:3.833333;\n"


@pytest.fixture
def tree(tmp_path):
    """Write a recording for each label, and the evaluations as they are published, with those of each listener."""
    paths = [f"Audio/session{name[7]}/{name[:4]}/{name[9]}/MSP-IMPROV-{name}.wav" for name in NAMES]
    write_tree(tmp_path, paths)
    listener = "AAA_1_1; Angry; Angry,Frustrated; A:2.000000; V:3.000000; D:NaN; N:4.000000;\n\n"
    text = "".join(LINE.format(name, code) + listener for name, code in zip(NAMES, "AHSNXO"))
    (tmp_path / "Evaluation.txt").write_text(text + LINE.format("S01A-F01-P-FM09", "A"))
    return tmp_path


def test_labels_come_from_the_evaluations_and_the_rest_from_the_name(tree):
    rows = msp_improv.read_rows(tree)
    assert [row["emo"] for row in rows] == [
        "ang",
        "hap",
        "sad",
        "neu",
        "xxx",
        "oth",
    ]  # what has no recording is left out
    assert rows[3] == {
        "id": "MSP-IMPROV-S02H-F02-R-FF01", "wav": "Audio/session2/S02H/R/MSP-IMPROV-S02H-F02-R-FF01.wav", "emo": "neu",
        "speaker": "F02", "group": "session2", "gender": "female", "style": "scripted",
    }  # fmt: skip
    assert [msp_improv.part_of(row["id"]) for row in rows[:4]] == ["natural", "improvised", "target", "read"]


def test_incomplete_copy_says_what_is_missing_of_the_whole_and_of_a_part(tree):
    found = read_incomplete("msp_improv", tree)
    assert (len(found.manifest), found.faults[:2]) == (
        4,
        ["4 utterances found, 7798 expected.", "1 of ang, 792 expected."],
    )
    part = read_incomplete("msp_improv", tree, part="improvised")
    assert (len(part.manifest), part.faults[0]) == (1, "1 utterances found, 3940 expected.")


def test_the_corpuss_own_spelling_of_its_file_is_read(tree):
    (tree / "Evaluation.txt").rename(tree / "Audio" / "Evalution.txt")
    assert len(msp_improv.read_rows(tree)) == 6


def test_folder_without_evaluations_or_without_recordings_is_refused(tree, tmp_path_factory):
    alone = tmp_path_factory.mktemp("alone")
    (alone / "Evaluation.txt").write_text((tree / "Evaluation.txt").read_text())
    with pytest.raises(InputError, match="none of the recordings that Evaluation.txt names is there"):
        prepare_corpus("msp_improv", alone)
    (tree / "Evaluation.txt").unlink()
    with pytest.raises(InputError, match="holds no Evaluation.txt, which has MSP-IMPROV's labels"):
        prepare_corpus("msp_improv", tree)


def test_published_counts_agree_with_each_other():
    """Table 4 of the publication, by class and by part."""
    assert dict(msp_improv.COUNTS.emotions) == {"ang": 792, "hap": 2644, "sad": 885, "neu": 3477}
    n_parts = [sum(part.emotions.values()) for part in msp_improv.PART_COUNTS.values()]
    assert (n_parts, sum(n_parts)) == ([640, 578, 3940, 2640], 7798)
    complete = [
        {"emo": emo, "speaker": "F01"} for emo, n in msp_improv.COUNTS.emotions.items() for _ in islice(cycle([0]), n)
    ]
    assert msp_improv.COUNTS(complete) == (True, [])
