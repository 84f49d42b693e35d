"""SampleHash: which samples a clip holds, as a short text that a manifest keeps and each reading is checked against."""

import hashlib
import re
from pathlib import Path

import numpy as np

from speechbrain_ext.errors import InputError

SAMPLES_HASH = "samples_hash"  # its key in a manifest


class SampleHash:
    """The number, the rate and the SHA-256 of a clip's samples, which come block by block; its text says all three.

    Samples count as `read_audio` has them before it resamples: float32, the mean of the channels. So a copy in another
    format that loses nothing has the same text.

    Arguments
    ---------
    sample_rate_hz : int
        The recording's own sample rate.
    *blocks : numpy.ndarray
        The first blocks, as `add` takes them.

    Example
    -------
    >>> str(SampleHash(16000, np.zeros(400, np.float32)))
    '400 samples at 16000 Hz, SHA-256 ...'
    """

    def __init__(self, sample_rate_hz: int, *blocks: np.ndarray) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.n_samples = 0
        self._digest = hashlib.sha256()
        for wav in blocks:
            self.add(wav)

    def add(self, wav: np.ndarray) -> None:
        """Take the next block [T], float32."""
        self.n_samples += len(wav)
        self._digest.update(np.ascontiguousarray(wav).data)

    def __str__(self) -> str:
        return f"{self.n_samples} samples at {self.sample_rate_hz} Hz, SHA-256 {self._digest.hexdigest()[:32]}"

    def check(self, expected: str, path: str | Path, utt_id: str) -> None:
        """Refuse a clip whose text is not the one that its manifest has.

        Raises
        ------
        InputError
            Names the utterance, the file, and both texts.
        """
        if str(self) != expected:
            raise InputError(
                f"{utt_id}: {path} has changed since the corpus was prepared: it holds {self}, and the manifest says "
                f"{expected}. Copy it again as it was; or begin a new run, in another --output_folder."
            )


def is_silence(text: str) -> bool:
    """Tell whether a `SampleHash` as text is that of silence, which is no recording of its own.

    Example
    -------
    >>> is_silence(str(SampleHash(16000, np.zeros(5, np.float32))))
    True
    """
    n_samples, rate_hz = map(int, re.findall(r"\d+", text)[:2])
    return str(SampleHash(rate_hz, np.zeros(n_samples, np.float32))) == text
