"""Vowels that follow each other like syllables: what the detector takes for speech, made without any recording."""

import numpy as np
from scipy.signal import lfilter

VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))  # formants in Hz


def make_babble(duration_s, rate_hz=16000, seed=0):
    """Return a voice of about 120 Hz that says a vowel every 0.22 s, [T], float32, peak 0.5. Seeds: 0 and 1."""
    rng = np.random.default_rng(seed)
    n = round(duration_s * rate_hz)
    pitch_hz = 120 * (1 + 0.15 * np.sin(2 * np.pi * 0.7 * np.arange(n) / rate_hz + seed))
    pulses = np.diff(np.floor(np.cumsum(pitch_hz / rate_hz)), prepend=-1)  # one where the vocal folds close
    source = lfilter([1], [1, -0.97], pulses) + 0.003 * rng.standard_normal(n)
    n_syllable = round(0.22 * rate_hz)
    syllables = []
    for k, start in enumerate(range(0, n, n_syllable)):
        wav = source[start : start + n_syllable]
        for formant_hz in VOWELS[(k + seed) % len(VOWELS)]:
            r = np.exp(-np.pi * 80 / rate_hz)  # 80 Hz wide
            wav = lfilter([1 - r], [1, -2 * r * np.cos(2 * np.pi * formant_hz / rate_hz), r * r], wav)
        syllables.append(wav * np.sqrt(np.hanning(len(wav))))
    wav = np.concatenate(syllables)
    return (0.5 * wav / np.abs(wav).max()).astype(np.float32)
