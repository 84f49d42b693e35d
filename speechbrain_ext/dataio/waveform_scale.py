"""Per-utterance waveform scaling that sees an utterance's own samples and never its padding."""

import torch
from speechbrain.dataio.dataio import length_to_mask

from speechbrain_ext.errors import InputError

SCALES = ("peak", "layer", None)


def num_samples(wavs, wav_lens=None):
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
        If `wav_lens` is not [B].

    Example
    -------
    >>> num_samples(torch.zeros(2, 8), torch.tensor([1.0, 0.5]))
    tensor([8, 4])
    """
    n_clips, n_times = wavs.shape
    if wav_lens is not None and wav_lens.shape != (n_clips,):
        raise InputError(f"wav_lens must have one length a clip, [{n_clips}], got the shape {list(wav_lens.shape)}.")
    if wav_lens is None:
        return torch.full((n_clips,), n_times, device=wavs.device)
    # float64: a float32 product is off by a sample in clips of minutes.
    return (wav_lens.to(wavs.device, torch.float64) * n_times).round().long()


def scale_waveforms(wavs, wav_lens=None, scale="peak"):
    """Scale each clip by a statistic of its own samples, and set its padding to zero.

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
        Scaled waveforms, [B, T]; the input stays as it was.

    Raises
    ------
    InputError
        If `scale` is none of the three.

    Example
    -------
    >>> scale_waveforms(torch.tensor([[0.0, -0.5, 9.0]]), torch.tensor([2 / 3]))
    tensor([[ 0., -1.,  0.]])
    """
    if scale not in SCALES:
        raise InputError(f"waveform_scale must be one of {SCALES}, got {scale!r}.")
    n_samples = num_samples(wavs, wav_lens)
    padded = wav_lens is not None
    traced = torch.compiler.is_exporting() or torch.jit.is_tracing()
    if padded and wavs.device.type == "cpu" and not traced:  # a GPU would have to wait for the answer
        padded = bool((n_samples < wavs.shape[1]).any())
    padding = ~length_to_mask(n_samples, max_len=wavs.shape[1], dtype=torch.bool) if padded else None  # [B, T]
    wavs = _without(padding, wavs)
    if scale == "peak":
        peaks = wavs.abs().amax(dim=1, keepdim=True)  # [B, 1]
        return wavs / torch.where(peaks > 0, peaks, torch.ones_like(peaks))
    if scale == "layer":
        n = n_samples.unsqueeze(1).clamp(min=1)
        wavs = wavs - wavs.sum(dim=1, keepdim=True) / n
        wavs = _without(padding, wavs)
        variances = wavs.square().sum(dim=1, keepdim=True) / n
        return wavs / torch.sqrt(variances + 1e-7)
    return wavs if padded else wavs.clone()


def _without(padding, wavs):
    return wavs if padding is None else wavs.masked_fill(padding, 0.0)


def pad_with_mean(wav, n_samples):
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
    return torch.cat([wav, wav.mean().expand(n_samples - len(wav))])
