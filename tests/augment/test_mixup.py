"""Mixup against eq. 1 to 3 by hand, and its properties."""

import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_ext.augment.mixup import ConventionalMixup, LengthAdaptiveMixup, length_adaptive_weight
from speechbrain_ext.errors import InputError

lengths = st.integers(min_value=1, max_value=600_000)


@st.composite
def batches(draw):
    """Draw (wavs, wav_lens, one-hot targets) of 1 to 5 clips of at most 40 samples."""
    sizes = draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))
    labels = draw(st.lists(st.integers(0, 3), min_size=len(sizes), max_size=len(sizes)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    wavs = torch.zeros(len(sizes), max(sizes))
    for row, size in zip(wavs, sizes):
        row[:size] = torch.randn(size, generator=generator)
    return wavs, torch.tensor(sizes) / max(sizes), torch.eye(4)[labels]


def test_pair_by_hand():
    """l_i = 2, l_j = 6 samples, lambda 0.5: weights 1/4 and 3/4 (eq. 3)."""
    wavs = torch.tensor([[1.0, -2.0, 0.0, 0.0]])
    partner = torch.tensor([[4.0, 2.0, 6.0, 8.0, -2.0, 10.0]]), torch.tensor([1.0]), torch.tensor([[0.0, 0.0, 1.0]])
    mixed, wav_lens, targets = LengthAdaptiveMixup(prob=1.0)(
        wavs, torch.tensor([0.5]), torch.tensor([[1.0, 0.0, 0.0]]), partner
    )
    assert mixed.tolist() == [[2.5, 0.0, 3.0, 4.0, -1.0, 5.0]]
    assert wav_lens.tolist() == [1.0]
    assert targets.tolist() == [[0.25, 0.0, 0.75]]


def test_pair_by_hand_with_another_lambda():
    """l_i = 4, l_j = 2, lambda 0.8: own weight 3.2 / (3.2 + 0.4) = 8/9."""
    wavs = torch.tensor([[1.0, 1.0, 1.0, 1.0]])
    partner = torch.tensor([[10.0, 10.0]]), torch.tensor([1.0]), torch.tensor([[0.0, 1.0]])
    mixed, _, targets = LengthAdaptiveMixup(prob=1.0, lam=0.8)(
        wavs, torch.tensor([1.0]), torch.tensor([[1.0, 0.0]]), partner
    )
    torch.testing.assert_close(mixed, torch.tensor([[2.8, 2.8, 0.8, 0.8]]))
    torch.testing.assert_close(targets, torch.tensor([[8 / 9, 1 / 9]]))


def test_same_class_pair_keeps_its_label():
    target = torch.tensor([[0.0, 1.0]])
    partner = torch.ones(1, 9), torch.tensor([1.0]), target
    mixed = LengthAdaptiveMixup(prob=1.0)(torch.ones(1, 3), torch.tensor([1.0]), target, partner)[2]
    assert mixed.tolist() == [[0.0, 1.0]]


def test_same_class_pair_as_the_authors_code_has_it():
    """The second assignment overwrites the first: the target sums to l_j / (l_i + l_j) = 9 / 12."""
    mixup = LengthAdaptiveMixup(prob=1.0, overwrite_same_class=True)
    own, other = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    assert mixup(torch.ones(1, 3), torch.ones(1), own, (torch.ones(1, 9), torch.ones(1), own))[2].tolist() == [
        [0, 0.75]
    ]
    mixed = mixup(torch.ones(1, 3), torch.ones(1), own, (torch.ones(1, 9), torch.ones(1), other))[2]
    assert mixed.tolist() == [[0.75, 0.25]]


@given(lengths, lengths, st.floats(0.01, 0.99))
def test_weights_of_a_pair_sum_to_one_and_swap(l_i, l_j, lam):
    l_i, l_j = torch.tensor([float(l_i)]), torch.tensor([float(l_j)])
    own, other = length_adaptive_weight(l_i, l_j, lam), length_adaptive_weight(l_j, l_i, 1 - lam)
    torch.testing.assert_close(own + other, torch.ones(1))
    assert 0 <= own <= 1


@given(lengths)
def test_equal_lengths_weigh_the_same(length):
    assert length_adaptive_weight(torch.tensor([length]), torch.tensor([length])).item() == 0.5


@settings(max_examples=50, deadline=None)
@given(batches(), st.sampled_from([LengthAdaptiveMixup(prob=0.7), ConventionalMixup(prob=0.7, alpha=0.4)]))
def test_targets_sum_to_one_and_input_is_unchanged(batch, mixup):
    before = [tensor.clone() for tensor in batch]
    wavs, wav_lens, targets = mixup(*batch)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(len(targets)))
    assert (targets >= 0).all()
    assert wavs.shape == batch[0].shape
    assert (wav_lens >= batch[1]).all()
    assert all(torch.equal(tensor, old) for tensor, old in zip(batch, before))


@settings(max_examples=50, deadline=None)
@given(batches(), batches())
def test_swapping_a_pair_swaps_the_weights(batch, other):
    n = min(len(batch[0]), len(other[0]))
    batch, other = [tensor[:n] for tensor in batch], [tensor[:n] for tensor in other]
    mixup = LengthAdaptiveMixup(prob=1.0)
    one, two = mixup(*batch, partner=other), mixup(*other, partner=batch)
    for left, right in zip(one, two):
        torch.testing.assert_close(left, right)


@settings(max_examples=50, deadline=None)
@given(batches(), st.integers(0, 2**31))
def test_unmixed_clips_stay_exactly(batch, seed):
    torch.manual_seed(seed)
    wavs, wav_lens, targets = LengthAdaptiveMixup(prob=0.0)(*batch)
    assert torch.equal(wavs, batch[0])
    assert torch.equal(targets, batch[2])
    torch.testing.assert_close(wav_lens, batch[1], rtol=0, atol=1e-7)


def test_prob_is_the_share_of_mixed_clips():
    torch.manual_seed(0)
    n = 4000
    partner = torch.full((n, 4), 3.0), torch.ones(n), torch.eye(2)[torch.ones(n, dtype=torch.long)]
    mixed = LengthAdaptiveMixup(prob=0.3)(torch.ones(n, 4), torch.ones(n), torch.eye(2)[torch.zeros(n).long()], partner)
    share = (mixed[0][:, 0] == 2.0).double().mean().item()
    assert abs(share - 0.3) < 4 * (0.3 * 0.7 / n) ** 0.5
    assert torch.equal(mixed[0][:, 0] == 2.0, mixed[2][:, 1] == 0.5)


def test_batch_partners_are_a_permutation():
    torch.manual_seed(0)
    targets = torch.eye(6)
    seen = set()
    for _ in range(50):
        mixed = LengthAdaptiveMixup(prob=1.0)(torch.ones(6, 4), torch.ones(6), targets)[2]
        partners = (2 * (mixed - 0.5 * targets)).round().argmax(dim=1).tolist()
        assert sorted(partners) == list(range(6))
        seen.add(tuple(partners))
    assert len(seen) > 40


def test_partner_of_length_zero_leaves_the_clip():
    wavs, targets = torch.ones(2, 4), torch.eye(2)
    partner = torch.tensor([[5.0, 5.0], [0.0, 0.0]]), torch.tensor([1.0, 0.0]), torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    mixed, wav_lens, mixed_targets = LengthAdaptiveMixup(prob=1.0)(wavs, torch.tensor([1.0, 0.5]), targets, partner)
    assert mixed.tolist() == [[3.0, 3.0, 0.5, 0.5], [1.0, 1.0, 0.0, 0.0]]
    assert wav_lens.tolist() == [1.0, 0.5]
    torch.testing.assert_close(mixed_targets, torch.tensor([[2 / 3, 1 / 3], [0.0, 1.0]]))


def test_empty_partners_leave_the_batch():
    wavs, targets = torch.ones(2, 4), torch.eye(2)
    partner = torch.ones(2, 0), torch.zeros(2), torch.zeros(2, 2)
    mixed, wav_lens, mixed_targets = LengthAdaptiveMixup(prob=1.0)(wavs, torch.ones(2), targets, partner)
    assert torch.equal(mixed, wavs)
    assert torch.equal(mixed_targets, targets)
    assert wav_lens.tolist() == [1.0, 1.0]


def test_padding_of_either_clip_is_not_mixed():
    wavs = torch.tensor([[2.0, 9.0, 9.0, 9.0]])
    partner = torch.tensor([[4.0, 4.0, 7.0, 7.0]]), torch.tensor([0.5]), torch.tensor([[0.0, 1.0]])
    arguments = (wavs, torch.tensor([0.25]), torch.tensor([[1.0, 0.0]]), partner)
    assert LengthAdaptiveMixup(prob=1.0)(*arguments)[0].tolist() == [[3.0, 2.0, 0.0, 0.0]]
    mixed, wav_lens, _ = LengthAdaptiveMixup(prob=1.0, mask_padding=False)(*arguments)
    assert mixed.tolist() == [[3.0, 6.5, 8.0, 8.0]]
    assert wav_lens.tolist() == [0.5]


@pytest.mark.parametrize("mixup", [LengthAdaptiveMixup(prob=1.0), ConventionalMixup(prob=1.0, alpha=1.0)])
def test_evaluation_changes_nothing(mixup):
    batch = torch.randn(3, 8), torch.ones(3), torch.eye(3)
    assert all(one is other for one, other in zip(mixup.eval()(*batch), batch))


def test_batch_of_one_works():
    mixed = LengthAdaptiveMixup(prob=1.0).train()(torch.ones(1, 4), torch.ones(1), torch.tensor([[0.0, 1.0]]))
    assert [tensor.tolist() for tensor in mixed] == [[[1.0] * 4], [1.0], [[0.0, 1.0]]]


def test_conventional_weights_are_those_of_the_waveforms():
    """Eq. 2: the label weighs lambda whatever the lengths; lambda is read off the mixed waveform."""
    torch.manual_seed(0)
    n = 3000
    wavs = torch.ones(n, 2)
    partner = torch.zeros(n, 8), torch.ones(n), torch.tensor([[0.0, 1.0]]).expand(n, 2)
    mixed, wav_lens, targets = ConventionalMixup(prob=1.0, alpha=0.5)(
        wavs, torch.ones(n), torch.tensor([[1.0, 0.0]]).expand(n, 2), partner
    )
    lam = mixed[:, 0]
    torch.testing.assert_close(targets, torch.stack([lam, 1 - lam], dim=1))
    assert wav_lens.tolist() == [1.0] * n
    # Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1)) = 1/8.
    assert abs(lam.mean().item() - 0.5) < 0.03
    assert abs(lam.var().item() - 0.125) < 0.01


def test_pure_part_draws_nothing():
    batch = torch.randn(3, 8), torch.ones(3), torch.eye(3)
    partner = torch.randn(3, 8), torch.ones(3), torch.eye(3)[[2, 0, 1]]
    chosen, lam = torch.tensor([True, False, True]), torch.full((3,), 0.5)
    before = torch.get_rng_state()
    mixed = LengthAdaptiveMixup().mix(*batch, partner, chosen, lam)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(mixed[0][1], batch[0][1])
    torch.testing.assert_close(mixed[0][0], (batch[0][0] + partner[0][0]) / 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LengthAdaptiveMixup(prob=1.5), "prob must be a number from 0 to 1, got 1.5"),
        (lambda: LengthAdaptiveMixup(lam=1.0), "lam must be a number between 0 and 1, got 1.0"),
        (lambda: ConventionalMixup(alpha=0), "alpha must be a number from 0.01 to inf, got 0"),
        (
            lambda: LengthAdaptiveMixup()(
                torch.ones(2, 4), torch.ones(2), torch.eye(2), (torch.ones(1, 4), torch.ones(1), torch.eye(2)[:1])
            ),
            "partner must hold one clip for each of the 2 clips, it holds 1",
        ),
    ],
)
def test_unusable_arguments_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_integer_targets_and_lengths_lose_no_weight():
    """torch's one_hot gives int64; l_i = 4 and l_j = 8 samples weigh 1/3 and 2/3."""
    partner = torch.ones(1, 8), torch.ones(1), torch.tensor([[0, 1]])
    _, wav_lens, targets = LengthAdaptiveMixup(prob=1.0)(
        torch.ones(1, 4), torch.ones(1, dtype=torch.long), torch.tensor([[1, 0]]), partner
    )
    torch.testing.assert_close(targets, torch.tensor([[1 / 3, 2 / 3]]))
    assert wav_lens.tolist() == [1.0]


