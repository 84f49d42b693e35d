"""Losses against values worked out by hand and against independent formulas."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from speechbrain_ext.errors import InputError
from speechbrain_ext.nnet.losses import ArgmaxCenterLoss, soft_label_kl_loss


def test_kl_by_hand():
    """Eq. 4 for z = (3/4, 1/4) and z^ = (1/2, 1/2), and for one-hot z against z^ = (1/4, 3/4)."""
    log_posteriors = torch.tensor([[0.5, 0.5], [0.25, 0.75]]).log()
    targets = torch.tensor([[0.75, 0.25], [1.0, 0.0]])
    first = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    second = math.log(4.0)
    assert soft_label_kl_loss(log_posteriors, targets).item() == pytest.approx((first + second) / 2, rel=1e-6)


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4))
def test_kl_of_equal_distributions_is_zero(logits):
    log_posteriors = torch.tensor([logits]).log_softmax(dim=1)
    assert soft_label_kl_loss(log_posteriors, log_posteriors.exp()).item() == pytest.approx(0, abs=1e-5)


def test_kl_of_hard_labels_is_cross_entropy():
    logits, labels = torch.randn(8, 4), torch.randint(4, (8,))
    found = soft_label_kl_loss(logits.log_softmax(1), torch.eye(4)[labels])
    torch.testing.assert_close(found, torch.nn.functional.cross_entropy(logits, labels))


def test_center_loss_by_hand():
    """Eq. 5: distances (3-1)^2 + (0-1)^2 = 5 to center 1, and 1^2 + 2^2 = 5, 0 to center 0: mean 10/3."""
    center_loss = ArgmaxCenterLoss(n_classes=2, emb_dim=2)
    center_loss.centers.data = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    emb = torch.tensor([[3.0, 0.0], [1.0, 2.0], [0.0, 0.0]], requires_grad=True)
    loss = center_loss(emb, torch.tensor([[0.4, 0.6], [0.9, 0.1], [1.0, 0.0]]))
    assert loss.item() == pytest.approx(10 / 3)
    loss.backward()
    # d/dx |x - c|^2 / 3 = 2 (x - c) / 3, and the negative sum of it for each center.
    torch.testing.assert_close(emb.grad, torch.tensor([[4.0, -2.0], [2.0, 4.0], [0.0, 0.0]]) / 3)
    torch.testing.assert_close(center_loss.centers.grad, torch.tensor([[-2.0, -4.0], [-4.0, 2.0]]) / 3)


def test_center_loss_takes_the_first_of_equally_probable_classes():
    center_loss = ArgmaxCenterLoss(n_classes=3, emb_dim=1)
    center_loss.centers.data = torch.tensor([[1.0], [2.0], [4.0]])
    assert center_loss(torch.zeros(1, 1), torch.tensor([[0.0, 0.5, 0.5]])).item() == 4.0


def test_center_loss_is_exact_under_autocast():
    """Far from the origin |x|^2 + |c|^2 - 2xc cancels in bf16; the true distance is 64 * 0.01^2 = 0.0064."""
    center_loss = ArgmaxCenterLoss(n_classes=1, emb_dim=64)
    center_loss.centers.data.fill_(1.0)
    emb = torch.full((2, 64), 1.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = center_loss(emb, torch.ones(2, 1))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.0064, rel=1e-3)


def test_centers_are_learnable_and_saved():
    center_loss = ArgmaxCenterLoss(n_classes=4, emb_dim=8)
    assert [name for name, _ in center_loss.named_parameters()] == ["centers"]
    assert center_loss.state_dict()["centers"].shape == (4, 8)


def test_center_loss_refuses_other_sizes():
    with pytest.raises(InputError, match=r"4 centers of size 8; got embeddings of shape \[2, 9\]"):
        ArgmaxCenterLoss(4, 8)(torch.zeros(2, 9), torch.eye(4)[:2])
    with pytest.raises(InputError, match=r"targets of shape \[2, 5\]"):
        ArgmaxCenterLoss(4, 8)(torch.zeros(2, 8), torch.eye(5)[:2])


def test_kl_refuses_shapes_that_would_broadcast():
    with pytest.raises(InputError, match=r"one shape \[B, C\], got \[4, 4\] and \[1, 4\]"):
        soft_label_kl_loss(torch.zeros(4, 4), torch.eye(4)[:1])


def test_center_loss_refuses_another_number_of_targets_and_an_empty_batch():
    with pytest.raises(InputError, match=r"targets of shape \[1, 4\]"):
        ArgmaxCenterLoss(4, 8)(torch.zeros(3, 8), torch.eye(4)[:1])
    with pytest.raises(InputError, match=r"embeddings of shape \[0, 8\]"):
        ArgmaxCenterLoss(4, 8)(torch.zeros(0, 8), torch.zeros(0, 4))


def test_center_loss_gradients_in_double_precision():
    center_loss = ArgmaxCenterLoss(3, 5).double()
    emb = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.eye(3, dtype=torch.float64)[[0, 2, 1, 2]]
    assert torch.autograd.gradcheck(lambda x: center_loss(x, targets), emb)


@pytest.mark.parametrize("targets", [torch.tensor([0, 1, 1]), torch.tensor([[0], [1], [1]]), torch.zeros(3, 1, 4)])
@pytest.mark.parametrize("loss", [soft_label_kl_loss, ArgmaxCenterLoss(4, 4)])
def test_class_indices_are_refused(loss, targets):
    with pytest.raises(InputError, match=r"got .* Class indices have to be made one-hot: torch.nn.functional.one_hot"):
        loss(torch.zeros(3, 4), targets)


def test_kl_refuses_what_is_no_batch_of_distributions():
    for shape in ((4,), (2, 1, 4), (0, 4)):
        with pytest.raises(InputError, match=r"one shape \[B, C\]"):
            soft_label_kl_loss(torch.zeros(shape), torch.zeros(shape))


def test_kl_takes_torchs_own_one_hot_labels():
    log_posteriors = torch.tensor([[0.25, 0.75]]).log()
    assert soft_label_kl_loss(
        log_posteriors, torch.nn.functional.one_hot(torch.tensor([0]), 2)
    ).item() == pytest.approx(math.log(4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_losses_in_half_precision_are_those_of_double(dtype, autocast):
    """The sum over 4096 clips, 100 nats each, and squared distances of 300 are beyond float16."""
    log_posteriors = torch.tensor([[-100.0, 0.0]]).expand(4096, 2).to(dtype)
    targets = torch.tensor([[1.0, 0.0]]).expand(4096, 2).to(dtype)
    center_loss = ArgmaxCenterLoss(n_classes=2, emb_dim=8).to(dtype)
    center_loss.centers.data.zero_()
    emb = torch.full((4096, 8), 300.0).to(dtype)
    with torch.autocast("cpu", dtype, enabled=autocast):
        kl, center = soft_label_kl_loss(log_posteriors, targets), center_loss(emb, targets)
    assert (kl.dtype, center.dtype) == (torch.float32, torch.float32)
    assert kl.item() == pytest.approx(100, rel=1e-6)
    assert center.item() == pytest.approx(8 * float(emb[0, 0]) ** 2, rel=1e-6)
