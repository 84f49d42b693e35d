"""The command check: what is in a corpus, what its folds would be, and what is wrong."""

import json
import re

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
    folds = cells(out[out.index("fold  tests on") :])
    assert folds[:7] == [
        ["fold", "tests", "on", "part", "clips", "speakers", "ang", "sad"],
        ["1", "g1", "train", "3", "2", "1", "2"],
        ["test", "3", "2", "2", "1"],
        ["2", "g2", "train", "5", "3", "3", "2"],
        ["test", "1", "1", "0", "1"],
        ["3", "g3", "train", "4", "3", "2", "2"],
        ["test", "2", "1", "1", "1"],
    ]
    worth = out[out.index("Worth a look") :]
    assert "the validation part of fold 1 is empty: raise valid_fraction, now 0.1." in worth  # of so few clips
    assert "Fold 2 (g2) has no ang to test on." in worth


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
    status, out, _ = check(ROWS, "x,x,y.wav,ang,s1,g1")
    assert status == 1
    assert "row 2: 6 fields in place of 5 (id, wav, emo, speaker, group): ['x', 'x', 'y.wav'" in out


def test_check_calls_no_fault_what_faulty_rows_are_the_reason_of(check):
    rows = [row for row in ROWS[:5] if row != ("sad", "s3", "g2")]
    status, out, _ = check(rows, "x,x,y.wav,sad,s1,g1")
    assert status == 1
    wrong, worth = out.index("What is wrong"), out.index("Worth a look")
    assert "Of the clips that can be used: no utterance of 'sad' is left to train on in fold 1" in out[worth:wrong]
    assert "'sad' is left" not in out[wrong:]


def test_check_accepts_the_demo_corpus_and_names_iemocaps_lacks(demo_corpus, capsys):
    assert main(["check", str(demo_corpus)]) == 0
    assert ["test", "16", "2", "4", "4", "4", "4"] in cells(capsys.readouterr().out)
    assert main(["check", str(demo_corpus), "--corpus=iemocap"]) == 1
    assert capsys.readouterr().out.endswith("results on them are not results on IEMOCAP.\n")


def test_check_says_what_a_validation_on_a_group_would_be(check, tmp_path, capsys):
    check(ROWS)
    assert main(["check", str(tmp_path / "corpus.csv"), "--validation=group", "--emotions=ang,sad"]) == 0
    folds = cells(capsys.readouterr().out)
    assert ["valid", "1", "1", "0", "1"] in folds  # fold 1 validates on g2
    assert main(["check", str(tmp_path / "corpus.csv"), "--validation=groups"]) == 1
    assert "--validation must be one of random, group" in capsys.readouterr().err


def test_check_deals_speakers_into_folds(check, tmp_path, capsys):
    check(ROWS)
    assert main(["check", str(tmp_path / "corpus.csv"), "--n_folds=2"]) == 0
    out = capsys.readouterr().out
    assert ["fold1", "3", "2", "1"] in cells(out) and ["fold2", "3", "1", "2"] in cells(out)
    assert main(["check", str(tmp_path / "corpus.csv"), "--n_folds=5"]) == 1
    assert "n_folds must be at most the number of speakers" in capsys.readouterr().err


HEADER = "wav,emo,speaker,group,start,end,text"
# Ten faults of a stranger's list: the row, and how it is named.
FAULTS = [
    ("0.wav,ang,s1,g1,,,", "the id '0' stands already in row 2. Leave one of them out"),
    ("gone.wav,ang,s1,g1,,,", "gone: the recording cannot be opened"),
    ("Empty.WAV,ang,s1,g1,,,", "Empty: the recording cannot be opened.*Did you mean .*/empty.wav[?]"),
    ("empty.wav,sad,s1,g1,,,", "empty: .*is empty .0 bytes.. Copy it again"),
    ("cut.wav,sad,s1,g1,,,", "cut: .*is truncated: its header announces"),
    ("long.wav,Sad,s1,g1,0,1,", "emo: 'sad' .row 3., 'Sad' .row 13. differ in capitals"),
    ("long.wav,ang,s1,g1,2,1,", "end must be after start, got 1 s and 2 s"),
    ("long.wav,ang,s1,g1,2,3.5,", "long_2-3.5: the segment ends at 3.5 s, and the recording is 3.00 s long"),
    ("1.wav,ang,,g1,,,", "the field 'speaker' is empty. Fill it in"),
    ("2.wav,ang,s1,g1,,,well, no", "8 fields in place of 7 .*Put a field that holds a comma in quotes"),
    ("copy.wav,sad,s4,g3,,,", "copy are one recording .*in the groups g1 and g3"),
    ("long.wav,sad,s4,g3,0.5,1.5,", "long_0-1 .0.00 s to 1.00 s, group g1. and long_0.5-1.5 .* overlap in long.wav"),
]


