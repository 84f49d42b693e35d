"""Recordings that are in a corpus twice: which are found, and which are none."""

import numpy as np
import pytest
import soundfile as sf

from speechbrain_ext.dataio.copies import describe_copies, find_copies, mark_copies


@pytest.fixture
def wav():
    """Return a second of noise, as 16-bit samples."""
    return np.random.default_rng(1).integers(-9000, 9000, 16000).astype(np.int16)


def corpus(folder, recordings, groups):
    """Write recordings, and describe them: the n-th letter's file, in the n-th group."""
    manifest = {}
    for name, samples, group in zip("abcd", recordings, groups):
        sf.write(folder / f"{name}.wav", samples, 16000)
        manifest[name] = {
            "wav": f"{{data_root}}/{name}.wav", "duration": len(samples) / 16000, "emo": "sad", "speaker": "s",
            "group": group,
        }  # fmt: skip
    return manifest


def test_find_copies_pairs_the_first_with_each_other(tmp_path, wav):
    manifest = corpus(tmp_path, [wav, wav[::-1], wav, wav], "1111")
    assert find_copies(manifest, tmp_path) == [("a", "c"), ("a", "d")]


def test_find_copies_tells_apart_what_differs_in_one_sample_or_in_length(tmp_path, wav):
    last = np.concatenate([wav[:-1], wav[:1]])
    manifest = corpus(tmp_path, [wav, last, wav[:8000], wav[:-1]], "1111")
    assert find_copies(manifest, tmp_path) == []


def test_find_copies_is_independent_of_the_format_and_the_channels(tmp_path, wav):
    manifest = corpus(tmp_path, [wav, np.stack([wav, wav], axis=1)], "11")
    sf.write(tmp_path / "c.flac", wav, 16000)
    manifest["c"] = {**manifest["a"], "wav": "{data_root}/c.flac"}
    assert find_copies(manifest, tmp_path) == [("a", "b"), ("a", "c")]


def test_find_copies_takes_silence_for_a_copy_only_if_it_is_one_file(tmp_path, wav):
    manifest = corpus(tmp_path, [np.zeros(16000), np.zeros(16000), wav], "121")
    assert find_copies(manifest, tmp_path) == []
    manifest["d"] = manifest["a"]
    assert find_copies(manifest, tmp_path) == [("a", "d")]


def test_describe_copies_tells_two_groups_from_one(tmp_path, wav):
    manifest = corpus(tmp_path, [wav, wav, wav[::-1], wav[::-1]], "1112")
    manifest["b"]["emo"] = "ang"
    leaks, others = describe_copies(manifest, find_copies(manifest, tmp_path))
    assert leaks == {"d": "c and d are one recording (c.wav and d.wav), in the groups 1 and 2."}
    assert others == ["a and b are one recording (a.wav and b.wav), labelled ang and sad."]


def test_find_copies_compares_segments_not_their_recordings(tmp_path, wav):
    manifest = corpus(tmp_path, [wav, np.concatenate([wav[8000:], wav[:8000]])], "11")
    first, other = manifest.values()
    halves = {"a1": (first, 0.0), "a2": (first, 0.5), "b1": (other, 0.5)}
    manifest = {utt_id: {**entry, "start": start, "duration": 0.5} for utt_id, (entry, start) in halves.items()}
    assert find_copies(manifest, tmp_path) == [("a1", "b1")]


def test_mark_copies_names_the_first_of_them(tmp_path, wav):
    manifest = corpus(tmp_path, [wav, wav[::-1], wav, wav], "1234")
    mark_copies(manifest, find_copies(manifest, tmp_path))
    assert {utt_id: entry["copy_of"] for utt_id, entry in manifest.items() if "copy_of" in entry} == {
        "c": "a",
        "d": "a",
    }
