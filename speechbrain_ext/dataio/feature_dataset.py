"""FeatureDataset: whole batches of cached features, in the place of a dataset of waveforms."""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

import torch
from speechbrain.dataio.batch import PaddedData
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from speechbrain_ext.dataio.dataset import target_item
from speechbrain_ext.dataio.feature_cache import FeatureCache
from speechbrain_ext.dataio.sampler import PairedIndex


class FeatureBatch(dict):
    """A batch as SpeechBrain's `PaddedBatch` is one: `sig`, `n_samples`, `target` by their keys, and what is below.

    Attributes
    ----------
    id : list of str
        The utterances.
    truth : torch.Tensor
        The true classes, [B].
    shard : list
        The batch's BatchShard, or None.
    """

    id: list[str]
    truth: torch.Tensor
    shard: list

    def to(self, *args: Any, **kwargs: Any) -> "FeatureBatch":
        """Move the tensors, as `torch.Tensor.to` does."""
        for key, padded in self.items():
            self[key] = PaddedData(padded.data.to(*args, **kwargs), padded.lengths)
        self.truth = self.truth.to(*args, **kwargs)
        return self


class FeatureDataset(Dataset):
    """Serves the features of clips, a batch at a time: one copy out of the cache, and no work for each clip.

    Arguments
    ---------
    manifest : dict
        Utterance id -> entry, in the order of the indices.
    emotions : list of str
        The emotions, in the order of the classes.
    cache : FeatureCache
        Holds the features.
    keys : dict
        Utterance id -> key of its clip.
    layers : slice
        The layers that are taken.
    """

    def __init__(
        self,
        manifest: Mapping[str, Mapping[str, Any]],
        emotions: Sequence[str],
        cache: FeatureCache,
        keys: Mapping[str, str],
        layers: slice = slice(None),
    ) -> None:
        self.ids = list(manifest)
        self.feats = [cache[keys[utt_id]][:, layers] for utt_id in self.ids]  # [F, K, D], mapped from the disk
        self.n_frames = torch.tensor([[len(feats)] for feats in self.feats])  # [N, 1]
        self.of_one_frame = bool((self.n_frames == 1).all())
        make_target = target_item(emotions)["func"]
        targets = [make_target(entry["emo"], entry.get("labels")) for entry in manifest.values()]
        self.targets = torch.stack([target for target, _ in targets])  # [N, C]
        self.truth = torch.tensor([truth for _, truth in targets])

    def __len__(self) -> int:
        return len(self.ids)

    def __getitems__(self, indices: Sequence[int | PairedIndex]) -> FeatureBatch:
        """Return the batch that a list of indices stands for; a DataLoader asks for whole batches by this name."""
        shard: Optional[Any] = getattr(indices[0], "shard", None)
        chosen = [index.index if isinstance(index, PairedIndex) else index for index in indices]
        feats = [self.feats[index] for index in chosen]
        # Where frames have been reduced to one, [1, K, D] each -> [B, 1, K, D] in half the time.
        padded = torch.cat(feats).unsqueeze(1) if self.of_one_frame else pad_sequence(feats, batch_first=True)
        n_frames, whole = self.n_frames[chosen], torch.ones(len(chosen))
        batch = FeatureBatch(
            sig=PaddedData(padded, n_frames.squeeze(1) / padded.shape[1]),
            n_samples=PaddedData(n_frames, whole),
            target=PaddedData(self.targets[chosen], whole),
        )
        batch.id, batch.truth, batch.shard = [self.ids[index] for index in chosen], self.truth[chosen], [shard]
        return batch


def collate_features(batch: FeatureBatch) -> FeatureBatch:
    """Return a batch of `FeatureDataset` as it is."""
    return batch
