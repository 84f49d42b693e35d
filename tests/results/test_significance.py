"""Intervals and tests of WA and UA: against scikit-learn, binomial quantiles, enumeration and the hand."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from speechbrain_ext.errors import InputError
from speechbrain_ext.results.significance import (
    accuracies,
    bootstrap_difference,
    bootstrap_intervals,
    cluster_counts,
    mcnemar,
)

CHOICES = {"n_resamples": 999}


def random_system(n_clusters=300, n_classes=4, share=0.7, seed=0):
    """Draw (true, predicted) of a system that is right in about this share of single clips."""
    rng = np.random.default_rng(seed)
    true = rng.integers(n_classes, size=n_clusters)
    return true, np.where(rng.random(n_clusters) < share, true, (true + 1) % n_classes)


def single_counts(true, correct, n_classes):
    """Count clips that are each a cluster of its own: (hits, totals), [U, C]."""
    totals = np.eye(n_classes, dtype=int)[true]
    return totals * np.asarray(correct)[:, None], totals


label = st.integers(0, 3)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("abc"), label, label), min_size=1, max_size=40))
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
def test_accuracies_of_cluster_counts_equal_those_of_scikit_learn(decisions):
    clusters, true, predicted = zip(*decisions)
    labels, hits, totals = cluster_counts(clusters, true, predicted, 4)
    assert labels == sorted(set(clusters))
    WA, UA = accuracies(hits.sum(axis=0), totals.sum(axis=0))
    assert WA == pytest.approx(accuracy_score(true, predicted), abs=1e-12)
    assert UA == pytest.approx(balanced_accuracy_score(true, predicted), abs=1e-12)
    for i, (wa, ua) in enumerate(zip(*accuracies(hits, totals))):  # each cluster by itself
        own = [(t, p) for cluster, t, p in decisions if cluster == labels[i]]
        assert wa == pytest.approx(accuracy_score(*zip(*own)), abs=1e-12)
        assert ua == pytest.approx(balanced_accuracy_score(*zip(*own)), abs=1e-12)


def test_accuracies_by_hand_keep_leading_dimensions():
    hits, totals = [[[9, 0, 0]], [[1, 1, 1]]], [[[9, 0, 1]], [[2, 1, 1]]]
    WA, UA = accuracies(hits, totals)
    assert WA.tolist() == [[0.9], [0.75]]
    assert UA[0] == 0.5 and UA[1] == pytest.approx(2.5 / 3)


def test_cluster_counts_by_hand():
    clusters = ["s2", "s10", "s2", "s2", "s10"]
    labels, hits, totals = cluster_counts(clusters, [0, 2, 0, 1, 2], [0, 2, 1, 1, 0], 3)
    assert labels == ["s10", "s2"]
    assert hits.tolist() == [[0, 0, 1], [1, 1, 0]]
    assert totals.tolist() == [[0, 0, 2], [2, 1, 0]]


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_bootstrap_intervals_of_utterances_are_those_of_the_binomial_distribution(confidence):
    """The hits of a resample of N utterances, k of them right, are binomial with N and k/N."""
    n, right = 2000, 1400
    hits, totals = single_counts(np.zeros(n, int), np.arange(n) < right, 1)
    low, high = bootstrap_intervals(hits, totals, confidence)["WA"]
    tail = (1 - confidence) / 2
    assert low == pytest.approx(binom.ppf(tail, n, right / n) / n, abs=0.0011)
    assert high == pytest.approx(binom.ppf(1 - tail, n, right / n) / n, abs=0.0011)


@pytest.mark.parametrize(
    ("confidence", "WA", "UA"),
    [(0.4, (0.5, 0.5), (0.625, 0.625)), (0.6, (0.25, 1.0), (0.25, 1.0))],
)
def test_bootstrap_intervals_of_two_clusters_by_hand(confidence, WA, UA):
    """Draws aa, ab or ba, bb with 1/4, 1/2, 1/4: WA 1, 3/6, 1/4 and UA 1, (1 + 1/4) / 2, 1/4; no class is NaN."""
    hits, totals = [[2, 0], [0, 1]], [[2, 0], [0, 4]]
    assert bootstrap_intervals(hits, totals, confidence) == {"WA": WA, "UA": UA}


SPEAKERS = {
    "a": [(0, 0), (0, 1), (1, 1), (1, 1)],
    "b": [(0, 0), (2, 2), (2, 1)],
    "c": [(1, 0), (1, 1), (2, 2), (2, 0), (0, 2)],
}
SCORES = {"WA": accuracy_score, "UA": balanced_accuracy_score}


def quantile(values, share):
    """Return the first value at which the share of the values so far reaches this one."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
