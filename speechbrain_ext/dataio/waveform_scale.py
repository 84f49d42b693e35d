"""Scaling of each utterance by its own samples, never by its padding."""

import torch
from speechbrain.dataio.dataio import length_to_mask

from speechbrain_ext.dataio.audio import WAVEFORM_SCALES
from speechbrain_ext.errors import InputError


def num_samples(wavs: torch.Tensor, wav_lens: torch.Tensor | None = None) -> torch.Tensor:
    """Count each clip's own samples.

    Arguments
    ---------
    wavs : torch.Tensor
        Padded waveforms, [B, T].
    wav_lens : torch.Tensor, optional
        Relative lengths in (0, 1], [B]. Without it every clip is T samples long.

    Returns
    -------
    torch.Tensor
        Lengths in samples, [B], int64.

    Raises
    ------
    InputError
        If `wavs` is not [B, T] or empty, or `wav_lens` not [B].

    Example
    -------
    >>> num_samples(torch.zeros(2, 8), torch.tensor([1.0, 0.5]))
    tensor([8, 4])
    """
    if wavs.dim() != 2 or len(wavs) == 0:
        raise InputError(
            f"wavs must be waveforms of at least one clip, [batch, time], got the shape {list(wavs.shape)}. One "
            "waveform needs a batch dimension, wav.unsqueeze(0); features [batch, time, channel] are not taken."
        )
    n_clips, n_times = wavs.shape
    if wav_lens is not None and wav_lens.shape != (n_clips,):
        raise InputError(f"wav_lens must have one length a clip, [{n_clips}], got the shape {list(wav_lens.shape)}.")
    if wav_lens is None:
        return torch.full((n_clips,), n_times, device=wavs.device)
    # float64: a float32 product is off by a sample in clips of minutes.
    return (wav_lens.to(wavs.device, torch.float64) * n_times).round().long()


def scale_waveforms(
    wavs: torch.Tensor, wav_lens: torch.Tensor | None = None, scale: str | None = "peak"
) -> torch.Tensor:
    """Scale each clip by a statistic of its own samples, and set its padding to zero.

    Statistics are computed at least in float32: a sum of squares over 34 s is beyond float16.

    Arguments
    ---------
    wavs : torch.Tensor
        Padded waveforms, [B, T].
    wav_lens : torch.Tensor, optional
        Relative lengths in (0, 1], [B].
    scale : str, optional
        "peak" divides by the largest absolute sample, and leaves silence as it is; "layer" gives zero mean and
        unit variance (biased, 1e-7 added to the variance, as the checkpoints' own feature extractors do);
        None changes no sample.

    Returns
    -------
    torch.Tensor
        Scaled waveforms, [B, T], in the input's precision (integers give float32); the input stays as it was.

    Raises
    ------
    InputError
        If `scale` is none of the three.

    Example
    -------
    >>> scale_waveforms(torch.tensor([[0.0, -0.5, 9.0]]), torch.tensor([2 / 3]))
    tensor([[ 0., -1.,  0.]])
    """
    if scale not in WAVEFORM_SCALES:
        raise InputError(f"waveform_scale must be one of {WAVEFORM_SCALES}, got {scale!r}.")
    n_samples = num_samples(wavs, wav_lens)
    padded = wav_lens is not None
    traced = torch.compiler.is_exporting() or torch.jit.is_tracing()
    if padded and wavs.device.type == "cpu" and not traced:  # a GPU would have to wait for the answer
        padded = bool((n_samples < wavs.shape[1]).any())
    padding = ~length_to_mask(n_samples, max_len=wavs.shape[1], dtype=torch.bool) if padded else None  # [B, T]
    exact = torch.promote_types(wavs.dtype, torch.float32)
    dtype = wavs.dtype if wavs.is_floating_point() else exact
    scaled = _without(padding, wavs.to(exact, copy=True))
    if scale == "peak":
        peaks = scaled.abs().amax(dim=1, keepdim=True)  # [B, 1]
        scaled = scaled / torch.where(peaks > 0, peaks, torch.ones_like(peaks))
    elif scale == "layer":
        n = n_samples.unsqueeze(1).clamp(min=1)
        scaled = _without(padding, scaled - scaled.sum(dim=1, keepdim=True) / n)
        variances = scaled.square().sum(dim=1, keepdim=True) / n
        scaled = scaled / torch.sqrt(variances + 1e-7)
    return scaled.to(dtype)


def _without(padding: torch.Tensor | None, wavs: torch.Tensor) -> torch.Tensor:
    return wavs if padding is None else wavs.masked_fill(padding, 0.0)


def pad_with_mean(wav: torch.Tensor, n_samples: int) -> torch.Tensor:
    """Pad one clip to a fixed length with its own mean, as the authors' code does.

    Arguments
    ---------
    wav : torch.Tensor
        Waveform, [T].
    n_samples : int
        Length to reach; a longer clip is cut to it.

    Returns
    -------
    torch.Tensor
        Waveform, [n_samples].

    Example
    -------
    >>> pad_with_mean(torch.tensor([1.0, 3.0]), 4)
    tensor([1., 3., 2., 2.])
    """
    wav = wav[:n_samples]
    mean = wav.mean(dtype=torch.promote_types(wav.dtype, torch.float32)).to(wav.dtype)
    return torch.cat([wav, mean.expand(n_samples - len(wav))])
