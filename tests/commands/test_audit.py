"""The command `audit`: its exit status, and its text, JSON and page."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import speechbrain_ext
from speechbrain_ext.commands.main import main
from tests.corpora.emobox_folder import write_emobox

CLEAN = ("id,speaker,emo\na,x,ang\nb,x,sad\n", "id,speaker,emo,gender\nc,y,ang,f\nd,y,sad,f\ne,z,sad,m\n")
HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e|*`"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Work in a folder with the lists of a clean split."""
    monkeypatch.chdir(tmp_path)
    for name, text in zip(("train.csv", "test.csv"), CLEAN):
        (tmp_path / name).write_text(text)
    (tmp_path / "x_test.json").write_text("{}")
    return tmp_path


def test_a_clean_split_ends_with_0(folder, capsys):
    assert main(["audit", "train.csv", "test.csv"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("No leak found\n")
    assert "There is no validation part" in out
    assert "1         2      0     3             0 of 3           0 of 2" in out


def test_a_leak_ends_with_1_and_is_named(tmp_path, capsys):
    folder = write_emobox(tmp_path / "emodb")
    assert main(["audit", str(folder), f"--json={tmp_path / 'a.json'}"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("LEAK in 2 of 2 folds\n  2 of 2 test speakers are also in training or validation (03, 08).\n")
    assert "Not all of EmoDB as published, 535 utterances of seven emotions by ten speakers: 5 utterances found" in out
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["leak"] and found["split"]["folds"][1]["sizes"] == {"train": 3, "valid": 0, "test": 2}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to audit: give split files, --predictions=FILE, or both"),
        (["nowhere.csv"], "nowhere.csv does not exist"),
        (["train.csv"], "the split has no test part"),
        (["train.csv", "test.csv", "--audio=train.csv"], "--audio train.csv is no folder"),
        (["train.csv", "test.csv", "--predictions=nowhere.csv"], "nowhere.csv does not exist"),
        (["train.csv", "test.csv", "--json=train.csv/a.json"], "--json train.csv/a.json cannot be written: Not a dir"),
        (["train.csv", "test.csv", "--json=train.csv"], "--json must name a file that ends in .json, got train.csv"),
        (["train.csv", "test.csv", "--json=a.json", "--html=a.json"], "--html must name a file that ends in .html or"),
        (["train.csv", "test=x_test.json", "--json=x_test.json"], "x_test.json is one of the lists that are read"),
        ([".", "--json=x_test.json"], "x_test.json is one of the lists that are read"),
    ],
)
def test_bad_usage_ends_with_2_and_a_sentence(folder, capsys, words, said):
    assert main(["audit", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("speechbrain-ext audit: ") and said in error


def test_lists_are_audited_without_the_slow_libraries(folder):
    code = (
        "import sys; from speechbrain_ext.commands.main import main; main(['audit', 'train.csv', 'test.csv']);"
        "print(sorted({'torch', 'torchmetrics', 'transformers', 'speechbrain'} & set(sys.modules)))"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(speechbrain_ext.__file__).parents[1])}
    ended = subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True, text=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_unknown_options_end_with_2(folder):
    with pytest.raises(SystemExit) as ended:
        main(["audit", "--tests=x"])
    assert ended.value.code == 2


def test_predictions_are_audited_with_and_without_lists(folder, capsys):
    (folder / "p.csv").write_text("id,predicted,true\nc,ang,ang\nd,ang,sad\ne,sad,sad\n")
    (folder / "q.csv").write_text("id,predicted,true\nc,ang,ang\nd,sad,sad\ne,sad,sad\n")
    assert main(["audit", "--predictions=p.csv"]) == 0
    out = capsys.readouterr().out
    assert "Predictions: p.csv\n  3 utterances of unknown speakers." in out
    assert ["UA", "75.00"] in [line.split()[:2] for line in out.splitlines()]
    assert main(["audit", "train.csv", "test.csv", "--predictions=p.csv", "--predictions=q.csv"]) == 0
    out = capsys.readouterr().out
    assert "3 utterances of 2 speakers" in out and "Fewer than five speakers" in out
    assert "Groups: gender, p.csv" in out
    assert "q.csv minus p.csv\n  On 3 utterances that both have. Right in q.csv alone: 1, in p.csv alone: 0" in out


def test_labels_are_shown_as_they_are(folder, capsys):
    (folder / "p.csv").write_text("id,predicted,true\nc,very_angry_now,very_angry_now\nd,__x__,very_angry_now\n")
    assert main(["audit", "--predictions=p.csv", "--html=a.html"]) == 0
    out = capsys.readouterr().out
    assert "recall very_angry_now" in out and "recall __x__" in out and "macro-F1" in out
    page = (folder / "a.html").read_text()
    assert "recall very_angry_now" in page and "recall &#95;&#95;x&#95;&#95;" in page


def test_predictions_of_other_utterances_are_said(folder, capsys):
    (folder / "p.csv").write_text("id,predicted,true\nc,ang,ang\na,ang,ang\nq,sad,sad\n")
    assert main(["audit", "train.csv", "test.csv", "--predictions=p.csv"]) == 0
    out = capsys.readouterr().out
    assert "1 predicted utterances are in no list, and are left out (the first is q)." in out
    assert "1 predicted utterances are in no test part, and are left out (the first is a)." in out
    assert "2 tested utterances have no prediction (the first is d)." in out


def test_hostile_names_are_shown_as_they_are(folder, capsys):
    rows = [f'{HOSTILE}{i},"{HOSTILE}","{HOSTILE}"' for i in (1, 2)]
    (folder / "train.csv").write_text(f"id,speaker,emo\n{rows[0]}\nb,y,sad\n")
    (folder / "test.csv").write_text(f"id,speaker,emo\n{rows[1]}\nd,z,sad\n")
    assert main(["audit", "train.csv", "test.csv", "--html=a.html"]) == 1
    out = capsys.readouterr().out
    assert r"<script>alert(1)</script>\x1b[2J\u202e|*`" in out
    assert not {"\x1b", "\u202e"} & set(out)
    page = (folder / "a.html").read_text()
    assert "<script" not in page and "&#60;script&#62;alert(1)&#60;/script&#62;" in page
    assert not {"\x1b", "\u202e"} & set(page)


def test_the_page_holds_everything_in_one_file(folder):
    assert main(["audit", "train.csv", "test.csv", "--html=a.html"]) == 0
    page = (folder / "a.html").read_text()
    assert page.startswith("<!doctype html>") and "<h2>No leak found</h2>" in page
    assert "<title>Audit of train.csv, test.csv</title>" in page
    assert "src=" not in page and "<link" not in page