def test_check_names_each_faulty_row_at_once(tmp_path, capsys):
    rng = np.random.default_rng(1)
    lines = [HEADER]
    for i, (emo, speaker, group) in enumerate(ROWS):
        sf.write(tmp_path / f"{i}.wav", rng.uniform(-0.5, 0.5, 16000 + i), 16000)
        lines.append(f"{i}.wav,{emo},{speaker},{group},,,")
    (tmp_path / "empty.wav").touch()
    (tmp_path / "cut.wav").write_bytes((tmp_path / "0.wav").read_bytes()[:9000])
    (tmp_path / "copy.wav").write_bytes((tmp_path / "1.wav").read_bytes())
    sf.write(tmp_path / "long.wav", rng.uniform(-0.5, 0.5, 48000), 16000)
    path = tmp_path / "c.csv"
    path.write_text("\n".join([*lines, *(line for line, _ in FAULTS)]))
    assert main(["check", str(path)]) == 1
    out = capsys.readouterr().out
    head, *found = out[out.index("What is wrong") :].splitlines()
    assert head == "What is wrong (9 clips are left out above)"
    for number, (line, (_, said)) in enumerate(zip(found, FAULTS), start=len(ROWS) + 2):
        assert re.match(f"c.csv, row {number}[:,] .*{said}", line), line
    assert main(["check", str(path), "--max_faults=3"]) == 1
    assert re.search(r"row 10, .*\n\.\.\. and \d+ more\.\n$", capsys.readouterr().out)


def test_check_says_what_is_worth_a_look(tmp_path, capsys):
    rng = np.random.default_rng(1)
    wavs = {
        "loud": np.clip(rng.normal(0, 1.0, 16000), -1, 1), "still": np.zeros(16000),
        "tiny": rng.uniform(-0.1, 0.1, 4000), "long": rng.uniform(-0.1, 0.1, 31 * 16000),
        "stereo": rng.uniform(-0.1, 0.1, (16000, 2)), "fine": rng.uniform(-0.1, 0.1, 16000),
    }  # fmt: skip
    lines = ["wav,emo,speaker"]
    for i, (name, wav) in enumerate(wavs.items()):
        sf.write(tmp_path / f"{name}.wav", wav, 16000)
        lines.append(f"{name}.wav,{'ang' if i % 2 else 'sad'},s{i // 2}")
    (tmp_path / "c.csv").write_text("\n".join(lines))
    assert main(["check", str(tmp_path / "c.csv")]) == 0
    out = capsys.readouterr().out
    assert "Clips: 5 of 16000 Hz, mono, 1 of 16000 Hz, stereo." in out
    remarks = out[out.index("Worth a look") :].splitlines()[1:6]
    assert remarks == [
        "Shorter than 0.5 s: 1 of 6 clips (tiny).",
        "Longer than 30 s: 1 of 6 clips (long).",
        "Clipped, more than 0.1% of the samples at full scale: 1 of 6 clips (loud).",
        "Silent, below -60 dB of full scale: 1 of 6 clips (still).",
        "Not 16000 Hz mono, and converted when read: 1 of 6 clips (stereo).",
    ]


def test_check_prints_json_and_draws(check, tmp_path, capsys):
    check(ROWS)
    path, picture = str(tmp_path / "corpus.csv"), tmp_path / "new.pdf"
    assert main(["check", path, "--json", f"--plot={picture}"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n_clips"], found["n_faulty"], found["faults"]) == (6, 0, [])
    assert found["by_group"] == {"g1": {"ang": 2, "sad": 1}, "g2": {"sad": 1}, "g3": {"ang": 1, "sad": 1}}
    assert found["lengths_s"]["longest"] == "u5" and found["lengths_s"]["max"] == 3.0
    assert found["folds"][1]["test"] == {"n_clips": 1, "n_speakers": 1, "emotions": {"sad": 1}}
    assert found["formats"] == [{"sample_rate_hz": 16000, "n_channels": 1, "n_clips": 6}]
    assert picture.read_bytes().startswith(b"%PDF")
    assert main(["check", path, "--plot=corpus.txt"]) == 1
    assert "--plot must name a .png, .pdf, .svg file to write, got corpus.txt." in capsys.readouterr().err


def test_check_of_nothing_that_can_be_read_is_refused(check):
    status, _, error = check([], "a,gone.wav,ang,s1,g1", "b,lost.wav,sad,s2,g2")
    assert status == 1
    assert "No clip can be used:\ncorpus.csv, row 2, a: the recording cannot be opened" in error
