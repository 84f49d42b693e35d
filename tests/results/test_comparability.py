"""When published results may stand beside a run's, and what must be said beside its numbers."""

import pytest

from speechbrain_ext.corpora import get_corpus
from speechbrain_ext.results.comparability import cautions, published_results

EMOTIONS = ["ang", "hap", "sad", "neu"]


def test_published_results_are_for_the_complete_corpus_with_its_own_emotions():
    assert published_results("iemocap", [], EMOTIONS[::-1]) == get_corpus("iemocap").published


@pytest.mark.parametrize(
    ("corpus", "faults", "emotions"),
    [
        ("iemocap", ["Session5 is missing."], EMOTIONS),
        ("iemocap", [], EMOTIONS[:3]),
        ("iemocap", [], [*EMOTIONS, "fru"]),
        ("synthetic", [], EMOTIONS),
        ("csv", [], EMOTIONS),
    ],
)
def test_published_results_stand_beside_nothing_else(corpus, faults, emotions):
    assert published_results(corpus, faults, emotions) == ()


def test_notes_of_corpora_come_first_and_all_faults_in_one_sentence():
    assert cautions(["emodb"], []) == []
    assert cautions(["synthetic", "emodb"], ["a is missing.", "b differs"]) == [
        get_corpus("synthetic").note,
        "Not the complete published the synthetic demo corpus, EmoDB: a is missing; b differs. Published results are "
        "not comparable.",
    ]