@pytest.mark.parametrize(
    ("targets", "partner_targets"),
    [(torch.ones(2), torch.ones(2)), (torch.eye(2), torch.ones(2, 1)), (torch.eye(3),) * 2],
)
def test_targets_of_another_shape_are_refused(targets, partner_targets):
    with pytest.raises(InputError, match=r"targets must be class probabilities \[B, C\] of 2 clips.*one-hot"):
        LengthAdaptiveMixup()(
            torch.ones(2, 4), torch.ones(2), targets, (torch.ones(2, 4), torch.ones(2), partner_targets)
        )


@pytest.mark.parametrize("labels", [torch.tensor([[0], [3]]), torch.tensor([[0.0], [3.0]])])
@pytest.mark.parametrize("given", [False, True])
def test_class_indices_are_refused(labels, given):
    partner = (torch.ones(2, 4), torch.ones(2), labels) if given else None
    with pytest.raises(InputError, match=r"targets have the shape \[2, 1\]: these are class indices, .*squeeze\(1\)"):
        LengthAdaptiveMixup()(torch.ones(2, 4), torch.ones(2), labels, partner)


@pytest.mark.parametrize("labels", [torch.tensor([0, 3]), torch.tensor(0)])
def test_a_row_of_class_indices_is_refused_without_a_partner_too(labels):
    with pytest.raises(InputError, match=r"targets must be class probabilities \[B, C\] of 2 clips.*one_hot"):
        LengthAdaptiveMixup()(torch.ones(2, 4), torch.ones(2), labels)


