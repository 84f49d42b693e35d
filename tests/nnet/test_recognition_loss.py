"""The recognition loss for classes of unequal size: by hand, and against torch."""

import math

import pytest
import torch

from speechbrain_ext.errors import InputError
from speechbrain_ext.nnet.losses import soft_label_kl_loss
from speechbrain_ext.nnet.recognition_loss import RecognitionLoss

COUNTS = [60, 20, 10, 10]


def make(**options):
    loss = RecognitionLoss(**options)
    loss.count_classes(COUNTS)
    return loss


@pytest.fixture
def batch():
    """Log-posteriors and soft labels of 8 clips."""
    return torch.randn(8, 4).log_softmax(1), torch.rand(8, 4).softmax(1)


def test_with_everything_off_it_is_the_papers_loss_to_the_bit(batch):
    assert torch.equal(RecognitionLoss()(*batch), soft_label_kl_loss(*batch))


@pytest.mark.parametrize(
    ("options", "by_hand"),
    [
        # Weights 100 / (4 * 60) = 5/12 and 100 / (4 * 10) = 5/2.
        ({"class_weights": "balanced"}, (5 / 12 * math.log(2) + 5 / 2 * math.log(4)) / 2),
        ({"class_weights": [1.0, 1.0, 1.0, 3.0]}, (math.log(2) + 3 * math.log(4)) / 2),
        # (1 - 1/2)^2 log 2 and (1 - 1/4)^2 log 4.
        ({"focal_gamma": 2.0}, (0.25 * math.log(2) + 0.5625 * math.log(4)) / 2),
        # p times the prior: (.3, .05, .0125, .0125) of .375, so .8; (.15, .05, .025, .025) of .25, so .1.
        ({"logit_adjustment": 1.0}, (math.log(1 / 0.8) + math.log(10)) / 2),
        # All three: q = .8 and .1, weights 5/12 and 5/2, (1 - q) to the power of 1.
        (
            {"class_weights": "balanced", "focal_gamma": 1.0, "logit_adjustment": 1.0},
            (5 / 12 * 0.2 * math.log(1 / 0.8) + 5 / 2 * 0.9 * math.log(10)) / 2,
        ),
    ],
)
def test_loss_of_one_hot_labels_by_hand(options, by_hand):
    posteriors = torch.tensor([[0.5, 0.25, 0.125, 0.125], [0.25, 0.25, 0.25, 0.25]])
    targets = torch.eye(4)[[0, 3]]
    assert make(**options)(posteriors.log(), targets).item() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("weights", ["balanced", [0.5, 1.0, 2.0, 4.0]])
def test_weighted_loss_of_soft_labels_is_torchs_cross_entropy_less_the_weighted_entropy(batch, weights):
    log_posteriors, targets = batch
    numbers = torch.tensor([5 / 12, 5 / 4, 5 / 2, 5 / 2] if weights == "balanced" else weights)
    expected = torch.nn.functional.cross_entropy(log_posteriors, targets, weight=numbers)
    expected = expected + (numbers * targets * targets.log()).sum(1).mean()
    torch.testing.assert_close(make(class_weights=weights)(log_posteriors, targets), expected)


@pytest.mark.parametrize("options", [{"focal_gamma": 2.0}, {"logit_adjustment": 1.0}, {"class_weights": "balanced"}])
def test_soft_label_is_the_mixture_of_its_classes(batch, options):
    """The gradient of a mixed clip is that of its two classes' losses, by their shares."""
    log_posteriors = batch[0][:1].clone().requires_grad_()
    shares = torch.tensor([[0.75, 0.0, 0.25, 0.0]])

    def gradient(targets):
        return torch.autograd.grad(make(**options)(log_posteriors, targets), log_posteriors)[0]

    mixed = 0.75 * gradient(torch.eye(4)[:1]) + 0.25 * gradient(torch.eye(4)[2:3])
    torch.testing.assert_close(gradient(shares), mixed)


def test_adjusted_loss_is_that_of_torch_on_adjusted_logits():
    logits, labels = torch.randn(8, 4), torch.randint(4, (8,))
    prior = torch.tensor(COUNTS) / 100
    expected = torch.nn.functional.cross_entropy(logits + 0.5 * prior.log(), labels)
    torch.testing.assert_close(make(logit_adjustment=0.5)(logits.log_softmax(1), torch.eye(4)[labels]), expected)


def test_adjusted_loss_leaves_clips_that_say_nothing_at_equal_posteriors():
    """Among labels as frequent as the prior, eq. 4 would pull posteriors of 1/4 to the prior."""
    log_posteriors = torch.full((100, 4), 0.25).log().requires_grad_()
    targets = torch.eye(4).repeat_interleave(torch.tensor(COUNTS), dim=0)
    make(logit_adjustment=1.0)(log_posteriors, targets).backward()
    torch.testing.assert_close(log_posteriors.grad.sum(0), torch.zeros(4), atol=1e-6, rtol=0)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_gradient_of_a_certain_clip_is_finite(gamma):
    log_posteriors = torch.tensor([[0.0, -200.0]], requires_grad=True)
    loss = RecognitionLoss(focal_gamma=gamma)
    loss.count_classes([1, 1])
    loss(log_posteriors, torch.tensor([[1.0, 0.0]])).backward()
    assert log_posteriors.grad.isfinite().all()


def test_large_values_in_half_precision_are_those_of_float32():
    loss = RecognitionLoss(class_weights=[1.0, 2.0])
    loss.count_classes([1, 1])
    found = loss(torch.tensor([[-100.0, 0.0]] * 4096).half(), torch.tensor([[1.0, 0.0]] * 4096).half())
    assert found.dtype == torch.float32 and found.item() == pytest.approx(100)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"focal_gamma": -1}, "focal_gamma must be a number from 0 to inf, got -1"),
        ({"logit_adjustment": "yes"}, "logit_adjustment must be a number from 0 to inf, got 'yes'"),
        ({"class_weights": [1, 2]}, r"one number for each of the 4 emotions, in their order, got 2: \[1, 2\]"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        make(**options)


def test_classes_are_counted_first_and_none_is_empty(batch):
    with pytest.raises(InputError, match="has not counted the classes: call count_classes first"):
        RecognitionLoss(logit_adjustment=1.0)(*batch)
    with pytest.raises(InputError, match=r"every class needs a training clip, got \[3, 0\]"):
        RecognitionLoss().count_classes([3, 0])
    with pytest.raises(InputError, match=r"one shape \[B, C\]"):
        make(focal_gamma=1.0)(torch.zeros(3, 4), torch.tensor([0, 1, 2]))
