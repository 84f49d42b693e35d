"""SpeechDetector: where a recording holds speech, by Silero VAD, so that silence, noise and music get no emotion."""

import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Optional

import numpy as np
import safetensors.torch
import torch
from torch import nn

from speechbrain_ext.errors import InputError

RATE_HZ = 16000
CHUNK = 512  # samples, 32 ms: one answer
CONTEXT = 64  # samples of the chunk before
THRESHOLD = 0.5
# Less is taken for a mistake: melodies had up to 0.06 s, the shortest of 2,211 recordings of speech 0.42 s.
MIN_SPEECH_S = 0.1

State = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class SpeechDetector(nn.Module):
    """Silero VAD 6 (MIT licence), with the weights that its package brings.

    The package's own model is TorchScript, which PyTorch has deprecated, takes one chunk after the other, and sets the
    number of threads for the whole program when it is imported. Here all chunks pass the convolutions at once, and only
    the LSTM goes step by step; the probabilities are the same to 1e-4.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        self.final_conv = nn.Conv1d(128, 1, 1)
        weights = safetensors.torch.load_file(_weights_file())
        for name in [name for name in weights if name.startswith("lstm_cell.")]:
            weights[name.replace("lstm_cell", "lstm") + "_l0"] = weights.pop(name)
        self.load_state_dict(weights)
        self.eval().requires_grad_(False)

    def forward(self, wavs: torch.Tensor, state: Optional[State] = None) -> tuple[torch.Tensor, State]:
        """Compute the probability of speech in each chunk of 32 ms.

        Arguments
        ---------
        wavs
            Waveforms, [B, T], 16 kHz, full scale at 1. A last chunk that is not full is filled with zeros; what is
            behind a clip's end changes nothing before it.
        state
            What the call on the samples before has returned, for a waveform in pieces of whole chunks.

        Returns
        -------
        tuple
            (probabilities [B, N], the state for the next piece).
        """
        wavs = nn.functional.pad(wavs, (0, -wavs.shape[1] % CHUNK))
        before, h, c = state or (wavs.new_zeros(len(wavs), CONTEXT), None, None)
        wavs = torch.cat([before, wavs], dim=1)
        chunks = wavs.unfold(1, CONTEXT + CHUNK, CHUNK)  # [B, N, 576], which overlap by the context
        n_clips, n_chunks = chunks.shape[:2]
        x = nn.functional.pad(chunks.reshape(n_clips * n_chunks, 1, -1), (0, CONTEXT), mode="reflect")  # [B N, 1, 640]
        real, imaginary = self.stft_conv(x).chunk(2, dim=1)  # [B N, 129, 4] each
        x = torch.sqrt(real.square() + imaginary.square())
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = conv(x).relu()  # in the end [B N, 128, 1]
        x, (h, c) = self.lstm(x.reshape(n_clips, n_chunks, -1), None if h is None else (h, c))  # [B, N, 128]
        probabilities = self.final_conv(x.relu().transpose(1, 2)).sigmoid()[:, 0]  # [B, N]
        return probabilities, (wavs[:, -CONTEXT:], h, c)

    @torch.inference_mode()
    def detect(self, wavs: torch.Tensor, n_samples: torch.Tensor) -> list[np.ndarray]:
        """Tell where there is speech in each clip of a padded batch.

        Arguments
        ---------
        wavs
            Waveforms, [B, T], 16 kHz.
        n_samples
            Their lengths, [B].

        Returns
        -------
        list of numpy.ndarray
            For each clip, whether each of its chunks is speech, [N].
        """
        probabilities = self(wavs.to(self.conv1.weight))[0].cpu().numpy()
        return [row[: -(-n // CHUNK)] >= THRESHOLD for row, n in zip(probabilities, n_samples.tolist())]

    def listen(self, blocks: Iterable[np.ndarray], found: list[np.ndarray]) -> Iterator[np.ndarray]:
        """Pass the blocks of one waveform on, and append to `found` whether their chunks are speech.

        Arguments
        ---------
        blocks
            The waveform, [T] each, 16 kHz.
        found
            Receives arrays of bool, in order, the last one after the last block.

        Yields
        ------
        numpy.ndarray
            The blocks as they are.
        """
        held = np.empty(0, np.float32)
        state: Optional[State] = None
        for wav in blocks:
            held = np.concatenate([held, wav])
            n_whole = len(held) // CHUNK * CHUNK
            if n_whole:
                state = self._append(held[:n_whole], state, found)
                held = held[n_whole:]
            yield wav
        if len(held):
            self._append(held, state, found)

    @torch.inference_mode()
    def _append(self, wav: np.ndarray, state: Optional[State], found: list[np.ndarray]) -> State:
        probabilities, state = self(torch.from_numpy(wav)[None].to(self.conv1.weight), state)
        found.append(probabilities[0].cpu().numpy() >= THRESHOLD)
        return state


def make_detector(classifier: Any) -> Optional[SpeechDetector]:
    """Build the detector for a classifier, on its device; None if it takes another sample rate than 16 kHz."""
    if classifier.hparams.sample_rate != RATE_HZ:
        return None
    return SpeechDetector().to(classifier.device)


def speech_shares(is_speech: np.ndarray, starts_s: np.ndarray, ends_s: np.ndarray) -> np.ndarray:
    """Compute which share of each stretch of time is speech.

    Arguments
    ---------
    is_speech
        Whether each chunk of 32 ms is speech, [K].
    starts_s, ends_s
        Where the stretches begin and end, in seconds, [N] each.

    Returns
    -------
    numpy.ndarray
        Shares from 0 to 1, [N].

    Example
    -------
    >>> speech_shares(np.array([True, False]), np.array([0.0, 0.016]), np.array([0.032, 0.064])).round(3).tolist()
    [1.0, 0.333]
    """
    edges_s = np.arange(len(is_speech) + 1) * (CHUNK / RATE_HZ)
    speech_s = np.concatenate([[0.0], np.cumsum(is_speech) * (CHUNK / RATE_HZ)])
    starts_s, ends_s = np.asarray(starts_s), np.asarray(ends_s)
    return (np.interp(ends_s, edges_s, speech_s) - np.interp(starts_s, edges_s, speech_s)) / (ends_s - starts_s)


def has_speech(is_speech: np.ndarray) -> bool:
    """Tell whether there is speech at all in a recording, from its chunks [K]."""
    return bool(is_speech.sum() * CHUNK / RATE_HZ >= MIN_SPEECH_S)


def _weights_file() -> Path:
    """Find the weights in Silero's package, without importing it."""
    package = importlib.util.find_spec("silero_vad")
    if package is None or not package.submodule_search_locations:
        raise InputError("looking for speech needs the weights in silero-vad: pip install silero-vad")
    return Path(package.submodule_search_locations[0]) / "data" / "silero_vad_16k.safetensors"
