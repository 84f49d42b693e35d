"""Opening a recording with the reader that hears all of it: libsndfile, or PyAV (FFmpeg) for what phones make."""

import contextlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional, Protocol

import numpy as np
import soundfile

from speechbrain_ext.dataio.audio_headers import (
    holds_indexed_mp3,
    holds_several_ogg_streams,
    is_unfinished_wav,
    missing_bytes,
)
from speechbrain_ext.dataio.lfs_pointer import is_lfs_pointer
from speechbrain_ext.errors import InputError
from speechbrain_ext.limits import (
    LARGEST_N_CHANNELS,
    LARGEST_RATE_HZ,
    LONGEST_RECORDING_S,
    MOST_SAMPLES,
    MOST_SAMPLES_A_SECOND,
)
from speechbrain_ext.storage import check_regular

NO_LENGTH = 2**63 - 1  # libsndfile's answer where a FLAC's header does not tell
SNDFILE_ERRORS = (soundfile.LibsndfileError, RuntimeError, TypeError)
INSTALL_PYAV = "PyAV reads such recordings: pip install av"
# FFmpeg's demuxers for recordings. Its others read images, texts, and playlists that name other files and addresses.
DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,amr,amrnb,amrwb,aac,asf,mp3,ogg,flac,wav,w64,caf,aiff,au,gsm,avi,mpegts,"
    "mpeg,flv,ac3,eac3,wv,ape,tta"
)
# What a container says of its length may leave out a codec's padding, a few frames.
DURATION_TOLERANCE_S = 0.1


class AudioReader(Protocol):
    """An open recording."""

    sample_rate_hz: int
    n_channels: int
    n_frames: Optional[int]  # None where the header does not tell
    is_stateless: bool  # whether a sample is the same wherever the reading began: no decoder remembers earlier ones
    is_linear: bool  # whether the samples lie in the file as they are, so that its size tells their number
    may_be_infinite: bool  # whether its samples are floating-point numbers

    def read(self, n_frames: int, first: int = 0) -> Iterator[np.ndarray]:
        """Yield blocks [T, channels], float32, of about `n_frames` samples, from sample `first` to the end."""
        ...

    def close(self) -> None:
        """Close the file."""


class SndfileReader:
    """A recording as libsndfile reads it."""

    def __init__(self, path: str) -> None:
        self._file = file = soundfile.SoundFile(path)
        self.sample_rate_hz, self.n_channels = file.samplerate, file.channels
        self.n_frames: Optional[int] = file.frames
        self._position = 0
        self.is_stateless = file.subtype.startswith("PCM_") or file.subtype in ("FLOAT", "DOUBLE", "ULAW", "ALAW")
        self.is_linear = self.is_stateless and file.format not in ("FLAC", "OGG")
        self.may_be_infinite = file.subtype in ("FLOAT", "DOUBLE")
        self.reads_all = not (
            file.format == "RAW"  # guessed from the name's ending, whatever the file holds
            or file.frames == NO_LENGTH
            or (file.frames == 0 and is_unfinished_wav(path))
            or (file.subtype.startswith("MPEG") and not (file.format == "MP3" and holds_indexed_mp3(path)))
            or (file.format == "OGG" and holds_several_ogg_streams(path))
        )

    def read(self, n_frames: int, first: int = 0) -> Iterator[np.ndarray]:
        """Yield blocks [T, channels]."""
        if first != self._position:
            with contextlib.suppress(soundfile.LibsndfileError):  # GSM 6.10, of telephones, and others cannot seek
                self._position = self._file.seek(min(first, self._file.frames))  # where they can, it is exact
        while self._position < first and (n_passed := len(self._file.read(min(n_frames, first - self._position)))):
            self._position += n_passed
        while len(wav := self._file.read(n_frames, dtype="float32", always_2d=True)):
            self._position += len(wav)
            yield wav

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class AvReader:
    """A recording as FFmpeg reads it: the sound of the best audio stream. Its length is known at the end."""

    n_frames: Optional[int] = None
    is_stateless, is_linear, may_be_infinite = False, False, True

    def __init__(self, path: str) -> None:
        import av

        limits = {"format_whitelist": DEMUXERS, "protocol_whitelist": "file"}
        self._container = av.open(path, options=limits, metadata_errors="ignore")
        try:
            stream = self._container.streams.best("audio")
            if stream is None:
                raise _Silent
            if stream.codec_context is None:
                raise ValueError("FFmpeg does not know its codec")
            self._announced_s = _announced_s(self._container, stream)
            self._frames = self._decode(stream)
            first = next(self._frames, None)
            if first is None:
                raise _Silent
        except BaseException:
            self._container.close()
            raise
        self._first: Any = first
        self.sample_rate_hz, self.n_channels = first.sample_rate, len(first.layout.channels)

    def read(self, n_frames: int, first: int = 0) -> Iterator[np.ndarray]:
        """Yield blocks [T, channels]; what stands before `first` is decoded too: FFmpeg's seeking is not exact."""
        import av

        to_float = av.AudioResampler(format="flt")  # rate and channels stay; PyAV reads beyond the last of 8 planes
        n_done = 0
        for block in _join(self._convert(to_float), n_frames):
            n_done += len(block)
            if n_done > first:
                yield block[max(0, first - (n_done - len(block))) :]
        done_s = n_done / self.sample_rate_hz
        if done_s < self._announced_s - DURATION_TOLERANCE_S:
            raise _Truncated(f"{self._announced_s:.2f} s are announced and {done_s:.2f} s")

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def _convert(self, to_float: Any) -> Iterator[np.ndarray]:
        for frame in itertools.chain([self._first], self._frames):
            for converted in to_float.resample(frame):
                yield converted.to_ndarray().reshape(-1, self.n_channels)  # [1, T * channels] -> [T, channels]

    def _decode(self, stream: Any) -> Iterator[Any]:
        is_pcm = stream.codec_context.name.startswith("pcm_")  # of it, `missing_bytes` tells
        for packet in self._container.demux(stream):
            if packet.is_corrupt and not is_pcm:
                raise _Truncated("its last packet is announced and a part of it")
            yield from packet.decode()


