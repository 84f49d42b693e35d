"""Reading recordings of any format, rate and channel count as mono waveforms, with errors that name the utterance."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from sys import maxsize
from typing import Optional

import numpy as np
import soxr

from speechbrain_ext.dataio.audio_readers import open_audio, read_blocks
from speechbrain_ext.dataio.sample_hash import SampleHash
from speechbrain_ext.errors import InputError

SHORTEST_S = 0.025  # one frame of the encoder, 400 samples at 16 kHz
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


def probe_audio(path: str | Path, utt_id: str, check_samples: bool = True) -> AudioHeader:
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

    Returns
    -------
    AudioHeader
        Length, rate and channels.

    Raises
    ------
    InputError
        If the file is missing, empty, truncated, without samples, shorter than 25 ms, of no known format, or, where the
        samples are read, damaged or not finite.
    """
    with open_audio(path, utt_id) as reader:
        n_frames = reader.n_frames
        if n_frames is None or (check_samples and n_frames and (reader.may_be_infinite or not reader.is_linear)):
            n_frames = sum(map(len, read_blocks(reader, path, utt_id, BLOCK_SAMPLES // reader.n_channels)))
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
        first, n_segment = sample_span(segment, reader.sample_rate_hz)
        n_kept = n_segment if max_s is None else min(round(max_s * reader.sample_rate_hz), n_segment or maxsize)
        n_wanted = n_segment if samples_hash else n_kept
        n_block = BLOCK_SAMPLES // reader.n_channels
        read = read_blocks(reader, path, utt_id, min(n_block, n_wanted or n_block), first)
        blocks = [average_channels(wav) for wav in _until(read, n_wanted)]
        if samples_hash:
            SampleHash(reader.sample_rate_hz, *blocks).check(samples_hash, path, utt_id)
        if segment and n_wanted and sum(map(len, blocks)) < n_wanted - 1:  # a sample: rates round
            raise InputError(
                f"{utt_id}: {path} ends before the segment from {segment[0]:.2f} s to {sum(segment):.2f} s does. "
                "Correct start and end, or copy the recording again."
            )
        if not blocks:
            raise InputError(f"{utt_id}: {path} holds no samples. Leave it out, or copy it again.")
        wav = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        return resample(wav[:n_kept], reader.sample_rate_hz, sample_rate_hz)


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


def to_mono(wav: np.ndarray, source_rate_hz: int, sample_rate_hz: int) -> np.ndarray:
    """Average the channels of a recording [T, channels], and resample it; [T], float32."""
    return resample(average_channels(wav), source_rate_hz, sample_rate_hz)


def resample(wav: np.ndarray, source_rate_hz: int, sample_rate_hz: int) -> np.ndarray:
    """Resample a waveform [T] by soxr where the rates differ; float32."""
    if source_rate_hz != sample_rate_hz:
        wav = soxr.resample(wav, source_rate_hz, sample_rate_hz)
    return np.ascontiguousarray(wav, dtype=np.float32)


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
