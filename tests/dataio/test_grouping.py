"""Other groups than the corpus's own, and speakers dealt into folds."""

import random
from collections import Counter

import pytest

from speechbrain_ext.dataio.grouping import deal, regroup
from speechbrain_ext.errors import InputError


def corpus(utterances, **others):
    """Describe utterances, (speaker, emotion) each."""
    return {
        f"u{i:03}": {"wav": "a.wav", "duration": 1.0, "emo": emo, "speaker": speaker, "group": "all", **others}
        for i, (speaker, emo) in enumerate(utterances)
    }


def groups(manifest):
    """List the utterances' groups."""
    return [entry["group"] for entry in manifest.values()]


TWELVE = [(f"s{i:02}", emo) for i in range(12) for emo in ("ang", "sad") for _ in range(1 + i)]


def test_regroup_changes_nothing_unless_asked():
    manifest = corpus(TWELVE, parts=["train"])
    assert regroup(manifest) is manifest


def test_regroup_by_speaker_drops_published_folds():
    found = regroup(corpus([("a", "ang"), ("b", "sad"), ("a", "sad")], parts=["test"]), "speaker")
    assert groups(found) == ["a", "b", "a"]
    assert not any("parts" in entry for entry in found.values())


def test_regroup_by_an_attribute():
    manifest = corpus([("a", "ang"), ("b", "sad")])
    manifest["u000"]["dialogue"], manifest["u001"]["dialogue"] = "d2", "d1"
    assert groups(regroup(manifest, "dialogue")) == ["d2", "d1"]


@pytest.mark.parametrize(
    ("group_by", "message"),
    [
        ("speakers", "one of gender, group, speaker, which every utterance has, got 'speakers'. Did you mean speaker?"),
        ("emo", "group_by must be one of gender, group, speaker, which every utterance has, got 'emo'."),
        (
            "session",
            "'session', which 1 of 2 utterances lack (first: u001). Fill it in, or group by another attribute.",
        ),
    ],
)
def test_regroup_names_what_there_is(group_by, message):
    manifest = corpus([("a", "ang"), ("b", "sad")], gender="f")
    manifest["u000"]["session"] = "1"
    for entry in manifest.values():
        entry["samples_hash"] = "400 samples"  # of each recording its own: nothing to group by
    with pytest.raises(InputError) as error:
        regroup(manifest, group_by)
    assert str(error.value).endswith(message)


def test_deal_keeps_speakers_whole_and_folds_alike():
    folds = deal(TWELVE, 5)
    assert set(folds.values()) == {1, 2, 3, 4, 5}
    # 156 utterances: 31.2 a fold; the largest speaker has 24.
    sizes = Counter(folds[speaker] for speaker, _ in TWELVE)
    assert max(sizes.values()) - min(sizes.values()) <= 4


def test_deal_balances_each_emotion_not_only_the_sum():
    """Four speakers of one size: two have anger only, two sadness only."""
    found = deal([("a", "ang"), ("b", "ang"), ("c", "sad"), ("d", "sad")] * 5, 2)
    assert found["a"] != found["b"] and found["c"] != found["d"]


def test_deal_is_independent_of_the_order_of_rows():
    rows = TWELVE[:]
    random.Random(0).shuffle(rows)
    assert deal(rows, 5) == deal(TWELVE, 5)


def test_deal_gives_each_fold_a_speaker():
    utterances = [("a", "ang")] * 50 + [("b", "sad"), ("c", "ang")]
    assert sorted(deal(utterances, 3).values()) == [1, 2, 3]


def test_fold_names_sort_as_the_folds_count():
    names = sorted(set(groups(regroup(corpus(TWELVE), n_folds=11))))
    assert names == [f"fold{k:02}" for k in range(1, 12)]


@pytest.mark.parametrize(
    ("n_folds", "group_by", "message"),
    [
        (13, None, "n_folds must be at most the number of speakers, .* has 12 .*s00, s01.*, got 13"),
        (2, "group", "number of groups, .* has 1 \\(all\\), got 2"),
        (1, None, "n_folds must be a whole number from 2, got 1"),
        ("5", None, "n_folds must be a whole number from 2, got '5'"),
    ],
)
def test_too_many_folds_are_refused(n_folds, group_by, message):
    with pytest.raises(InputError, match=message):
        regroup(corpus(TWELVE), group_by, n_folds)


def test_speakers_that_are_not_known_are_no_groups():
    with pytest.raises(InputError, match="the speaker of 2 of 3 utterances is not known, and would be taken for one"):
        regroup(corpus([("a", "ang"), ("unknown", "sad"), ("unknown", "sad")]), n_folds=2)
