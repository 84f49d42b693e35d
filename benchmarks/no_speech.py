#!/usr/bin/env python3
"""Which recordings count as speech: silence, noise, hum, tones and music made here, and folders of speech.

python benchmarks/no_speech.py EmoDB=path/to/emodb/wav demo=demo_corpus

Speech is tested as it is, and for the first folder also quieter, in noise, cut short and at a telephone's bandwidth.
Prints a table, and what the detector costs on one thread of the CPU.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout runs without being installed
import numpy as np
import soxr
import torch

from speechbrain_ext.dataio.audio import read_audio
from speechbrain_ext.inference.recordings import find_recordings
from speechbrain_ext.inference.speech_detector import RATE_HZ, SpeechDetector, has_speech

N = 3 * RATE_HZ
TIMES_S = np.arange(N) / RATE_HZ
MAJOR, MINOR, SEVENTH = (0, 4, 7), (0, 3, 7), (0, 4, 7, 10)


def gain(level_db):
    """Return the factor of a level."""
    return 10 ** (level_db / 20)


def pink(rng):
    """Return noise of which each octave is equally loud, of rms 1."""
    spectrum = np.fft.rfft(rng.standard_normal(N))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    wav = np.fft.irfft(spectrum, N)
    return wav / wav.std()


def note(f_hz, n=N):
    """Return a tone with nine harmonics."""
    return sum(np.sin(2 * np.pi * f_hz * k * np.arange(n) / RATE_HZ) / k**1.5 for k in range(1, 10))


def melody(rng):
    """Return plucked notes of a major scale."""
    notes = []
    while sum(map(len, notes)) < N:
        n = int(RATE_HZ * rng.choice([0.15, 0.25, 0.5]))
        f_hz = 220 * 2 ** (rng.choice([0, 2, 4, 5, 7, 9, 11, 12]) / 12)
        notes.append(note(f_hz, n) * np.exp(-np.arange(n) / RATE_HZ * rng.choice([2, 6])))
    return 0.2 * np.concatenate(notes)[:N]


def clicks(rng):
    """Return eight bursts of 2.5 ms over quiet noise."""
    wav = 0.001 * rng.standard_normal(N)
    for start in rng.integers(0, N - 40, 8):
        wav[start : start + 40] += rng.choice([0.1, 0.5, 0.9]) * rng.standard_normal(40)
    return wav


def not_speech():
    """Return name -> waveforms of 3 s."""
    rngs = [np.random.default_rng(seed) for seed in range(10)]
    levels_db = (-80, -60, -40, -30, -20, -10)
    return {
        "digital silence": [np.zeros(N)],
        "dither of one bit": [rng.integers(-1, 2, N) / 32768 for rng in rngs],
        "white noise, -80 to -10 dBFS": [gain(db) * rng.standard_normal(N) for db in levels_db for rng in rngs],
        "pink noise, -80 to -10 dBFS": [gain(db) * pink(rng) for db in levels_db for rng in rngs],
        "noise that swells 4 times a second": [
            0.1 * rng.standard_normal(N) * (1 + np.sin(8 * np.pi * TIMES_S)) / 2 for rng in rngs
        ],
        "mains hum of 50 and 60 Hz": [gain(db) * note(f) for db in (-50, -30, -15) for f in (50, 60)],
        "sine, 100 to 3000 Hz": [
            gain(db) * np.sin(2 * np.pi * f * TIMES_S)
            for db in (-40, -20, -6)
            for f in (100, 150, 200, 440, 1000, 3000)
        ],
        "sweep": [
            0.2 * np.sin(2 * np.pi * np.cumsum(np.linspace(*bounds, N)) / RATE_HZ)
            for bounds in ((100, 4000), (2000, 200), (80, 300))
        ],
        "telephone tones": [
            0.2 * (np.sin(2 * np.pi * f * TIMES_S) + np.sin(2 * np.pi * g * TIMES_S)) * (TIMES_S * 4 % 1 < 0.5)
            for f, g in ((697, 1209), (941, 1477), (1000, 1000), (425, 425))
        ],
        "chords": [
            gain(db) * sum(note(f * 2 ** (step / 12)) for step in chord) / 3
            for db in (-30, -15)
            for f in (130, 220, 330)
            for chord in (MAJOR, MINOR, SEVENTH)
        ],
        "melodies": [melody(rng) for rng in rngs],
        "clicks": [clicks(rng) for rng in rngs],
    }


def harder(name, wavs):
    """Return name -> speech that is harder to find."""
    rng = np.random.default_rng(0)

    def noisy(wav, snr_db):
        return wav + gain(-snr_db) * wav.std() * rng.standard_normal(len(wav))

    def cut(wav, duration_s):
        n = round(duration_s * RATE_HZ)
        return wav[(len(wav) - n) // 2 :][:n]

    return {
        f"{name}, 20 dB quieter": [gain(-20) * wav for wav in wavs],
        f"{name}, 40 dB quieter": [gain(-40) * wav for wav in wavs],
        f"{name}, in white noise of 10 dB SNR": [noisy(wav, 10) for wav in wavs],
        f"{name}, in white noise of 0 dB SNR": [noisy(wav, 0) for wav in wavs],
        f"{name}, the middle 0.5 s": [cut(wav, 0.5) for wav in wavs],
        f"{name}, at 8 kHz": [soxr.resample(soxr.resample(wav, RATE_HZ, 8000), 8000, RATE_HZ) for wav in wavs],
    }


def main(words):
    """Print the table."""
    torch.set_num_threads(1)
    detector = SpeechDetector()
    sets = {name: (wavs, False) for name, wavs in not_speech().items()}
    for i, word in enumerate(words):
        name, folder = word.split("=", 1)
        wavs = [read_audio(path, path, RATE_HZ) for path in find_recordings(folder)[0]]
        sets[name] = wavs, True
        if i == 0:
            sets |= {name: (wavs, True) for name, wavs in harder(name, wavs).items()}
    print("| what | recordings | with speech found | wrong | share of speech, mean |\n|---|---|---|---|---|")
    seconds = duration_s = 0.0
    for name, (wavs, is_speech) in sets.items():
        wavs = [torch.from_numpy(np.float32(np.clip(wav, -1, 1)))[None] for wav in wavs]
        start = time.perf_counter()
        answers = [detector.detect(wav, torch.tensor([wav.shape[1]]))[0] for wav in wavs]
        seconds += time.perf_counter() - start
        duration_s += sum(wav.shape[1] for wav in wavs) / RATE_HZ
        n_found = sum(map(has_speech, answers))
        n_wrong = len(wavs) - n_found if is_speech else n_found
        share = np.mean([answer.mean() for answer in answers])
        print(f"| {name} | {len(wavs)} | {n_found} | {100 * n_wrong / len(wavs):.1f}% | {share:.2f} |")
    print(f"\n{1000 * seconds / duration_s:.1f} ms for a second of recording, on one thread.")


if __name__ == "__main__":
    main(sys.argv[1:])
