"""Preparation of IEMOCAP trees: what counts, what is ignored, what is refused."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import speechbrain_ext.corpora.iemocap as iemocap_prepare
from speechbrain_ext.corpora.iemocap import compare_with_iemocap, describe_iemocap, prepare_iemocap
from speechbrain_ext.dataio.manifest import read_manifest
from speechbrain_ext.errors import InputError

HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"


def add_turn(tree, turn, code, n_samples=1600, wav=True):
    """Annotate a turn in its dialog's file and write its wav."""
    dialog = turn.rsplit("_", 1)[0]
    session = tree / f"Session{int(dialog[3:5])}"
    annotation = session / "dialog" / "EmoEvaluation" / f"{dialog}.txt"
    annotation.parent.mkdir(parents=True, exist_ok=True)
    if not annotation.exists():
        annotation.write_text(HEADER)
    with open(annotation, "a") as file:
        file.write(f"[6.2901 - 8.2357]\t{turn}\t{code}\t[2.5000, 2.5000, 2.5000]\nC-E2:\tNeutral;\t()\n")
    path = session / "sentences" / "wav" / dialog / f"{turn}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    if wav:
        soundfile.write(path, np.zeros(n_samples), 16000)
    return path


@pytest.fixture
def tree(tmp_path):
    """Make two sessions with both speakers in each dialog."""
    for session in ("01", "02"):
        for dialog in (f"Ses{session}F_impro01", f"Ses{session}M_script01_1b"):
            for speaker in "FM":
                for i, code in enumerate(("ang", "exc", "hap", "neu", "sad")):
                    add_turn(tmp_path / "corpus", f"{dialog}_{speaker}{i:03d}", code, 1600 + 16 * i)
    return tmp_path / "corpus"


def test_speaker_is_the_one_who_speaks_and_excited_is_happy(tree):
    manifest = describe_iemocap(tree, progress=False)
    assert len(manifest) == 2 * 2 * 2 * 5
    assert list(manifest) == sorted(manifest)
    # The dialog's M wears the markers; the turn's F speaks.
    assert manifest["Ses02M_script01_1b_F001"] == {
        "wav": "{data_root}/Session2/sentences/wav/Ses02M_script01_1b/Ses02M_script01_1b_F001.wav",
        "duration": 1616 / 16000,
        "emo": "hap",
        "speaker": "Ses02_F",
        "group": "Session2",
    }
    assert {entry["speaker"] for entry in manifest.values()} == {"Ses01_F", "Ses01_M", "Ses02_F", "Ses02_M"}
    assert sum(entry["emo"] == "hap" for entry in manifest.values()) == 16


def test_other_labels_are_left_out_and_counted(tree, capsys):
    for i, code in enumerate(("fru", "fru", "xxx", "sur")):
        add_turn(tree, f"Ses01F_impro01_F{100 + i}", code, wav=False)
    assert len(describe_iemocap(tree, progress=False)) == 40
    assert "Left out, because of other labels: 4 utterances (fru 2, sur 1, xxx 1)." in capsys.readouterr().out


def test_table_counts_by_session_and_label(tree, capsys):
    describe_iemocap(tree, progress=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["all", "neu", "hap", "ang", "sad"] in lines
    assert ["Session1", "20", "4", "8", "4", "4"] in lines
    assert ["total", "40", "8", "16", "8", "8"] in lines


def test_dirt_of_copied_corpora_is_ignored(tree):
    clean = describe_iemocap(tree, progress=False)
    folder = tree / "Session1" / "dialog" / "EmoEvaluation"
    (folder / "._Ses01F_impro01.txt").write_bytes(b"\x00\x05\x16\x07Mac OS X\xff\xfe")
    (folder / ".DS_Store").write_bytes(b"\xff\x00")
    (folder / "Categorical").mkdir()
    (folder / "Categorical" / "Ses01F_impro01_e2_cat.txt").write_text("Ses01F_impro01_F000 :Neutral; ()\n")
    (tree / "Session1" / "sentences" / "wav" / "Ses01F_impro01" / "._Ses01F_impro01_F000.wav").write_bytes(b"\x00\x05")
    annotation = folder / "Ses01F_impro01.txt"
    annotation.write_bytes(annotation.read_bytes().replace(b"\n", b"\r\n") + b"A-E4:\tcaf\xe9;\t()\r\n")
    assert describe_iemocap(tree, progress=False) == clean


def test_manifest_is_written_and_reads_back(tree, tmp_path):
    manifest = prepare_iemocap(tree, tmp_path / "out" / "manifest.json", progress=False)
    assert read_manifest(tmp_path / "out" / "manifest.json") == manifest


def test_tree_of_other_ids_is_accepted_and_said(tree, capsys):
    describe_iemocap(tree, progress=False)
    assert "not IEMOCAP's" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda tree: tree / "nowhere", "data folder .*nowhere does not exist. Give the folder that holds Session1"),
        (lambda tree: (tree / "empty").mkdir() or tree / "empty", "empty holds no Session.*/dialog/EmoEvaluation"),
        (lambda tree: tree.parent, "Did you mean .*corpus"),
    ],
)
def test_wrong_data_folder_is_refused(tree, make, message):
    with pytest.raises(InputError, match=message):
        describe_iemocap(make(tree), progress=False)


