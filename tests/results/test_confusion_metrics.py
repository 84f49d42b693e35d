"""Metrics of confusion counts, held against scikit-learn, and their intervals against cases that are known."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score, recall_score

from speechbrain_ext.results.confusion_metrics import confusion_metrics, metric_intervals
from speechbrain_ext.results.significance import bootstrap_intervals


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(0, 4, 50), rng.integers(0, 4, 50)
    found = confusion_metrics(confusion_matrix(true, predicted, labels=range(4)))
    expected = [
        accuracy_score(true, predicted),
        balanced_accuracy_score(true, predicted),
        f1_score(true, predicted, average="macro"),
        *recall_score(true, predicted, average=None),
    ]
    assert np.allclose(found, expected)


def test_a_class_that_is_only_decided_for_counts_in_f1_alone():
    true, predicted = [0, 0, 1], [0, 2, 1]  # of a fourth class there is nothing
    found = confusion_metrics(confusion_matrix(true, predicted, labels=range(4)))
    assert found[2] == pytest.approx(f1_score(true, predicted, average="macro"))
    assert found[:2].tolist() == [2 / 3, 0.75]
    assert np.isnan(found[[5, 6]]).all()


def test_intervals_of_WA_and_UA_are_those_of_the_other_function():
    confusions = np.random.default_rng(1).integers(0, 5, (12, 3, 3))
    hits, totals = np.diagonal(confusions, axis1=1, axis2=2), confusions.sum(axis=2)
    expected = bootstrap_intervals(hits, totals, n_resamples=500)
    assert metric_intervals(confusions, n_resamples=500)[:2] == [expected["WA"], expected["UA"]]


def test_resamples_without_a_class_do_not_count_for_its_recall():
    # One of ten clusters has the second class, always right: in a third of the resamples it is missing.
    clusters = [[[1, 0], [0, 0]]] * 9 + [[[0, 0], [0, 1]]]
    assert metric_intervals(clusters)[4] == (1.0, 1.0)


def test_one_cluster_has_no_interval():
    assert metric_intervals([[[1, 0], [0, 1]]]) is None
