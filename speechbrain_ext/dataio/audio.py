"""Reading recordings of any format, rate and channel count as mono waveforms, with errors that name the utterance."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np
import soxr

from speechbrain_ext.dataio.audio_readers import open_audio, read_blocks
from speechbrain_ext.errors import InputError

SHORTEST_S = 0.025  # one frame of the encoder, 400 samples at 16 kHz
WAVEFORM_SCALES = ("peak", "layer", None)  # see `waveform_scale.scale_waveforms`
BLOCK_SAMPLES = 2**22  # of all channels; a clip is one block, and of several channels only a block is held


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
    if header.n_frames == 0:
        raise InputError(f"{utt_id}: {path} holds no samples. Leave it out, or copy it again.")
    if header.duration_s < SHORTEST_S:
        raise InputError(
            f"{utt_id}: {path} is {header.duration_s:.4f} s long; at least {SHORTEST_S} s are needed. Leave it out."
        )
    return header


def read_audio(path: str | Path, utt_id: str, sample_rate_hz: int, max_s: Optional[float] = None) -> np.ndarray:
    """Read a recording as a mono waveform of the wanted sample rate.

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

    Returns
    -------
    numpy.ndarray
        The waveform, [T], float32, full scale at 1.

    Raises
    ------
    InputError
        If the recording cannot be read as a whole, or holds samples that are not finite.
    """
    with open_audio(path, utt_id) as reader:
        n_wanted = None if max_s is None else round(max_s * reader.sample_rate_hz)
        n_block = BLOCK_SAMPLES // reader.n_channels
        blocks: list[np.ndarray] = []
        for wav in _until(read_blocks(reader, path, utt_id, min(n_block, n_wanted or n_block)), n_wanted):
            blocks.append(average_channels(wav))
        if not blocks:
            raise InputError(f"{utt_id}: {path} holds no samples. Leave it out, or copy it again.")
        wav = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
        return resample(wav, reader.sample_rate_hz, sample_rate_hz)


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
