"""The feature encoder by matrix products, clip by clip, or with GroupNorm: numbers and gradients of the module."""

import copy
import os
import platform
import subprocess
import sys

import pytest
import torch
import transformers

from speechbrain_ext.lobes.feature_encoder import (
    clip_features,
    group_norm_features,
    has_layer_norms,
    layer_norm_features,
)

FEATURE_ENCODERS = {
    "hubert": {"conv_dim": [16] * 7},
    "demo": {"conv_dim": [8, 16, 16], "conv_kernel": [400, 4, 2], "conv_stride": [80, 4, 2]},
    "no_bias": {"conv_dim": [8, 12], "conv_kernel": [10, 5], "conv_stride": [5, 2], "conv_bias": False},
    "odd": {"conv_dim": [8, 12, 8], "conv_kernel": [10, 8, 1], "conv_stride": [5, 3, 2]},
}


def make_feature_encoder(conv_bias=True, feat_extract_norm="layer", **config):
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
    feature_encoder = transformers.HubertModel(config).feature_extractor
    for (
        parameter
    ) in feature_encoder.parameters():  # biases and LayerNorms begin as zeros and ones, which would hide them
        torch.nn.init.normal_(parameter, std=0.5)
    return feature_encoder


@pytest.mark.parametrize("config", FEATURE_ENCODERS.values(), ids=FEATURE_ENCODERS)
@pytest.mark.parametrize("n_clips", [1, 3])
def test_features_and_gradients_are_those_of_the_module_as_it_is(config, n_clips):
    feature_encoder = make_feature_encoder(**config)
    other = copy.deepcopy(feature_encoder)
    wavs = torch.randn(n_clips, 4001)
    expected = feature_encoder.eval()(wavs).transpose(1, 2)
    found = layer_norm_features(other, wavs)
    assert found.shape == expected.shape and found.shape[0] == n_clips
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    for ours, theirs in zip(other.parameters(), feature_encoder.parameters()):
        scale = float(theirs.grad.abs().max())
        assert scale > 0
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5 * scale, rtol=1e-4)


@pytest.mark.parametrize("n_clips", [1, 2])
def test_under_autocast_features_are_those_of_the_module_as_it_is(n_clips):
    feature_encoder, wavs = make_feature_encoder(**FEATURE_ENCODERS["hubert"]), torch.randn(n_clips, 4000)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected, found = feature_encoder(wavs).transpose(1, 2), layer_norm_features(feature_encoder, wavs)
    assert found.dtype == expected.dtype
    exact = layer_norm_features(feature_encoder, wavs)
    assert (found - exact).abs().max() < 2 * (expected - exact).abs().max()


def test_feature_encoders_with_group_norm_are_told_apart():
    assert has_layer_norms(make_feature_encoder(**FEATURE_ENCODERS["hubert"]))
    assert not has_layer_norms(make_feature_encoder(feat_extract_norm="group", **FEATURE_ENCODERS["hubert"]))


@pytest.mark.parametrize("piece_bytes", [1, 10_000, 2**24])
@pytest.mark.parametrize("config", FEATURE_ENCODERS.values(), ids=FEATURE_ENCODERS)
def test_clips_in_pieces_have_the_features_of_each_alone(config, piece_bytes, monkeypatch):
    monkeypatch.setattr("speechbrain_ext.lobes.feature_encoder.PIECE_BYTES", piece_bytes)
    feature_encoder = make_feature_encoder(**config)
    wavs, n_samples = torch.randn(3, 4001), [4001, 1400, 2777]
    with torch.no_grad():
        expected = torch.cat([feature_encoder(wav[None, :n]).squeeze(0).T for wav, n in zip(wavs, n_samples)])
        found = clip_features(feature_encoder, wavs, n_samples)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_first_layer_makes_no_more_of_a_piece_than_it_may(monkeypatch):
    feature_encoder, wavs, made = make_feature_encoder(**FEATURE_ENCODERS["hubert"]), torch.randn(1, 16000), []
    feature_encoder.conv_layers[0].activation.register_forward_hook(lambda *args: made.append(args[2].nbytes))
    frame_bytes = (
        64 * feature_encoder.conv_layers[0].conv.out_channels * 4
    )  # the first layer has 64 positions to a frame
    monkeypatch.setattr("speechbrain_ext.lobes.feature_encoder.PIECE_BYTES", 10 * frame_bytes)
    with torch.no_grad():
        assert len(clip_features(feature_encoder, wavs, [16000])) == 49
    assert len(made) == 5  # 49 frames in pieces of at most 10; a piece also holds what its last frame sees
    assert max(made) < 12 * frame_bytes


