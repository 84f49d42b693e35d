"""What an audit finds in folds that were made by hand."""

import numpy as np
import pytest
import soundfile
from scipy import stats

from speechbrain_ext.corpora.split_files import Split
from speechbrain_ext.errors import InputError
from speechbrain_ext.results.audit import audit_split, compare_with_published, label_shift


def make_split(parts, corpus=None, roots=(), **fields):
    """Make one fold from {part: ids}; `fields` are {name: a text for each utterance, in order}."""
    ids = list(dict.fromkeys(utt_id for members in parts.values() for utt_id in members))
    utterances = {utt_id: {} for utt_id in ids}
    for name, values in fields.items():
        for utt_id, value in zip(ids, values):
            utterances[utt_id] |= {name: value} if value else {}
    folds = [{part: list(parts.get(part, ())) for part in ("train", "valid", "test")}]
    return Split(utterances, folds, corpus, list(roots))


def shared(split, between="test", **options):
    """Return {key: (n, of)} of what is shared, where anything is, and the names."""
    (fold,) = audit_split(split, **options)["folds"]
    return {one["key"]: (one["n"], one["of"]) for one in fold["shared"] if one["between"][0] == between and one["n"]}


def test_shared_speakers_sessions_dialogues_and_groups_are_counted():
    split = make_split(
        {"train": "ab", "valid": "c", "test": "def"},
        speaker=["s1", "s2", "s3", "s2", "s3", "s9"],  # of three tested, one is trained on and one is validated on
        session=["1", "1", "1", "2", "2", "2"],
        dialogue=["x", "y", "z", "x", "v", "w"],
        group=["g1", "g2", "g3", "g4", "g5", "g5"],
    )
    found = audit_split(split)
    assert shared(split) == {"speaker": (2, 3), "dialogue": (1, 3)}
    assert found["leak"]
    speaker = next(one for one in found["folds"][0]["shared"] if one["key"] == "speaker")
    assert (speaker["names"], speaker["leak"]) == (["s2", "s3"], True)


def test_parts_that_share_nothing_are_clean():
    split = make_split({"train": "ab", "valid": "c", "test": "d"}, speaker="wxyz", group="1234")
    found = audit_split(split)
    assert (found["leak"], shared(split)) == (False, {})
    assert found["folds"][0]["cautions"] == []


def test_speakers_shared_with_validation_are_said_and_are_no_leak():
    split = make_split({"train": "ab", "valid": "c", "test": "d"}, speaker=["x", "y", "x", "z"])
    assert shared(split, "validation") == {"speaker": (1, 1)}
    assert not audit_split(split)["leak"]


def test_an_utterance_or_a_recording_in_two_parts_is_a_leak():
    assert shared(make_split({"train": "ab", "test": "bc"})) == {"id": (1, 2)}
    paths = make_split({"train": "a", "test": "b"}, wav=["x/1.wav", "x/1.wav"])
    assert shared(paths) == {"wav": (1, 1)}
    validation = make_split({"train": "ab", "valid": "b", "test": "c"})
    assert shared(validation, "validation") == {"id": (1, 1)} and audit_split(validation)["leak"]


def test_recordings_are_compared_by_their_samples_where_they_are(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 8000))
    for name, i in (("a", 0), ("b", 1), ("c", 0)):
        soundfile.write(tmp_path / f"{name}.wav", samples[i], 16000)
    (tmp_path / "d.wav").write_bytes(b"no audio")
    split = make_split(
        {"train": "ab", "test": "cde"}, wav=[f"{name}.wav" for name in "abcde"], length=["0.5", "0.9", "?", "", ""]
    )
    assert shared(split) == {}
    assert shared(split, audio=[tmp_path]) == {"content": (1, 1)}  # of d and e there is nothing to compare
    found = audit_split(split, [tmp_path])["audio"]
    assert (found["listed"], found["found"], found["copies"]) == (5, 4, [["a", "c"]])
    assert len(found["unreadable"]) == 1 and "d.wav" in found["unreadable"][0]
    assert found["altered"] == ["b lasts 0.50 s, listed 0.90 s"]


