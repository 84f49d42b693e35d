"""Finding recordings by their names: once, sorted, whatever else lies beside them; and comparing counts."""

import os
import re

import pytest

from speechbrain_ext.corpora.file_names import FEMALE, NamedFiles, list_files
from speechbrain_ext.errors import InputError
from tests.corpora.corpus_trees import write_tree

read = NamedFiles("Corpus", "a_1.wav", r"(?P<id>(?P<speaker>[a-z])_\d+(?P<emo>s?))", {"": "sad", "s": "sad"})


def test_recordings_are_found_at_any_depth_sorted_and_with_capital_endings(tmp_path):
    write_tree(tmp_path, ["x/b_1.WAV", "a_2.flac", "x/y/a_1.wav", "x/._b_1.wav", "__MACOSX/b_2.wav", ".git/b_3.wav"])
    (tmp_path / "x" / "a_3.txt").touch()
    assert [(row["id"], row["wav"]) for row in read(tmp_path)] == [
        ("a_2", "a_2.flac"), ("b_1", "x/b_1.WAV"), ("a_1", "x/y/a_1.wav")
    ]  # fmt: skip


def test_capitals_do_not_matter_and_speakers_are_known_by_the_table(tmp_path):
    names = NamedFiles(
        "Corpus",
        "Anna/a1.wav",
        r"(?P<speaker>[A-Z]+)/(?P<rest>(?P<emo>[as])\d)",
        {"a": "ang", "s": "sad"},
        {"Anna": FEMALE},
    )
    write_tree(tmp_path, ["ANNA/S1.WAV", "ann/a2.wav", "ben/a1.wav"])
    assert names(tmp_path) == [
        {"id": "Anna_S1", "emo": "sad", "speaker": "Anna", "group": "Anna", "gender": "female", "wav": "ANNA/S1.WAV"},
        {"id": "Anna_a2", "emo": "ang", "speaker": "Anna", "group": "Anna", "gender": "female", "wav": "ann/a2.wav"},
        {"id": "ben_a1", "emo": "ang", "speaker": "ben", "group": "ben", "wav": "ben/a1.wav"},
    ]


def test_a_folder_is_listed_once(tmp_path, monkeypatch):
    write_tree(tmp_path, [f"{folder}/{speaker}_{i}.wav" for folder in "xy" for speaker in "ab" for i in range(9)])
    listed, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(str(path)) or scandir(path))
    assert len(list(list_files(tmp_path, (".wav",)))) == 36
    assert sorted(listed) == sorted([str(tmp_path), str(tmp_path / "x"), str(tmp_path / "y")])


def test_linked_folders_are_followed_and_circles_are_not(tmp_path):
    write_tree(tmp_path / "disk", ["a_1.wav"])
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "wav").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "up").symlink_to(tmp_path / "corpus")
    assert [row["wav"] for row in read(tmp_path / "corpus")] == ["wav/a_1.wav"]


def test_other_names_are_left_out_with_one_warning(tmp_path, caplog):
    write_tree(tmp_path, ["a_1.wav", "noise.wav", "AA_1.wav"])
    assert [row["id"] for row in read(tmp_path)] == ["a_1"]
    assert caplog.messages == [
        f"2 recordings in {tmp_path} are not named as Corpus's are (a_1.wav), and are left out: AA_1.wav, ...."
    ]


def test_second_copy_of_the_same_file_is_left_out_and_another_file_is_not(tmp_path, caplog):
    write_tree(tmp_path, ["a_1.wav", "again/a_1.wav", "again/a_2.wav"])
    assert [row["wav"] for row in read(tmp_path)] == ["a_1.wav", "again/a_2.wav"]
    assert "1 recordings in" in caplog.text and "there twice; the second is left out: again/a_1.wav." in caplog.text
    (tmp_path / "again" / "a_1.wav").write_bytes(b"another")
    assert [row["id"] for row in read(tmp_path)] == ["a_1", "a_2", "a_1"]  # check_rows refuses it


@pytest.mark.parametrize(
    ("paths", "hint"),
    [
        ([], "It has no recordings. Check the path."),
        (["03a01Wa.wav"], "It has 1 recordings with other names, the first is 03a01Wa.wav. Is it another corpus?"),
        (["corpus.zip", "03a01Wa.wav"], "corpus.zip is still packed: unpack it first."),
    ],
)
def test_folder_without_the_corpus_is_refused_with_the_cure(tmp_path, paths, hint):
    write_tree(tmp_path, paths)
    with pytest.raises(InputError, match=f"holds no recording named as Corpus's are, .* a_1.wav.*{re.escape(hint)}"):
        read(tmp_path)


def test_files_with_other_endings_are_not_listed(tmp_path):
    write_tree(tmp_path, ["a.wav", "b.mp4", "c.MP4"])
    assert [str(path) for path in list_files(tmp_path, (".mp4",))] == ["b.mp4", "c.MP4"]
