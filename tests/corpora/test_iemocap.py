"""Preparation of IEMOCAP trees: what counts, what is ignored, what is refused."""

import dataclasses
import hashlib

import numpy as np
import pytest
import soundfile

import speechbrain_ext.corpora.iemocap as iemocap
from speechbrain_ext.corpora import prepare_corpus
from speechbrain_ext.corpora.iemocap import compare_with_iemocap, read_rows
from speechbrain_ext.corpora.published_counts import PublishedCounts
from speechbrain_ext.errors import InputError

HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"


def describe_iemocap(tree, **kwargs):
    """Prepare a tree without a progress bar, and return its manifest."""
    return prepare_corpus("iemocap", tree, progress=False, **kwargs).manifest


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
    manifest = describe_iemocap(tree)
    assert len(manifest) == 2 * 2 * 2 * 5
    assert list(manifest) == sorted(manifest)
    # The dialog's M wears the markers; the turn's F speaks.
    assert manifest["Ses02M_script01_1b_F001"].pop("samples_hash").startswith("1616 samples at 16000 Hz, SHA-256 ")
    assert manifest["Ses02M_script01_1b_F001"] == {
        "wav": "{data_root}/Session2/sentences/wav/Ses02M_script01_1b/Ses02M_script01_1b_F001.wav",
        "duration": 1616 / 16000,
        "emo": "hap",
        "speaker": "Ses02_F",
        "group": "Session2",
        "dialogue": "Ses02M_script01_1b",
        "gender": "female",
        "style": "scripted",
    }
    assert {entry["speaker"] for entry in manifest.values()} == {"Ses01_F", "Ses01_M", "Ses02_F", "Ses02_M"}
    assert sum(entry["emo"] == "hap" for entry in manifest.values()) == 16


def test_other_labels_are_left_out_and_counted(tree, capsys):
    for i, code in enumerate(("fru", "fru", "xxx", "sur")):
        add_turn(tree, f"Ses01F_impro01_F{100 + i}", code, wav=False)
    assert len(describe_iemocap(tree)) == 40
    assert "Left out, because of other labels: 4 utterances (fru 2, sur 1, xxx 1)." in capsys.readouterr().out


def test_table_counts_by_session_and_label(tree, capsys):
    describe_iemocap(tree)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["all", "ang", "hap", "sad", "neu"] in lines
    assert ["Session1", "20", "4", "8", "4", "4"] in lines
    assert ["total", "40", "8", "16", "8", "8"] in lines


def test_dirt_of_copied_corpora_is_ignored(tree):
    clean = describe_iemocap(tree)
    folder = tree / "Session1" / "dialog" / "EmoEvaluation"
    (folder / "._Ses01F_impro01.txt").write_bytes(b"\x00\x05\x16\x07Mac OS X\xff\xfe")
    (folder / ".DS_Store").write_bytes(b"\xff\x00")
    (folder / "Categorical").mkdir()
    (folder / "Categorical" / "Ses01F_impro01_e2_cat.txt").write_text("Ses01F_impro01_F000 :Neutral; ()\n")
    (tree / "Session1" / "sentences" / "wav" / "Ses01F_impro01" / "._Ses01F_impro01_F000.wav").write_bytes(b"\x00\x05")
    annotation = folder / "Ses01F_impro01.txt"
    annotation.write_bytes(annotation.read_bytes().replace(b"\n", b"\r\n") + b"A-E4:\tcaf\xe9;\t()\r\n")
    assert describe_iemocap(tree) == clean


def test_tree_of_other_ids_is_accepted_and_said(tree, capsys):
    said = "These utterances are not IEMOCAP's; results on them are not results on IEMOCAP."
    assert prepare_corpus("iemocap", tree, progress=False).faults == [said]
    assert said in capsys.readouterr().out.splitlines()


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
        describe_iemocap(make(tree))


def test_folder_with_the_archive_alone_says_unpack(tmp_path):
    (tmp_path / "IEMOCAP.tar.gz").touch()
    with pytest.raises(InputError, match="IEMOCAP.tar.gz is still packed: unpack it first"):
        describe_iemocap(tmp_path)


def test_all_faulty_lines_are_named_at_once(tree):
    for session in "12":
        add_turn(tree, f"Ses0{session}F_impro01_F050", "angr")
    with pytest.raises(InputError) as error:
        describe_iemocap(tree)
    assert [line.partition(":")[0] for line in str(error.value).splitlines()] == [
        "Ses01F_impro01_F050", "Ses02F_impro01_F050"
    ]  # fmt: skip