@pytest.mark.parametrize("config", [FEATURE_ENCODERS["hubert"], FEATURE_ENCODERS["odd"]], ids=["hubert", "odd"])
def test_group_norm_leaves_padding_out(config):
    feature_encoder = make_feature_encoder(
        feat_extract_norm="group", **{"conv_bias": False, **config}
    )  # the norm takes the first bias away
    other = copy.deepcopy(feature_encoder)
    wavs, n_samples = 1.0 + torch.randn(3, 4000), [4000, 1200, 3001]
    clips = [feature_encoder(wav[None, :n]).squeeze(0).T for wav, n in zip(wavs, n_samples)]
    rows = group_norm_features(other, wavs, torch.tensor(n_samples))
    assert rows.shape == (3, len(clips[0]), config["conv_dim"][-1])
    found = [row[: len(clip)] for row, clip in zip(rows, clips)]
    for ours, theirs in zip(found, clips):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    sum(clip.square().sum() for clip in clips).backward()
    sum(clip.square().sum() for clip in found).backward()
    for ours, theirs in zip(other.parameters(), feature_encoder.parameters()):
        scale = float(theirs.grad.abs().max())
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-4 * scale, rtol=1e-3)


def test_group_norm_stays_in_the_weights_precision():
    feature_encoder = make_feature_encoder(feat_extract_norm="group", **FEATURE_ENCODERS["hubert"]).bfloat16()
    with torch.no_grad():
        feats = group_norm_features(feature_encoder, torch.randn(2, 4000).bfloat16(), torch.tensor([4000, 2000]))
    assert feats.dtype == torch.bfloat16 and feats.isfinite().all()


def test_group_norm_statistics_in_half_precision_are_those_of_double():
    """Over 34 s the first convolution has 108799 frames: sums of values around 1 are beyond float16."""
    feature_encoder = make_feature_encoder(
        feat_extract_norm="group", conv_bias=False, conv_dim=[4], conv_kernel=[10], conv_stride=[5]
    ).half()
    torch.nn.init.constant_(feature_encoder.conv_layers[0].conv.weight, 0.1)
    torch.manual_seed(1)
    wavs, n_samples = (1.0 + 0.5 * torch.randn(1, 34 * 16000)).half(), torch.tensor([34 * 16000])
    with torch.no_grad():
        found = group_norm_features(feature_encoder, wavs, n_samples)
        expected = group_norm_features(copy.deepcopy(feature_encoder).double(), wavs.double(), n_samples)
    assert found.dtype == torch.float16
    assert (found - expected).abs().max() < 0.01 * expected.abs().max()


def test_group_norm_of_a_constant_clip_stays_within_half_precision():
    """What would stand in the padding of a clip that hardly varies is far beyond 65504 after a few layers."""
    feature_encoder = make_feature_encoder(feat_extract_norm="group", conv_bias=False, **FEATURE_ENCODERS["hubert"])
    wavs = 1.0 + 1e-3 * torch.randn(2, 4000)
    with torch.autocast("cpu", torch.float16):
        feats = group_norm_features(feature_encoder, wavs, torch.tensor([4000, 2000]))
    feats[:, :5].float().square().mean().backward()
    assert feats.isfinite().all() and all(weight.grad.isfinite().all() for weight in feature_encoder.parameters())


def test_group_norm_is_computed_in_double_precision_where_asked():
    feature_encoder = make_feature_encoder(feat_extract_norm="group", **FEATURE_ENCODERS["hubert"]).double()
    wavs = torch.randn(2, 4000).double()
    with torch.no_grad():
        alone = feature_encoder(wavs[1:, :2000]).transpose(1, 2)
        rows = group_norm_features(feature_encoder, wavs, torch.tensor([4000, 2000]))
    torch.testing.assert_close(rows[1:, : alone.shape[1]], alone, atol=1e-10, rtol=1e-10)


FAULTS = """
import ctypes, resource, torch
from speechbrain_ext.lobes.feature_encoder import raise_malloc_threshold

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a huge page is one fault

def faults(n):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n):
        [torch.zeros(2**22, dtype=torch.uint8) for _ in range(6)]  # 24 MB at a time
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(1)
print(faults(5))
raise_malloc_threshold()
faults(1)
print(faults(5))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's malloc")
def test_freed_memory_is_kept():
    without_settings = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_"))}
    run = subprocess.run(
        [sys.executable, "-c", FAULTS], env=without_settings, capture_output=True, text=True, timeout=600, check=True
    )
    before, after = map(int, run.stdout.split())
    assert before > 5000 and after < 100  # pages of 4 kB, 30 000 of them if each is taken anew
