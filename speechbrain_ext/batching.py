"""Which clips stand in which batch, each with which mixup partner, decided for a whole epoch before it begins."""

from dataclasses import dataclass
from functools import partial
from typing import Optional

import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataset import DynamicItemDataset
from torch.utils.data import Sampler

from speechbrain_ext.errors import InputError, check_number
from speechbrain_ext.seeding import derive_seed


@dataclass(frozen=True)
class Draw:
    """One clip of a training batch.

    Attributes
    ----------
    index : int
        The clip.
    partner : int, optional
        The clip that it is mixed with; None leaves it as it is.
    epoch : int
        The epoch, which seeds the clip's augmentation.
    """

    index: int
    partner: Optional[int]
    epoch: int


class PairedBatchSampler(Sampler):
    """Plans length-aware batches of clips with mixup partners from the whole training set.

    Partners are drawn before clips are sorted by length, so batching by length never narrows the choice: within a
    batch of equal lengths, eq. 3 would be a constant 0.5. A mixed clip is sorted by the longer length of its pair.
    Everything is decided by the seed and the epoch, so an epoch that is taken up in the middle goes on as planned.

    Arguments
    ---------
    n_samples : list of int
        Lengths of the clips, in samples, as they will be read.
    batch_size : int
        Clips in a batch; the last one holds what is left.
    partner_prob : float
        Probability in [0, 1] that a clip gets a partner.
    sort_window : int
        How many batches' worth of shuffled clips are sorted by length together; 1 does not sort.
    seed : int
        Seed of all draws.

    Example
    -------
    >>> sampler = PairedBatchSampler([4, 1, 3, 2], batch_size=2, sort_window=2)
    >>> sorted(sorted(draw.index for draw in batch) for batch in sampler)
    [[0, 2], [1, 3]]
    """

    def __init__(self, n_samples, batch_size, partner_prob=0.0, sort_window=1, seed=0):
        if batch_size < 1 or sort_window < 1:
            raise InputError(f"batch_size and sort_window must be at least 1, got {batch_size} and {sort_window}.")
        check_number("partner_prob", partner_prob, 0, 1)
        if len(n_samples) == 0:
            raise InputError("n_samples is empty: there is no clip to make batches of.")
        self.n_samples = torch.as_tensor(n_samples)
        self.batch_size = batch_size
        self.partner_prob = partner_prob
        self.sort_window = sort_window
        self.seed = seed
        self.epoch = 1

    def set_epoch(self, epoch):
        """Choose the epoch that the next iteration plans; a Brain does so for its `train_sampler`."""
        self.epoch = epoch

    def __len__(self):
        return -(-len(self.n_samples) // self.batch_size)

    def __iter__(self):
        generator = torch.Generator().manual_seed(derive_seed("batches", self.seed, self.epoch))
        n_clips = len(self.n_samples)
        # A partner is another clip: an offset of 1 to n - 1 around the circle of clips.
        offsets = torch.randint(1, max(n_clips, 2), (n_clips,), generator=generator)
        partners = (torch.arange(n_clips) + offsets) % n_clips
        paired = torch.rand(n_clips, generator=generator) < self.partner_prob
        if n_clips == 1:
            paired[:] = False
        lengths = torch.where(paired, torch.maximum(self.n_samples, self.n_samples[partners]), self.n_samples)

        order = torch.randperm(n_clips, generator=generator)
        if self.sort_window > 1:
            windows = order.split(self.sort_window * self.batch_size)
            order = torch.cat([window[lengths[window].argsort(stable=True)] for window in windows])
        batches = order.split(self.batch_size)
        shuffled = torch.randperm(len(batches), generator=generator) if self.sort_window > 1 else range(len(batches))
        for b in shuffled:
            yield [Draw(i, int(partners[i]) if paired[i] else None, self.epoch) for i in batches[int(b)].tolist()]


class PairedDataset(DynamicItemDataset):
    """A DynamicItemDataset that also serves a clip's mixup partner and tells its pipeline the epoch.

    Its pipeline has the key `epoch` beside `id` and the data's own: the epoch of the `Draw`, or 0 where the dataset is
    indexed by an integer, as in validation and testing.

    Arguments
    ---------
    data : dict
        As for DynamicItemDataset.
    dynamic_items : list
        As for DynamicItemDataset.
    output_keys : list
        As for DynamicItemDataset. For a `Draw`, each of `paired_keys` also comes as "partner_<key>"; without a
        partner the waveform is empty.
    paired_keys : tuple of str
        The waveform's key first, then others that a mixup needs.
    """

    def __init__(self, data, dynamic_items=(), output_keys=(), paired_keys=("sig", "target")):
        super().__init__(
            {utt_id: {**entry, "epoch": 0} for utt_id, entry in data.items()}, list(dynamic_items), list(output_keys)
        )
        self.paired_keys = paired_keys

    def __getitem__(self, index):
        if not isinstance(index, Draw):
            return super().__getitem__(index)
        outputs = self._outputs(index.index, index.epoch)
        if index.partner is None:
            partner = {key: torch.zeros_like(outputs[key]) for key in self.paired_keys}
            partner[self.paired_keys[0]] = outputs[self.paired_keys[0]].new_zeros(0)
        else:
            partner = self._outputs(index.partner, index.epoch)
        return {**outputs, **{f"partner_{key}": partner[key] for key in self.paired_keys}}

    def _outputs(self, index, epoch):
        utt_id = self.data_ids[index]
        return self.pipeline.compute_outputs({**self.data[utt_id], "id": utt_id, "epoch": epoch})


def pad_right(tensors):
    """Pad waveforms of different lengths, empty ones among them, to the longest.

    Arguments
    ---------
    tensors : list of torch.Tensor
        Waveforms, [T_b] each; tensors of one length are stacked.

    Returns
    -------
    tuple
        (padded [B, T], relative lengths [B]). The lengths are zeros where all waveforms are empty.

    Example
    -------
    >>> pad_right([torch.ones(2), torch.ones(0)])
    (tensor([[1., 1.],
            [0., 0.]]), tensor([1., 0.]))
    """
    lengths = torch.tensor([float(len(tensor)) for tensor in tensors])
    padded = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True)
    return padded, lengths / max(padded.shape[1], 1)


# SpeechBrain's own padding takes no empty waveform, which stands for a missing partner.
collate_pairs = partial(PaddedBatch, padding_func=pad_right)
