"""The learning-rate schedule against the paper's numbers and torch's own scheduler."""

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR, MultiStepLR

from speechbrain_ext.nnet.schedulers import GeometricDecay


def sgd(lr=1e-4):
    """Make an optimizer of one parameter."""
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


@pytest.mark.parametrize(
    ("n_epochs_done", "factor"),
    [(0, 1.0), (1, 0.8), (2, 0.64), (3, 0.512), (10, 0.1073741824), (20, 0.011529215046068), (21, 0.011529215046068)],
)
def test_decay_divides_by_1_25_until_the_20th_epoch(n_epochs_done, factor):
    assert GeometricDecay()(n_epochs_done) == pytest.approx(factor, rel=1e-12)


def test_decay_is_constant_after_the_last_epoch():
    decay = GeometricDecay()
    assert decay(19) > decay(20) == decay(21) == decay(100)


def test_decay_takes_divisor_and_last_epoch():
    decay = GeometricDecay(divisor=10, last_epoch=2)
    assert [decay(n) for n in range(4)] == pytest.approx([1, 0.1, 0.01, 0.01], rel=1e-12)


def test_decay_equals_torchs_own_scheduler_with_a_step_at_each_epoch():
    ours, theirs = sgd(), sgd()
    lambda_lr = LambdaLR(ours, GeometricDecay(divisor=1.25, last_epoch=20))
    multi_step_lr = MultiStepLR(theirs, milestones=range(1, 21), gamma=0.8)
    for _ in range(30):
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12)
        for optimizer, scheduler in ((ours, lambda_lr), (theirs, multi_step_lr)):
            optimizer.step()
            scheduler.step()
