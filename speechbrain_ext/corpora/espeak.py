"""Speech by espeak-ng, from the PyPI package espeakng-loader, with a manner: pitch, pitch range, speed and effort."""

import ctypes
from typing import Any, NamedTuple

import espeakng_loader
import numpy as np
import soxr

WORDS_PER_MINUTE = 170
LEVEL_DB = -32.0  # of a neutral turn, against full scale: leaves room for the loudest
TILT_DB = 16.0  # the effort that would make a full difference filter
NOISE_DB = -66.0  # of a quiet room: no digital silence


class Manner(NamedTuple):
    """How a sentence is said, relative to the voice's own way."""

    pitch_semitones: float
    range_factor: float
    rate_factor: float
    effort_db: float


class Espeak:
    """espeak-ng by ctypes, to be made once in a process.

    The library keeps what no call resets (its pitch flutter runs on from one utterance to the next), so an
    utterance depends on those said before it. The same list said in a new process gives the same samples.

    Raises
    ------
    RuntimeError
        If the library does not start.
    """

    RATE, PITCH, RANGE = 1, 3, 4  # espeak_PARAMETER
    SYNCHRONOUS, DONT_EXIT, UTF8 = 2, 0x8000, 1

    def __init__(self):
        self._chunks: list[np.ndarray] = []
        self._lib = ctypes.CDLL(espeakng_loader.get_library_path())
        data_path = espeakng_loader.get_data_path()
        path = data_path.encode()
        self.sample_rate_hz = self._lib.espeak_Initialize(self.SYNCHRONOUS, 0, path, self.DONT_EXIT)
        if self.sample_rate_hz <= 0:
            raise RuntimeError(
                f"espeak-ng did not start with its data in {data_path}: it needs a readable folder, its path "
                f"shorter than 160 characters (here {len(path)})."
            )
        samples = ctypes.POINTER(ctypes.c_short)
        callback = ctypes.CFUNCTYPE(ctypes.c_int, samples, ctypes.c_int, ctypes.c_void_p)
        self._callback = callback(self._keep)  # the library holds a bare pointer: keep the object alive
        self._lib.espeak_SetSynthCallback(self._callback)

    def _keep(self, samples: Any, n_samples: int, _events: Any) -> int:
        if samples and n_samples > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (n_samples,)).copy())
        return 0

    def say(self, text: str, voice: str, manner: Manner, seed: int) -> np.ndarray:
        """Say a sentence with a manner's pitch, range and rate; its effort is left to the caller.

        Arguments
        ---------
        text : str
            One sentence.
        voice : str
            espeak-ng's name of it, language and variant.
        manner : Manner
            How it is said.
        seed : int
            In [0, 2**31), for the library's own noise.

        Returns
        -------
        wav : np.ndarray
            [time], in -1..1, at `self.sample_rate_hz`.
        """
        if self._lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise RuntimeError(f"espeak-ng has no voice {voice}")
        for parameter, value in (
            (self.RATE, WORDS_PER_MINUTE * manner.rate_factor),
            (self.PITCH, 50 + 50 * manner.pitch_semitones / 12),  # 50 is the voice's own, 100 an octave above
            (self.RANGE, 50 * manner.range_factor),
        ):
            self._lib.espeak_SetParameter(parameter, max(0, round(value)), 0)
        self._lib.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        self._chunks.clear()
        data = text.encode()
        status = self._lib.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, 0, 0, self.UTF8, None, None)
        if status != 0 or not self._chunks:
            raise RuntimeError(f"espeak-ng did not say {text!r} with the voice {voice} (status {status})")
        return np.concatenate(self._chunks) / 32768


def say_with_effort(
    espeak: Espeak, text: str, voice: str, manner: Manner, sample_rate_hz: int, rng: np.random.Generator
) -> np.ndarray:
    """Say a sentence with a manner's effort as well, in a quiet room.

    A louder voice is also a brighter one: effort is told even to a model that scales all clips to one level.

    Returns
    -------
    wav : np.ndarray
        [time], in -1..1, at `sample_rate_hz`.
    """
    wav = espeak.say(text, voice, manner, seed=int(rng.integers(2**31)))
    wav = soxr.resample(wav, espeak.sample_rate_hz, sample_rate_hz)
    tilt = manner.effort_db / TILT_DB  # of a first-order filter: above 0 for brighter, below for duller
    wav = wav - tilt * np.concatenate(([0.0], wav[:-1]))
    wav *= 10 ** ((LEVEL_DB + manner.effort_db) / 20) / np.sqrt(np.mean(wav**2))
    return np.clip(wav + rng.normal(0, 10 ** (NOISE_DB / 20), len(wav)), -1, 1)
