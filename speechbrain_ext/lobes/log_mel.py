"""The log-mel features of Whisper and of w2v-BERT 2.0, as transformers' feature extractors compute them, for batches.

A clip's features depend on its own samples alone. Spectra are computed in float64, as there.
"""

import functools
import math
from typing import Optional

import torch
from speechbrain.dataio.dataio import length_to_mask
from transformers.audio_utils import mel_filter_bank, window_function

FRAME, HOP = 400, 160  # samples: 25 ms and 10 ms at 16 kHz
KALDI_FFT = 512
KALDI_FLOOR = 1.192092955078125e-07
N_KALDI_MELS = 80
Tables = tuple[torch.Tensor, torch.Tensor]  # a window, and mel filters [bins, M], float64


def whisper_log_mel(
    wavs: torch.Tensor, n_samples: torch.Tensor, n_mels: int, tables: Optional[Tables] = None
) -> torch.Tensor:
    """Compute Whisper's log-mel spectrogram of each clip at its own length, never padded to 30 s.

    Equal to `WhisperFeatureExtractor` with `padding="do_not_pad"`: a clip is reflected at its ends, its quietest values
    are raised to 8 (in log10) below its loudest, and the result is shifted and scaled.

    Arguments
    ---------
    wavs : torch.Tensor
        Padded waveforms at 16 kHz, [B, T]; each clip has more than 200 samples.
    n_samples : torch.Tensor
        Length n of each clip, [B].
    n_mels : int
        Number of mel bands M.
    tables : tuple, optional
        What `whisper_tables` returns, where it cannot be called: while a graph is exported.

    Returns
    -------
    torch.Tensor
        float32 [B, T // 160, M], zero beyond a clip's n // 160 frames.
    """
    margin = FRAME // 2
    n = n_samples.unsqueeze(1)
    places = (torch.arange(wavs.shape[1] + 2 * margin, device=wavs.device) - margin).abs().expand(len(wavs), -1)
    places = torch.where(places < n, places, 2 * (n - 1) - places).clamp(min=0)  # reflected at 0 and at the last sample
    windows = wavs.double().gather(1, places).unfold(1, FRAME, HOP)[:, :-1]  # [B, T + 400] -> [B, F, 400]
    window, filters = tables or whisper_tables(n_mels, wavs.device)
    spectra = _power_spectra(windows * window, FRAME)  # [B, F, 201]
    log_mel = (spectra @ filters).clamp(min=1e-10).log10()  # [B, F, M]
    own = length_to_mask(n_samples // HOP, max_len=log_mel.shape[1], dtype=torch.bool).unsqueeze(2)  # [B, F, 1]
    loudest = log_mel.masked_fill(~own, float("-inf")).amax(dim=(1, 2), keepdim=True)
    log_mel = (torch.maximum(log_mel, loudest - 8.0) + 4.0) / 4.0
    return log_mel.masked_fill(~own, 0.0).float()


def kaldi_log_mel(wavs: torch.Tensor, n_samples: torch.Tensor, tables: Optional[Tables] = None) -> torch.Tensor:
    """Compute Kaldi's log-mel filterbanks of each clip, normalised per band over the clip.

    Equal to `SeamlessM4TFeatureExtractor` before it stacks frames.

    Arguments
    ---------
    wavs : torch.Tensor
        Padded waveforms at 16 kHz, [B, T]; each clip has at least 560 samples, two frames.
    n_samples : torch.Tensor
        Length n of each clip, [B].
    tables : tuple, optional
        What `kaldi_tables` returns, where it cannot be called: while a graph is exported.

    Returns
    -------
    torch.Tensor
        float32 [B, F, 80], zero beyond a clip's (n - 400) // 160 + 1 frames.
    """
    windows = 2**15 * wavs.double().unfold(1, FRAME, HOP)  # [B, T] -> [B, F, 400]; Kaldi takes 16-bit integers
    windows = windows - windows.mean(dim=2, keepdim=True)
    before = torch.cat([windows[..., :1], windows[..., :-1]], dim=2)
    window, filters = tables or kaldi_tables(wavs.device)
    spectra = _power_spectra((windows - 0.97 * before) * window, KALDI_FFT)  # [B, F, 257]
    log_mel = (spectra @ filters).clamp(min=KALDI_FLOOR).log().float()  # [B, F, 80]
    n_frames = torch.div(n_samples - FRAME, HOP, rounding_mode="floor") + 1
    padding = ~length_to_mask(n_frames, max_len=log_mel.shape[1], dtype=torch.bool).unsqueeze(2)  # [B, F, 1]
    n_frames = n_frames[:, None, None]
    centered = log_mel - log_mel.masked_fill(padding, 0.0).sum(dim=1, keepdim=True) / n_frames
    centered = centered.masked_fill(padding, 0.0)
    variances = centered.square().sum(dim=1, keepdim=True) / (n_frames - 1)
    return centered / torch.sqrt(variances + 1e-7)


def _power_spectra(windows: torch.Tensor, n_fft: int) -> torch.Tensor:
    """Compute the power spectra of windows, [B, F, W] -> [B, F, n_fft / 2 + 1]."""
    if not torch.compiler.is_exporting():
        return torch.fft.rfft(windows, n=n_fft).abs().square()
    # A graph has no complex numbers: the same by products with cosines and sines.
    times = torch.arange(windows.shape[-1], dtype=windows.dtype)
    angles = 2 * math.pi / n_fft * times.unsqueeze(1) * torch.arange(n_fft // 2 + 1, dtype=windows.dtype)  # [W, bins]
    return (windows @ angles.cos()).square() + (windows @ angles.sin()).square()


@functools.cache
@torch.inference_mode(False)
def whisper_tables(n_mels: int, device: torch.device) -> Tables:
    """Return the window [400] and the mel filters [201, M]."""
    filters = mel_filter_bank(
        num_frequency_bins=FRAME // 2 + 1,
        num_mel_filters=n_mels,
        min_frequency=0.0,
        max_frequency=8000.0,
        sampling_rate=16_000,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.hann_window(FRAME, dtype=torch.float64, device=device), torch.from_numpy(filters).double().to(device)


@functools.cache
@torch.inference_mode(False)
def kaldi_tables(device: torch.device) -> Tables:
    """Return the window [400] and the mel filters [257, 80]."""
    filters = mel_filter_bank(
        num_frequency_bins=KALDI_FFT // 2 + 1,
        num_mel_filters=N_KALDI_MELS,
        min_frequency=20,
        max_frequency=8000,
        sampling_rate=16_000,
        norm=None,
        mel_scale="kaldi",
        triangularize_in_mel_space=True,
    )
    window = window_function(FRAME, "povey", periodic=False)
    return torch.from_numpy(window).to(device), torch.from_numpy(filters).double().to(device)
