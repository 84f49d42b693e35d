"""The command check: what is in a corpus, what its folds would be, and what is wrong."""

import numpy as np
import pytest
import soundfile as sf

from speechbrain_ext.commands.main import main

ROWS = [("ang", "s1", "g1"), ("sad", "s1", "g1"), ("ang", "s2", "g1"), ("sad", "s3", "g2"), ("ang", "s4", "g3")]
ROWS += [("sad", "s4", "g3")]


@pytest.fixture
def check(tmp_path, capsys):
    """Return a function that writes recordings and their CSV, and checks it: (status, what was printed)."""
    rng = np.random.default_rng(1)

    def run(rows, *more):
        lines = ["id,wav,emo,speaker,group", *more]
        for i, (emo, speaker, group) in enumerate(rows):
            sf.write(tmp_path / f"{i}.wav", rng.uniform(-0.5, 0.5, 8000 * (i + 1)), 16000)
            lines.append(f"u{i},{i}.wav,{emo},{speaker},{group}")
        (tmp_path / "corpus.csv").write_text("\n".join(lines))
        status = main(["check", str(tmp_path / "corpus.csv")])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def cells(text):
    """Split each line of what was printed at its spaces."""
    return [line.split() for line in text.splitlines()]


def test_check_says_what_is_in_a_corpus(check):
    status, out, _ = check(ROWS)
    assert status == 0 and out.endswith("\nNothing is wrong.\n")
    groups, speakers = out.split("By speaker")
    assert [["g1", "3", "2", "1"], ["g2", "1", "0", "1"], ["g3", "2", "1", "1"], ["total", "6", "3", "3"]] == (
        cells(groups)[1:5]
    )
    assert ["s1", "2", "1", "1"] in cells(speakers) and ["s4", "2", "1", "1"] in cells(speakers)
    assert "Lengths: 0.50 s (u0) to 3.00 s (u5), mean 1.75 s, median 1.75 s." in out


def test_check_says_what_each_fold_would_test_and_train_on(check):
    _, out, _ = check(ROWS)
    folds = cells(out[out.index("    fold  group") :])
    assert folds[1:4] == [
        ["1", "g1", "3", "2", "3", "2"],
        ["2", "g2", "1", "1", "5", "3", "no", "ang", "to", "test", "on"],
        ["3", "g3", "2", "1", "4", "3"],
    ]


def test_check_leaves_out_the_speakers_where_each_group_is_one(check):
    _, out, _ = check([("ang", "a", "a"), ("sad", "a", "a"), ("ang", "b", "b"), ("sad", "b", "b")])
    assert "By speaker" not in out


@pytest.mark.parametrize(
    ("rows", "more", "wrong"),
    [
        (
            [*ROWS, ("ang", "s1", "g2")],
            (),
            "Speaker 's1' is in the groups g1, g2: folds would",
        ),
        ([(emo, speaker, "g1") for emo, speaker, _ in ROWS], (), "nothing is left to train on in fold 1: "),
        (ROWS[:5], (), "no utterance of 'sad' is left to train on in fold 1"),
        (ROWS, ("again,0.wav,ang,s1,g1",), "again and u0 are one recording (0.wav and 0.wav), labelled ang."),
    ],
)
def test_check_ends_with_1_and_what_is_wrong(check, rows, more, wrong):
    rows = [row for row in rows if row != ("sad", "s3", "g2")] if "'sad'" in wrong else rows
    status, out, _ = check(rows, *more)
    assert status == 1
    assert wrong in out[out.index("What is wrong\n") :]


def test_check_names_the_faulty_row(check):
    status, _, error = check(ROWS, "x,x,y.wav,ang,s1,g1")
    assert status == 1
    assert "row 2: 6 fields in place of 5 (id, wav, emo, speaker, group): ['x', 'x', 'y.wav'" in error


def test_check_accepts_the_demo_corpus_and_names_iemocaps_lacks(demo_corpus, capsys):
    assert main(["check", str(demo_corpus)]) == 0
    assert ["1", "Session1", "16", "2", "64", "8"] in cells(capsys.readouterr().out)
    assert main(["check", str(demo_corpus), "--corpus=iemocap"]) == 1
    assert capsys.readouterr().out.endswith("results on them are not results on IEMOCAP.\n")
