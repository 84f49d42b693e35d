"""The convolutional stem of HuBERT and wav2vec 2.0: the same numbers, with fewer copies, and blind to padding."""

import torch
import torch.nn.functional as F
from speechbrain.dataio.dataio import length_to_mask
from torch import nn

PIECE_BYTES = 2**24  # of what the first layer of a stem makes of a piece: 128 frames, 2.6 s, of HuBERT-Large's
LARGEST_MMAP_BYTES = 2**25 - 2**13  # with what malloc adds, the largest block that glibc adapts itself to


def raise_malloc_threshold():
    """Let this process keep 64 MB that it frees, rather than give them back and take them anew for every clip.

    Memory that is new has to be cleared, page by page, when it is first touched. glibc's malloc keeps twice the largest
    block that it has seen freed, up to 32 MB; so one is freed here, which nobody touched. Elsewhere it changes nothing.
    """
    torch.empty(LARGEST_MMAP_BYTES, dtype=torch.uint8)


def has_layer_norms(feature_extractor):
    """Tell whether each convolution of a stem is followed by a LayerNorm over its channels.

    Arguments
    ---------
    feature_extractor : torch.nn.Module
        The `feature_extractor` of a `transformers.HubertModel` or `Wav2Vec2Model`.

    Returns
    -------
    bool
        False for stems with GroupNorm, as in HuBERT-Base.
    """
    return all(isinstance(getattr(layer, "layer_norm", None), nn.LayerNorm) for layer in feature_extractor.conv_layers)


def stem_features(feature_extractor, wavs):
    """Compute what `feature_extractor(wavs).transpose(1, 2)` is, with LayerNorms where they are fastest.

    A LayerNorm over channels wants them next to each other in memory, a convolution in one dimension has time there: in
    the stem as it is, each of the seven layers copies its whole output twice. Here channels stay last, and convolutions
    are matrix products, which, other than oneDNN's convolutions on a CPU, need no plan for each new length.

    Arguments
    ---------
    feature_extractor : torch.nn.Module
        A stem for which `has_layer_norms` holds.
    wavs : torch.Tensor
        Waveforms, [B, T], or one, [T].

    Returns
    -------
    torch.Tensor
        Features, [B, F, C], or [F, C].
    """
    feats = wavs.unsqueeze(-1)  # [..., T] -> [..., T, 1]
    for layer in feature_extractor.conv_layers:
        feats = layer.activation(layer.layer_norm(_convolve(layer.conv, feats)))
    return feats


def group_norm_features(feature_extractor, wavs, n_samples):
    """Compute a stem with GroupNorm (HuBERT-Base, wav2vec 2.0 Base), whose averages over time leave padding out.

    Arguments
    ---------
    feature_extractor : torch.nn.Module
        A stem for which `has_layer_norms` does not hold: its first convolution is followed by a GroupNorm with one
        channel a group, the others by none.
    wavs : torch.Tensor
        Padded waveforms, [B, T].
    n_samples : torch.Tensor
        Length of each clip in samples, [B].

    Returns
    -------
    torch.Tensor
        Features, [B, F, C]; what a clip's own frames hold is what the clip would have alone.
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


def clip_features(feature_extractor, wavs, n_samples):
    """Compute the features of each clip's own samples, in pieces that stay in a processor's caches.

    Arguments
    ---------
    feature_extractor : torch.nn.Module
        A stem for which `has_layer_norms` holds.
    wavs : torch.Tensor
        Padded waveforms, [B, T].
    n_samples : list
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
            pieces.append(stem_features(feature_extractor, wav[start * hop : (end - 1) * hop + field]))
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0]


def _convolve(conv, feats):
    """Convolve [..., T, C] -> [..., F, O], by one product for each stride's worth of the kernel."""
    (kernel,), (stride,) = conv.kernel_size, conv.stride
    n_times, n_channels = feats.shape[-2:]
    n_frames = (n_times - kernel) // stride + 1
    if n_channels == 1:
        return F.linear(feats.squeeze(-1).unfold(-1, kernel, stride), conv.weight.squeeze(1), conv.bias)
    taps_first = conv.weight.transpose(1, 2).flatten(1)  # [O, C, K] -> [O, K * C]
    output = None
    for first in range(0, kernel, stride):
        n_taps = min(stride, kernel - first)
        # Neighbours in time are so in memory: a window is n_taps * C values in a row.
        if n_taps == stride:
            window = feats.narrow(-2, first, n_frames * stride)
            window = window.reshape(*feats.shape[:-2], n_frames, stride * n_channels)
        else:
            window = feats[..., first:, :].unfold(-2, n_taps, stride)  # [..., F, C, n_taps]
            window = window.narrow(-3, 0, n_frames).transpose(-2, -1).flatten(-2)
        taps = taps_first[:, first * n_channels : (first + n_taps) * n_channels]
        if output is None:
            output = F.linear(window, taps, conv.bias)
        elif output.dim() == 2 and output.dtype == window.dtype == taps.dtype:  # not under autocast
            output.addmm_(window, taps.t())
        else:
            output = output + F.linear(window, taps)
    return output
