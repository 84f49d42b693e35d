"""Segments: windows that overlap become stretches of one emotion, or without speech."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

import numpy as np

from speechbrain_ext.inference.speech_detector import speech_shares

NO_SPEECH = -1  # beside the emotions' indices
LEAST_SPEECH = 0.1  # share of a cell


@dataclass(frozen=True)
class Segment:
    """A stretch of one emotion, or without speech.

    Attributes
    ----------
    start_s, end_s : float
        Where it begins and ends, in seconds.
    emotion : str or None
        Its label; None where there is no speech.
    posterior : float or None
        The emotion's posterior, averaged over the stretch.
    """

    start_s: float
    end_s: float
    emotion: Optional[str]
    posterior: Optional[float]


def moment_posteriors(
    starts_s: np.ndarray, ends_s: np.ndarray, posteriors: np.ndarray, hop_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Turn the posteriors of windows into posteriors over time.

    Time is divided into cells of one hop, the last of them shorter where the recording ends. A cell's posterior is the
    mean over the windows that cover its middle.

    Arguments
    ---------
    starts_s, ends_s
        Where the windows begin and end in seconds, [N] each, ascending, from 0 and without a gap.
    posteriors
        Posteriors of the windows, [N, C].
    hop_s
        Length of a cell in seconds.

    Returns
    -------
    tuple
        (edges of the cells in seconds [M + 1], posteriors [M, C]), float64.

    Example
    -------
    >>> edges_s, means = moment_posteriors([0.0, 1.0], [2.0, 3.0], [[1.0, 0.0], [0.5, 0.5]], hop_s=1.0)
    >>> edges_s.tolist(), means[:, 0].tolist()
    ([0.0, 1.0, 2.0, 3.0], [1.0, 0.75, 0.5])
    """
    n_cells = max(1, int(np.ceil(np.round(ends_s[-1] / hop_s, 6))))  # 0.3 / 0.1 is three cells
    edges_s = np.append(np.arange(n_cells) * hop_s, ends_s[-1])
    middles_s = (edges_s[:-1] + edges_s[1:]) / 2 + 1e-7  # where a window ends there, rounding decides nothing
    firsts = np.searchsorted(ends_s, middles_s)
    lasts = np.searchsorted(starts_s, middles_s)
    sums = np.cumsum(np.vstack([np.zeros_like(posteriors[:1], np.float64), posteriors]), axis=0, dtype=np.float64)
    return edges_s, (sums[lasts] - sums[firsts]) / (lasts - firsts)[:, np.newaxis]


def merge_windows(
    starts_s: np.ndarray,
    ends_s: np.ndarray,
    posteriors: np.ndarray,
    emotions: Sequence[str],
    hop_s: float,
    min_segment_s: float,
    is_speech: Optional[np.ndarray] = None,
) -> list[Segment]:
    """Merge windows into segments.

    Each cell of `moment_posteriors` gets its most probable emotion, the first one of equals, or none if less than a
    tenth of it is speech; a run of equal cells is a segment. Then, while a segment is shorter than `min_segment_s` and
    has a neighbour with an emotion, the shortest such one, the earliest of equals, takes the emotion that is the more
    probable within it among its neighbours', the earlier one of equals; equal segments that come to touch are merged.

    Arguments
    ---------
    starts_s, ends_s, posteriors, hop_s
        As in `moment_posteriors`.
    emotions
        Labels, C of them.
    min_segment_s
        Length in seconds from which a segment stands by itself.
    is_speech
        Whether each chunk of 32 ms is speech; by default all is.

    Returns
    -------
    list of Segment
        From 0 to the last window's end without a gap; neighbours differ. One that is left alone, or among stretches
        without speech, may be shorter than `min_segment_s`.

    Example
    -------
    >>> merge_windows([0.0, 2.0], [2.0, 4.0], [[0.75, 0.25], [0.0, 1.0]], ["ang", "sad"], 2.0, 1.0)
    [Segment(start_s=0.0, end_s=2.0, emotion='ang', posterior=0.75),
     Segment(start_s=2.0, end_s=4.0, emotion='sad', posterior=1.0)]
    """
    edges_s, means = moment_posteriors(starts_s, ends_s, posteriors, hop_s)
    integrals = np.vstack([np.zeros_like(means[:1]), np.cumsum(means * np.diff(edges_s)[:, np.newaxis], axis=0)])
    labels = means.argmax(axis=1)  # [M]
    if is_speech is not None:
        labels[speech_shares(is_speech, edges_s[:-1], edges_s[1:]) < LEAST_SPEECH] = NO_SPEECH
    found, bounds = run_lengths(labels)
    while True:
        lengths_s = np.round(np.diff(edges_s[bounds]), 6)  # equals are equal
        around = np.pad(found, 1, constant_values=NO_SPEECH)
        may_change = (lengths_s + 1e-6 < min_segment_s) & ((around[:-2] != NO_SPEECH) | (around[2:] != NO_SPEECH))
        if not may_change.any():
            break
        i = int(np.where(may_change, lengths_s, np.inf).argmin())
        integral = integrals[bounds[i + 1]] - integrals[bounds[i]]  # [C]
        neighbours = [emotion for emotion in (around[i], around[i + 2]) if emotion != NO_SPEECH]
        found[i] = max(neighbours, key=lambda emotion: round(integral[emotion], 9))
        found, kept = run_lengths(found)
        bounds = bounds[kept]
    segments = []
    for label, first, end in zip(found.tolist(), bounds[:-1], bounds[1:]):
        start_s, end_s = float(edges_s[first]), float(edges_s[end])
        if label == NO_SPEECH:
            segments.append(Segment(start_s, end_s, None, None))
        else:
            posterior = float(integrals[end, label] - integrals[first, label]) / (end_s - start_s)
            segments.append(Segment(start_s, end_s, emotions[label], posterior))
    return segments


def run_lengths(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the runs of equal values.

    Arguments
    ---------
    values
        At least one, [N].

    Returns
    -------
    tuple
        (the value of each run [R], where the runs begin and, last, N [R + 1]).

    Example
    -------
    >>> [array.tolist() for array in run_lengths(np.array([3, 3, 1]))]
    [[3, 1], [0, 2, 3]]
    """
    firsts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    return values[firsts], np.append(firsts, len(values))