class _Truncated(ValueError):
    """The end is missing."""


class _Silent(ValueError):
    """There is no audio stream, or no frame in it."""


def _join(parts: Iterator[np.ndarray], n_frames: int) -> Iterator[np.ndarray]:
    """Join small parts [T, channels] to blocks of at least `n_frames`; what comes before a fault comes as well."""
    held: list[np.ndarray] = []
    n_held = 0
    try:
        for part in parts:
            held.append(part)
            n_held += len(part)
            if n_held >= n_frames:
                yield np.concatenate(held)
                held, n_held = [], 0
    except Exception:
        if held:
            yield np.concatenate(held)
        raise
    if held:
        yield np.concatenate(held)


def _announced_s(container: Any, stream: Any) -> float:
    """Return the length that the container's header tells; 0 where FFmpeg estimates it."""
    if stream.duration and container.format.name.startswith(("mov", "ogg", "flac")):
        return float(stream.duration * stream.time_base)
    alone = len(container.streams) == 1  # a film may be longer than its sound
    if container.duration and alone and container.format.name.startswith(("matroska", "asf")):
        return container.duration / 1e6
    return 0.0


@contextlib.contextmanager
def open_audio(path: str | Path, utt_id: str) -> Iterator[AudioReader]:
    """Open a recording with the first reader that hears all of it.

    Arguments
    ---------
    path
        The recording. libsndfile reads WAV, FLAC, Ogg, indexed MP3 and their like; PyAV, where it is installed, reads
        m4a, mp4, webm, amr, 3gp, aac, wma, and files whose header does not tell their length.
    utt_id
        The utterance's id, for the error's text.

    Yields
    ------
    AudioReader
        Its rate, channels, length and samples. What goes wrong in the block becomes an InputError as well.

    Raises
    ------
    InputError
        If the file is missing, empty, truncated, of no known format, or needs PyAV and that is not installed.
    """
    try:
        str(path).encode()
        check_regular(path, f"{utt_id}: ")
        with open(path, "rb") as file:
            is_empty = not file.read(1)
    except OSError as error:
        raise InputError(f"{utt_id}: the recording cannot be opened: {error}. Check the path.") from error
    except UnicodeEncodeError as error:  # libsndfile takes no other names
        raise InputError(f"the name {ascii(str(path))} is no UTF-8. Rename the file.") from error
    if is_empty:
        raise InputError(f"{utt_id}: {path} is empty (0 bytes). Copy it again.")
    try:
        missing = missing_bytes(path)
    except InputError as error:
        raise InputError(f"{utt_id}: {path} cannot be read as audio: {error} Convert it, or leave it out.") from error
    if missing:
        raise InputError(
            f"{utt_id}: {path} is truncated: its header announces {missing} bytes more than the file holds. "
            "Copy it again."
        )
    reader = _open_reader(str(path), utt_id)
    try:
        rate_hz, n_channels = reader.sample_rate_hz, reader.n_channels
        for value, most, what in (
            (rate_hz, LARGEST_RATE_HZ, "Hz of sample rate"),
            (n_channels, LARGEST_N_CHANNELS, "channels"),
            (rate_hz * n_channels, MOST_SAMPLES_A_SECOND, "samples a second in all its channels"),
        ):
            if value > most:
                raise InputError(f"{utt_id}: {path} has {value} {what}, and at most {most} are read. Convert it.")
        check_length(reader.n_frames or 0, reader, path, utt_id)
        yield reader
    finally:
        reader.close()