def test_features_instead_of_waveforms_are_refused():
    with pytest.raises(InputError, match=r"wavs must be waveforms .* \[2, 4, 80\].*features .* are not taken"):
        LengthAdaptiveMixup()(torch.ones(2, 4, 80), torch.ones(2), torch.eye(2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weighs_and_measures_as_double_does(dtype):
    """Lengths of 34 and 17 s in samples are beyond float16, and lie between the numbers of bfloat16."""
    wavs, partner_wavs = torch.zeros(1, 34 * 16000), torch.zeros(1, 17 * 16000 + 1)
    targets, partner_targets = torch.eye(2)[:1], torch.eye(2)[1:]
    batch = wavs.to(dtype), torch.ones(1).to(dtype), targets
    partner = partner_wavs.to(dtype), torch.ones(1).to(dtype), partner_targets
    chosen, lam = torch.tensor([True]), torch.tensor([0.5])
    _, wav_lens, mixed = LengthAdaptiveMixup().mix(*batch, partner, chosen, lam.to(dtype))
    expected = 544000 / (544000 + 272001)
    torch.testing.assert_close(mixed.double(), torch.tensor([[expected, 1 - expected]]).double(), rtol=1e-6, atol=0)
    assert (wav_lens.dtype, wav_lens.tolist()) == (torch.float32, [1.0])
    half_lengths = [torch.tensor([544000.0]).to(torch.bfloat16), torch.tensor([272000.0]).to(torch.bfloat16)]
    assert length_adaptive_weight(*half_lengths).item() == pytest.approx(2 / 3, rel=1e-6)


def test_small_alpha_gives_lambdas_at_the_ends():
    """By scipy: Beta(0.01, 0.01) puts 0.955 of its mass within 0.01 of 0 and 1."""
    expected = 2 * scipy.stats.beta(0.01, 0.01).cdf(0.01)
    lam = ConventionalMixup(alpha=0.01).sample_lam(4000, "cpu")
    assert ((lam < 0.01) | (lam > 0.99)).double().mean().item() == pytest.approx(expected, abs=0.02)
    assert abs(lam.mean().item() - 0.5) < 0.05