@pytest.mark.parametrize("confidence", [0.5, 0.7, 0.9])
def test_bootstrap_intervals_of_three_speakers_equal_all_27_draws(confidence):
    flat = [(cluster, *decision) for cluster, decisions in SPEAKERS.items() for decision in decisions]
    _, hits, totals = cluster_counts(*zip(*flat), n_classes=3)
    found = bootstrap_intervals(hits, totals, confidence, n_resamples=20000)
    draws = [sum((SPEAKERS[cluster] for cluster in clusters), []) for clusters in itertools.product(SPEAKERS, repeat=3)]
    tail = (1 - confidence) / 2
    for name, score in SCORES.items():
        values = [round(score(*zip(*draw)), 12) for draw in draws]
        for bound, share in zip(found[name], (tail, 1 - tail)):
            near = {quantile(values, share - 0.012), quantile(values, share + 0.012)}
            assert any(bound == pytest.approx(value, abs=1e-9) for value in near)


def test_bootstrap_intervals_are_wide_where_speakers_decide():
    """Ten speakers of 50 clips, five all right and five all wrong: a draw has Binomial(10, 1/2) speakers right."""
    speakers = np.repeat(np.arange(10), 50)
    true, correct = np.tile([0, 1], 250), speakers % 2 == 0
    _, hits, totals = cluster_counts(speakers, true, np.where(correct, true, 1 - true), 2)
    assert bootstrap_intervals(hits, totals) == {"WA": (0.2, 0.8), "UA": (0.2, 0.8)}
    low, high = bootstrap_intervals(*single_counts(true, correct, 2))["WA"]
    assert (low, high) == (pytest.approx(0.456, abs=0.005), pytest.approx(0.544, abs=0.005))


def test_bootstrap_intervals_count_a_cluster_as_often_as_it_is_drawn():
    """Speaker a has 1 clip, right; b has 9, wrong: WA of ab is 1/10, not 1/2; UA of one class is the same."""
    assert bootstrap_intervals([[1], [0]], [[1], [9]], 0.4) == {"WA": (0.1, 0.1), "UA": (0.1, 0.1)}


def test_bootstrap_intervals_do_not_see_that_every_count_is_doubled():
    """A second seed with the same decisions is no further evidence."""
    true, predicted = random_system()
    hits, totals = single_counts(true, true == predicted, 4)
    assert bootstrap_intervals(2 * hits, 2 * totals, **CHOICES) == bootstrap_intervals(hits, totals, **CHOICES)


def test_bootstrap_intervals_are_repeatable_and_depend_on_the_seed():
    true, predicted = random_system()
    counts = single_counts(true, true == predicted, 4)
    first, again, other = (bootstrap_intervals(*counts, seed=seed, **CHOICES) for seed in (1, 1, 2))
    assert first == again
    assert first["UA"] != other["UA"]
    assert first["UA"] == pytest.approx(other["UA"], abs=0.02)


@pytest.mark.parametrize(("cells", "sizes"), [(3100, [3000] * 99 + [2700]), (1, [300] * 999)])
def test_bootstrap_intervals_are_the_same_in_batches(monkeypatch, cells, sizes):
    """999 draws of 300 clusters, as many at once as the cells have room for, and never less than one."""
    true, predicted = random_system()
    counts = single_counts(true, true == predicted, 4)
    at_once = bootstrap_intervals(*counts, **CHOICES)
    found, bincount = [], np.bincount
    monkeypatch.setattr(
        np, "bincount", lambda x, minlength: found.append(minlength) or bincount(x, minlength=minlength)
    )
    monkeypatch.setattr("speechbrain_ext.results.significance.CELLS", cells)
    assert bootstrap_intervals(*counts, **CHOICES) == at_once
    assert found == sizes


def test_findings_are_plain_values_that_json_takes():
    counts = [[1, 0], [0, 1]], [[1, 1], [0, 2]]
    pair = bootstrap_difference(counts, counts, **CHOICES)["UA"]
    values = [*bootstrap_intervals(*counts, **CHOICES)["WA"], pair["difference"], *pair["interval"]]
    assert {type(value) for value in values} == {float}
    assert [type(value) for value in mcnemar(*discordant(1, 5)).values()] == [int, int, float]
    assert {type(label) for label in cluster_counts(["a", "b"], [0, 1], [0, 1], 2)[0]} == {str}


def test_paired_bootstrap_of_identical_systems_is_exactly_zero():
    true, predicted = random_system()
    counts = single_counts(true, true == predicted, 4)
    nothing = {"difference": 0.0, "interval": (0.0, 0.0)}
    assert bootstrap_difference(counts, counts, **CHOICES) == {"WA": nothing, "UA": nothing}


