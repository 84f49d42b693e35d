"""What a clip is like, from reading it once: level, clipping, and the hash of its samples."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from speechbrain_ext.dataio.audio import (
    BLOCK_SAMPLES,
    AudioHeader,
    average_channels,
    check_segment,
    probe_audio,
    read_audio,
    read_clip,
    sample_span,
)
from speechbrain_ext.dataio.audio_readers import AudioReader, open_audio, read_blocks
from speechbrain_ext.dataio.rows import Row
from speechbrain_ext.dataio.sample_hash import SAMPLES_HASH, SampleHash
from speechbrain_ext.errors import InputError

READERS = 8  # threads that read recordings at the same time
FULL_SCALE = 0.999  # at and above it a sample counts as clipped
SILENT_RMS = 0.001  # -60 dB below full scale


@dataclass(frozen=True)
class ClipMeasures:
    """Measures of a clip, over the mean of its channels at its own rate.

    Attributes
    ----------
    sample_rate_hz, n_channels : int
        Those of its recording.
    peak, rms : float
        Largest and effective magnitude; full scale is 1.
    clipped : float
        Share of samples at full scale, 0 to 1.
    samples_hash : str
        The text of a `SampleHash`: the same for clips that hold the same samples, in whichever format.
    """

    sample_rate_hz: int
    n_channels: int
    peak: float
    rms: float
    clipped: float
    samples_hash: str

    @property
    def is_clipped(self) -> bool:
        """Whether more than one sample of a thousand is at full scale."""
        return self.clipped > 0.001

    @property
    def is_silent(self) -> bool:
        """Whether there is no more than noise at -60 dB."""
        return self.rms < SILENT_RMS


def measure_blocks(blocks: Iterable[np.ndarray], sample_rate_hz: int, n_channels: int) -> tuple[int, ClipMeasures]:
    """Measure a clip that comes as mono blocks [T]; return its number of samples, too.

    Example
    -------
    >>> measure_blocks([np.array([0.5, -1.0], np.float32), np.zeros(2, np.float32)], 16000, 1)[1].clipped
    0.25
    """
    peak = energy = 0.0
    n_clipped = 0
    samples = SampleHash(sample_rate_hz)
    for wav in blocks:
        magnitudes = np.abs(wav)
        peak = max(peak, float(magnitudes.max(initial=0.0)))
        energy += float(np.dot(wav, wav))
        n_clipped += int((magnitudes >= FULL_SCALE).sum()) if peak >= FULL_SCALE else 0
        samples.add(wav)
    n = max(samples.n_samples, 1)
    measures = ClipMeasures(sample_rate_hz, n_channels, peak, (energy / n) ** 0.5, n_clipped / n, str(samples))
    return samples.n_samples, measures


Measured = tuple[dict[str, Any], ClipMeasures]  # what a manifest's entry has from the recording, and the measures


def measure_recording(rows: Sequence[Row], root: Path) -> list[Measured | str]:
    """Read a recording's clips once.

    Arguments
    ---------
    rows : list of dict
        The rows whose `wav` it is.
    root : pathlib.Path
        The absolute folder that paths are relative to.

    Returns
    -------
    list
        For each row (`duration`, `start` where it is a segment, `samples_hash`; its measures), or a sentence on what is
        wrong with its segment.

    Raises
    ------
    InputError
        If the recording cannot be used.
    """
    path, utt_id = root / rows[0]["wav"], rows[0]["id"]
    try:
        if len(rows) == 1 and not {"start", "end"} & set(rows[0]):
            return [_measure_whole(path, utt_id)]
        header = probe_audio(path, utt_id)
        with open_audio(path, utt_id) as reader:
            fits = reader.is_stateless and header.n_frames * header.n_channels <= BLOCK_SAMPLES
            at_once = fits or reader.n_frames is None  # where that is not told, no reading begins within
            whole = read_clip(reader, path, utt_id, header.sample_rate_hz) if at_once else None
            return [_measure_clip(row, path, header, reader if reader.is_stateless else None, whole) for row in rows]
    except InputError as error:
        raise InputError(_place(rows[0], error)) from error


def _measure_clip(
    row: Row, path: Path, header: AudioHeader, reader: Optional[AudioReader], whole: Optional[np.ndarray]
) -> Measured | str:
    """Measure a segment, or all, of a recording: out of its samples, by an open reader, or opened for this clip."""
    try:
        entry: dict[str, Any] = {"duration": header.duration_s}
        segment = None
        if "start" in row or "end" in row:
            start_s, end_s = row.get("start", 0.0), row.get("end", float("inf"))
            segment = check_segment(row["id"], (start_s, end_s - start_s), header)
            entry = {"duration": segment[1], "start": segment[0]}
        rate_hz = header.sample_rate_hz
        if whole is not None:
            first, n_samples = sample_span(segment, rate_hz)
            wav = whole[first : first + (n_samples or len(whole))]
        elif reader is not None:
            wav = read_clip(reader, path, row["id"], rate_hz, segment=segment)
        else:
            wav = read_audio(path, row["id"], rate_hz, segment=segment)
        measures = measure_blocks([wav], rate_hz, header.n_channels)[1]
        return {**entry, SAMPLES_HASH: measures.samples_hash}, measures
    except InputError as error:
        return _place(row, error)


def _measure_whole(path: Path, utt_id: str) -> Measured:
    with open_audio(path, utt_id) as reader:
        rate_hz, n_channels = reader.sample_rate_hz, reader.n_channels
        blocks = read_blocks(reader, path, utt_id, BLOCK_SAMPLES // n_channels)
        n_frames, measures = measure_blocks(map(average_channels, blocks), rate_hz, n_channels)
    header = AudioHeader(n_frames, rate_hz, n_channels)
    header.check_usable(path, utt_id)
    return {"duration": header.duration_s, SAMPLES_HASH: measures.samples_hash}, measures


def _place(row: Row, error: InputError) -> str:
    return f"{row['place']}, {error}" if "place" in row else str(error)
