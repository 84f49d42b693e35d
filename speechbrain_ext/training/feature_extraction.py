"""Filling a feature cache: clips of similar length together, shared out between the processes that need them."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, NamedTuple

import filelock
import torch
from speechbrain.utils.autocast import AMPConfig, TorchAutocast
from tqdm import tqdm

from speechbrain_ext.dataio.feature_cache import FeatureCache
from speechbrain_ext.lobes.batch_length import batches_by_length, longest_batch_s
from speechbrain_ext.lobes.cached_encoder import CachedEncoder

logger = logging.getLogger(__name__)
SHARD_CLIPS = 64  # what a process that is killed loses at most
N_READERS = 4


class Clip(NamedTuple):
    """A clip that may have to be encoded.

    Attributes
    ----------
    utt_id : str
        Its utterance.
    duration_s : float
        Its length in seconds, or nearly so.
    read : callable
        Reads its waveform [T].
    """

    utt_id: str
    duration_s: float
    read: Callable[[], torch.Tensor]


class FeatureExtractor:
    """Computes the features of a batch; the encoder is built when the first clip has none.

    Arguments
    ---------
    encoder : CachedEncoder
        Builds the encoder.
    sample_rate_hz : int
        Sample rate of the waveforms.
    device : str
        Where the encoder computes.
    precision : str
        "fp32", "fp16" or "bf16".
    """

    def __init__(self, encoder: CachedEncoder, sample_rate_hz: int, device: str = "cpu", precision: str = "fp32"):
        self.cached_encoder, self.sample_rate_hz, self.device = encoder, sample_rate_hz, device
        dtype = AMPConfig.from_name(precision).dtype
        self.autocast = TorchAutocast(device_type=torch.device(device).type, dtype=dtype)

    @cached_property
    def encoder(self) -> Any:
        """The whole encoder."""
        return self.cached_encoder.build().to(self.device)

    @property
    def max_batch_s(self) -> float:
        """Length that a batch with its padding should have at most, in seconds."""
        return longest_batch_s(self.encoder, self.device, self.sample_rate_hz)

    def __call__(self, wavs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Compute features [frames F, layers K, D] of waveforms [T], each."""
        padded = torch.nn.utils.rnn.pad_sequence(list(wavs), batch_first=True)  # [B, T]
        wav_lens = torch.tensor([len(wav) for wav in wavs]) / padded.shape[1]
        with torch.inference_mode(), self.autocast:
            feats = self.encoder.layer_features(padded.to(self.device), wav_lens.to(self.device))
        feats = feats[:, self.cached_encoder.cached_states[0] :].cpu()
        if feats.dim() == 3:
            return list(feats.unsqueeze(1))  # [B, K, D] -> [B, 1, K, D]
        n_frames = self.encoder.frame_lengths(torch.tensor([len(wav) for wav in wavs])).tolist()
        return [one.transpose(0, 1)[:n] for one, n in zip(feats, n_frames)]  # [K, F, D] -> [F, K, D]


def fill_cache(
    cache: FeatureCache,
    clips: Mapping[str, Clip],
    extract: FeatureExtractor,
    batch_size: int = 16,
    progress: bool = True,
) -> None:
    """Compute the features that a cache lacks.

    Clips are sorted by length and cut into shards. A process takes a shard that no other works on: those that start at
    a time share the work, and each waits at the end for what the others have taken. What a process had taken when it is
    killed, another takes.

    Arguments
    ---------
    cache : FeatureCache
        The cache.
    clips : dict
        Key -> clip.
    extract : FeatureExtractor
        Computes the features of a batch.
    batch_size : int
        Largest number of clips in a batch.
    progress : bool
        Whether to show a progress bar.

    Raises
    ------
    InputError
        If a recording cannot be read, or features not be kept, as on a full disk: what has been computed stays.
    """
    longest_first = sorted(clips, key=lambda clip: (-clips[clip].duration_s, clip))
    shards = [longest_first[start : start + SHARD_CLIPS] for start in range(0, len(longest_first), SHARD_CLIPS)]
    n_missing = sum(clip not in cache for clip in clips)
    if not n_missing:
        return
    logger.info("%d of %d clips are encoded now, once; their features go to %s.", n_missing, len(clips), cache.folder)
    start_s, n_computed, taken_by_others = time.monotonic(), 0, []
    with ThreadPoolExecutor(N_READERS) as readers, tqdm(total=n_missing, desc="features", disable=not progress) as bar:

        def work_on(shard: list[str], blocking: bool) -> bool:
            nonlocal n_computed
            try:
                lock = cache.lock(shard[0]).acquire(blocking=blocking)
            except filelock.Timeout:
                return False
            with lock:
                cache.refresh()
                missing = [clip for clip in shard if clip not in cache]
                if missing:
                    features = _compute(missing, clips, extract, batch_size, readers)
                    cache.add(features, {clip: clips[clip].utt_id for clip in missing})
                n_computed += len(missing)
                bar.update(len(missing))
            return True

        for shard in shards:
            if any(clip not in cache for clip in shard) and not work_on(shard, blocking=False):
                taken_by_others.append(shard)
        for shard in taken_by_others:
            work_on(shard, blocking=True)
    duration_s = time.monotonic() - start_s
    logger.info(
        "%d clips were encoded in %.1f s, %d by other processes.", n_computed, duration_s, n_missing - n_computed
    )


def _compute(
    missing: list[str],
    clips: Mapping[str, Clip],
    extract: FeatureExtractor,
    batch_size: int,
    readers: ThreadPoolExecutor,
) -> dict[str, torch.Tensor]:
    """Compute a shard's features; further clips are read while a batch is encoded."""
    wavs = readers.map(lambda clip: clips[clip].read(), missing)
    durations_s = {clip: clips[clip].duration_s for clip in missing}
    features: dict[str, torch.Tensor] = {}
    for batch in batches_by_length(missing, durations_s, batch_size, extract.max_batch_s):
        features.update(zip(batch, extract([next(wavs) for _ in batch])))
    return features