def test_paired_bootstrap_draws_the_same_clusters_for_both():
    """Ten clips of each class from each speaker, one more of each right in a: every draw differs by 1/10."""
    hits = np.random.default_rng(0).integers(0, 9, size=(20, 3))
    totals = np.full((20, 3), 10)
    found = bootstrap_difference((hits + 1, totals), (hits, totals), **CHOICES)
    for name in ("WA", "UA"):
        assert found[name]["difference"] == pytest.approx(0.1, abs=1e-12)
        assert found[name]["interval"] == pytest.approx((0.1, 0.1), abs=1e-12)


def test_paired_bootstrap_of_two_clusters_by_hand():
    """Draws aa, ab, bb: WA of the one system 1, 4/6, 1/2 and of the other 1/2, 3/6, 1/2; UA the same way."""
    totals = [[2, 0], [0, 4]]
    found = bootstrap_difference(([[2, 0], [0, 2]], totals), ([[1, 0], [0, 2]], totals), confidence=0.6)
    assert found["WA"] == {"difference": pytest.approx(1 / 6), "interval": (0.0, 0.5)}
    assert found["UA"] == {"difference": 0.25, "interval": (0.0, 0.5)}
    middle = bootstrap_difference(([[2, 0], [0, 2]], totals), ([[1, 0], [0, 2]], totals), confidence=0.4)
    assert middle["WA"]["interval"] == pytest.approx((1 / 6, 1 / 6))
    assert middle["UA"]["interval"] == (0.25, 0.25)


def test_paired_bootstrap_is_narrower_than_two_intervals_where_the_same_clips_are_hard():
    true, predicted = random_system(n_clusters=1000)
    correct = true == predicted
    worse = correct & (np.random.default_rng(5).random(1000) > 0.03)
    a, b = single_counts(true, correct, 4), single_counts(true, worse, 4)
    low, high = bootstrap_difference(a, b, **CHOICES)["UA"]["interval"]
    widths = [np.diff(bootstrap_intervals(*counts, **CHOICES)["UA"])[0] for counts in (a, b)]
    assert high - low < 0.5 * math.hypot(*widths)
    assert low > 0  # and so the difference shows


def test_paired_bootstrap_swaps_its_sign_with_the_systems():
    (true, first), (_, second) = random_system(share=0.8), random_system(share=0.6)
    a, b = (single_counts(true, true == predicted, 4) for predicted in (first, second))
    there, back = bootstrap_difference(a, b, **CHOICES), bootstrap_difference(b, a, **CHOICES)
    for name, score in SCORES.items():
        assert there[name]["difference"] == pytest.approx(score(true, first) - score(true, second), abs=1e-12)
        assert back[name]["difference"] == -there[name]["difference"]
        assert back[name]["interval"] == pytest.approx([-bound for bound in there[name]["interval"][::-1]], abs=1e-12)


def test_paired_bootstrap_takes_other_numbers_of_seeds():
    """Three seeds with the same decisions against one: as one against one."""
    (true, first), (_, second) = random_system(share=0.8), random_system(share=0.6)
    a, b = (single_counts(true, true == predicted, 4) for predicted in (first, second))
    three = tuple(3 * counts for counts in a)
    assert bootstrap_difference(three, b, **CHOICES) == bootstrap_difference(a, b, **CHOICES)


def test_difference_of_groups_resamples_each_by_itself():
    right, wrong = ([[1]], [[1]]), ([[0]], [[1]])
    four, three = ([[1]] * 4, [[1]] * 4), ([[0]] * 3, [[1]] * 3)
    assert bootstrap_difference(four, three, paired=False)["WA"] == {"difference": 1.0, "interval": (1.0, 1.0)}
    assert bootstrap_difference(right, wrong, paired=False)["UA"] == {"difference": 1.0, "interval": None}


def test_difference_of_groups_is_as_wide_as_two_independent_shares():
    """Two groups of 100 clips, half of them right: the standard error is sqrt(0.25 / 100 * 2) = 0.0707."""
    half = [[1], [0]] * 50, [[1]] * 100
    low, high = bootstrap_difference(half, half, paired=False)["WA"]["interval"]
    assert low == pytest.approx(-1.96 * 0.0707, abs=0.015) and high == pytest.approx(1.96 * 0.0707, abs=0.015)


def discordant(only_a, only_b, both=4, neither=3):
    """Make two arrays with so many utterances of each sort."""
    pairs = [(True, False)] * only_a + [(False, True)] * only_b + [(True, True)] * both + [(False, False)] * neither
    return np.array(pairs, dtype=bool).reshape(-1, 2).T


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 5), (0, 1), (0, 6), (3, 3), (2, 9), (40, 61), (7, 0)])
def test_mcnemar_is_twice_the_smaller_binomial_tail(only_a, only_b):
    n = only_a + only_b
    tail = sum(math.comb(n, k) for k in range(min(only_a, only_b) + 1)) / 2**n
    found = mcnemar(*discordant(only_a, only_b))
    assert found["p"] == pytest.approx(min(1.0, 2 * tail), rel=1e-9)
    assert mcnemar(*discordant(only_b, only_a)) == {"only_a": only_b, "only_b": only_a, "p": found["p"]}


