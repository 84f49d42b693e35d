"""The dataset of pairs: a clip with its partner, in batches, from any number of workers."""

import pytest
import torch
from speechbrain.dataio.dataloader import SaveableDataLoader
from speechbrain.utils.checkpoints import Checkpointer
from speechbrain.utils.data_pipeline import provides, takes
from torch.utils.data import DataLoader

from speechbrain_ext.dataio.dataset import PairedDataset, collate_pairs, pad_right, target_item
from speechbrain_ext.dataio.sampler import BatchShard, PairedBatchSampler, PairedIndex


@takes("id", "n", "epoch")
@provides("sig", "target")
def make_clip(utt_id, n, epoch):
    """Make a waveform that tells its clip and its epoch."""
    yield torch.full((n,), float(ord(utt_id)) + 1000 * epoch)
    yield torch.nn.functional.one_hot(torch.tensor(n % 3), 3).float()


def dataset(lengths="1234567", **kwargs):
    """Make clips a, b, c ... of the given lengths."""
    data = {"abcdefghij"[i]: {"n": int(n)} for i, n in enumerate(lengths)}
    return PairedDataset(data, [make_clip], ["id", "sig", "target"], **kwargs)


def test_dataset_integer_index_is_a_clip_by_itself_in_epoch_0():
    served = dataset()[1]
    assert list(served) == ["id", "sig", "target"]
    assert (served["id"], served["sig"].tolist(), served["target"].tolist()) == ("b", [98, 98], [0, 0, 1])


def test_dataset_draw_serves_clip_and_partner_of_its_epoch():
    served = dataset()[PairedIndex(index=1, partner=2, epoch=4)]
    assert list(served) == ["id", "sig", "target", "partner_sig", "partner_target"]
    assert (served["id"], served["sig"].tolist(), served["target"].tolist()) == ("b", [4098] * 2, [0, 0, 1])
    assert (served["partner_sig"].tolist(), served["partner_target"].tolist()) == ([4099] * 3, [1, 0, 0])


def test_dataset_tells_its_pipeline_whose_partner_a_clip_is():
    """So that clip b, as the partner of a and in its own place, is augmented differently."""

    @takes("id", "epoch", "partner_of", "repeat")
    @provides("sig")
    def describe(utt_id, epoch, partner_of, repeat):
        return torch.tensor([*map(ord, utt_id + partner_of), epoch, repeat])

    clips = PairedDataset({utt_id: {} for utt_id in "ab"}, [describe], ["sig"], paired_keys=("sig",))
    served = clips[PairedIndex(0, partner=1, epoch=3, repeat=2)]
    assert served["sig"].tolist() == [ord("a"), 3, 2]
    assert served["partner_sig"].tolist() == [ord("b"), ord("a"), 3, 2]
    assert clips[PairedIndex(1, partner=None, epoch=3)]["sig"].tolist() == [ord("b"), 3, 0]
    assert clips[1]["sig"].tolist() == [ord("b"), 0, 0]


def test_dataset_missing_partner_is_an_empty_waveform_without_a_label():
    served = dataset()[PairedIndex(index=1, partner=None, epoch=1)]
    assert served["sig"].tolist() == [1098] * 2
    assert (served["partner_sig"].shape, served["partner_sig"].dtype) == ((0,), torch.float32)
    assert served["partner_target"].tolist() == [0, 0, 0]


def test_dataset_serves_the_partner_keys_that_are_asked_for():
    for partner in (None, 0):
        assert list(dataset(paired_keys=("sig",))[PairedIndex(1, partner, 1)]) == ["id", "sig", "target", "partner_sig"]


@pytest.mark.parametrize("n_workers", [0, 1])
def test_dataset_share_of_a_draw_reaches_the_batch(n_workers):
    sampler = PairedBatchSampler([1, 2, 3], 2, n_processes=2, rank=0)
    batches = list(DataLoader(dataset("123"), batch_sampler=sampler, collate_fn=collate_pairs, num_workers=n_workers))
    assert [batch.shard for batch in batches] == [[BatchShard(0, 3, 4 / 3)] * 2]
    assert not hasattr(next(iter(loader(0))), "shard")


def test_dataset_leaves_the_data_as_it_was():
    data = {"a": {"n": 1}}
    served = PairedDataset(data, [make_clip], ["sig"])
    assert served[0]["sig"].tolist() == [97]
    assert data == {"a": {"n": 1}}


