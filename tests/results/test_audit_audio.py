"""Recordings are found in the folders that they may be in."""

import os

from speechbrain_ext.results.audit_audio import compare_recordings, find_files


def test_the_first_folder_that_has_a_recording_counts(tmp_path):
    for name in ("a/x.wav", "b/x.wav", "b/in/y.wav", "c.wav/z.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listed = {"x": "x.wav", "y": "in/y.wav", "up": "../a/x.wav", "folder": "../c.wav", "no": "n\0/x.wav"}
    listed["whole"] = str(tmp_path / "b/x.wav")
    found = find_files(listed, [tmp_path / "nowhere", tmp_path / "a", tmp_path / "b"])
    assert found == {
        "x": tmp_path / "a/x.wav",
        "y": tmp_path / "b/in/y.wav",
        "up": tmp_path / "a/../a/x.wav",
        "whole": tmp_path / "b/x.wav",
    }


def test_each_folder_is_listed_once(tmp_path, monkeypatch):
    listings = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: listings.append(folder) or real(folder))
    assert find_files({str(i): f"wavs/{i}.wav" for i in range(100)}, [tmp_path, tmp_path]) == {}
    assert listings == [str(tmp_path / "wavs")]


def test_folders_that_hold_none_of_the_recordings_are_named(tmp_path):
    (tmp_path / "a").mkdir()
    _, found = compare_recordings({"u": {"wav": "u.wav"}}, [], [tmp_path / "a"])
    assert (found["listed"], found["found"], found["unused"]) == (1, 0, [str(tmp_path / "a")])