def test_nothing_to_count_gives_zeros_and_no_interval():
    assert [float(found) for found in accuracies([0, 0], [0, 0])] == [0.0, 0.0]
    labels, hits, totals = cluster_counts([], [], [], 3)
    assert (labels, hits.shape, totals.shape) == ([], (0, 3), (0, 3))
    for n_clusters in (0, 1):
        assert bootstrap_intervals(np.ones((n_clusters, 2)), np.ones((n_clusters, 2))) is None
    found = bootstrap_difference(([[3, 1]], [[4, 4]]), ([[1, 1]], [[4, 4]]))
    assert found == {name: {"difference": 0.25, "interval": None} for name in ("WA", "UA")}
    assert set(bootstrap_intervals([[1], [0]], [[1], [1]], n_resamples=2)) == {"WA", "UA"}


ONE, TWO, NONE = ([[1, 0]], [[1, 1]]), ([[1, 0]] * 2, [[1, 1]] * 2), (np.empty((0, 2)), np.empty((0, 2)))


@pytest.mark.parametrize(
    ("function", "arguments", "options", "message"),
    [
        (accuracies, ([1], [1, 1]), {}, r"hits and totals must have the same shape, got \(1,\) and \(2,\)"),
        (cluster_counts, (["a"], [0, 1], [0, 1], 3), {}, r"shapes \(1,\), \(2,\) and \(2,\)"),
        (cluster_counts, (["a", "b"], [0, 1], [0], 3), {}, r"shapes \(2,\), \(2,\) and \(1,\)"),
        (cluster_counts, ([["a", "b"]], [[0, 1]], [[0, 1]], 3), {}, r"must be flat .* shapes \(1, 2\)"),
        (cluster_counts, (["a", "b"], [0, 3], [0, 0], 3), {}, "^true must hold class indices from 0 to 2, got 3"),
        (cluster_counts, (["a", "b"], [0, 1], [0, -1], 3), {}, "^predicted must hold class .* from 0 to 2, got -1"),
        (cluster_counts, (["a", "b"], [0, 0.5], [0, 0], 3), {}, "^true must hold class indices from 0 to 2, got 0.5"),
        (
            bootstrap_intervals,
            ([1, 1], [1, 1]),
            {},
            r"^hits and totals must be \[clusters, classes\] twice, got",
        ),
        (bootstrap_intervals, ([[1, 1]], [[1], [1]]), {}, r"got the shapes \(1, 2\) and \(2, 1\)"),
        (
            bootstrap_intervals,
            ([[2, 0], [1, 0]], [[1, 1], [1, 0]]),
            {},
            "hits of a cluster must be from 0 to",
        ),
        (bootstrap_intervals, ([[1, -1], [1, 0]], [[1, 1], [1, 0]]), {}, "hits of a cluster must be from 0 to its c"),
        (bootstrap_intervals, ([[1, 0], [0, 0]], [[1, 1], [0, 0]]), {}, "cluster 1 has no clips"),
        (bootstrap_intervals, TWO, {"confidence": 95}, "^confidence must be a number between 0 and 1, got 95"),
        (bootstrap_intervals, TWO, {"n_resamples": 1}, "^n_resamples must be a whole number from 2, got 1"),
        (bootstrap_intervals, TWO, {"n_resamples": True}, "^n_resamples must be a whole number from 2, got True"),
        (bootstrap_intervals, TWO, {"n_resamples": 10.5}, "^n_resamples must be a whole number from 2, got 10.5"),
        (bootstrap_difference, (ONE, TWO), {}, r"same clusters and classes, got \(1, 2\) and \(2, 2\)"),
        (bootstrap_difference, (NONE, NONE), {}, "hold no cluster"),
        (bootstrap_difference, (TWO, ([[2, 0]] * 2, [[1, 1]] * 2)), {}, "^counts_b: the hits of a cluster"),
        (mcnemar, ([True], [True, False]), {}, "the same utterances, got 1 and 2"),
        (mcnemar, ([True, False], [0, 1]), {}, r"^correct_b must be a flat array of bool, got int64 of shape \(2,\)"),
        (mcnemar, ([[True]], [[True]]), {}, r"^correct_a must be a flat array of bool, got bool of shape \(1, 1\)"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(function, arguments, options, message):
    with pytest.raises(InputError, match=message):
        function(*arguments, **options)
