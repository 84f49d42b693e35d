"""The stem with channels last gives the numbers and gradients of the stem as it is."""

import copy

import pytest
import torch
import transformers

from speechbrain_ext.channels_last_stem import has_layer_norms, stem_features

STEMS = {
    "hubert": {"conv_dim": [16] * 7},
    "demo": {"conv_dim": [8, 16, 16], "conv_kernel": [400, 4, 2], "conv_stride": [80, 4, 2]},
    "no_bias": {"conv_dim": [8, 12], "conv_kernel": [10, 5], "conv_stride": [5, 2], "conv_bias": False},
    "odd": {"conv_dim": [8, 12, 8], "conv_kernel": [10, 8, 1], "conv_stride": [5, 3, 2]},
}


def make_stem(conv_bias=True, feat_extract_norm="layer", **config):
    torch.manual_seed(0)
    config = transformers.HubertConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_bias=conv_bias,
        feat_extract_norm=feat_extract_norm,
        **config,
    )
    stem = transformers.HubertModel(config).feature_extractor
    for parameter in stem.parameters():  # biases and LayerNorms begin as zeros and ones, which would hide them
        torch.nn.init.normal_(parameter, std=0.5)
    return stem


@pytest.mark.parametrize("config", STEMS.values(), ids=STEMS)
@pytest.mark.parametrize("n_clips", [1, 3])
def test_features_and_gradients_are_those_of_the_stem_as_it_is(config, n_clips):
    stem = make_stem(**config)
    other = copy.deepcopy(stem)
    wavs = torch.randn(n_clips, 4001)
    expected = stem.eval()(wavs).transpose(1, 2)
    found = stem_features(other, wavs)
    assert found.shape == expected.shape and found.shape[0] == n_clips
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    for ours, theirs in zip(other.parameters(), stem.parameters()):
        scale = float(theirs.grad.abs().max())
        assert scale > 0
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5 * scale, rtol=1e-4)


def test_under_autocast_features_are_those_of_the_stem_as_it_is():
    stem, wavs = make_stem(**STEMS["hubert"]), torch.randn(2, 4000)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected, found = stem(wavs).transpose(1, 2), stem_features(stem, wavs)
    assert found.dtype == expected.dtype
    exact = stem_features(stem, wavs)
    assert (found - exact).abs().max() < 2 * (expected - exact).abs().max()


def test_stems_with_group_norm_are_told_apart():
    assert has_layer_norms(make_stem(**STEMS["hubert"]))
    assert not has_layer_norms(make_stem(feat_extract_norm="group", **STEMS["hubert"]))
