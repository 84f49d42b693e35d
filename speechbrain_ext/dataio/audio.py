"""Reading recordings of any format, rate and channel count as mono waveforms, with errors that name the utterance."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from sys import maxsize
from typing import Any, Optional

import numpy as np
import soxr

from speechbrain_ext.dataio.audio_readers import AudioReader, check_length, open_audio, read_blocks
from speechbrain_ext.dataio.sample_hash import SampleHash
from speechbrain_ext.errors import InputError, check_number
from speechbrain_ext.limits import LONGEST_CLIP_S, LONGEST_RECORDING_S, MOST_FIXED_SAMPLES, SHORTEST_S

WAVEFORM_SCALES = ("peak", "layer", None)  # see `waveform_scale.scale_waveforms`
END_TOLERANCE_S = 0.05  # what an annotation's end may lie after the recording's: it was rounded
BLOCK_SAMPLES = 2**22  # of all channels; a clip is one block, and of several channels only a block is held


Segment = tuple[float, float]  # of a recording: (start, duration) in seconds


@dataclass(frozen=True)
class AudioHeader:
    """Length, rate and channels of a recording.

    Attributes
    ----------
    n_frames : int
        Samples in each channel.
    sample_rate_hz : int
        Sample rate.
    n_channels : int
        Number of channels.
    """

    n_frames: int
    sample_rate_hz: int
    n_channels: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_frames / self.sample_rate_hz

    def check_usable(self, path: str | Path, utt_id: str) -> None:
        """Refuse a recording without samples, or shorter than 25 ms."""
        if self.n_frames == 0:
            raise InputError(f"{utt_id}: {path} holds no samples. Leave it out, or copy it again.")
        if self.duration_s < SHORTEST_S:
            raise InputError(
                f"{utt_id}: {path} is {self.duration_s:.4f} s long; at least {SHORTEST_S} s are needed. Leave it out."
            )


def probe_audio(
    path: str | Path,
    utt_id: str,
    check_samples: bool = True,
    max_s: float = LONGEST_RECORDING_S,
    most_samples: float = float("inf"),
    check: Optional[Callable[[], Any]] = None,
) -> AudioHeader:
    """Measure a recording, and check that it can be used.

    Arguments
    ---------
    path
        The recording, in any format that `open_audio` reads.
    utt_id
        The utterance's id, for the error's text.
    check_samples
        Whether the samples of floating-point and compressed formats are read, to find those that are not finite, and
        what is damaged or missing. They are read in any case where the header does not tell the length.
    max_s, most_samples
        Beyond this length, or number of samples in all channels, no more is read.
    check
        Called after each block that is read; may raise to end the reading.

    Returns
    -------
    AudioHeader
        Length, rate and channels; a length beyond `max_s` or `most_samples` may be longer still.

    Raises
    ------
    InputError
        If the file is missing, empty, truncated, without samples, shorter than 25 ms, of no known format, or, where the
        samples are read, damaged or not finite.
    """
    with open_audio(path, utt_id) as reader:
        n_frames = reader.n_frames
        most = min(max_s * reader.sample_rate_hz, most_samples / reader.n_channels)
        is_unsure = check_samples and (reader.may_be_infinite or not reader.is_linear)
        if n_frames is None or (is_unsure and 0 < n_frames <= most):
            n_frames = 0
            for wav in read_blocks(reader, path, utt_id, BLOCK_SAMPLES // reader.n_channels):
                n_frames += len(wav)
                if check:
                    check()
                if n_frames > most:
                    break
        header = AudioHeader(n_frames, reader.sample_rate_hz, reader.n_channels)
    header.check_usable(path, utt_id)
    return header


def read_audio(
    path: str | Path,
    utt_id: str,
    sample_rate_hz: int,
    max_s: Optional[float] = None,
    segment: Optional[Segment] = None,
    samples_hash: Optional[str] = None,
) -> np.ndarray:
    """Read a recording, or a segment of one, as a mono waveform of the wanted sample rate.

    Arguments
    ---------
    path
        The recording, in any format that `open_audio` reads. Channels are averaged.
    utt_id
        The utterance's id, for the error's text.
    sample_rate_hz
        Sample rate of the returned waveform; another one is resampled by soxr.
    max_s
        How many seconds are read from the start; by default all.
    segment
        The part that is read, (start, duration) in seconds; by default the whole recording.
    samples_hash
        What `SampleHash` said of the clip before. All of the clip is read then, also with `max_s`, and compared.

    Returns
    -------
    numpy.ndarray
        The waveform, [T], float32, full scale at 1.

    Raises
    ------
    InputError
        If the recording cannot be read as a whole, ends before the segment does, holds samples that are not finite, or
        others than `samples_hash` says.
    """
    with open_audio(path, utt_id) as reader:
        return read_clip(reader, path, utt_id, sample_rate_hz, max_s, segment, samples_hash)


def read_clip(
    reader: AudioReader,
    path: str | Path,
    utt_id: str,
    sample_rate_hz: int,
    max_s: Optional[float] = None,
    segment: Optional[Segment] = None,
    samples_hash: Optional[str] = None,
) -> np.ndarray:
    """Read a clip of an open recording, as `read_audio` does; many of them, where the reader is `is_stateless`."""
    n_block = BLOCK_SAMPLES // reader.n_channels
    blocks = _read_mono(reader, path, utt_id, n_block, max_s, segment, samples_hash)
    begun = list(itertools.islice(blocks, 2))
    if not begun:
        raise InputError(f"{utt_id}: {path} holds no samples. Leave it out, or copy it again.")
    if len(begun) == 1:
        return resample(begun[0], reader.sample_rate_hz, sample_rate_hz)
    blocks = itertools.chain(begun, blocks)
    return np.concatenate(list(resample_blocks(blocks, reader.sample_rate_hz, sample_rate_hz)))


def _read_mono(
    reader: AudioReader,
    path: str | Path,
    utt_id: str,
    n_block: int,
    max_s: Optional[float],
    segment: Optional[Segment],
    samples_hash: Optional[str],
) -> Iterator[np.ndarray]:
    """Yield the clip that `read_audio` reads in mono blocks [T], at the recording's own rate."""
    rate_hz = reader.sample_rate_hz
    first, n_segment = sample_span(segment, rate_hz)
    n_kept = min(n_segment or maxsize, maxsize if max_s is None else round(max_s * rate_hz))
    n_wanted = n_segment if samples_hash or n_kept == maxsize else n_kept
    check_length(min(n_kept, n_segment or reader.n_frames or 0), reader, path, utt_id, LONGEST_CLIP_S)
    samples, n_done = SampleHash(rate_hz), 0
    for wav in _until(read_blocks(reader, path, utt_id, min(n_block, n_wanted or n_block), first), n_wanted):
        wav = average_channels(wav)
        if samples_hash:
            samples.add(wav)
        if n_done < n_kept:
            yield wav[: n_kept - n_done]
        n_done += len(wav)
        check_length(min(n_kept, n_done), reader, path, utt_id, LONGEST_CLIP_S)  # the header may not tell
    if samples_hash:
        samples.check(samples_hash, path, utt_id)
    if segment and n_wanted and n_done < n_wanted - 1:  # a sample: rates round
        raise InputError(
            f"{utt_id}: {path} ends before the segment from {segment[0]:.2f} s to {sum(segment):.2f} s does. "
            "Correct start and end, or copy the recording again."
        )


