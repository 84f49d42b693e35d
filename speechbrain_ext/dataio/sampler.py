"""Which clips stand in which batch, each with which mixup partner, decided for a whole epoch before it begins.

Several processes (one a GPU) train on the very batches that one process would make: each takes a share of every batch.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Optional

import torch
from speechbrain.dataio.sampler import ReproducibleWeightedRandomSampler
from torch.utils.data import Sampler

from speechbrain_ext.errors import InputError, check_number
from speechbrain_ext.seeding import derive_seed


@dataclass(frozen=True)
class BatchShard:
    """The part of a batch that one of several processes computes.

    Attributes
    ----------
    start : int
        Place of its first clip in the batch.
    n_clips : int
        Clips in the whole batch.
    weight : float
        What the mean loss of its clips is multiplied by, so that the mean over the processes is the mean over the
        batch. A batch with fewer clips than processes gives the others a duplicate with loss weight 0, because
        all-reduce needs every rank.
    """

    start: int
    n_clips: int
    weight: float


@dataclass(frozen=True)
class PairedIndex:
    """One clip of a training batch.

    Attributes
    ----------
    index : int
        The clip.
    partner : int, optional
        The clip that it is mixed with; None leaves it as it is.
    epoch : int
        The epoch, which seeds the clip's augmentation.
    shard : BatchShard, optional
        The part of the batch that the clip is in; None where one process computes whole batches.
    repeat: int
        How often the clip was drawn in this epoch before, which seeds its augmentation as well.
    """

    index: int
    partner: Optional[int]
    epoch: int
    shard: Optional[BatchShard] = None
    repeat: int = 0


class PairedBatchSampler(Sampler):
    """Plans length-aware batches of clips with mixup partners from the whole training set.

    Partners are drawn before clips are sorted by length, so batching by length never narrows the choice: within a
    batch of equal lengths, eq. 3 would be a constant 0.5. A mixed clip is sorted by the longer length of its pair.
    Everything is decided by the seed and the epoch, so an epoch that is resumed in the middle has the same batches.

    N processes of `batch_size` clips share the batches of one process of N times `batch_size`. A share is a run of
    neighbours in length, so that little is padded, and where shares are unequal the shorter clips are in the larger.

    Arguments
    ---------
    n_samples : list of int
        Lengths of the clips, in samples, as they will be read.
    batch_size : int
        Clips in a batch of one process; the last one holds what is left.
    partner_prob : float
        Probability in [0, 1] that a clip gets a partner.
    sort_window : int
        How many batches' worth of shuffled clips are sorted by length together; 1 does not sort.
    seed : int
        Seed of all draws.
    n_processes : int
        How many processes share the batches.
    rank : int
        Which of them this is, from 0.
    labels : list of str, optional
        Label of each clip. With them an epoch draws as many clips as there are with replacement, each label as often as
        any other (SpeechBrain's balanced sampling), and partners from what was drawn.

    Example
    -------
    >>> sampler = PairedBatchSampler([4, 1, 3, 2], batch_size=2, sort_window=2)
    >>> sorted(sorted(draw.index for draw in batch) for batch in sampler)
    [[0, 2], [1, 3]]
    """

    def __init__(
        self,
        n_samples: Sequence[int],
        batch_size: int,
        partner_prob: float = 0.0,
        sort_window: int = 1,
        seed: int = 0,
        n_processes: int = 1,
        rank: int = 0,
        labels: Optional[Sequence[str]] = None,
    ):
        if batch_size < 1 or sort_window < 1:
            raise InputError(f"batch_size and sort_window must be at least 1, got {batch_size} and {sort_window}.")
        check_number("partner_prob", partner_prob, 0, 1)
        if len(n_samples) == 0:
            raise InputError("n_samples is empty: there is no clip to make batches of.")
        if not 0 <= rank < n_processes:
            raise InputError(f"rank must be from 0 to n_processes - 1 ({n_processes - 1}), got {rank}.")
        self.n_samples = torch.as_tensor(n_samples)
        self.batch_size = batch_size * n_processes  # of the whole batch
        self.partner_prob = partner_prob
        self.sort_window = sort_window
        self.seed = seed
        self.n_processes = n_processes
        self.rank = rank
        self.epoch = 1
        self.balanced: Optional[ReproducibleWeightedRandomSampler] = None
        if labels is not None:
            if len(labels) != len(n_samples):
                raise InputError(f"labels must be one for each clip ({len(n_samples)}), got {len(labels)}.")
            counts = Counter(labels)
            weights = [1 / counts[label] for label in labels]  # as SpeechBrain's BalancingDataSampler has them
            self.balanced = ReproducibleWeightedRandomSampler(
                weights, len(labels), replacement=True, seed=derive_seed("balance", seed)
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration plans; a Brain does so for its `train_sampler`."""
        self.epoch = epoch

    def __len__(self):
        return -(-len(self.n_samples) // self.batch_size)

    def __iter__(self) -> Iterator[list[PairedIndex]]:
        generator = torch.Generator().manual_seed(derive_seed("batches", self.seed, self.epoch))
        clips = self._draw_clips()
        n_clips = len(clips)
        # A partner is another clip: an offset of 1 to n - 1 around the circle of clips.
        offsets = torch.randint(1, max(n_clips, 2), (n_clips,), generator=generator)
        partners = clips[(torch.arange(n_clips) + offsets) % n_clips]
        paired = torch.rand(n_clips, generator=generator) < self.partner_prob
        paired &= partners != clips  # of one clip alone, and of one that was drawn twice
        n_samples, n_partners = self.n_samples[clips], self.n_samples[partners]
        lengths = torch.where(paired, torch.maximum(n_samples, n_partners), n_samples)

        order = torch.randperm(n_clips, generator=generator)
        if self.sort_window > 1:
            windows = order.split(self.sort_window * self.batch_size)
            order = torch.cat([window[lengths[window].argsort(stable=True)] for window in windows])
        batches = order.split(self.batch_size)
        drawn = list(zip(clips.tolist(), partners.tolist(), paired.tolist(), _count_repeats(clips.tolist())))
        shuffled = torch.randperm(len(batches), generator=generator) if self.sort_window > 1 else range(len(batches))
        for b in shuffled:
            part, shard = shard_batch(batches[int(b)].tolist(), self.n_processes, self.rank)
            yield [
                PairedIndex(clip, partner if is_paired else None, self.epoch, shard, repeat)
                for clip, partner, is_paired, repeat in (drawn[i] for i in part)
            ]

    def _draw_clips(self) -> torch.Tensor:
        """Return the epoch's clips, [N]: each once, or drawn so that labels are balanced."""
        if self.balanced is None:
            return torch.arange(len(self.n_samples))
        self.balanced.set_epoch(self.epoch)
        return torch.tensor(list(self.balanced))


def _count_repeats(clips: Sequence[int]) -> list[int]:
    """Count, for each place in a list, how often its clip stands before it.

    Example
    -------
    >>> _count_repeats([7, 5, 7, 7])
    [0, 0, 1, 2]
    """
    seen: Counter[int] = Counter()
    repeats = []
    for clip in clips:
        repeats.append(seen[clip])
        seen[clip] += 1
    return repeats


def shard_batch(batch: list, n_processes: int, rank: int) -> tuple[list, Optional[BatchShard]]:
    """Take one process's part out of a batch.

    Arguments
    ---------
    batch : list
        The clips of the whole batch.
    n_processes : int
        How many processes share it.
    rank : int
        Which of them this is, from 0.

    Returns
    -------
    tuple
        (clips, BatchShard); the whole batch and None where one process computes it.

    Example
    -------
    >>> shard_batch(["a", "b", "c"], n_processes=2, rank=0)
    (['a', 'b'], BatchShard(start=0, n_clips=3, weight=1.3333333333333333))
    >>> shard_batch(["a", "b", "c"], n_processes=2, rank=1)
    (['c'], BatchShard(start=2, n_clips=3, weight=0.6666666666666666))
    """
    if n_processes == 1:
        return batch, None
    size, rest = divmod(len(batch), n_processes)
    start = rank * size + min(rank, rest)
    part = batch[start : start + size + (rank < rest)]
    if not part:
        return batch[:1], BatchShard(0, len(batch), 0.0)
    return part, BatchShard(start, len(batch), len(part) * n_processes / len(batch))


def share_whole_batches(n_clips: int, batch_size: int, n_processes: int = 1, rank: int = 0) -> list[list[int]]:
    """Put clips into batches in their order, of which each process takes every `n_processes`-th.

    No batch is divided, so each is padded, and its mean loss is, as in one process.

    Arguments
    ---------
    n_clips : int
        Number of clips.
    batch_size : int
        Clips in a batch; the last one holds what is left.
    n_processes : int
        How many processes share the batches.
    rank : int
        Which of them this is, from 0.

    Returns
    -------
    list of list of int
        Indices of the clips, a list for each batch.

    Example
    -------
    >>> share_whole_batches(5, batch_size=2)
    [[0, 1], [2, 3], [4]]
    >>> share_whole_batches(5, batch_size=2, n_processes=2, rank=1)
    [[2, 3]]
    """
    batches = [list(range(start, min(start + batch_size, n_clips))) for start in range(0, n_clips, batch_size)]
    return batches[rank::n_processes]
