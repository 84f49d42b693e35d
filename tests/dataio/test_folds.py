"""Folds: who is tested on what, how the validation part is drawn, and which splits are refused."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_ext.dataio.folds import check_no_leak, make_fold, shared_speakers
from speechbrain_ext.errors import InputError

# Utterances of each emotion in each of five groups; outside a test group there are four times as many.
PER_GROUP = {"ang": 6, "hap": 9, "sad": 10, "neu": 20}


def corpus(per_group=PER_GROUP, groups="12345"):
    """Make a corpus in which each group has two speakers, who take turns."""
    return {
        f"{group}_{emo}_{i:02}": {"emo": emo, "speaker": f"{group}{'FM'[i % 2]}", "group": group}
        for group in groups
        for emo, n in per_group.items()
        for i in range(n)
    }


def values(manifest, utt_ids, field):
    """Collect what the utterances have in a field."""
    return {manifest[utt_id][field] for utt_id in utt_ids}


@pytest.mark.parametrize("validation", ["random", "group", "none"])
@pytest.mark.parametrize("fold", [1, 2, 3, 4, 5])
def test_make_fold_tests_on_all_of_the_kth_group_and_nothing_else(fold, validation):
    manifest = corpus()
    parts = make_fold(manifest, fold, validation)
    assert parts.test_group == str(fold)
    assert parts.test == sorted(utt_id for utt_id in manifest if utt_id.startswith(f"{fold}_"))
    assert not {f"{fold}F", f"{fold}M"} & values(manifest, parts.train + parts.valid, "speaker")


def test_make_fold_numbers_groups_in_sorted_order():
    manifest = {name: {"emo": "sad", "speaker": name, "group": name} for name in ("c", "a", "b")}
    assert [make_fold(manifest, k, "none").test for k in (1, 2, 3)] == [["a"], ["b"], ["c"]]


@pytest.mark.parametrize("fold", [0, 6, -1, "a", "1", True, 1.5, 1.0, None])
def test_make_fold_refuses_a_fold_that_does_not_exist(fold):
    with pytest.raises(InputError) as error:
        make_fold(corpus(), fold)
    message = f"fold must be a whole number from 1 to 5 (the corpus has the groups 1, 2, 3, 4, 5), got {fold!r}."
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("fraction", "counts"),
    [
        (0.1, {"ang": 2, "hap": 4, "sad": 4, "neu": 8}),  # of 24, 36, 40 and 80
        (0.2, {"ang": 5, "hap": 7, "sad": 8, "neu": 16}),
    ],
)
def test_random_validation_is_a_share_of_each_emotion(fraction, counts):
    manifest = corpus()
    parts = make_fold(manifest, 3, valid_fraction=fraction)
    assert Counter(manifest[utt_id]["emo"] for utt_id in parts.valid) == counts
    assert parts.valid == sorted(set(parts.valid))
    assert parts.train == sorted(set(manifest) - set(parts.valid) - set(parts.test))


def test_random_validation_is_a_tenth_unless_told_otherwise():
    assert make_fold(corpus(), 3) == make_fold(corpus(), 3, validation="random", valid_fraction=0.1, seed=0)


def test_random_validation_shares_speakers_with_training():
    manifest = corpus()
    parts = make_fold(manifest, 3)
    assert values(manifest, parts.valid, "speaker") <= values(manifest, parts.train, "speaker")
    assert len(values(manifest, parts.valid, "speaker")) > 2


def test_random_validation_reaches_every_utterance():
    manifest = corpus({"sad": 3})
    drawn = set()
    for seed in range(150):  # each of 12 is missed with probability 0.92 ** 150
        drawn.update(make_fold(manifest, 1, seed=seed).valid)
    assert drawn == {utt_id for utt_id in manifest if not utt_id.startswith("1")}


def test_random_validation_is_decided_by_the_seed():
    manifest = corpus()
    assert make_fold(manifest, 2, seed=7) == make_fold(manifest, 2, seed=7)
    draws = {tuple(make_fold(manifest, 2, seed=seed).valid) for seed in range(5)}
    assert len(draws) == 5


def test_random_validation_is_drawn_anew_in_each_fold_and_emotion():
    manifest = corpus({"ang": 10, "sad": 10})
    places = set()
    for fold in range(1, 6):
        parts = make_fold(manifest, fold, valid_fraction=0.2)
        for emo in ("ang", "sad"):
            rest = sorted(u for u in parts.train + parts.valid if manifest[u]["emo"] == emo)
            places.add(tuple(rest.index(u) for u in parts.valid if manifest[u]["emo"] == emo))
    assert len(places) == 10  # one draw for all would take the same places of 40


def test_random_validation_leaves_the_global_random_state_alone():
    before = random.getstate()
    make_fold(corpus(), 1)
    assert random.getstate() == before


@pytest.mark.parametrize("validation", ["random", "group", "none"])
def test_make_fold_is_independent_of_the_manifests_order(validation):
    manifest = corpus()
    keys = list(manifest)
    random.Random(1).shuffle(keys)
    shuffled = {key: manifest[key] for key in keys}
    assert make_fold(shuffled, 4, validation, seed=3) == make_fold(manifest, 4, validation, seed=3)


@pytest.mark.parametrize(("fold", "valid_group"), [(1, "2"), (2, "3"), (4, "5"), (5, "1")])
def test_group_validation_is_the_next_group_and_shares_no_speaker(fold, valid_group):
    manifest = corpus()
    parts = make_fold(manifest, fold, "group")
    assert parts.valid == sorted(utt_id for utt_id in manifest if manifest[utt_id]["group"] == valid_group)
    assert values(manifest, parts.train, "group") == set("12345") - {str(fold), valid_group}
    assert not values(manifest, parts.train, "speaker") & values(manifest, parts.valid, "speaker")


def test_no_validation_trains_on_all_other_groups():
    manifest = corpus()
    parts = make_fold(manifest, 1, "none", valid_fraction=0)  # which is not used
    assert parts.valid == []
    assert parts.train == sorted(utt_id for utt_id in manifest if manifest[utt_id]["group"] != "1")


def test_make_fold_refuses_an_unknown_validation():
    with pytest.raises(InputError, match="validation must be one of random, group, speaker, none, got 'cross'"):
        make_fold(corpus(), 1, "cross")


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_make_fold_refuses_a_fraction_that_leaves_a_part_empty(fraction):
    with pytest.raises(InputError, match=f"valid_fraction must be a number between 0 and 1, got {fraction}"):
        make_fold(corpus(), 1, valid_fraction=fraction)


@pytest.mark.parametrize(
    ("validation", "utt_id"),
    [("random", "4_sad_03"), ("none", "4_sad_03"), ("group", "4_sad_03"), ("group", "2_sad_03")],  # the last validates
)
def test_make_fold_refuses_a_speaker_of_two_groups(validation, utt_id):
    manifest = corpus()
    manifest[utt_id]["speaker"] = "1M"
    message = rf"speaker '1M' of 1_\w+ in the test part is also in training or validation \({utt_id}\).*Correct"
    with pytest.raises(InputError, match=message):
        make_fold(manifest, 1, validation)


@pytest.mark.parametrize(
    ("seen", "message"),
    [
        (["a", "c"], "utterance c is in the test part and in training or validation"),
        (
            ["a", "same_group"],
            r"group 'g2' of c in the test part is also .* \(same_group\).*Correct the corpus's groups",
        ),
        (
            ["same_speaker"],
            r"speaker 's2' of c in the test part is also .* \(same_speaker\).*Correct the corpus's speakers",
        ),
    ],
)
def test_check_no_leak_names_what_is_shared(seen, message):
    manifest = {
        "a": {"speaker": "s1", "group": "g1"},
        "same_group": {"speaker": "s1", "group": "g2"},
        "same_speaker": {"speaker": "s2", "group": "g1"},
        "b": {"speaker": "s3", "group": "g3"},
        "c": {"speaker": "s2", "group": "g2"},
    }
    check_no_leak(manifest, ["a"], ["b", "c"])
    with pytest.raises(InputError, match=message):
        check_no_leak(manifest, seen, ["b", "c"])


def test_make_fold_unknown_label_names_the_utterance():
    manifest = corpus()
    manifest["2_ang_03"]["emo"] = "fru"
    message = "^2_ang_03: the label 'fru' is unknown; the emotions are ang, hap, sad, neu.*set --emotions"
    with pytest.raises(InputError, match=message):
        make_fold(manifest, 1, emotions=list(PER_GROUP))


@pytest.mark.parametrize(("fold", "validation"), [(1, "none"), (5, "group")])
def test_make_fold_refuses_an_emotion_without_training(fold, validation):
    manifest = corpus() | {"1_dis_0": {"emo": "dis", "speaker": "1F", "group": "1"}}
    message = f"no utterance of 'dis' is left to train on in fold {fold} .test group {fold}, validation '{validation}'"
    with pytest.raises(InputError, match=message):
        make_fold(manifest, fold, validation, emotions=[*PER_GROUP, "dis"])
    assert "1_dis_0" in make_fold(manifest, 2, validation, emotions=[*PER_GROUP, "dis"]).train


@pytest.mark.parametrize(
    ("groups", "validation", "needed"), [("1", "random", 2), ("1", "none", 2), ("1", "group", 3), ("12", "group", 3)]
)
def test_make_fold_refuses_a_corpus_of_too_few_groups(groups, validation, needed):
    message = (
        f"nothing is left to train on in fold 1: with validation '{validation}' the corpus needs at least {needed} "
        rf"groups, and has {len(groups)} \({', '.join(groups)}\)"
    )
    with pytest.raises(InputError, match=message):
        make_fold(corpus(groups=groups), 1, validation)


def test_make_fold_refuses_an_empty_validation_part():
    with pytest.raises(InputError, match="validation part of fold 1 is empty: raise valid_fraction, now 0.1"):
        make_fold(corpus({"sad": 1}), 1)  # a tenth of four is none


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    groups=st.lists(st.lists(st.sampled_from(["ang", "sad"]), min_size=5, max_size=12), min_size=3, max_size=6),
    validation=st.sampled_from(["random", "group", "none"]),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_make_fold_parts_are_disjoint_and_complete(groups, validation, seed, data):
    manifest = {
        f"{g}_{i}": {"emo": emo, "speaker": str(g), "group": str(g)}
        for g, emos in enumerate(groups)
        for i, emo in enumerate(emos)
    }
    fold = data.draw(st.integers(1, len(groups)))
    parts = make_fold(manifest, fold, validation, valid_fraction=0.3, seed=seed)
    assert sorted(parts.train + parts.valid + parts.test) == sorted(manifest)
    assert parts.train and parts.test
    assert bool(parts.valid) == (validation != "none")
    assert values(manifest, parts.test, "group") == {parts.test_group}
    assert parts.test_group not in values(manifest, parts.train + parts.valid, "group")


def test_make_fold_refuses_a_speaker_shared_by_training_and_group_validation():
    manifest = {
        f"{group}{i}": {"emo": "sad", "speaker": "same" if group in "ab" else "other", "group": group}
        for group in "abc"
        for i in range(2)
    }
    assert make_fold(manifest, 3, "random", valid_fraction=0.5).test == ["c0", "c1"]
    with pytest.raises(InputError, match=r"speaker 'same' of a0 in validation is also in training \(b1\)"):
        make_fold(manifest, 3, "group")


def test_make_fold_refuses_an_empty_manifest():
    with pytest.raises(InputError, match="holds no utterance: prepare the corpus again"):
        make_fold({}, 1)


def test_speakers_of_several_groups_are_all_named():
    manifest = corpus()
    assert shared_speakers(manifest) == []
    manifest["1_ang_00"]["speaker"] = "2F"
    manifest["3_ang_00"]["speaker"] = manifest["4_ang_00"]["speaker"] = "1M"
    first, second = shared_speakers(manifest)
    assert first.startswith("Speaker '1M' is in the groups 1, 3, 4: ") and second.startswith(
        "Speaker '2F' is in the gro"
    )