def check_length(
    n_frames: int, reader: AudioReader, path: str | Path, utt_id: str, most_s: float = LONGEST_RECORDING_S
) -> None:
    """Refuse a recording that is longer than a number of seconds, or than its rate and channels allow."""
    rate_hz, n_channels = reader.sample_rate_hz, reader.n_channels
    most_s = min(most_s, MOST_SAMPLES / (rate_hz * n_channels))
    if n_frames > most_s * rate_hz:
        channels = f" in {n_channels} channels" if n_channels > 1 else ""
        raise InputError(
            f"{utt_id}: {path} is longer than {most_s:g} s, the most that is read: {n_frames} samples at {rate_hz} "
            f"Hz{channels}, so far or by its header. Cut it."
        )


def read_blocks(
    reader: AudioReader, path: str | Path, utt_id: str, n_frames: int, first: int = 0
) -> Iterator[np.ndarray]:
    """Read a recording block by block, and check that it is whole.

    Arguments
    ---------
    reader
        The recording, as `open_audio` gives it.
    path, utt_id
        Its file and id, for the error's text.
    n_frames
        Samples in a block, about.
    first
        The sample to begin with.

    Yields
    ------
    numpy.ndarray
        Samples, [T, channels], float32.

    Raises
    ------
    InputError
        When the reading arrives at what cannot be read, is not finite, or is missing.
    """
    n_done = first
    blocks = reader.read(n_frames, first)
    while True:
        try:
            wav = next(blocks, None)
        except _Truncated as error:
            raise InputError(f"{utt_id}: {path} is truncated: {error} can be read. Copy it again.") from error
        except (*SNDFILE_ERRORS, *_ffmpeg_errors()) as error:
            where = f" after its first {n_done} samples" if n_done else ""
            raise InputError(
                f"{utt_id}: {path} cannot be read as audio{where}: {_say(error)} It is damaged or truncated: copy or "
                "convert it once more."
            ) from error
        if wav is None:
            break
        finite = np.isfinite(wav).all(axis=1) if reader.may_be_infinite else np.True_
        if not finite.all():
            raise InputError(
                f"{utt_id}: {path} holds samples that are NaN or infinite, the first at "
                f"{(n_done + int(finite.argmin())) / reader.sample_rate_hz:.2f} s. Repair or cut it, or leave it out."
            )
        n_done += len(wav)
        check_length(n_done, reader, path, utt_id)  # the header may not tell
        yield wav
    if reader.n_frames is not None and n_done < reader.n_frames:
        raise InputError(
            f"{utt_id}: {path} is truncated: {reader.n_frames} samples are announced and {n_done} can be read. "
            "Copy it again."
        )


def _open_reader(path: str, utt_id: str) -> AudioReader:
    sentence = "its header does not tell its length."
    try:
        reader = SndfileReader(path)
        if reader.reads_all:
            return reader
        reader.close()
    except SNDFILE_ERRORS as error:
        sentence = _say(error)
    try:
        return AvReader(path)
    except ImportError as error:
        raise InputError(f"{utt_id}: {path} cannot be read as audio: {sentence} {INSTALL_PYAV}") from error
    except _Truncated as error:
        raise InputError(f"{utt_id}: {path} is truncated: {error} can be read. Copy it again.") from error
    except _ffmpeg_errors() as error:
        if isinstance(error, _Silent):
            sentence = "it holds no sound."
        elif is_lfs_pointer(path):
            raise InputError(f"{utt_id}: {path} is a git-LFS pointer: run `git lfs pull` in its repository.") from error
        elif _is_mp4(path):
            sentence = "its index is missing, as where a recorder was stopped or a copy broke off."
        raise InputError(
            f"{utt_id}: {path} cannot be read as audio: {sentence} Replace the file, or leave it out."
        ) from error


def _ffmpeg_errors() -> tuple[type[Exception], ...]:
    """Return what PyAV raises: not all of its errors are ValueErrors or OSErrors."""
    av = sys.modules.get("av")
    return (ValueError, OSError, *([av.FFmpegError] if av else []))


def _say(error: BaseException) -> str:
    """Write an error of libsndfile or FFmpeg as a sentence, without the path."""
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return text.rstrip(". ") + "."


def _is_mp4(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(8)[4:] == b"ftyp"