def sample_span(segment: Optional[Segment], sample_rate_hz: int) -> tuple[int, Optional[int]]:
    """Return a segment's first sample and its number of samples; (0, None) for a whole recording.

    Example
    -------
    >>> sample_span((0.5, 0.25), 16000)
    (8000, 4000)
    """
    if segment is None:
        return 0, None
    first = round(segment[0] * sample_rate_hz)
    return first, max(1, round(sum(segment) * sample_rate_hz) - first)


def check_segment(utt_id: str, segment: Segment, header: AudioHeader) -> Segment:
    """Check that a segment lies within its recording; an end that was rounded up is the recording's end.

    Arguments
    ---------
    utt_id
        The utterance's id, for the error's text.
    segment
        (start, duration) in seconds; a duration of infinity reaches to the recording's end.
    header
        The recording's.

    Returns
    -------
    tuple
        The segment, within the recording.

    Raises
    ------
    InputError
        If it ends after the recording, or is shorter than 25 ms.

    Example
    -------
    >>> check_segment("a", (1.0, 0.51), AudioHeader(24000, 16000, 1))
    (1.0, 0.5)
    """
    start_s, end_s, length_s = segment[0], sum(segment), header.duration_s
    if start_s >= length_s or length_s + END_TOLERANCE_S < end_s < float("inf"):
        asked = f"begins at {start_s:g} s" if start_s >= length_s else f"ends at {end_s:g} s"
        raise InputError(
            f"{utt_id}: the segment {asked}, and the recording is {length_s:.2f} s long. Correct start and end."
        )
    duration_s = round(min(end_s, length_s) - start_s, 6)
    if duration_s < SHORTEST_S:
        raise InputError(
            f"{utt_id}: the segment from {start_s:g} s is {duration_s:.4f} s long; at least {SHORTEST_S} s are needed. "
            "Leave it out."
        )
    return start_s, duration_s


