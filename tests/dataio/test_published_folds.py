"""Folds that a corpus was published with: they are used as they are, and what they leak is said."""

import pytest

from speechbrain_ext.dataio.folds import PUBLISHED, fold_names, make_fold, shared_speakers
from speechbrain_ext.dataio.published_folds import count_published_folds, describe_leaks
from speechbrain_ext.errors import InputError

EMOTIONS = ("ang", "sad")
# Two folds of a corpus of three speakers: both test on speaker a, who is trained on, and leave c's second clip out.
PARTS = {
    "a1": ["test", "train"], "a2": ["train", "test"],
    "b1": ["train", "train"], "b2": ["train", "train"],
    "c1": ["train", "train"], "c2": ["", ""],
}  # fmt: skip


def corpus(parts=PARTS):
    """Make a corpus in which the first letter of an id is its speaker, and the digit its emotion and its group."""
    return {
        utt_id: {"emo": EMOTIONS[int(utt_id[1]) - 1], "speaker": utt_id[0], "group": utt_id[1], "parts": list(of_folds)}
        for utt_id, of_folds in parts.items()
    }


def test_overlapping_clips_of_test_and_training_are_said():
    times = {"a": (0.0, "s1"), "b": (1.0, "s2"), "c": (2.5, "s3")}  # 2 s each, of one recording
    manifest = {
        utt_id: {"wav": "x.wav", "start": start_s, "duration": 2.0, "speaker": speaker, "group": speaker}
        for utt_id, (start_s, speaker) in times.items()
    }
    assert describe_leaks(manifest, ["a"], ["b"]) == ["1 clips overlap in their recordings (a and b, for one)"]
    assert describe_leaks(manifest, ["a"], ["c"]) == []


def test_published_folds_are_used_whatever_the_groups():
    manifest = corpus()
    assert fold_names(manifest) == [PUBLISHED, PUBLISHED]
    first, second = (make_fold(manifest, k, validation="none", emotions=EMOTIONS) for k in (1, 2))
    assert (first.test, first.train, first.valid) == (["a1"], ["a2", "b1", "b2", "c1"], [])
    assert (second.test, second.train) == (["a2"], ["a1", "b1", "b2", "c1"])
    assert first.test_group == PUBLISHED
    assert first.validation == "none"


def test_published_folds_say_what_they_share_between_training_and_test():
    assert make_fold(corpus(), 1, validation="none").cautions == (
        "Fold 1 is used as published, and it shares 1 of 1 test speakers with training (a).",
        "Fold 1 is used as published, and it shares 1 of 1 test groups with training (1).",
    )
    apart = corpus({"a1": ["test"], "b2": ["train"]})
    assert make_fold(apart, 1, validation="none").cautions == ()


def test_published_folds_count_validation_as_training():
    parts = {"a1": ["valid"], "a2": ["test"], "b1": ["train"], "b2": ["train"]}
    assert "shares 1 of 1 test speakers with training (a)" in make_fold(corpus(parts), 1).cautions[0]
    assert "speakers" not in make_fold(corpus(parts), 1, validation="none").cautions[0]  # then nobody uses a1


@pytest.mark.parametrize("validation", ["random", "speaker", "group"])
def test_a_published_validation_part_is_used_in_place_of_another(validation):
    parts = {"a1": ["test"], "b1": ["valid"], "b2": ["train"], "c1": ["train"]}
    fold = make_fold(corpus(parts), 1, validation)
    assert (fold.train, fold.valid, fold.validation) == (["b2", "c1"], ["b1"], "published")


def test_no_validation_leaves_the_published_part_unused():
    parts = {"a1": ["test"], "b1": ["valid"], "b2": ["train"], "c1": ["train"]}
    fold = make_fold(corpus(parts), 1, "none")
    assert (fold.train, fold.valid, fold.validation) == (["b2", "c1"], [], "none")


def test_speakers_held_out_of_a_published_fold_are_not_trained_on():
    fold = make_fold(corpus(), 1, "speaker", valid_fraction=0.3, emotions=EMOTIONS)
    assert fold.valid in (["b1", "b2"], ["c1"])  # without a, nothing but b2 were left of "sad"
    assert sorted(fold.train + fold.valid) == ["a2", "b1", "b2", "c1"]
    assert fold.test == ["a1"]


def test_describe_leaks_names_recordings_under_two_ids():
    manifest = corpus({"a1": ["test"], "b2": ["train"], "c2": ["train"]})
    manifest["c2"]["copy_of"] = "a1"
    assert describe_leaks(manifest, ["b2", "c2"], ["a1"]) == [
        "1 of 1 test recordings are also in training under another id (a1 is c2)"
    ]
    manifest["b2"]["copy_of"] = "a0"  # a recording that is left out
    manifest["a1"]["copy_of"] = "a0"
    assert "(a1 is b2)" in describe_leaks(manifest, ["b2"], ["a1"])[0]


def test_describe_leaks_says_that_speakers_are_not_known():
    manifest = corpus({"a1": ["test"], "a2": ["test"], "b2": ["train"]})
    manifest["a1"]["speaker"] = manifest["b2"]["speaker"] = "unknown"
    assert describe_leaks(manifest, ["b2"], ["a1", "a2"]) == [
        "it does not say who speaks in 1 of 2 test utterances",
        "it shares 1 of 2 test groups with training (2)",
    ]


def test_describe_leaks_names_five_of_many():
    manifest = {f"{part}{i}": {"speaker": str(i), "group": str(i)} for i in range(6) for part in ("train", "test")}
    seen, tested = ([f"{part}{i}" for i in range(6)] for part in ("train", "test"))
    assert describe_leaks(manifest, seen, tested) == [
        "it shares 6 of 6 test speakers with training (0, 1, 2, 3, 4, ...)"
    ]


@pytest.mark.parametrize("fold", [0, 3, "1"])
def test_a_published_fold_that_does_not_exist_is_refused(fold):
    message = rf"fold must be a whole number from 1 to 2 \(the corpus was published with so many folds\), got {fold!r}"
    with pytest.raises(InputError, match=message):
        make_fold(corpus(), fold)


@pytest.mark.parametrize("parts", [None, ["test"], ["test", "train", ""], ["test", "dev"], "tt"])
def test_parts_that_do_not_fit_name_the_utterance(parts):
    manifest = corpus()
    manifest["b1"]["parts"] = parts
    with pytest.raises(InputError, match="^b1: parts must be one of train, valid, test or an empty text for each of"):
        count_published_folds(manifest)


def test_a_published_fold_without_a_test_part_is_refused():
    with pytest.raises(InputError, match="nothing is left to test on in fold 1: its published test part is empty"):
        make_fold(corpus({"a1": ["train"], "b2": ["train"]}), 1, "none")


def test_speakers_of_several_groups_are_no_fault_of_published_folds():
    manifest = corpus()
    assert shared_speakers(manifest) == []
    assert shared_speakers({utt_id: {**entry, "group": utt_id[1]} for utt_id, entry in manifest.items()}) == []