def test_names_are_one_in_all_spellings_unless_a_part_has_both():
    split = make_split({"train": "ab", "test": "cd"}, speaker=["s1", "S2", "S01", "s3"])
    (speaker,) = (one for one in audit_split(split)["folds"][0]["shared"] if one["key"] == "speaker" and one["n"])
    assert (speaker["names"], speaker["alike"]) == (["S01"], ["S01 as s1"])
    assert shared(make_split({"train": "ab", "test": "cd"}, speaker=["ab", "AB", "Ab", "AB"])) == {"speaker": (1, 2)}
    split = make_split({"train": "ab", "test": "c"}, speaker=["ab", "AB", "Ab"])
    assert shared(split) == {}
    assert audit_split(split)["folds"][0]["cautions"][-1] == (
        "Of the test speakers, Ab may be some of training or validation in another spelling; one part has several "
        "spellings, so they count as others."
    )


def test_groups_that_are_the_speakers_are_counted_once():
    split = make_split({"train": "a", "test": "b"}, speaker=["x", "x"], group=["x", "x"])
    assert shared(split) == {"speaker": (1, 1)}


def test_empty_validation_double_ids_and_new_labels_are_said():
    split = make_split({"train": "aab", "test": "cd"}, emo=["ang", "sad", "ang", "fea"], speaker=["1", "2", "", "4"])
    assert audit_split(split)["folds"][0]["cautions"] == [
        "There is no validation part: what is chosen, such as the epoch, is chosen on training or test data.",
        "1 utterances stand twice in the train part (the first is a).",
        "Tested, but not trained on: fea.",
        "Nothing says who speaks in 1 of 2 test utterances: whether these speakers are trained on cannot be told.",
    ]


def test_label_shift_is_the_chi_squared_test():
    # Expected counts are 20 everywhere: chi2 = 4 * (10 ** 2 / 20) = 20 with one degree of freedom; V = sqrt(20 / 80).
    found = label_shift({"train": ["ang"] * 30 + ["sad"] * 10, "valid": [], "test": ["ang"] * 10 + ["sad"] * 30})
    assert found["p"] == pytest.approx(stats.chi2.sf(20, 1))
    assert (found["cramers_v"], found["largest"], found["points"]) == (pytest.approx(0.5), "ang", -0.5)


def test_label_shift_of_equal_shares_is_none():
    found = label_shift({"train": ["ang", "sad"] * 10, "test": ["ang", "sad"] * 3})
    assert (found["p"], found["cramers_v"], found["points"]) == (1.0, 0.0, 0.0)
    assert label_shift({"train": ["ang"], "test": ["ang"]}) is None
    assert label_shift({"train": ["ang", "sad"], "test": []}) is None


def test_counts_are_compared_with_the_published_ones():
    found = compare_with_published(make_split({"train": ["x"], "test": ["y"]}, "savee", emo=["Angry", "sad"]))
    assert not found["complete"]
    assert found["differences"][:3] == [
        "2 utterances found, 480 expected",
        "1 of ang, 60 expected",
        "0 of dis, 60 expected",
    ]
    assert compare_with_published(make_split({"train": "a", "test": "b"})) is None


def test_labels_that_contradict_the_names_are_said():
    split = make_split({"train": ["a"], "test": ["b"]}, "emodb", emo=["anger", "happy"])
    split.utterances["a"]["named"] = split.utterances["b"]["named"] = {"emo": "hap"}
    assert audit_split(split)["faults"] == [
        "1 labels contradict the names of the recordings: a is labelled anger, and by its name it is hap."
    ]


def test_a_recording_that_cannot_be_read_to_its_end_stops_the_comparison_alone(tmp_path, monkeypatch):
    def refuse(*_):
        raise InputError("a: the recording ends early.")

    monkeypatch.setattr("speechbrain_ext.results.audit_audio.find_copies", refuse)
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(8000), 16000)
    found = audit_split(make_split({"train": "a", "test": "b"}, wav=["a.wav", "b.wav"]), [tmp_path])
    assert (found["audio"]["found"], found["audio"]["compared"]) == (2, 0)
    assert found["audio"]["unreadable"] == ["a: the recording ends early."]
    assert not found["leak"]
