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
    the stem as it is, each of the seven layers copies its whole output twice. Convolutions in two dimensions, of which
    one has the size 1, take and give channels last.

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
    feats = wavs[:, :, None]  # [B, T] -> [B, T, 1]
    for layer in feature_extractor.conv_layers:
        conv = layer.conv
        image = feats.unsqueeze(1).permute(0, 3, 1, 2)  # [B, T, C] -> [B, C, 1, T], with the same bytes
        image = F.conv2d(image, conv.weight.unsqueeze(2), conv.bias, stride=(1, *conv.stride))
        feats = image.permute(0, 2, 3, 1).squeeze(1)  # [B, C, 1, F] -> [B, F, C], with the same bytes
        feats = layer.activation(layer.layer_norm(feats))
    return feats