def test_annotated_turn_without_wav_is_named(tree):
    add_turn(tree, "Ses01F_impro01_F050", "ang", wav=False)
    with pytest.raises(InputError, match="Ses01F_impro01_F050: the recording cannot be opened.*No such file"):
        describe_iemocap(tree, progress=False)


def test_id_that_stands_twice_is_named(tree):
    add_turn(tree, "Ses01F_impro01_F000", "ang")
    with pytest.raises(InputError, match="Ses01F_impro01_F000: the id stands twice"):
        describe_iemocap(tree, progress=False)


def test_turn_of_another_form_is_named(tree):
    add_turn(tree, "Ses01F_talk_F000", "ang")
    with pytest.raises(InputError, match="Ses01F_talk_F000.*not of IEMOCAP's form"):
        describe_iemocap(tree, progress=False)


def test_tree_without_known_labels_is_refused(tmp_path):
    add_turn(tmp_path / "corpus", "Ses01F_impro01_F000", "fru")
    with pytest.raises(InputError, match="hold no utterance labelled ang, hap, exc, sad, neu"):
        describe_iemocap(tmp_path / "corpus", progress=False)


@pytest.fixture
def known(tree, monkeypatch):
    """Let the tree's own ids and counts stand for IEMOCAP's."""
    manifest = describe_iemocap(tree, progress=False)
    parts = {}
    for session in (1, 2):
        for part in ("impro", "script"):
            ids = sorted(utt_id for utt_id in manifest if utt_id.startswith(f"Ses0{session}") and part in utt_id)
            parts[session, part] = (len(ids), hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16])
    monkeypatch.setattr(iemocap_prepare, "IEMOCAP_PARTS", parts)
    monkeypatch.setattr(iemocap_prepare, "IEMOCAP_COUNTS", {1: (4, 8, 4, 4), 2: (4, 8, 4, 4)})
    return manifest


def test_complete_iemocap_is_accepted_without_a_word(tree, known, capsys):
    assert compare_with_iemocap(known) == (True, [])
    capsys.readouterr()
    describe_iemocap(tree, progress=False)
    assert "IEMOCAP" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("keep", "faults"),
    [
        (
            lambda utt_id: "impro" in utt_id,
            ["20 utterances found, 40 expected", "the scripted part is missing (20 utterances)"],
        ),
        (
            lambda utt_id: "script" in utt_id,
            ["20 utterances found, 40 expected", "the improvised part is missing (20 utterances)"],
        ),
        (
            lambda utt_id: "Ses02" in utt_id,
            ["20 utterances found, 40 expected", "session 1 is missing (20 utterances)"],
        ),
        (
            lambda utt_id: "Ses02F" not in utt_id,
            ["30 utterances found, 40 expected", "session 2, improvised is missing (10 utterances)"],
        ),
        (
            lambda utt_id: utt_id != "Ses01F_impro01_F003",
            [
                "39 utterances found, 40 expected",
                "session 1, improvised has 9 utterances, expected are 10 with IEMOCAP's ids",
            ],
        ),
    ],
)
def test_missing_part_of_iemocap_is_named(known, keep, faults):
    left = {utt_id: entry for utt_id, entry in known.items() if keep(utt_id)}
    assert compare_with_iemocap(left) == (True, faults)


def test_changed_label_of_iemocap_is_named(known):
    known["Ses01F_impro01_F000"]["emo"] = "sad"
    faults = ["session 1 has 3 utterances of ang, expected are 4", "session 1 has 5 utterances of sad, expected are 4"]
    assert compare_with_iemocap(known) == (True, faults)