def test_annotated_turn_without_wav_is_named(tree):
    add_turn(tree, "Ses01F_impro01_F050", "ang", wav=False)
    with pytest.raises(InputError, match="Ses01F_impro01_F050: the recording cannot be opened.*No such file"):
        describe_iemocap(tree)


def test_id_that_stands_twice_is_named(tree):
    add_turn(tree, "Ses01F_impro01_F000", "ang")
    with pytest.raises(InputError, match="Ses01F_impro01_F000: the id stands twice"):
        describe_iemocap(tree)


def test_turn_of_another_form_is_named(tree):
    add_turn(tree, "Ses01F_talk_F000", "ang")
    with pytest.raises(InputError, match="Ses01F_talk_F000.*not of IEMOCAP's form"):
        describe_iemocap(tree)


def test_tree_without_known_labels_is_refused(tmp_path):
    add_turn(tmp_path / "corpus", "Ses01F_impro01_F000", "fru")
    with pytest.raises(InputError, match="holds no utterance labelled ang, hap, sad, neu: it has fru 1"):
        describe_iemocap(tmp_path / "corpus")


@pytest.fixture
def known(tree, monkeypatch):
    """Let the tree's own ids and counts stand for IEMOCAP's."""
    rows = [{**row, "emo": row["emo"].replace("exc", "hap")} for row in read_rows(tree)]
    parts = {}
    for session in (1, 2):
        for part in ("impro", "script"):
            ids = sorted(row["id"] for row in rows if row["id"].startswith(f"Ses0{session}") and part in row["id"])
            parts[session, part] = (len(ids), hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16])
    monkeypatch.setattr(iemocap, "CORPUS", dataclasses.replace(iemocap.CORPUS, hours=None))
    monkeypatch.setattr(iemocap, "IEMOCAP_PARTS", parts)
    monkeypatch.setattr(iemocap, "IEMOCAP_COUNTS", {1: (4, 8, 4, 4), 2: (4, 8, 4, 4)})
    return rows


def test_complete_iemocap_is_accepted_without_a_word(tree, known, capsys):
    assert compare_with_iemocap(known) == (True, [])
    assert prepare_corpus("iemocap", tree, progress=False).faults == []
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
    left = [row for row in known if keep(row["id"])]
    assert compare_with_iemocap(left) == (True, faults)


def test_changed_label_of_iemocap_is_named(known):
    assert known[0]["id"] == "Ses01F_impro01_F000"
    known[0]["emo"] = "sad"
    faults = ["session 1 has 3 utterances of ang, expected are 4", "session 1 has 5 utterances of sad, expected are 4"]
    assert compare_with_iemocap(known) == (True, faults)


def test_incomplete_iemocap_is_refused_unless_allowed(tree, known, capsys):
    for path in (tree / "Session2" / "dialog" / "EmoEvaluation").glob("*.txt"):
        path.unlink()
    with pytest.raises(InputError, match=r"20 utterances found, 40 expected. Session 2 is missing.*allow_incomplete"):
        describe_iemocap(tree)
    found = prepare_corpus("iemocap", tree, allow_incomplete=True, progress=False)
    assert len(found.manifest) == 20
    assert found.faults == ["20 utterances found, 40 expected.", "Session 2 is missing (20 utterances)."]
    assert "WARNING: This is IEMOCAP, but not all" in capsys.readouterr().out


def test_fewer_or_other_emotions_make_no_fault(tree, known, capsys):
    add_turn(tree, "Ses01F_impro01_F050", "fru")
    found = prepare_corpus("iemocap", tree, emotions=["sad", "ang", "fru"], progress=False)
    assert (found.emotions, found.faults, len(found.manifest)) == (["sad", "ang", "fru"], [], 17)
    assert "Left out, because of other labels: 24 utterances (hap 16, neu 8)." in capsys.readouterr().out


def test_published_counts_agree_with_each_other():
    """The table by label (5531 utterances; 1103, 1636, 1084, 1708) and the one by part say the same."""
    counts = iemocap.IEMOCAP_COUNTS
    assert [sum(column) for column in zip(*counts.values())] == [1103, 1636, 1084, 1708]
    for session, row in counts.items():
        assert sum(row) == sum(n for (number, _), (n, _) in iemocap.IEMOCAP_PARTS.items() if number == session)
    improvised = sum(n for (_, part), (n, _) in iemocap.IEMOCAP_PARTS.items() if part == "impro")
    assert improvised == 2943


