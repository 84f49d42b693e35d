"""A dataset that serves each clip with its mixup partner, and the collation of both into padded batches."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Optional

import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataset import DynamicItemDataset

from speechbrain_ext.dataio.sampler import PairedIndex


class PairedDataset(DynamicItemDataset):
    """A DynamicItemDataset that also serves a clip's mixup partner, and tells its pipeline what a clip is drawn for.

    Its pipeline has three keys beside `id` and the data's own. `epoch` is the epoch of the `PairedIndex`, or 0 where
    the dataset is indexed by an integer, as in validation and testing. `partner_of` is the id of the clip that this one
    is mixed into, or "" for a clip in its own place, and `repeat` is that of the `PairedIndex`: a partner, and a clip
    that is drawn again, are augmented anew.

    Arguments
    ---------
    data : dict
        As for DynamicItemDataset.
    dynamic_items : list
        As for DynamicItemDataset.
    output_keys : list
        As for DynamicItemDataset. For a `PairedIndex`, each of `paired_keys` also comes as "partner_<key>"; without a
        partner the waveform is empty. Its `shard`, where it has one, comes as "shard".
    paired_keys : tuple of str
        The waveform's key first, then others that a mixup needs.
    """

    def __init__(
        self,
        data: Mapping[str, Mapping[str, Any]],
        dynamic_items: Sequence[Any] = (),
        output_keys: Sequence[str] = (),
        paired_keys: Sequence[str] = ("sig", "target"),
    ):
        super().__init__(
            {utt_id: {**entry, "epoch": 0, "partner_of": "", "repeat": 0} for utt_id, entry in data.items()},
            list(dynamic_items),
            list(output_keys),
        )
        self.paired_keys = paired_keys

    def __getitem__(self, index: int | PairedIndex) -> dict[str, Any]:
        if not isinstance(index, PairedIndex):
            return super().__getitem__(index)
        outputs = self._outputs(index.index, index)
        if index.partner is None:
            partner = {key: torch.zeros_like(outputs[key]) for key in self.paired_keys}
            partner[self.paired_keys[0]] = outputs[self.paired_keys[0]].new_zeros(0)
        else:
            partner = self._outputs(index.partner, index, self.data_ids[index.index])
        shard = {"shard": index.shard} if index.shard else {}
        return {**outputs, **{f"partner_{key}": partner[key] for key in self.paired_keys}, **shard}

    def _outputs(self, index: int, drawn: PairedIndex, partner_of: str = "") -> dict[str, Any]:
        utt_id = self.data_ids[index]
        drawn_for = {"id": utt_id, "epoch": drawn.epoch, "partner_of": partner_of, "repeat": drawn.repeat}
        return self.pipeline.compute_outputs({**self.data[utt_id], **drawn_for})


def pad_right(tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
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
    padded = torch.nn.utils.rnn.pad_sequence(list(tensors), batch_first=True)
    return padded, lengths / max(padded.shape[1], 1)


# SpeechBrain's own padding takes no empty waveform, which stands for a missing partner.
collate_pairs = partial(PaddedBatch, padding_func=pad_right)


def target_item(emotions: Sequence[str]) -> dict[str, Any]:
    """Make the pipeline item that turns `emo` and `labels` into a target [C], and into the class that is true.

    Arguments
    ---------
    emotions : list of str
        The emotions, in the order of the classes.

    Returns
    -------
    dict
        The item. It provides `target`, the shares in `labels` or, where that is None, one-hot; and `truth`, the index
        of `emo`, which metrics count.

    Example
    -------
    >>> make_target = target_item(["ang", "hap", "sad"])["func"]
    >>> make_target("sad", None)
    (tensor([0., 0., 1.]), 2)
    >>> make_target("ang", {"ang": 0.75, "sad": 0.25})
    (tensor([0.7500, 0.0000, 0.2500]), 0)
    """
    func = partial(_make_target, emotions=list(emotions))
    return {"func": func, "takes": ["emo", "labels"], "provides": ["target", "truth"]}


def count_classes(entries: Iterable[Mapping[str, Any]], emotions: Sequence[str]) -> list[float]:
    """Count the clips of each class; of soft labels the shares are added up.

    Arguments
    ---------
    entries : list of dict
        Clips, each with `emo` and, where its label is soft, `labels`.
    emotions : list of str
        The emotions, in the order of the classes.

    Example
    -------
    >>> clips = [{"emo": "sad"}, {"emo": "ang", "labels": {"ang": 0.75, "sad": 0.25}}]
    >>> count_classes(clips, ["ang", "sad"])
    [0.75, 1.25]
    """
    targets = [_make_target(entry["emo"], entry.get("labels"), list(emotions))[0] for entry in entries]
    return torch.stack(targets).sum(dim=0).tolist()


def _make_target(emo: str, labels: Optional[Mapping[str, float]], emotions: list[str]) -> tuple[torch.Tensor, int]:
    shares = {emo: 1.0} if labels is None else labels
    return torch.tensor([float(shares.get(emotion, 0.0)) for emotion in emotions]), emotions.index(emo)
