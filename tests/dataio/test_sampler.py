"""Batches: every clip once, partners from everywhere, the same plan again, and what the dataset serves for it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from speechbrain_ext.dataio.sampler import BatchShard, PairedBatchSampler, PairedIndex, shard_batch, share_whole_batches
from speechbrain_ext.errors import InputError
from speechbrain_ext.training.distributed import world_size_and_rank


def plan(sampler, epoch=1):
    """Return an epoch's batches."""
    sampler.set_epoch(epoch)
    return list(sampler)


def draws_of(sampler, epoch=1):
    """Return an epoch's draws without their batches."""
    return [draw for batch in plan(sampler, epoch) for draw in batch]


def pair_length(draw, n_samples):
    """Length of a clip after mixup: the longer of the two."""
    return max(n_samples[draw.index], 0 if draw.partner is None else n_samples[draw.partner])


def padding_share(batches, n_samples):
    """Share of a padded epoch that is padding."""
    padded = sum(len(batch) * max(pair_length(draw, n_samples) for draw in batch) for batch in batches)
    return 1 - sum(pair_length(draw, n_samples) for batch in batches for draw in batch) / padded


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    n_samples=st.lists(st.integers(1, 1000), min_size=1, max_size=50),
    batch_size=st.integers(1, 20),
    partner_prob=st.sampled_from([0.0, 0.5, 1.0]),
    sort_window=st.integers(1, 4),
    epoch=st.integers(1, 100),
)
def test_sampler_serves_every_clip_once_with_another_as_partner(
    n_samples, batch_size, partner_prob, sort_window, epoch
):
    n_clips = len(n_samples)
    sampler = PairedBatchSampler(n_samples, batch_size, partner_prob, sort_window)
    batches = plan(sampler, epoch)
    draws = [draw for batch in batches for draw in batch]
    assert sorted(draw.index for draw in draws) == list(range(n_clips))
    assert {draw.epoch for draw in draws} == {epoch}
    assert all(draw.partner != draw.index for draw in draws)
    assert all(0 <= draw.partner < n_clips for draw in draws if draw.partner is not None)
    full, rest = divmod(n_clips, batch_size)
    assert sorted(map(len, batches), reverse=True) == [batch_size] * full + [rest] * bool(rest)
    assert len(sampler) == len(batches)


def test_sampler_plan_is_decided_by_seed_and_epoch_alone():
    n_samples = list(range(100, 140))
    sampler = PairedBatchSampler(n_samples, 8, 0.5, sort_window=2, seed=3)
    first = list(sampler)  # the first epoch, unless told otherwise
    assert first == plan(sampler, 1)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert list(sampler) == first  # a second look at the same epoch
    assert torch.equal(torch.get_rng_state(), state)
    assert plan(sampler, 2) != first
    assert plan(sampler, 1) == first
    assert plan(PairedBatchSampler(n_samples, 8, 0.5, sort_window=2, seed=3)) == first
    assert plan(PairedBatchSampler(n_samples, 8, 0.5, sort_window=2, seed=4)) != first


def test_sampler_epochs_differ_in_order_in_partners_and_in_who_has_one():
    sampler = PairedBatchSampler([1] * 40, 8, 0.5)
    one, two = draws_of(sampler, 1), draws_of(sampler, 2)
    assert [draw.index for draw in one] != [draw.index for draw in two]
    partners = [{draw.index: draw.partner for draw in draws if draw.partner is not None} for draws in (one, two)]
    assert set(partners[0]) != set(partners[1])
    shared = set(partners[0]) & set(partners[1])
    assert sum(partners[0][i] == partners[1][i] for i in shared) < len(shared) / 2


@pytest.mark.parametrize(
    ("partner_prob", "low", "high"), [(0.0, 0, 0), (0.3, 0.27, 0.33), (0.5, 0.47, 0.53), (1.0, 1, 1)]
)
def test_sampler_share_of_clips_with_a_partner(partner_prob, low, high):
    draws = draws_of(PairedBatchSampler([1] * 4000, 16, partner_prob))
    assert low <= np.mean([draw.partner is not None for draw in draws]) <= high


def test_sampler_partners_are_uniform_over_all_other_clips():
    n_clips, n_epochs = 12, 400
    sampler = PairedBatchSampler(list(range(1, n_clips + 1)), 2, 1.0, sort_window=3)
    counts = np.zeros((n_clips, n_clips))
    for epoch in range(n_epochs):
        for draw in draws_of(sampler, epoch):
            counts[draw.index, draw.partner] += 1
    assert (counts.diagonal() == 0).all()
    others = counts[~np.eye(n_clips, dtype=bool)].reshape(n_clips, n_clips - 1)
    assert chisquare(others.ravel()).pvalue > 0.001
    assert all(chisquare(row).pvalue > 1e-4 for row in others)


