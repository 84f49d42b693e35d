"""Timeline: the emotions through a long recording, by overlapping windows, merged into segments.

The recording passes through in blocks, from the file to the classifier, and is never held as a whole.
"""

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Optional

import numpy as np
import torch

from speechbrain_ext.atomic_write import atomic_write
from speechbrain_ext.dataio.audio import AudioHeader, resample_blocks
from speechbrain_ext.dataio.audio_readers import open_audio
from speechbrain_ext.dataio.audio_stream import cut_windows, read_mono_blocks, trace_envelope
from speechbrain_ext.errors import InputError, check_number, check_whole_number
from speechbrain_ext.inference.recordings import check_length
from speechbrain_ext.inference.speech_detector import MIN_SPEECH_S, SpeechDetector, speech_shares
from speechbrain_ext.inference.timeline_segments import Segment, merge_windows
from speechbrain_ext.limits import LONGEST_WINDOW_S, SHORTEST_HOP_S, SHORTEST_S
from speechbrain_ext.outside_text import escape_formula

ENVELOPE_STRETCHES = 2000
SAY_NO_SPEECH = "no speech"


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
    is_speech : numpy.ndarray or None
        Whether each chunk of 32 ms is speech, [L]; None where nobody has looked for it.
    """

    emotions: tuple[str, ...]
    duration_s: float
    window_s: float
    hop_s: float
    starts_s: np.ndarray
    ends_s: np.ndarray
    posteriors: np.ndarray
    segments: list[Segment]
    envelope: np.ndarray
    is_speech: Optional[np.ndarray] = None

    def speech_of(self, starts_s: np.ndarray, ends_s: np.ndarray) -> np.ndarray:
        """Return the share of speech in stretches of time, [N] as they are; 1 where nobody has looked for it."""
        if self.is_speech is None:
            return np.ones(len(starts_s))
        return speech_shares(self.is_speech, starts_s, ends_s)


def check_settings(window_s: float, hop_s: float, min_segment_s: float, batch_size: int) -> None:
    """Refuse settings of `make_timeline` that cannot be used; an InputError names the one."""
    check_number("window_s", window_s, SHORTEST_S, LONGEST_WINDOW_S)
    check_number("hop_s", hop_s, SHORTEST_HOP_S, LONGEST_WINDOW_S)
    if hop_s > window_s:
        raise InputError(
            f"hop_s must be at most window_s ({window_s:g}), got {hop_s:g}: speech between windows would not be heard."
        )
    check_number("min_segment_s", min_segment_s, 0, float("inf"))
    check_whole_number("batch_size", batch_size, 1)


def make_timeline(
    classifier: Any,
    path: str | Path,
    window_s: float = 4.0,
    hop_s: float = 1.0,
    batch_size: int = 16,
    min_segment_s: float = 1.0,
    progress: Optional[Callable[[float, float], Any]] = None,
    detector: Optional[SpeechDetector] = None,
) -> Timeline:
    """Classify overlapping windows of a recording, and merge them into segments.

    Memory does not grow with the recording, save for one row of posteriors a window. The file is read twice: what is
    wrong at its end is found before the classifier has worked for an hour.

    Arguments
    ---------
    classifier
        As `load_classifier` returns it.
    path
        The recording, in any format that `open_audio` reads.
    window_s, hop_s
        Length of a window, and from one window's start to the next one's. The last window ends with the recording; a
        recording shorter than a window is one window.
    batch_size
        Windows in a batch.
    min_segment_s
        Shorter segments go to a neighbour, see `merge_windows`.
    progress
        Called after each batch with (the seconds that are done, the recording's seconds), and before, while the
        recording is read for the first time, with (0, infinity); may raise to end the work.
    detector
        Looks for speech; stretches without any get no emotion. By default nobody looks.

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
    header = _count(path, progress)
    source_rate, n_frames, duration_s = header.sample_rate_hz, header.n_frames, header.duration_s
    n_shortest = min(round(window_s * sample_rate), n_frames * sample_rate // source_rate)
    check_length(classifier, n_shortest, f"a window of {Path(path).name}")
    envelope = np.tile(np.array([np.inf, -np.inf], np.float32), (min(ENVELOPE_STRETCHES, n_frames), 1))  # [K, 2]
    wavs = resample_blocks(trace_envelope(read_mono_blocks(path), n_frames, envelope), source_rate, sample_rate)
    found: list[np.ndarray] = []
    if detector:
        wavs = detector.listen(wavs, found)
    n_window, n_hop = round(window_s * sample_rate), round(hop_s * sample_rate)
    windows = cut_windows(wavs, n_window, n_hop)
    starts: list[int] = []
    lengths: list[int] = []
    rows: list[np.ndarray] = []
    with torch.inference_mode(), classifier.inference_ctx:
        while batch := list(islice(windows, batch_size)):
            clips = torch.from_numpy(np.stack([wav for _, wav in batch]))  # [B, T]
            log_posteriors = classifier.classify_batch(clips, torch.ones(len(batch)))[0]  # [B, C]
            rows.append(log_posteriors.float().exp().cpu().numpy())
            starts += [start for start, _ in batch]
            lengths += [len(wav) for _, wav in batch]
            if progress:
                progress(min((starts[-1] + lengths[-1]) / sample_rate, duration_s), duration_s)
    starts_s, posteriors = np.array(starts) / sample_rate, np.concatenate(rows)
    ends_s = (np.array(starts) + np.array(lengths)) / sample_rate
    window_s, hop_s = n_window / sample_rate, n_hop / sample_rate
    is_speech = np.concatenate(found) if detector else None
    segments = merge_windows(starts_s, ends_s, posteriors, emotions, hop_s, min_segment_s, is_speech)
    return Timeline(
        emotions, float(ends_s[-1]), window_s, hop_s, starts_s, ends_s, posteriors, segments, envelope, is_speech
    )


def _count(path: str | Path, progress: Optional[Callable[[float, float], Any]]) -> AudioHeader:
    """Read a recording once, to its end: its header may not tell its length, or tell a wrong one."""
    with open_audio(path, Path(path).name) as reader:
        rate_hz, n_channels = reader.sample_rate_hz, reader.n_channels
    n_frames = 0
    for wav in read_mono_blocks(path):
        n_frames += len(wav)
        if progress:
            progress(0.0, math.inf)
    header = AudioHeader(n_frames, rate_hz, n_channels)
    header.check_usable(path, Path(path).name)
    return header


def write_csv(timeline: Timeline, path: str | Path) -> None:
    """Write what `format_csv` returns."""
    with atomic_write(path) as file:
        file.write(format_csv(timeline))


def format_csv(timeline: Timeline) -> str:
    """Write a row for each window: start_s, end_s, its emotion (none without speech), posteriors, share of speech.

    Emotions that a spreadsheet would take for formulas have an apostrophe before them.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    emotions = [escape_formula(emotion) for emotion in timeline.emotions]
    writer.writerow(["start_s", "end_s", "emotion", *emotions, "speech"])
    shares = timeline.speech_of(timeline.starts_s, timeline.ends_s)
    for start_s, end_s, row, share in zip(timeline.starts_s, timeline.ends_s, timeline.posteriors, shares):
        is_spoken = timeline.is_speech is None or share * (end_s - start_s) >= MIN_SPEECH_S
        emotion = emotions[row.argmax()] if is_spoken else ""
        speech = "" if timeline.is_speech is None else f"{share:.3f}"
        writer.writerow([f"{start_s:.4f}", f"{end_s:.4f}", emotion, *(f"{value:.6f}" for value in row), speech])
    return stream.getvalue()


def write_json(timeline: Timeline, path: str | Path) -> None:
    """Write settings, segments, and the windows with their posteriors in the order of "emotions"."""
    shares = timeline.speech_of(timeline.starts_s, timeline.ends_s).round(3).tolist()
    if timeline.is_speech is None:
        shares = [None] * len(shares)
    rows = zip(timeline.starts_s.tolist(), timeline.ends_s.tolist(), timeline.posteriors.tolist(), shares)
    data = {
        **{name: getattr(timeline, name) for name in ("emotions", "duration_s", "window_s", "hop_s")},
        "segments": [asdict(segment) for segment in timeline.segments],
        "windows": [
            {"start_s": start_s, "end_s": end_s, "posteriors": [round(value, 6) for value in row], "speech": share}
            for start_s, end_s, row, share in rows
        ],
    }
    with atomic_write(path) as file:
        json.dump(data, file, ensure_ascii=False)
        file.write("\n")


def write_audacity(timeline: Timeline, path: str | Path) -> None:
    """Write the segments as labels that Audacity imports: start, end and emotion, with tabs between them."""
    with atomic_write(path) as file:
        for segment in timeline.segments:
            label = " ".join((segment.emotion or SAY_NO_SPEECH).split())  # a tab or newline would begin another field
            file.write(f"{segment.start_s:.6f}\t{segment.end_s:.6f}\t{label}\n")
