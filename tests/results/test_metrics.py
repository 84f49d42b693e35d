"""WA, UA, recalls and confusion counts against scikit-learn."""

import json

import numpy as np
import pytest
import torch
import torch.multiprocessing
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, recall_score
from speechbrain.core import Brain

from speechbrain_ext.results.metrics import EmotionMetrics, mean_batch_loss
from speechbrain_ext.training.distributed import gather

EMOTIONS = ["ang", "hap", "sad", "neu", "fru", "dis"]


def posteriors_for(decisions, n_classes):
    """Make random posteriors whose largest is at the decision."""
    raised = np.random.default_rng(0).random((len(decisions), n_classes)) + np.eye(n_classes)[decisions]
    return torch.from_numpy(raised / raised.sum(axis=1, keepdims=True)).float()


def measure(decisions, targets, n_classes):
    """Compute all metrics at once."""
    metrics = EmotionMetrics(EMOTIONS[:n_classes])
    metrics.update(posteriors_for(decisions, n_classes), torch.tensor(targets))
    return metrics.compute()


@st.composite
def decided(draw):
    """Draw (number of classes, decisions, targets); some classes may not occur."""
    n_classes = draw(st.integers(2, 6))
    label = st.integers(0, n_classes - 1)
    pairs = draw(st.lists(st.tuples(label, label), min_size=1, max_size=60))
    return n_classes, *map(list, zip(*pairs))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(decided())
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
def test_metrics_equal_those_of_scikit_learn(case):
    n_classes, decisions, targets = case
    labels = range(n_classes)
    found = measure(decisions, targets, n_classes)
    assert found["WA"] == pytest.approx(accuracy_score(targets, decisions), abs=1e-12)
    assert found["UA"] == pytest.approx(balanced_accuracy_score(targets, decisions), abs=1e-12)
    assert found["confusion"] == confusion_matrix(targets, decisions, labels=labels).tolist()
    assert found["n"] == len(targets)
    recalls = recall_score(targets, decisions, labels=labels, average=None, zero_division=np.nan)
    assert list(found["recall"]) == EMOTIONS[:n_classes]
    for emo, recall in zip(EMOTIONS, recalls):
        assert found["recall"][emo] == (None if np.isnan(recall) else pytest.approx(recall, abs=1e-12))
    assert found["absent"] == [emo for emo, recall in zip(EMOTIONS, recalls) if np.isnan(recall)]


def test_metrics_wa_and_ua_by_hand():
    """Nine of nine "ang" right, one "sad" taken for "ang": WA 9/10, UA (1 + 0) / 2."""
    found = measure([0] * 10, [0] * 9 + [2], 3)
    assert (found["WA"], found["UA"]) == (0.9, 0.5)
    assert found["recall"] == {"ang": 1.0, "hap": None, "sad": 0.0}
    assert found["absent"] == ["hap"]
    assert found["confusion"] == [[9, 0, 0], [0, 0, 0], [1, 0, 0]]


@settings(derandomize=True, deadline=None, max_examples=20)
@given(decided(), st.integers(1, 10))
def test_metrics_in_batches_equal_those_at_once(case, batch_size):
    n_classes, decisions, targets = case
    metrics = EmotionMetrics(EMOTIONS[:n_classes])
    for start in range(0, len(targets), batch_size):
        part = slice(start, start + batch_size)
        metrics.update(posteriors_for(decisions[part], n_classes), torch.tensor(targets[part]))
    assert metrics.compute() == measure(decisions, targets, n_classes)


def test_metrics_take_log_posteriors():
    decisions, targets = [0, 1, 2, 1], [0, 2, 2, 1]
    metrics = EmotionMetrics(EMOTIONS[:3])
    metrics.update(posteriors_for(decisions, 3).log(), torch.tensor(targets))
    assert metrics.compute() == measure(decisions, targets, 3)


def test_metrics_count_the_decisions_that_they_return_where_posteriors_are_equal():
    """Log-posteriors one rounding step apart, whose exponentials are equal, and a tie: the first of equals."""
    low = torch.tensor(-0.1)
    log_posteriors = torch.stack([low, torch.nextafter(low, torch.tensor(0.0)), low]).repeat(2, 1)
    log_posteriors[1] = low
    assert len(set(log_posteriors[0].exp().tolist())) == 1  # so a decision on posteriors would be another
    metrics = EmotionMetrics(EMOTIONS[:3])
    decisions = metrics.update(log_posteriors, torch.tensor([1, 1]))
    assert decisions.tolist() == [1, 0]
    assert metrics.compute()["confusion"] == [[0, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_metrics_are_plain_values_that_json_takes():
    found = measure([0, 1, 1], [0, 1, 0], 3)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert {type(found["WA"]), type(found["UA"]), type(found["recall"]["ang"])} == {float}
    assert {type(found["n"]), type(found["confusion"][0][0])} == {int}


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_metrics_of_nothing_name_every_emotion_as_absent():
    found = EmotionMetrics(["ang", "sad"]).compute()
    json.dumps(found, allow_nan=False)
    assert (found["n"], found["absent"], found["recall"]) == (0, ["ang", "sad"], {"ang": None, "sad": None})


# What three processes have: two batches, one batch, none.
PARTS = [[([0, 1], [0, 1]), ([2, 2], [1, 2])], [([0], [2])], []]


def measure_a_part(rank, folder):
    """Be one of three processes that evaluate."""
    torch.distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=len(PARTS))
    metrics = EmotionMetrics(EMOTIONS[:3])
    for decisions, targets in PARTS[rank]:
        metrics.update(posteriors_for(decisions, 3), torch.tensor(targets))
    found = [metrics.compute(), gather(f"of {rank}"), mean_batch_loss(([1.0, 9.0], [2.0], [])[rank])]
    (folder / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


def test_metrics_of_several_processes_are_over_the_clips_of_all(tmp_path):
    torch.multiprocessing.start_processes(measure_a_part, (tmp_path,), len(PARTS), start_method="fork")
    expected = [measure([0, 1, 2, 2, 0], [0, 1, 1, 2, 2], 3), ["of 0", "of 1", "of 2"], pytest.approx((1 + 2 + 9) / 3)]
    for rank in range(len(PARTS)):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == expected


def test_mean_batch_loss_leaves_out_what_is_not_finite_as_brain_does():
    brain, average = Brain(), 0.0
    losses = [1.5, float("nan"), 0.1, float("inf"), 7.7]
    for brain.step, loss in enumerate(losses, 1):
        average = brain.update_average(torch.tensor(loss, dtype=torch.float64), average)
    assert mean_batch_loss(losses) == average
    assert mean_batch_loss([]) == 0.0
