"""The convolutional feature encoder of HuBERT and wav2vec 2.0: the same numbers with fewer copies, blind to padding."""

from typing import Any

import torch
import torch.nn.functional as F
from speechbrain.dataio.dataio import length_to_mask
from torch import nn

PIECE_BYTES = 2**24  # of the first layer's output for one piece: 128 frames, 2.6 s, of HuBERT-Large's
FeatureExtractor = Any  # transformers' module: nn.Module does not say which attributes it has
LARGEST_MMAP_BYTES = 2**25 - 2**13  # with malloc's own bytes, the largest block that raises glibc's threshold


def raise_malloc_threshold() -> None:
    """Let this process keep up to 64 MB of freed memory, instead of returning it and taking it anew for every clip.

    The system clears new memory, page by page, when it is first touched. glibc's malloc keeps twice the largest block
    that it has seen freed, up to 32 MB; this frees one that was never touched. With another malloc nothing changes.
    """
    torch.empty(LARGEST_MMAP_BYTES, dtype=torch.uint8, device="cpu")  # also within torch.device("meta")


def has_layer_norms(feature_extractor: FeatureExtractor) -> bool:
    """Tell whether each convolution is followed by a LayerNorm over its channels.

    Arguments
    ---------
    feature_extractor
        The `feature_extractor` of a `transformers.HubertModel` or `Wav2Vec2Model`.

    Returns
    -------
    bool
        False for feature encoders with GroupNorm, as in HuBERT-Base.
    """
    return all(isinstance(getattr(layer, "layer_norm", None), nn.LayerNorm) for layer in feature_extractor.conv_layers)


def layer_norm_features(feature_extractor: FeatureExtractor, wavs: torch.Tensor) -> torch.Tensor:
    """Compute `feature_extractor(wavs).transpose(1, 2)` with channels last in every layer.

    LayerNorm needs channels last, Conv1d time last: the module as it is copies the whole output of each of its seven
    layers twice. Here channels stay last, and convolutions are matrix products, which need no plan for each new length
    (oneDNN's convolutions on a CPU do).

    Arguments
    ---------
    feature_extractor
        A feature encoder for which `has_layer_norms` holds.
    wavs
        Waveforms, [B, T], or one, [T].

    Returns
    -------
    torch.Tensor
        Features, [B, F, C], or [F, C].
    """
    feats = wavs.unsqueeze(-1)  # [..., T] -> [..., T, 1]
    for layer in feature_extractor.conv_layers:
        convolve = _convolve_samples if feats.shape[-1] == 1 else _convolve_frames
        feats = layer.activation(layer.layer_norm(convolve(layer.conv, feats)))
    return feats


def group_norm_features(
    feature_extractor: FeatureExtractor, wavs: torch.Tensor, n_samples: torch.Tensor
) -> torch.Tensor:
    """Compute a feature encoder with GroupNorm (HuBERT-Base, wav2vec 2.0 Base) whose statistics leave padding out.

    Arguments
    ---------
    feature_extractor
        A feature encoder for which `has_layer_norms` does not hold: its first convolution is followed by a GroupNorm
        with one channel a group, the others by none.
    wavs
        Padded waveforms, [B, T].
    n_samples
        Length of each clip in samples, [B].

    Returns
    -------
    torch.Tensor
        Features, [B, F, C]; a clip's own frames are those of the clip alone.
    """
    first, *others = feature_extractor.conv_layers
    (kernel,), (stride,) = first.conv.kernel_size, first.conv.stride
    feats = first.conv(wavs.unsqueeze(1))  # [B, T] -> [B, C, F]
    feats = feats.to(torch.promote_types(feats.dtype, torch.float32))
    n_frames = torch.div(n_samples - kernel, stride, rounding_mode="floor") + 1
    padding = ~length_to_mask(n_frames, max_len=feats.shape[2], dtype=torch.bool).unsqueeze(1)  # [B, 1, F]
    n_frames = n_frames[:, None, None]
    centered = feats - feats.masked_fill(padding, 0.0).sum(dim=2, keepdim=True) / n_frames
    centered = centered.masked_fill(padding, 0.0)
    variances = centered.square().sum(dim=2, keepdim=True) / n_frames
    norm = first.layer_norm
    feats = centered * torch.rsqrt(variances + norm.eps) * norm.weight[:, None] + norm.bias[:, None]
    feats = first.activation(feats.to(norm.weight.dtype))
    for layer in others:
        feats = layer(feats)
    return feats.transpose(1, 2)


def clip_features(feature_extractor: FeatureExtractor, wavs: torch.Tensor, n_samples: list[int]) -> torch.Tensor:
    """Compute the features of each clip's own samples, in pieces that stay in a processor's caches.

    Arguments
    ---------
    feature_extractor
        A feature encoder for which `has_layer_norms` holds.
    wavs
        Padded waveforms, [B, T].
    n_samples
        Length of each clip in samples, at least one frame's.

    Returns
    -------
    torch.Tensor
        Features of all clips one after another, [N, C].
    """
    hop, field = 1, 1  # samples from frame to frame, samples that a frame sees
    for layer in reversed(feature_extractor.conv_layers):
        (kernel,), (stride,) = layer.conv.kernel_size, layer.conv.stride
        hop, field = hop * stride, (field - 1) * stride + kernel
    first = feature_extractor.conv_layers[0].conv
    frame_bytes = hop // first.stride[0] * first.out_channels * wavs.element_size()
    pieces = []
    for wav, n in zip(wavs, n_samples):
        n_frames = (n - field) // hop + 1
        n_pieces = min(-(-n_frames * frame_bytes // PIECE_BYTES), n_frames)
        borders = [n_frames * i // n_pieces for i in range(n_pieces + 1)]
        for start, end in zip(borders, borders[1:]):
            pieces.append(layer_norm_features(feature_extractor, wav[start * hop : (end - 1) * hop + field]))
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def _convolve_samples(conv: nn.Conv1d, wavs: torch.Tensor) -> torch.Tensor:
    """Convolve waveforms, [..., T, 1] -> [..., F, O]: one product of all windows with the kernel."""
    windows = wavs.squeeze(-1).unfold(-1, conv.kernel_size[0], conv.stride[0])  # [..., T] -> [..., F, K]
    return F.linear(windows, conv.weight.squeeze(1), conv.bias)


def _convolve_frames(conv: nn.Conv1d, feats: torch.Tensor) -> torch.Tensor:
    """Convolve frames, [..., T, C] -> [..., F, O]: one product for each `stride` taps of the kernel.

    `stride` frames in a row are one row of memory, and the next window's are the next row, so that nothing is copied.
    """
    (kernel,), (stride,) = conv.kernel_size, conv.stride
    n_frames = (feats.shape[-2] - kernel) // stride + 1
    taps = conv.weight.transpose(1, 2)  # [O, C, K] -> [O, K, C]
    output: torch.Tensor | None = None
    for first in range(0, kernel, stride):
        n_taps = min(stride, kernel - first)
        if n_taps == stride:
            windows = feats.narrow(-2, first, n_frames * stride).unflatten(-2, (n_frames, stride))  # [..., F, S, C]
        else:
            windows = feats[..., first:, :].unfold(-2, n_taps, stride)  # [..., F', C, n_taps], F' >= F
            windows = windows.narrow(-3, 0, n_frames).transpose(-2, -1)
        windows, piece = windows.flatten(-2), taps[:, first : first + n_taps].flatten(1)
        output = F.linear(windows, piece, conv.bias) if output is None else output.add_(F.linear(windows, piece))
    assert output is not None  # a kernel has taps
    return output
