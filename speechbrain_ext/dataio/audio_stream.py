"""A long recording as a stream of blocks: read, resampled, outlined and cut into windows, in constant memory."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from speechbrain_ext.dataio import audio_readers
from speechbrain_ext.dataio.audio import average_channels

BLOCK_FRAMES = 65536


def read_mono_blocks(path: str | Path, n_frames: int = BLOCK_FRAMES) -> Iterator[np.ndarray]:
    """Read a recording piece by piece; together the pieces are what `read_audio` reads.

    Arguments
    ---------
    path
        The recording.
    n_frames
        Samples in a block, about; the last one may hold fewer.

    Yields
    ------
    numpy.ndarray
        Samples of the mono waveform, [T], float32, at the file's own rate.

    Raises
    ------
    InputError
        When the reading arrives at what cannot be read, is not finite, or is missing.
    """
    name = Path(path).name
    with audio_readers.open_audio(path, name) as reader:
        for wav in audio_readers.read_blocks(reader, path, name, n_frames):
            yield average_channels(wav)


def trace_envelope(blocks: Iterable[np.ndarray], n_samples: int, envelope: np.ndarray) -> Iterator[np.ndarray]:
    """Pass a waveform's blocks on, and note the lowest and highest sample in each of K equal stretches.

    Arguments
    ---------
    blocks
        The waveform, [T] each.
    n_samples
        Length of the waveform.
    envelope
        Filled in place, [K, 2], with K at most `n_samples`; has to hold infinity and minus infinity before.

    Yields
    ------
    numpy.ndarray
        The blocks as they are.
    """
    n_done = 0
    for wav in blocks:
        stretches = np.arange(n_done, n_done + len(wav)) * len(envelope) // n_samples  # [T], ascending
        firsts = np.flatnonzero(np.diff(stretches, prepend=-1))  # where a stretch begins in this block
        rows = stretches[firsts]
        envelope[rows, 0] = np.minimum(envelope[rows, 0], np.minimum.reduceat(wav, firsts))
        envelope[rows, 1] = np.maximum(envelope[rows, 1], np.maximum.reduceat(wav, firsts))
        n_done += len(wav)
        yield wav


def cut_windows(blocks: Iterable[np.ndarray], n_window: int, n_hop: int) -> Iterator[tuple[int, np.ndarray]]:
    """Cut overlapping windows from a waveform that comes in blocks.

    Arguments
    ---------
    blocks
        The waveform, [T] each.
    n_window, n_hop
        Samples in a window, and from one window's start to the next one's; the hop is at most a window.

    Yields
    ------
    tuple
        (start in samples, the window [n_window]). Where windows and hops do not end with the waveform, one more window
        does. A waveform shorter than a window comes as it is.

    Example
    -------
    >>> [(start, wav.tolist()) for start, wav in cut_windows([np.arange(3), np.arange(3, 6)], n_window=3, n_hop=2)]
    [(0, [0.0, 1.0, 2.0]), (2, [2.0, 3.0, 4.0]), (3, [3.0, 4.0, 5.0])]
    """
    held = np.empty(0, np.float32)
    n_done = start = end = 0
    for wav in blocks:
        held = np.concatenate([held[-n_window:], wav])  # the next window, and a last one, begin in here
        n_done += len(wav)
        while start + n_window <= n_done:
            first = start - (n_done - len(held))
            yield start, held[first : first + n_window]
            start, end = start + n_hop, start + n_window
    if end < n_done:
        held = held[-n_window:]
        yield n_done - len(held), held
