"""MSP-Podcast: its list of labels in several releases, its own split, and speakers whom nobody has identified."""

import pytest

from speechbrain_ext.corpora import msp_podcast, prepare_corpus
from speechbrain_ext.errors import InputError
from tests.corpora.corpus_trees import read_incomplete, tiny_wav

HEADER = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"
LINES = (
    "MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,30,Male,Test1",
    "MSP-PODCAST_0001_0009.wav,A,2.2,4.0,2.6,39,Female,Test1",
    "MSP-PODCAST_0002_0001.wav,A,5.2,4.0,2.6,7,Male,Train",
    "MSP-PODCAST_0002_0002.wav,N,5.2,4.0,2.6,Unknown,Unknown,Train",
    "MSP-PODCAST_0003_0001.wav,N,5.2,4.0,2.6,Unknown,Unknown,Train",
    "MSP-PODCAST_0004_0001.wav,C,5.2,4.0,2.6,8,Male,Development",
    "MSP-PODCAST_0005_0001.wav,H,5.2,4.0,2.6,9,Male,Test2",
    "MSP-PODCAST_0005_0002.wav,X,5.2,4.0,2.6,9,Male,Test2",
)


def make_tree(folder, lines=LINES, labels="Labels/labels_consensus.csv", audio="Audios"):
    (folder / audio).mkdir()
    for i, line in enumerate(lines):
        (folder / audio / line.split(",")[0]).write_bytes(tiny_wav(1600 + 16 * i))
    (folder / labels).parent.mkdir(exist_ok=True)
    (folder / labels).write_text(HEADER + "\n".join(lines) + "\n")
    return folder


def test_split_is_kept_with_one_fold_for_each_test_set(tmp_path):
    manifest = read_incomplete("msp_podcast", make_tree(tmp_path)).manifest
    assert {utt_id[12:]: (entry["emo"], entry["parts"], entry["group"]) for utt_id, entry in manifest.items()} == {
        "0001_0008": ("neu", ["test", ""], "Test1"),
        "0001_0009": ("ang", ["test", ""], "Test1"),
        "0002_0001": ("ang", ["train", "train"], "Train"),
        "0002_0002": ("neu", ["train", "train"], "Train"),
        "0003_0001": ("neu", ["train", "train"], "Train"),
        "0004_0001": ("con", ["valid", "valid"], "Development"),
        "0005_0001": ("hap", ["", "test"], "Test2"),
    }  # fmt: skip
    assert manifest["MSP-PODCAST_0001_0009"]["gender"] == "female"


def test_unidentified_speakers_are_not_one_speaker(tmp_path):
    rows = msp_podcast.read_rows(make_tree(tmp_path))
    assert [row["speaker"] for row in rows[2:5]] == ["7", "MSP-PODCAST_0002", "MSP-PODCAST_0003"]


def test_names_of_early_releases_are_read(tmp_path):
    lines = [line.replace("Development", "Validation") for line in LINES]
    rows = msp_podcast.read_rows(make_tree(tmp_path, lines, "labels_concensus.csv", "Audio"))
    assert rows[5]["parts"] == ["valid", "valid"] and rows[5]["wav"] == "Audio/MSP-PODCAST_0004_0001.wav"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tree, path: path.unlink(),
            "holds no Labels/labels_consensus.csv. Give the folder that holds Labels and",
        ),
        (
            lambda tree, path: path.write_text("a,b\n1,2\n"),
            "lacks the columns FileName, EmoClass, SpkrID, Gender, Split_Set",
        ),
        (
            lambda tree, path: path.write_text(HEADER + LINES[0].replace(",N,", ",Q,")),
            "row 2: the label 'Q' is unknown",
        ),
        (lambda tree, path: path.write_text(HEADER + LINES[2]), "lists no test set"),
        (
            lambda tree, path: (tree / "Audios" / "MSP-PODCAST_0004_0001.wav").unlink(),
            "1 of 7 recordings cannot be used:\nlabels_consensus.csv, row 7, MSP-PODCAST_0004_0001: .*No such file",
        ),
    ],
)
def test_what_is_missing_is_named(tmp_path, change, message):
    tree = make_tree(tmp_path)
    change(tree, tree / "Labels" / "labels_consensus.csv")
    with pytest.raises(InputError, match=message):
        prepare_corpus("msp_podcast", tree, progress=False)
