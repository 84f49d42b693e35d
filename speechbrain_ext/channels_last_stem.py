"""The convolutional stem of HuBERT and wav2vec 2.0, computed with channels last: same numbers, fewer copies."""

import torch.nn.functional as F
from torch import nn


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
        Waveforms, [B, T].

    Returns
    -------
    torch.Tensor
        Features, [B, F, C].
    """
    feats = wavs.unsqueeze(2)  # [B, T] -> [B, T, 1]
    for layer in feature_extractor.conv_layers:
        feats = layer.activation(layer.layer_norm(_convolve(layer.conv, feats)))
    return feats


def _convolve(conv, feats):
    """Convolve [B, T, C] -> [B, F, O], by one product for each stride's worth of the kernel."""
    (kernel,), (stride,) = conv.kernel_size, conv.stride
    n_clips, n_times, n_channels = feats.shape
    n_frames = (n_times - kernel) // stride + 1
    if n_channels == 1:
        return F.linear(feats.squeeze(2).unfold(1, kernel, stride), conv.weight.squeeze(1), conv.bias)
    output = None
    for first in range(0, kernel, stride):
        taps = conv.weight[:, :, first : first + stride]  # [O, C, taps]
        if taps.shape[2] == stride:
            window = feats[:, first : first + n_frames * stride]
            window = window.reshape(n_clips, n_frames, stride * n_channels)  # neighbours in time are so in memory
            taps = taps.transpose(1, 2)
        else:
            window = feats[:, first:].unfold(1, taps.shape[2], stride)[:, :n_frames].flatten(2)  # [B, F, C * taps]
        product = F.linear(window, taps.flatten(1), conv.bias if output is None else None)
        output = product if output is None else output + product
    return output