def resample(wav: np.ndarray, source_rate_hz: int, sample_rate_hz: int) -> np.ndarray:
    """Resample a waveform [T] by soxr where the rates differ; float32."""
    if source_rate_hz != sample_rate_hz:
        wav = soxr.resample(wav, source_rate_hz, sample_rate_hz)
    return np.ascontiguousarray(wav, dtype=np.float32)


def resample_blocks(blocks: Iterable[np.ndarray], source_rate_hz: int, sample_rate_hz: int) -> Iterator[np.ndarray]:
    """Resample a waveform that comes in blocks; the samples are those of `soxr.resample` on the whole.

    Arguments
    ---------
    blocks
        The waveform, [T] each, float32.
    source_rate_hz, sample_rate_hz
        Its sample rate, and the wanted one.

    Yields
    ------
    numpy.ndarray
        The resampled waveform, [T] each, float32.
    """
    if source_rate_hz == sample_rate_hz:
        yield from blocks
        return
    stream = soxr.ResampleStream(source_rate_hz, sample_rate_hz, num_channels=1, dtype="float32")
    for wav in blocks:
        yield stream.resample_chunk(wav)
    yield stream.resample_chunk(np.empty(0, np.float32), last=True)


def average_channels(wav: np.ndarray) -> np.ndarray:
    """Average the channels of a recording: [T, channels] -> [T]."""
    return wav[:, 0] if wav.shape[1] == 1 else wav.mean(axis=1)


def _until(blocks: Iterator[np.ndarray], n_wanted: Optional[int]) -> Iterator[np.ndarray]:
    """Yield blocks up to a number of samples."""
    n_left = n_wanted
    for wav in blocks:
        yield wav if n_left is None else wav[:n_left]
        if n_left is not None and (n_left := n_left - len(wav)) <= 0:
            return


def check_fixed_length(fixed_length_s: Optional[float], sample_rate_hz: int) -> None:
    """Refuse a fixed length below 25 ms, or of more samples than each clip may be padded to.

    Raises
    ------
    InputError
        Says the bounds in seconds at this sample rate.
    """
    if fixed_length_s is not None:
        check_number("fixed_length_s", fixed_length_s, SHORTEST_S, MOST_FIXED_SAMPLES / sample_rate_hz)
