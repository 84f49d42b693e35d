"""Reading recordings of any format, rate and channel count as mono waveforms, with errors that name the utterance."""

import struct
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr

from speechbrain_ext.errors import InputError

SHORTEST_S = 0.025  # one frame of the encoder, 400 samples at 16 kHz


@dataclass(frozen=True)
class AudioHeader:
    """What a recording's header says.

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
    def duration_s(self):
        """Length in seconds."""
        return self.n_frames / self.sample_rate_hz


def probe_audio(path, utt_id, check_samples=True):
    """Read a recording's header and check that the recording can be used.

    Arguments
    ---------
    path : str or pathlib.Path
        The recording, in any format that libsndfile reads.
    utt_id : str
        The utterance's id, for the error's text.
    check_samples : bool
        Whether the samples of floating-point formats are read, to find those that are not finite.

    Returns
    -------
    AudioHeader
        Length, rate and channels.

    Raises
    ------
    InputError
        If the file is missing, empty, a truncated WAV, without samples, shorter than 25 ms, of no known format, or,
        in a floating-point format, holds samples that are not finite. A truncated file of another format is
        noticed when it is read, if at all.
    """
    try:
        str(path).encode()
        size = path_size(path)
    except OSError as error:
        raise InputError(f"{utt_id}: the recording cannot be opened: {error}. Check the path.") from error
    except UnicodeEncodeError as error:  # libsndfile takes no other names
        raise InputError(f"the name {ascii(str(path))} is no UTF-8. Rename the file.") from error
    if size == 0:
        raise InputError(f"{utt_id}: {path} is empty (0 bytes). Copy it again.")
    missing = missing_wav_bytes(path, size)
    if missing > 0:
        raise InputError(
            f"{utt_id}: {path} is truncated: its header announces {missing} bytes more than the file holds. "
            "Copy it again."
        )
    try:
        info = soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        raise InputError(
            f"{utt_id}: {path} cannot be read as audio: {error} Replace the file, or leave it out."
        ) from error
    header = AudioHeader(info.frames, info.samplerate, info.channels)
    if header.n_frames == 0:
        raise InputError(f"{utt_id}: {path} holds no samples. Leave it out, or copy it again.")
    if header.duration_s < SHORTEST_S:
        raise InputError(
            f"{utt_id}: {path} is {header.duration_s:.4f} s long; at least {SHORTEST_S} s are needed. Leave it out."
        )
    if check_samples and info.subtype in ("FLOAT", "DOUBLE"):  # integers are always finite
        read_audio(path, utt_id, header.sample_rate_hz)
    return header


def read_audio(path, utt_id, sample_rate_hz, max_s=None):
    """Read a recording as a mono waveform of the wanted sample rate.

    Arguments
    ---------
    path : str or pathlib.Path
        The recording, in any format that libsndfile reads. Channels are averaged.
    utt_id : str
        The utterance's id, for the error's text.
    sample_rate_hz : int
        Sample rate of the returned waveform; another one is resampled by soxr.
    max_s : float, optional
        How many seconds are read from the start; by default all.

    Returns
    -------
    numpy.ndarray
        The waveform, [T], float32, full scale at 1.

    Raises
    ------
    InputError
        If the recording cannot be read or holds samples that are not finite.
    """
    try:
        with soundfile.SoundFile(str(path)) as file:
            source_rate_hz = file.samplerate
            n_frames = file.frames if max_s is None else min(file.frames, round(max_s * source_rate_hz))
            wav = file.read(n_frames, dtype="float32", always_2d=True)  # [T, channels]
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        raise InputError(
            f"{utt_id}: {path} cannot be read as audio: {error} Replace the file, or leave it out."
        ) from error
    if len(wav) < n_frames or n_frames == 0:
        raise InputError(
            f"{utt_id}: {path} is truncated: {n_frames} samples are announced and {len(wav)} can be read. "
            "Copy it again."
        )
    n_bad = int(np.count_nonzero(~np.isfinite(wav)))
    if n_bad:
        raise InputError(f"{utt_id}: {path} holds {n_bad} samples that are NaN or infinite. Leave it out.")
    return to_mono(wav, source_rate_hz, sample_rate_hz)


def to_mono(wav, source_rate_hz, sample_rate_hz):
    """Average the channels of a recording, and resample it by soxr where the rates differ.

    Arguments
    ---------
    wav : numpy.ndarray
        The recording, [T, channels].
    source_rate_hz, sample_rate_hz : int
        Its sample rate, and the wanted one.

    Returns
    -------
    numpy.ndarray
        The waveform, [T], float32.
    """
    wav = wav[:, 0] if wav.shape[1] == 1 else wav.mean(axis=1)  # [T, channels] -> [T]
    if source_rate_hz != sample_rate_hz:
        wav = soxr.resample(wav, source_rate_hz, sample_rate_hz)
    return np.ascontiguousarray(wav, dtype=np.float32)


def path_size(path):
    """Size of a file in bytes."""
    with open(path, "rb") as file:
        return file.seek(0, 2)


def missing_wav_bytes(path, size):
    """Count the bytes that a RIFF header announces and the file does not hold; 0 for other formats.

    libsndfile reads a truncated file as a shorter recording without a word, so the chunks are walked here.

    Arguments
    ---------
    path : str or pathlib.Path
        The recording.
    size : int
        Its size in bytes.

    Returns
    -------
    int
        Missing bytes; 0 when the header announces no length, as that of a stream.
    """
    with open(path, "rb") as file:
        riff, _, wave = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
        if (riff, wave) != (b"RIFF", b"WAVE"):
            return 0
        while True:
            chunk = file.read(8)
            if len(chunk) < 8:
                return 0
            name, n_bytes = struct.unpack("<4sI", chunk)
            if name == b"data":
                return 0 if n_bytes == 0xFFFFFFFF else max(0, file.tell() + n_bytes - size)
            file.seek(n_bytes + n_bytes % 2, 1)
