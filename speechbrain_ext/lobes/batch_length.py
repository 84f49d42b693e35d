"""How much an encoder is given at a time: clips of similar length, up to what its device computes best."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LARGEST_BATCH_S = 240.0  # with its padding
# On a CPU, what the widest layer makes of a batch: beyond the caches a batch is slower than its clips one by one.
LARGEST_ACTIVATION_BYTES = 32e6


def longest_batch_s(encoder: Any, device: str, sample_rate_hz: int) -> float:
    """Return how long a batch with its padding should be at most, in seconds.

    Arguments
    ---------
    encoder
        A `TruncatedEncoder`.
    device
        The device that it is on.
    sample_rate_hz
        Sample rate of the waveforms.
    """
    if str(device) != "cpu":
        return LARGEST_BATCH_S
    bytes_a_second = 4 * encoder.values_a_sample * sample_rate_hz
    return min(LARGEST_BATCH_S, LARGEST_ACTIVATION_BYTES / bytes_a_second)


def batches_by_length(
    longest_first: Sequence[str], durations_s: Mapping[str, float], batch_size: int, max_padded_s: float
) -> Iterator[list[str]]:
    """Put clips into batches in their order.

    Arguments
    ---------
    longest_first
        The clips, the longest first.
    durations_s
        Clip -> its length in seconds.
    batch_size
        Largest number of clips in a batch.
    max_padded_s
        Largest length of a batch with its padding, in seconds, unless it is one clip.

    Example
    -------
    >>> list(batches_by_length(["a", "b", "c"], {"a": 4.0, "b": 3.0, "c": 1.0}, batch_size=2, max_padded_s=7.0))
    [['a'], ['b', 'c']]
    """
    batch: list[str] = []
    for clip in longest_first:
        if batch and (len(batch) == batch_size or (len(batch) + 1) * durations_s[batch[0]] > max_padded_s):
            yield batch
            batch = []
        batch.append(clip)
    if batch:
        yield batch
