"""WaveformStore: a corpus held in memory as it lies on the disk, 16 bits a sample."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Optional

import numpy as np
import soundfile

from speechbrain_ext.dataio.audio import Segment, read_audio, sample_span
from speechbrain_ext.dataio.audio_headers import missing_bytes
from speechbrain_ext.dataio.audio_readers import NO_LENGTH
from speechbrain_ext.dataio.manifest import segment_of
from speechbrain_ext.dataio.sample_hash import SAMPLES_HASH, SampleHash
from speechbrain_ext.errors import InputError
from speechbrain_ext.storage import check_regular

FULL_SCALE = 32768.0

Clip = tuple[str, Optional[Segment]]  # a recording's path, and the segment of it


class WaveformStore:
    """Reads recordings as `read_audio` does, those of 16 bits from memory once it has been filled.

    Two bytes a sample: IEMOCAP's utterances of four emotions are 0.8 GB. Processes that are forked afterwards share
    them.

    Arguments
    ---------
    sample_rate_hz
        Sample rate of the waveforms.

    Attributes
    ----------
    n_bytes : int
        Memory that is held.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.n_bytes = 0
        self._places: dict[Clip, tuple[int, int]] = {}  # clip -> (its first sample here, number of samples)
        self._samples = np.empty(0, np.int16)

    def fill(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Take clips into memory, in place of those before.

        Arguments
        ---------
        entries
            Their entries in a manifest, with absolute paths. What is not mono, of 16 bits and of the sample rate stays
            on the disk: to hold what was made of it would take four bytes a sample. What cannot be read, or has
            changed, stays there as well, to be told when it is used.
        """
        self._places = {}
        n_samples = 0
        lengths: dict[str, int] = {}
        hashes = {(str(entry["wav"]), segment_of(entry)): entry.get(SAMPLES_HASH) for entry in entries}
        for path, segment in hashes:
            if path not in lengths:
                lengths[path] = self._frames(path)
            first, n_frames = sample_span(segment, self.sample_rate_hz)
            n_frames = min(n_frames or lengths[path], lengths[path] - first)  # rates round
            if n_frames > 0:
                self._places[path, segment] = (n_samples, n_frames)
                n_samples += n_frames
        self._samples = np.empty(n_samples, np.int16)  # one block: counting references would copy many in each process
        for (path, segment), (first, n_frames) in list(self._places.items()):
            start = sample_span(segment, self.sample_rate_hz)[0]
            try:
                self._samples[first : first + n_frames] = soundfile.read(path, n_frames, start, dtype="int16")[0]
                if expected := hashes[path, segment]:
                    SampleHash(self.sample_rate_hz, self._held(first, n_frames)).check(expected, path, path)
            except (soundfile.LibsndfileError, RuntimeError, ValueError):  # an InputError, or a truncated FLAC
                del self._places[path, segment]
        self.n_bytes = self._samples.nbytes

    def read(
        self,
        path: str | Path,
        utt_id: str,
        max_s: Optional[float] = None,
        segment: Optional[Segment] = None,
        samples_hash: Optional[str] = None,
    ) -> np.ndarray:
        """Read a recording, or a segment of one.

        Arguments
        ---------
        path, utt_id, max_s, segment, samples_hash
            As in `read_audio`. What is in memory was compared when it was taken there.

        Returns
        -------
        numpy.ndarray
            The waveform, [T], float32: the very samples that `read_audio` gives.

        Raises
        ------
        InputError
            As `read_audio` does.
        """
        if (str(path), segment) not in self._places:
            return read_audio(path, utt_id, self.sample_rate_hz, max_s, segment, samples_hash)
        first, n_frames = self._places[str(path), segment]
        if max_s is not None:
            n_frames = min(n_frames, round(max_s * self.sample_rate_hz))
        return self._held(first, n_frames)

    def _held(self, first: int, n_frames: int) -> np.ndarray:
        return self._samples[first : first + n_frames].astype(np.float32) / np.float32(FULL_SCALE)

    def _frames(self, path: str | Path) -> int:
        """Return the samples of a recording that can be held; 0 where it cannot."""
        try:
            check_regular(path)
            info = soundfile.info(str(Path(path)))
        except (soundfile.LibsndfileError, RuntimeError, OSError, InputError):
            return 0
        fits = info.subtype == "PCM_16" and info.channels == 1 and info.samplerate == self.sample_rate_hz
        return info.frames if fits and info.frames < NO_LENGTH and not missing_bytes(path) else 0
