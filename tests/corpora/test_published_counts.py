"""Comparing what was found with what was published."""

import pytest

from speechbrain_ext.corpora.published_counts import PublishedCounts, compare_hours


def rows(**n):
    return [{"emo": emo, "speaker": speaker} for key, count in n.items() for emo, speaker in [key.split("_")] * count]


@pytest.mark.parametrize(
    ("found", "faults"),
    [
        ({"ang_s1": 3, "sad_s2": 2}, []),
        ({"ang_s1": 3}, ["3 utterances found, 5 expected", "0 of sad, 2 expected", "speaker s2 is missing"]),
        (
            {"ang_s1": 2, "sad_s1": 1, "sad_s3": 2},
            ["2 of ang, 3 expected", "3 of sad, 2 expected", "speaker s2 is missing", "speaker s3 is unknown"],
        ),
        ({"ang_s1": 3, "sad_": 2}, ["speaker s2 is missing"]),  # nothing says who spoke
        ({"ang_s1": 2, "ang_s2": 1, "sad_s2": 2}, ["2 of speaker s1, 3 expected", "3 of speaker s2, 2 expected"]),
    ],
)
def test_counts_name_what_is_missing_or_differs(found, faults):
    assert PublishedCounts({"ang": 3, "sad": 2}, {"s1": 3, "s2": 2})(rows(**found)) == (True, faults)


def test_long_lists_of_speakers_are_cut():
    counts = PublishedCounts({"ang": 40}, {f"s{i:02}": 2 for i in range(20)})
    _, faults = counts(rows(ang_s00=1))
    assert faults[-2].startswith("19 speakers are missing: s01, s02,") and faults[-2].endswith("s10, ...")
    _, faults = counts([{"emo": "ang", "speaker": name} for name in counts.speakers])
    assert faults[-1] == "10 more speakers differ"


@pytest.mark.parametrize(
    ("durations_s", "is_said"), [([3600.0], False), ([3600.0, 70.0], False), ([3600.0, 75.0], True)]
)
def test_lengths_may_differ_by_two_percent(durations_s, is_said):
    said = ["The recordings last 1.021 hours in all; expected are 1.000: they were altered."]
    assert compare_hours(durations_s, 1.0) == (said if is_said else [])