def test_pad_right_pads_with_zeros_and_tells_relative_lengths():
    padded, lengths = pad_right([torch.tensor([1.0, 2.0]), torch.zeros(0), torch.tensor([3.0, 4.0, 5.0, 6.0])])
    assert padded.tolist() == [[1, 2, 0, 0], [0, 0, 0, 0], [3, 4, 5, 6]]
    assert lengths.tolist() == [0.5, 0.0, 1.0]


def test_pad_right_all_empty_has_lengths_of_zero():
    padded, lengths = pad_right([torch.zeros(0), torch.zeros(0)])
    assert padded.shape == (2, 0)
    assert lengths.tolist() == [0.0, 0.0]


def test_pad_right_one_clip_keeps_values_and_dtype():
    padded, lengths = pad_right([torch.tensor([7, 8])])
    assert (padded.tolist(), padded.dtype, lengths.tolist()) == ([[7, 8]], torch.int64, [1.0])


def test_collate_pairs_pads_clips_and_partners_each_to_their_own_longest():
    clips = dataset()
    batch = collate_pairs([clips[PairedIndex(0, 3, 0)], clips[PairedIndex(1, None, 0)], clips[PairedIndex(2, 1, 0)]])
    assert batch.id == ["a", "b", "c"]
    assert batch.sig.data.tolist() == [[97, 0, 0], [98, 98, 0], [99, 99, 99]]
    torch.testing.assert_close(batch.sig.lengths, torch.tensor([1 / 3, 2 / 3, 1]))
    assert batch.partner_sig.data.tolist() == [[100] * 4, [0] * 4, [98, 98, 0, 0]]
    assert batch.partner_sig.lengths.tolist() == [1.0, 0.0, 0.5]
    assert batch.target.data.tolist() == [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert batch.partner_target.data.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_collate_pairs_takes_a_batch_without_any_partner():
    clips = dataset()
    batch = collate_pairs([clips[PairedIndex(0, None, 0)], clips[PairedIndex(1, None, 0)]])
    assert batch.partner_sig.data.shape == (2, 0)
    assert batch.partner_sig.lengths.tolist() == [0, 0]


def loader(n_workers, epoch=3, loader_class=DataLoader):
    """Serve planned batches of two."""
    clips = dataset("3141592653")
    sampler = PairedBatchSampler([int(n) for n in "3141592653"], 2, 0.5, sort_window=2)
    sampler.set_epoch(epoch)
    return loader_class(clips, batch_sampler=sampler, collate_fn=collate_pairs, num_workers=n_workers)


def contents(batches):
    """Turn batches into plain values."""
    return [
        (batch.id, *(batch[key].data.tolist() for key in ("sig", "target", "partner_sig", "partner_target")))
        for batch in batches
    ]


def test_batches_are_the_same_from_every_number_of_workers():
    batches = contents(loader(0))
    assert [batch[0] for batch in batches] == [["abcdefghij"[d.index] for d in b] for b in loader(0).batch_sampler]
    assert any(batch[3] != [[], []] for batch in batches)
    assert contents(loader(2)) == batches


@pytest.mark.parametrize("n_workers", [0, 2])
def test_batches_of_a_resumed_epoch_are_exactly_those_that_were_left(tmp_path, n_workers):
    whole = contents(loader(0))
    interrupted = loader(n_workers, loader_class=SaveableDataLoader)
    iterator = iter(interrupted)
    before = contents([next(iterator), next(iterator)])
    Checkpointer(tmp_path, {"loader": interrupted}).save_checkpoint(end_of_epoch=False)
    del iterator

    resumed = loader(n_workers, loader_class=SaveableDataLoader)
    Checkpointer(tmp_path, {"loader": resumed}).recover_if_possible()
    after = contents(resumed)
    assert len(after) == 3
    assert before + after == whole
    resumed.batch_sampler.set_epoch(4)
    assert contents(resumed) == contents(loader(0, epoch=4))


def test_targets_are_shares_and_the_truth_is_emo():
    data = {
        "a": {"emo": "sad", "labels": {"ang": 0.5, "sad": 0.5}}, "b": {"emo": "hap", "labels": None},
        "c": {"emo": "ang", "labels": {"ang": 0.6, "hap": 0.3, "sad": 0.1}},
    }  # fmt: skip
    clips = PairedDataset(
        data, [target_item(["ang", "hap", "sad"])], ["id", "target", "truth"], paired_keys=("target",)
    )
    batch = collate_pairs([clips[i] for i in range(3)])
    torch.testing.assert_close(batch.target.data, torch.tensor([[0.5, 0, 0.5], [0, 1, 0], [0.6, 0.3, 0.1]]))
    assert batch.truth.tolist() == [2, 1, 0]
