"""Clips that share a stretch of a recording."""

import os
import shutil

import pytest

from speechbrain_ext.dataio.folds import check_no_leak
from speechbrain_ext.dataio.overlaps import describe_overlaps, find_overlaps, mark_same_files
from speechbrain_ext.errors import InputError


def clips(*times, wav="{data_root}/long.wav"):
    """Describe clips a, b, ... of one recording, each in a group and of a speaker of its own; None is all of it."""
    manifest = {}
    for name, time in zip("abcdef", times):
        entry = {"wav": wav, "duration": 9.0, "speaker": name, "group": name, "emo": "sad"}
        manifest[name] = {**entry, "start": time[0], "duration": time[1] - time[0]} if time else entry
    return manifest


def by_group(manifest):
    """Find the overlaps between groups."""
    return find_overlaps(manifest, {utt_id: entry["group"] for utt_id, entry in manifest.items()})


def test_segments_overlap_where_they_share_a_stretch():
    assert by_group(clips((0, 1), (1, 2), (2, 3))) == []
    assert by_group(clips((0, 1.2), (1.2 - 1e-9, 2))) == []  # rounding
    assert by_group(clips((1, 2), (0, 1.5))) == [("b", "a")]
    assert by_group(clips((0, 9), (1, 2), (3, 4))) == [("a", "b"), ("a", "c")]  # not only neighbours
    assert by_group(clips((3, 4), None)) == [("b", "a")]


def test_clips_of_one_side_or_of_other_recordings_do_not_overlap():
    manifest = clips((0, 2), (1, 3))
    assert find_overlaps(manifest, dict.fromkeys(manifest, "train")) == []
    manifest["b"]["wav"] = "other.wav"
    assert by_group(manifest) == []


@pytest.mark.parametrize("make", [shutil.copy, os.symlink, os.link])
@pytest.mark.parametrize("time", [(0.5, 2.5), None])
def test_segments_of_a_copy_overlap_as_those_of_the_recording(tmp_path, make, time):
    (tmp_path / "long.wav").write_bytes(b"the same")
    (tmp_path / "other.wav").write_bytes(b"as long.")
    make(tmp_path / "long.wav", tmp_path / "copy.wav")
    manifest = {**clips((0, 2)), **{name: clips(None, time)["b"] for name in "bc"}}
    manifest["b"]["wav"], manifest["c"]["wav"] = "{data_root}/other.wav", f"{tmp_path}/copy.wav"
    assert by_group(manifest) == []
    mark_same_files(manifest, tmp_path)
    assert [len(pair) for pair in by_group(manifest)] == [2] and "b" not in by_group(manifest)[0]
    (said,) = describe_overlaps(manifest).values()
    assert "long.wav" in said and "copy.wav" in said and said.endswith(", which are one recording.")


def test_files_are_compared_where_there_are_segments_only(tmp_path):
    manifest = clips(None, None)
    mark_same_files(manifest, tmp_path / "nothing is opened")
    assert manifest == clips(None, None)


def test_overlaps_are_described_with_times_and_groups():
    said = "a (0.00 s to 2.00 s, group a) and b (1.50 s to 3.00 s, group b) overlap in long.wav."
    assert describe_overlaps(clips((0, 2), (1.5, 3))) == {"b": said}


def test_overlap_of_training_and_test_is_a_leak():
    manifest = clips((0, 2), (1.5, 3), (5, 6))
    check_no_leak(manifest, ["a"], ["c"])
    said = "a and b overlap in {data_root}/long.wav, and one is in the test part, the other in training or validation."
    with pytest.raises(InputError) as error:
        check_no_leak(manifest, ["a", "c"], ["b"])
    assert str(error.value).startswith(said)
