"""Timeline: the emotions through a long recording, by overlapping windows, merged into segments.

The recording passes through in blocks, from the file to the classifier, and is never held as a whole.
"""

import csv
import json
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from speechbrain_ext.atomic_write import atomic_write
from speechbrain_ext.dataio.audio import SHORTEST_S, probe_audio
from speechbrain_ext.dataio.audio_stream import cut_windows, read_blocks, resample_blocks, trace_envelope
from speechbrain_ext.errors import InputError, check_number, check_whole_number
from speechbrain_ext.inference.recordings import check_long_enough

ENVELOPE_STRETCHES = 2000
LONGEST_WINDOW_S = 300.0
SHORTEST_HOP_S = 0.01


@dataclass(frozen=True)
class Segment:
    """A stretch of one emotion.

    Attributes
    ----------
    start_s, end_s : float
        Where it begins and ends, in seconds.
    emotion : str
        Its label.
    posterior : float
        The emotion's posterior, averaged over the stretch.
    """

    start_s: float
    end_s: float
    emotion: str
    posterior: float


@dataclass(frozen=True)
class Timeline:
    """The emotions through a recording.

    Attributes
    ----------
    emotions : tuple of str
        Labels, in the order of the posteriors.
    duration_s : float
        Length of the recording, at the classifier's sample rate.
    window_s, hop_s : float
        Length of a window, and from one window's start to the next one's, in whole samples.
    starts_s, ends_s : numpy.ndarray
        Where the windows begin and end in seconds, [N] each.
    posteriors : numpy.ndarray
        Posteriors of the windows, [N, C], float32.
    segments : list of Segment
        From 0 to `duration_s` without a gap; neighbours differ in their emotion.
    envelope : numpy.ndarray
        Lowest and highest sample in each of K equal stretches of time, [K, 2], float32.
    """

    emotions: tuple
    duration_s: float
    window_s: float
    hop_s: float
    starts_s: np.ndarray
    ends_s: np.ndarray
    posteriors: np.ndarray
    segments: list
    envelope: np.ndarray


def check_settings(window_s, hop_s, min_segment_s, batch_size):
    """Refuse settings of `make_timeline` that cannot be used; an InputError names the one."""
    check_number("window_s", window_s, SHORTEST_S, LONGEST_WINDOW_S)
    check_number("hop_s", hop_s, SHORTEST_HOP_S, LONGEST_WINDOW_S)
    if hop_s > window_s:
        raise InputError(
            f"hop_s must be at most window_s ({window_s:g}), got {hop_s:g}: speech between windows would not be heard."
        )
    check_number("min_segment_s", min_segment_s, 0, float("inf"))
    check_whole_number("batch_size", batch_size, 1)