def test_sampler_sorting_by_length_does_not_narrow_the_choice_of_partners():
    n_samples = np.random.default_rng(0).integers(10_000, 100_000, 2000)
    draws = draws_of(PairedBatchSampler(n_samples.tolist(), 16, 1.0, sort_window=1000))
    found = np.mean([abs(n_samples[draw.index] - n_samples[draw.partner]) for draw in draws])
    expected = np.abs(n_samples[:, None] - n_samples).mean()  # over all pairs; 30 000 samples
    assert found == pytest.approx(expected, rel=0.05)


def test_sampler_sorts_by_the_longer_length_of_a_pair():
    n_samples = np.random.default_rng(0).integers(1, 10_000, 100).tolist()
    batches = plan(PairedBatchSampler(n_samples, 8, 0.5, sort_window=1000))
    spans = sorted(
        (min(pair_length(draw, n_samples) for draw in batch), max(pair_length(draw, n_samples) for draw in batch))
        for batch in batches
    )
    assert all(before[1] <= after[0] for before, after in zip(spans, spans[1:]))


def test_sampler_sorting_wastes_less_padding_and_shuffles_batches():
    n_samples = np.random.default_rng(0).integers(10_000, 100_000, 640).tolist()
    shares, means = {}, {}
    for window in (1, 8):
        batches = plan(PairedBatchSampler(n_samples, 16, 0.5, sort_window=window))
        shares[window] = padding_share(batches, n_samples)
        means[window] = [np.mean([pair_length(draw, n_samples) for draw in batch]) for batch in batches]
    assert shares[8] < 0.5 * shares[1]
    rises = np.diff(means[8]) > 0
    assert 0.25 < rises.mean() < 0.75  # within a window in order it would be 7 of 8


def test_sampler_sorts_within_windows_only_so_that_batches_mix_anew():
    sampler = PairedBatchSampler(list(range(1, 65)), 4, sort_window=2)
    batches = [{frozenset(draw.index for draw in batch) for batch in plan(sampler, epoch)} for epoch in (1, 2)]
    assert len(batches[0] & batches[1]) < 4


def test_sampler_without_sorting_ends_with_the_odd_batch():
    sampler = PairedBatchSampler([5] * 10, 4)
    assert all([len(batch) for batch in plan(sampler, epoch)] == [4, 4, 2] for epoch in range(1, 9))


def test_sampler_pairs_of_two_clips_and_of_one():
    assert sorted(draws_of(PairedBatchSampler([3, 4], 2, 1.0)), key=lambda draw: draw.index) == [
        PairedIndex(0, 1, 1),
        PairedIndex(1, 0, 1),
    ]
    assert plan(PairedBatchSampler([3], 2, 1.0)) == [[PairedIndex(0, None, 1)]]


LABELS = ["sad"] * 180 + ["ang"] * 15 + ["hap"] * 5


def test_balanced_sampler_draws_each_label_as_often_as_any_other():
    sampler = PairedBatchSampler([1] * 200, 16, 0.5, sort_window=2, labels=LABELS)
    counts = np.zeros((2, 200))
    for epoch in range(1, 101):
        draws = draws_of(sampler, epoch)
        assert len(draws) == 200
        for draw in draws:
            counts[0, draw.index] += 1
            counts[1, draw.index if draw.partner is None else draw.partner] += 1
    borders = np.array([0, 180, 195])
    assert chisquare(np.add.reduceat(counts[0], borders)).pvalue > 0.001
    assert np.add.reduceat(counts[1], borders) == pytest.approx(counts[1].sum() / 3, rel=0.05)  # partners too
    for start, end in ((0, 180), (180, 195), (195, 200)):  # and each clip as often as another of its label
        assert chisquare(counts[0, start:end]).pvalue > 0.001


def test_balanced_sampler_counts_repeats_and_mixes_no_clip_with_itself():
    draws = draws_of(PairedBatchSampler([1] * 200, 16, 1.0, sort_window=2, labels=LABELS))
    for index in {draw.index for draw in draws}:
        repeats = sorted(draw.repeat for draw in draws if draw.index == index)
        assert repeats == list(range(len(repeats)))
    assert max(draw.repeat for draw in draws) > 5  # a clip of the rarest label stands for 13 draws
    assert all(draw.partner != draw.index for draw in draws)
    assert sum(draw.partner is None for draw in draws) < 20  # those that had met themselves