def test_incomplete_iemocap_is_refused_unless_allowed(tree, known, capsys, tmp_path):
    for path in (tree / "Session2" / "dialog" / "EmoEvaluation").glob("*.txt"):
        path.unlink()
    with pytest.raises(InputError, match=r"20 utterances found, 40 expected; session 2 is missing.*allow_incomplete"):
        prepare_iemocap(tree, tmp_path / "manifest.json", progress=False)
    assert not (tmp_path / "manifest.json").exists()
    assert len(prepare_iemocap(tree, tmp_path / "manifest.json", allow_incomplete=True, progress=False)) == 20
    assert "WARNING: This is IEMOCAP, but not all" in capsys.readouterr().out


def test_published_counts_agree_with_each_other():
    """The table by label (5531 utterances; 1103, 1636, 1084, 1708) and the one by part say the same."""
    counts = iemocap_prepare.IEMOCAP_COUNTS
    assert [sum(column) for column in zip(*counts.values())] == [1708, 1636, 1103, 1084]
    for session, row in counts.items():
        assert sum(row) == sum(n for (number, _), (n, _) in iemocap_prepare.IEMOCAP_PARTS.items() if number == session)
    improvised = sum(n for (_, part), (n, _) in iemocap_prepare.IEMOCAP_PARTS.items() if part == "impro")
    assert improvised == 2943


def test_command_line_prints_a_sentence_for_a_wrong_folder(root, tmp_path):
    script = root / "recipes" / "IEMOCAP" / "iemocap_prepare.py"
    run = subprocess.run(
        [sys.executable, script, tmp_path / "nowhere", tmp_path / "m.json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert run.returncode == 1
    assert run.stderr.startswith("iemocap_prepare.py: the data folder")
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("code", ["angr", "ANG", "zzz"])
def test_unknown_label_names_utterance_and_line(tree, code):
    add_turn(tree, "Ses01F_impro01_F050", code)
    with pytest.raises(
        InputError, match=rf"Ses01F_impro01_F050: the label '{code}' in .*Ses01F_impro01.txt, line \d+ is"
    ):
        describe_iemocap(tree, progress=False)


@pytest.mark.parametrize("rest", ["Ses01F_impro01_F050", "Ses01F_impro01_F050\t\t[2.5, 2.5, 2.5]", ""])
def test_turn_without_a_label_names_its_line(tree, rest):
    with open(tree / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt", "a") as file:
        file.write(f"[6.2901 - 8.2357]\t{rest}\n")
    with pytest.raises(InputError, match=r"Ses01F_impro01.txt, line \d+ has times but no turn with a label"):
        describe_iemocap(tree, progress=False)


def test_id_that_stands_twice_is_found_among_left_out_labels(tree):
    add_turn(tree, "Ses01F_impro01_F000", "xxx")
    with pytest.raises(InputError, match=r"Ses01F_impro01_F000: the id stands twice \(.*line 3 and .*line \d+\)"):
        describe_iemocap(tree, progress=False)


def test_byte_order_mark_loses_no_turn(tree):
    path = tree / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().split(b"\n\n", 1)[1])  # the first turn is the first line
    assert len(describe_iemocap(tree, progress=False)) == 40


@pytest.mark.parametrize("content", [b"", "[1.0 - 2.0]\tSes01F_impro01_F000\tang\t[2, 2, 2]\n".encode("utf-16")])
def test_annotation_file_without_a_turn_is_named(tree, content):
    (tree / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt").write_bytes(content)
    with pytest.raises(InputError, match="Ses01F_impro01.txt holds no turn: copy it again"):
        describe_iemocap(tree, progress=False)


def test_iemocap_is_known_by_its_size_when_no_part_is_whole(known):
    for utt_id in ("Ses01F_impro01_F000", "Ses01M_script01_1b_F000", "Ses02F_impro01_F000", "Ses02M_script01_1b_F000"):
        del known[utt_id]
    is_iemocap, faults = compare_with_iemocap(known)
    assert is_iemocap
    assert faults[0] == "36 utterances found, 40 expected"
    assert len(faults) == 5  # and each part
    few = {utt_id: entry for utt_id, entry in list(known.items())[::4]}
    assert compare_with_iemocap(few) == (False, [])