def make_timeline(classifier, path, window_s=4.0, hop_s=1.0, batch_size=16, min_segment_s=1.0, progress=None):
    """Classify overlapping windows of a recording, and merge them into segments.

    Memory does not grow with the recording, save for one row of posteriors a window. The file is read twice: what is
    wrong at its end is found before the classifier has worked for an hour.

    Arguments
    ---------
    classifier : speechbrain.inference.classifiers.EncoderClassifier
        As `load_classifier` returns it.
    path : str or pathlib.Path
        The recording, in any format that `open_audio` reads.
    window_s, hop_s : float
        Length of a window, and from one window's start to the next one's. The last window ends with the recording; a
        recording shorter than a window is one window.
    batch_size : int
        Windows in a batch.
    min_segment_s : float
        Shorter segments go to a neighbour, see `merge_windows`.
    progress : callable, optional
        Called after each batch with (the seconds that are done, the recording's seconds).

    Returns
    -------
    Timeline
        Windows, posteriors, segments and the waveform's envelope.

    Raises
    ------
    InputError
        If a setting or the recording cannot be used, or the model hears less of a clip than a window.
    """
    check_settings(window_s, hop_s, min_segment_s, batch_size)
    sample_rate = classifier.hparams.sample_rate
    emotions = tuple(classifier.hparams.emotions)
    for name in ("max_s", "fixed_length_s"):
        heard_s = getattr(classifier.hparams, name, None)
        if heard_s is not None and window_s > heard_s:
            raise InputError(
                f"window_s must be at most {heard_s:g} for this model, which hears no more of a clip ({name}), got "
                f"{window_s:g}."
            )
    source_rate = probe_audio(path, Path(path).name, check_samples=False).sample_rate_hz
    n_frames = sum(len(wav) for wav in read_blocks(path))
    n_shortest = min(round(window_s * sample_rate), n_frames * sample_rate // source_rate)
    check_long_enough(classifier, n_shortest, f"a window of {Path(path).name}")
    envelope = np.tile(np.float32([np.inf, -np.inf]), (min(ENVELOPE_STRETCHES, n_frames), 1))  # [K, 2]
    wavs = resample_blocks(trace_envelope(read_blocks(path), n_frames, envelope), source_rate, sample_rate)
    n_window, n_hop = round(window_s * sample_rate), round(hop_s * sample_rate)
    windows = cut_windows(wavs, n_window, n_hop)
    starts_s, ends_s, posteriors = [], [], []
    with torch.inference_mode(), classifier.inference_ctx:
        while batch := list(islice(windows, batch_size)):
            clips = torch.from_numpy(np.stack([wav for _, wav in batch]))  # [B, T]
            log_posteriors = classifier.classify_batch(clips, torch.ones(len(batch)))[0]  # [B, C]
            posteriors.append(log_posteriors.float().exp().cpu().numpy())
            starts_s += [start / sample_rate for start, _ in batch]
            ends_s += [(start + len(wav)) / sample_rate for start, wav in batch]
            if progress:
                progress(min(ends_s[-1], n_frames / source_rate), n_frames / source_rate)
    starts_s, ends_s, posteriors = np.array(starts_s), np.array(ends_s), np.concatenate(posteriors)
    window_s, hop_s = n_window / sample_rate, n_hop / sample_rate
    segments = merge_windows(starts_s, ends_s, posteriors, emotions, hop_s, min_segment_s)
    return Timeline(emotions, float(ends_s[-1]), window_s, hop_s, starts_s, ends_s, posteriors, segments, envelope)


def moment_posteriors(starts_s, ends_s, posteriors, hop_s):
    """Turn the posteriors of windows into posteriors over time.

    Time is divided into cells of one hop, the last of them shorter where the recording ends. A cell's posterior is the
    mean over the windows that cover its middle.

    Arguments
    ---------
    starts_s, ends_s : numpy.ndarray
        Where the windows begin and end in seconds, [N] each, ascending, from 0 and without a gap.
    posteriors : numpy.ndarray
        Posteriors of the windows, [N, C].
    hop_s : float
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


def merge_windows(starts_s, ends_s, posteriors, emotions, hop_s, min_segment_s):
    """Merge windows into segments.

    Each cell of `moment_posteriors` gets its most probable emotion, the first one of equals, and a run of cells of one
    emotion is a segment. Then, while a segment is shorter than `min_segment_s`, the shortest one, the earliest of
    equals, is given to the neighbour whose emotion is the more probable within it, the earlier one of equals; segments
    of one emotion that come to touch are merged.

    Arguments
    ---------
    starts_s, ends_s, posteriors, hop_s
        As in `moment_posteriors`.
    emotions : sequence of str
        Labels, C of them.
    min_segment_s : float
        Length in seconds from which a segment stands by itself.

    Returns
    -------
    list of Segment
        From 0 to the last window's end without a gap; neighbours differ. One that is left alone may be shorter than
        `min_segment_s`.

    Example
    -------
    >>> merge_windows([0.0, 2.0], [2.0, 4.0], [[0.75, 0.25], [0.0, 1.0]], ["ang", "sad"], 2.0, 1.0)
    [Segment(start_s=0.0, end_s=2.0, emotion='ang', posterior=0.75),
     Segment(start_s=2.0, end_s=4.0, emotion='sad', posterior=1.0)]
    """
    edges_s, means = moment_posteriors(starts_s, ends_s, posteriors, hop_s)
    integrals = np.vstack([np.zeros_like(means[:1]), np.cumsum(means * np.diff(edges_s)[:, np.newaxis], axis=0)])
    best = means.argmax(axis=1)
    firsts = np.flatnonzero(np.diff(best, prepend=-1))
    found, bounds = best[firsts], np.append(firsts, len(best))
    while len(found) > 1:
        lengths_s = np.round(np.diff(edges_s[bounds]), 6)  # equals are equal
        shortest = int(lengths_s.argmin())
        if lengths_s[shortest] + 1e-6 >= min_segment_s:
            break
        integral = integrals[bounds[shortest + 1]] - integrals[bounds[shortest]]  # [C]
        neighbours = [found[i] for i in (shortest - 1, shortest + 1) if 0 <= i < len(found)]
        found[shortest] = max(neighbours, key=lambda emotion: round(integral[emotion], 9))
        kept = np.flatnonzero(np.diff(found, prepend=-1))
        found, bounds = found[kept], np.append(bounds[kept], len(best))
    segments = []
    for emotion, first, end in zip(found.tolist(), bounds[:-1], bounds[1:]):
        start_s, end_s = float(edges_s[first]), float(edges_s[end])
        posterior = float(integrals[end, emotion] - integrals[first, emotion]) / (end_s - start_s)
        segments.append(Segment(start_s, end_s, emotions[emotion], posterior))
    return segments


def write_csv(timeline, path):
    """Write a row for each window: start_s, end_s, its most probable emotion, and a posterior for each emotion."""
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["start_s", "end_s", "emotion", *timeline.emotions])
        for start_s, end_s, row in zip(timeline.starts_s, timeline.ends_s, timeline.posteriors):
            emotion = timeline.emotions[row.argmax()]
            writer.writerow([f"{start_s:.4f}", f"{end_s:.4f}", emotion, *(f"{value:.6f}" for value in row)])


def write_json(timeline, path):
    """Write settings, segments, and the windows with their posteriors in the order of "emotions"."""
    rows = zip(timeline.starts_s.tolist(), timeline.ends_s.tolist(), timeline.posteriors.tolist())
    data = {
        **{name: getattr(timeline, name) for name in ("emotions", "duration_s", "window_s", "hop_s")},
        "segments": [asdict(segment) for segment in timeline.segments],
        "windows": [
            {"start_s": start_s, "end_s": end_s, "posteriors": [round(value, 6) for value in row]}
            for start_s, end_s, row in rows
        ],
    }
    with atomic_write(path) as file:
        json.dump(data, file, ensure_ascii=False)
        file.write("\n")


def write_audacity(timeline, path):
    """Write the segments as labels that Audacity imports: start, end and emotion, with tabs between them."""
    with atomic_write(path) as file:
        for segment in timeline.segments:
            label = " ".join(segment.emotion.split())  # a tab or newline would begin another field
            file.write(f"{segment.start_s:.6f}\t{segment.end_s:.6f}\t{label}\n")
