"""The command prepare, and the recipe's script: which corpus is read, what is written, what is said."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile as sf

from speechbrain_ext.commands.main import main
from speechbrain_ext.corpora import CORPORA
from speechbrain_ext.dataio.manifest import read_manifest


@pytest.fixture
def corpus_csv(tmp_path):
    """Write four recordings of three emotions, two speakers and two groups, and their CSV."""
    rng = np.random.default_rng(1)
    lines = ["id,wav,emo,speaker,group"]
    for i, (emo, speaker, group) in enumerate((("ang", 1, 1), ("sad", 1, 1), ("joy", 2, 2), ("ang", 2, 2))):
        sf.write(tmp_path / f"{i}.wav", rng.uniform(-0.5, 0.5, 16000 + 160 * i), 16000)
        lines.append(f"u{i},{i}.wav,{emo},s{speaker},g{group}")
    (tmp_path / "corpus.csv").write_text("\n".join(lines))
    return tmp_path / "corpus.csv"


def test_prepare_writes_the_manifest_and_says_what_it_holds(corpus_csv, tmp_path, capsys):
    out = tmp_path / "new" / "m.json"
    assert main(["prepare", str(corpus_csv), str(out)]) == 0
    manifest = read_manifest(out)
    assert list(manifest) == ["u0", "u1", "u2", "u3"]
    assert manifest["u1"].pop("samples_hash").startswith("16160 samples at 16000 Hz, SHA-256 ")
    assert manifest["u1"] == {
        "wav": "{data_root}/1.wav", "duration": 1.01, "emo": "sad", "speaker": "s1", "group": "g1"
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert "2 speakers, 0.00 hours." in printed and printed.endswith(f"{out} holds 4 utterances.\n")


@pytest.mark.parametrize("emotions", ["sad,ang", "[sad, ang]", "['sad', \"ang\"]"])
def test_prepare_keeps_the_emotions_that_are_named(corpus_csv, tmp_path, capsys, emotions):
    assert main(["prepare", str(corpus_csv), str(tmp_path / "m.json"), f"--emotions={emotions}"]) == 0
    assert list(read_manifest(tmp_path / "m.json")) == ["u0", "u1", "u3"]
    assert "Left out, because of other labels: 1 utterances (joy 1)." in capsys.readouterr().out


def test_prepare_says_that_a_speaker_is_in_two_groups(corpus_csv, tmp_path, capsys):
    corpus_csv.write_text(corpus_csv.read_text().replace("s2,g2", "s1,g2", 1))
    assert main(["prepare", str(corpus_csv), str(tmp_path / "m.json")]) == 0
    assert "WARNING: Speaker 's1' is in the groups g1, g2: folds would" in capsys.readouterr().out


def test_prepare_knows_the_demo_corpus_by_its_marker(demo_corpus, tmp_path, capsys):
    assert main(["prepare", str(demo_corpus), str(tmp_path / "m.json")]) == 0
    printed = capsys.readouterr().out
    assert "Session5" in printed and "IEMOCAP" not in printed
    assert main(["prepare", str(demo_corpus), str(tmp_path / "m.json"), "--corpus=iemocap"]) == 0
    assert "These utterances are not IEMOCAP's" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "words", "said"),
    [
        ("corpus.csv", ["m.txt"], "MANIFEST.json must name a JSON file to write, got m.txt."),
        ("corpus.csv", ["corpus.csv"], "MANIFEST.json must name a JSON file to write, got corpus.csv."),
        (".", ["m.json"], "which corpus is in {}? Say one of\n    --corpus=iemocap "),
        (".", ["m.json", "--corpus=iemocap"], "the data folder {} holds no Session*/dialog/EmoEvaluation/*.txt."),
        (".", ["m.json", "--corpus=IEMOCAP"], "corpus must be one of {}, got 'IEMOCAP'. Did you mean iemocap?"),
        (".", ["m.json", "--corpus=aibo"], "got 'aibo'. Your own recordings are read with csv."),
        (".", ["m.json", "--corpus=synthetic"], "is not the synthetic corpus: it has no valid demo_corpus.json."),
        (".", ["m.json", "--corpus=csv"], "{} is a folder, and a list is needed. Did you mean {}/corpus.csv?"),
        ("corpus.csv", ["m.json", "--corpus=iemocap"], "corpus.csv is a file, not a folder: give the folder that"),
        ("corpus.csv", ["m.json", "--emotions=[angry, sad]"], "is labelled 'angry'; it has ang 2, joy 1, sad 1. Did"),
        ("corpus", ["m.json"], "the data folder {}/corpus does not exist. Give the folder that holds the corpus;"),
        ("corpsu.csv", ["m.json"], "the list {}/corpsu.csv does not exist. Did you mean {}/corpus.csv?"),
        ("full.tar.gz", ["m.json"], "full.tar.gz is an archive. Unpack it first (tar xf, unzip), and give the folder"),
        ("full.tar.gz", ["m.json", "--corpus=iemocap"], "full.tar.gz is an archive. Unpack it first"),
        ("full.zip", ["m.json", "--corpus=csv"], "full.zip is an archive. Unpack it first"),
        (
            "full",
            ["m.json", "--corpus=iemocap"],
            "full does not exist. Give the folder that holds Session1",
        ),
        ("full", ["m.json", "--corpus=iemocap"], "full.tar.gz is still packed: unpack it first."),
    ],
)
def test_prepare_refuses_and_writes_nothing(corpus_csv, tmp_path, monkeypatch, capsys, source, words, said):
    for name in ("full.tar.gz", "full.zip"):
        (tmp_path / name).write_bytes(b"\x1f\x8b")
    before = sorted(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", str(tmp_path / source), *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("speechbrain-ext prepare: ")
    said = said.replace("one of {}", f"one of {', '.join(CORPORA)}")
    assert said.replace("{}", str(tmp_path)) in error
    assert sorted(tmp_path.iterdir()) == before


def test_script_answers_at_once_and_without_a_traceback(root, tmp_path):
    script = root / "recipes" / "IEMOCAP" / "iemocap_prepare.py"
    code = (
        f"import sys, runpy; sys.argv = ['iemocap_prepare.py', 'nowhere', 'm.json']\n"
        f"try: runpy.run_path({str(script)!r}, run_name='__main__')\n"
        f"finally: print({{'torch', 'speechbrain', 'scipy', 'matplotlib'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "iemocap_prepare.py: the data folder nowhere does not exist. Give the folder that holds"
    )
    assert "Traceback" not in done.stderr
    assert done.stdout == "set()\n"  # what takes seconds is not imported