def test_balanced_sampler_plan_is_decided_by_seed_and_epoch_alone():
    sampler = PairedBatchSampler([1] * 200, 16, 0.5, seed=3, labels=LABELS)
    first = plan(sampler, 1)
    assert plan(sampler, 2) != first
    assert plan(sampler, 1) == first == plan(PairedBatchSampler([1] * 200, 16, 0.5, seed=3, labels=LABELS))
    assert {draw.index for batch in plan(sampler, 2) for draw in batch} != {d.index for batch in first for d in batch}


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"batch_size": 4, "labels": ["ang"]}, r"labels must be one for each clip \(2\), got 1"),
        ({"batch_size": 0}, "batch_size and sort_window must be at least 1, got 0 and 1"),
        ({"batch_size": 4, "sort_window": 0}, "batch_size and sort_window must be at least 1, got 4 and 0"),
        ({"batch_size": 4, "partner_prob": -0.1}, "partner_prob must be a number from 0 to 1, got -0.1"),
        ({"batch_size": 4, "partner_prob": 1.5}, "partner_prob must be a number from 0 to 1, got 1.5"),
    ],
)
def test_sampler_refuses_settings_out_of_range(kwargs, message):
    with pytest.raises(InputError, match=message):
        PairedBatchSampler([1, 2], **kwargs)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    n_samples=st.lists(st.integers(1, 1000), min_size=1, max_size=50),
    batch_size=st.integers(1, 7),
    n_processes=st.integers(2, 5),
    sort_window=st.integers(1, 4),
    epoch=st.integers(1, 100),
    balanced=st.booleans(),
)
def test_sampler_shares_are_the_batches_of_one_process(
    n_samples, batch_size, n_processes, sort_window, epoch, balanced
):
    labels = ["sad" if n > 100 else "ang" for n in n_samples] if balanced else None
    whole = plan(PairedBatchSampler(n_samples, batch_size * n_processes, 0.5, sort_window, labels=labels), epoch)
    samplers = [
        PairedBatchSampler(n_samples, batch_size, 0.5, sort_window, 0, n_processes, rank, labels)
        for rank in range(n_processes)
    ]
    assert {len(sampler) for sampler in samplers} == {len(whole)}
    for batch, *shares in zip(whole, *(plan(sampler, epoch) for sampler in samplers)):
        union = [draw for share in shares for draw in share if draw.shard.weight > 0]
        assert [(draw.index, draw.partner, draw.epoch, draw.repeat) for draw in union] == [
            (draw.index, draw.partner, draw.epoch, draw.repeat) for draw in batch
        ]
        assert all(0 < len(share) <= batch_size for share in shares)
        assert sum(share[0].shard.weight for share in shares) == pytest.approx(n_processes)
        for share in shares:
            assert len({draw.shard for draw in share}) == 1
            found = share[0].shard
            assert found.n_clips == len(batch)
            own = batch[found.start : found.start + len(share)]
            assert [draw.index for draw in own] == [draw.index for draw in share]


def test_sampler_shares_pad_less_than_the_whole_batch():
    n_samples = np.random.default_rng(0).integers(10_000, 100_000, 640).tolist()
    wastes = {}
    for n_processes in (1, 4):
        samplers = [
            PairedBatchSampler(n_samples, 16 // n_processes, 0.5, 4, n_processes=n_processes, rank=rank)
            for rank in range(n_processes)
        ]
        wastes[n_processes] = padding_share([batch for sampler in samplers for batch in plan(sampler)], n_samples)
    assert wastes[4] < 0.5 * wastes[1]


def test_share_batch_weights_make_the_mean_of_the_processes_that_of_the_clips():
    """Losses 1, 2 and 6 in two shares: ((1 + 2) / 2 * 4/3 + 6 * 2/3) / 2 = (1 + 2 + 6) / 3 = 3."""
    parts = [shard_batch([1.0, 2.0, 6.0], 2, rank) for rank in range(2)]
    assert parts == [([1.0, 2.0], BatchShard(0, 3, 4 / 3)), ([6.0], BatchShard(2, 3, 2 / 3))]
    assert sum(sum(clips) / len(clips) * share.weight for clips, share in parts) / 2 == pytest.approx(3)


def test_share_batch_gives_a_process_without_a_clip_the_first_one_without_weight():
    assert [shard_batch(["a", "b"], 3, rank) for rank in range(3)] == [
        (["a"], BatchShard(0, 2, 1.5)),
        (["b"], BatchShard(1, 2, 1.5)),
        (["a"], BatchShard(0, 2, 0.0)),
    ]


def test_share_batch_of_one_process_is_the_batch_itself():
    assert shard_batch(["a", "b"], 1, 0) == (["a", "b"], None)
    assert world_size_and_rank() == (1, 0)


@pytest.mark.parametrize("rank", [-1, 2])
def test_sampler_refuses_a_rank_that_does_not_exist(rank):
    with pytest.raises(InputError, match=rf"rank must be from 0 to n_processes - 1 \(1\), got {rank}"):
        PairedBatchSampler([1, 2], 2, n_processes=2, rank=rank)


@pytest.mark.parametrize(("n_clips", "n_processes"), [(0, 2), (1, 3), (7, 1), (7, 2), (20, 3)])
def test_share_whole_batches_by_turns_are_the_batches_of_one_process(n_clips, n_processes):
    whole = list(torch.utils.data.BatchSampler(range(n_clips), 3, drop_last=False))
    shares = [share_whole_batches(n_clips, 3, n_processes, rank) for rank in range(n_processes)]
    assert [shares[i % n_processes][i // n_processes] for i in range(len(whole))] == whole
    assert sum(map(len, shares)) == len(whole)


def test_sampler_refuses_an_empty_training_set():
    with pytest.raises(InputError, match="n_samples is empty"):
        PairedBatchSampler([], batch_size=4)