def test_published_results_are_the_papers_table():
    """Its first and last rows and the mean over all, by hand from Table 3."""
    rows = iemocap.CORPUS.published
    assert [(row.year, row.WA, row.UA) for row in (rows[0], rows[-1])] == [(2017, 69.0, 70.0), (2023, 75.37, 76.04)]
    assert len(rows) == 15
    assert iemocap.CORPUS.emotions == ("ang", "hap", "sad", "neu")


@pytest.mark.parametrize(
    ("utt_id", "part"), [("Ses01F_impro01_F000", "improvised"), ("Ses05M_script03_2_M041", "scripted"), ("a", None)]
)
def test_part_is_told_by_the_id(utt_id, part):
    assert iemocap.CORPUS.part_of(utt_id) == part


@pytest.mark.parametrize("code", ["angr", "ANG", "zzz"])
def test_unknown_label_names_utterance_and_line(tree, code):
    add_turn(tree, "Ses01F_impro01_F050", code)
    with pytest.raises(
        InputError, match=rf"Ses01F_impro01_F050: the label '{code}' in .*Ses01F_impro01.txt, line \d+ is"
    ):
        describe_iemocap(tree)


@pytest.mark.parametrize("rest", ["Ses01F_impro01_F050", "Ses01F_impro01_F050\t\t[2.5, 2.5, 2.5]", ""])
def test_turn_without_a_label_names_its_line(tree, rest):
    with open(tree / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt", "a") as file:
        file.write(f"[6.2901 - 8.2357]\t{rest}\n")
    with pytest.raises(InputError, match=r"Ses01F_impro01.txt, line \d+ has times but no turn with a label"):
        describe_iemocap(tree)


def test_id_that_stands_twice_is_found_among_left_out_labels(tree):
    add_turn(tree, "Ses01F_impro01_F000", "xxx")
    with pytest.raises(InputError, match=r"Ses01F_impro01_F000: the id stands twice \(.*line 3 and .*line \d+\)"):
        describe_iemocap(tree)


def test_byte_order_mark_loses_no_turn(tree):
    path = tree / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().split(b"\n\n", 1)[1])  # the first turn is the first line
    assert len(describe_iemocap(tree)) == 40


@pytest.mark.parametrize("content", [b"", "[1.0 - 2.0]\tSes01F_impro01_F000\tang\t[2, 2, 2]\n".encode("utf-16")])
def test_annotation_file_without_a_turn_is_named(tree, content):
    (tree / "Session1" / "dialog" / "EmoEvaluation" / "Ses01F_impro01.txt").write_bytes(content)
    with pytest.raises(InputError, match="Ses01F_impro01.txt holds no turn: copy it again"):
        describe_iemocap(tree)


def test_iemocap_is_known_by_its_size_when_no_part_is_whole(known):
    firsts = ("Ses01F_impro01_F000", "Ses01M_script01_1b_F000", "Ses02F_impro01_F000", "Ses02M_script01_1b_F000")
    left = [row for row in known if row["id"] not in firsts]
    is_iemocap, faults = compare_with_iemocap(left)
    assert is_iemocap
    assert faults[0] == "36 utterances found, 40 expected"
    assert len(faults) == 5  # and each part
    assert compare_with_iemocap(left[::4]) == (False, [])


def test_excited_is_a_class_of_its_own_if_it_is_chosen(tree):
    six = prepare_corpus("iemocap", tree, emotions=["hap", "sad", "neu", "ang", "exc"], progress=False)
    labels = [entry["emo"] for entry in six.manifest.values()]
    assert (labels.count("hap"), labels.count("exc")) == (8, 8)


def test_improvised_part_alone(tree, known, monkeypatch):
    counts = PublishedCounts({"ang": 4, "hap": 8, "neu": 4, "sad": 4})
    monkeypatch.setitem(iemocap.CORPUS.part_counts, "improvised", counts)
    found = prepare_corpus("iemocap", tree, progress=False, part="improvised")
    assert {entry["style"] for entry in found.manifest.values()} == {"improvised"}
    assert (len(found.manifest), found.faults, found.limits) == (20, [], ["Only the improvised part is used."])
    with pytest.raises(InputError, match="4 of ang, 814 expected"):
        prepare_corpus("iemocap", tree, progress=False, part="scripted")
    with pytest.raises(
        InputError, match="corpus_part of IEMOCAP must be one of improvised, scripted, all, got 'impro'"
    ):
        prepare_corpus("iemocap", tree, progress=False, part="impro")


def test_parts_are_published_with_the_same_counts():
    parts = iemocap.PART_COUNTS.values()
    assert [sum(part.emotions[emo] for part in parts) for emo in iemocap.EMOTIONS] == [1103, 1636, 1084, 1708]
