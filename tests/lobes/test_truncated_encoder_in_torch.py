"""TruncatedHuBERT in what torch and SpeechBrain do with modules: replicas, ensembles, quantisation, adapters, hooks."""

import copy
import sys

import pytest
import safetensors.torch
import torch
from speechbrain.nnet.adapters import AdaptedModel, LoRA
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from speechbrain_ext.lobes.truncated_encoder import TruncatedHuBERT

REDUCTIONS = ["first", "mean", None]
NORMS = {"layer": {}, "group": {"feat_extract_norm": "group", "conv_bias": False}}  # GroupNorm takes a bias away
pytestmark = pytest.mark.filterwarnings(
    "ignore:There is a performance drop", "ignore:.*torch.ao.quantization is deprecated"
)


def make_encoder(small_config, seed=0, **kwargs):
    torch.manual_seed(seed)
    return TruncatedHuBERT(config=small_config, num_layers=2, projection_dropout=0.0, **kwargs)


@pytest.mark.parametrize("reduction", ["first", "mean"])
def test_replicas_of_data_parallel_give_the_gradients_of_one_encoder(small_config, clips, reduction, monkeypatch):
    """Replicas have tensors, not parameters; without a GPU, the copying between devices is a clone."""
    replicate = sys.modules["torch.nn.parallel.replicate"]

    def clone(tensors, devices, detach=False):
        return [[tensor.detach().clone() if detach else tensor.clone() for tensor in tensors] for _ in devices]

    monkeypatch.setattr(replicate, "_get_device_index", lambda device, optional: device)
    monkeypatch.setattr(replicate, "_broadcast_coalesced_reshape", clone)
    wavs, wav_lens = clips[0][[0, 1, 2, 1]], clips[1][[0, 1, 2, 1]]
    encoder = make_encoder(small_config, freeze_feature_extractor=False, feature_reduction=reduction).train()
    whole = copy.deepcopy(encoder)
    replicas = replicate.replicate(encoder, ["cpu", "cpu"])
    assert not any(True for replica in replicas for _ in replica.parameters())
    found = torch.cat([replica(wavs[i : i + 2], wav_lens[i : i + 2]) for replica, i in zip(replicas, (0, 2))])
    expected = whole(wavs, wav_lens)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    found.square().sum().backward()
    expected.square().sum().backward()
    for (name, ours), theirs in zip(encoder.named_parameters(), whole.parameters()):
        scale = float(theirs.grad.abs().max())
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=max(1e-4 * scale, 1e-6), msg=name)
    assert encoder.model.encoder.pos_conv_embed.conv.parametrizations.weight.original1.grad.abs().max() > 0


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("padded", [False, True])
def test_vmap_over_stacked_weights_is_an_ensemble(small_config, clips, reduction, norm, padded):
    config = {**small_config, **NORMS[norm]}
    encoders = [
        make_encoder(config, seed, feature_reduction=reduction, freeze_feature_extractor=False).eval()
        for seed in range(3)
    ]
    weights, buffers = stack_module_state(encoders)
    batch = clips[:2] if padded else clips[:1]

    def run(weights, buffers):
        return functional_call(encoders[0], (weights, buffers), batch)

    with torch.no_grad():
        expected = torch.stack([encoder(*batch) for encoder in encoders])
        torch.testing.assert_close(vmap(run)(weights, buffers), expected, rtol=1e-5, atol=1e-5)

    gradients = vmap(grad(lambda *state: run(*state).square().sum()))(
        {key: value.detach() for key, value in weights.items()}, buffers
    )
    vmap(run)(weights, buffers).square().sum().backward()
    for i, encoder in enumerate(encoders):
        encoder(*batch).square().sum().backward()
        for name, parameter in encoder.named_parameters():
            if parameter.grad is None:
                continue  # masked_spec_embed
            scale = max(1e-4 * float(parameter.grad.abs().max()), 1e-5)
            for found in (gradients[name][i], weights[name].grad[i]):
                torch.testing.assert_close(found, parameter.grad, rtol=1e-3, atol=scale, msg=name)


def test_vmap_over_clips_gives_the_gradients_of_each(small_config):
    encoder = make_encoder(small_config, freeze_feature_extractor=False).eval()
    wavs = torch.randn(3, 8000)
    weights = {name: parameter.detach() for name, parameter in encoder.named_parameters()}

    def loss(weights, wav):
        return functional_call(encoder, weights, (wav.unsqueeze(0),)).square().sum()

    found = vmap(grad(loss), in_dims=(None, 0))(weights, wavs)
    for i, wav in enumerate(wavs):
        encoder.zero_grad()
        encoder(wav.unsqueeze(0)).square().sum().backward()
        for name, parameter in encoder.named_parameters():
            if parameter.grad is not None:
                scale = max(1e-4 * float(parameter.grad.abs().max()), 1e-5)
                torch.testing.assert_close(found[name][i], parameter.grad, rtol=1e-3, atol=scale, msg=name)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("norm", NORMS)
def test_dynamically_quantised_encoder_is_close(small_config, clips, reduction, norm):
    encoder = make_encoder({**small_config, **NORMS[norm]}, feature_reduction=reduction).eval()
    quantised = torch.ao.quantization.quantize_dynamic(encoder, {nn.Linear}, dtype=torch.qint8)
    assert not any(type(module) is nn.Linear for module in quantised.modules())
    expected = encoder(*clips[:2])
    with torch.no_grad():
        found = quantised(*clips[:2])
    assert 0 < (found - expected).abs().max() < 0.05 * expected.abs().max()  # 8 bits: steps of 1/127


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_lora_begins_as_the_encoder_and_learns(small_config, clips, reduction):
    encoder = make_encoder(small_config, feature_reduction=reduction).train()
    expected = encoder(*clips[:2]).detach()
    adapted = AdaptedModel(encoder, adapter_class=LoRA, all_linear=True, adapter_kwargs={"rank": 2})
    found = adapted(*clips[:2])
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    learning = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert len(learning) == 2 * (1 + 2 * 6)  # two matrices for the feature projection and each layer's six
    assert all(parameter.grad is not None for parameter in adapted.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("norm", NORMS)
def test_exported_program_gives_the_same_numbers(small_config, clips, reduction, norm):
    encoder = make_encoder({**small_config, **NORMS[norm]}, feature_reduction=reduction).eval()
    program = torch.export.export(encoder, clips[:2]).module()
    shorter = torch.tensor([0.4, 1.0, 0.8])
    for wav_lens in (clips[1], shorter):
        torch.testing.assert_close(program(clips[0], wav_lens), encoder(clips[0], wav_lens), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float16, 4e-3), (torch.bfloat16, 3e-2)])
def test_other_precisions_are_close(small_config, clips, reduction, norm, dtype, tolerance):
    encoder = make_encoder({**small_config, **NORMS[norm]}, feature_reduction=reduction).eval()
    with torch.no_grad():
        expected = encoder(*clips[:2])
        found = encoder.to(dtype)(*clips[:2])
    assert found.dtype == dtype
    assert (found - expected).abs().max() < tolerance


def test_weights_move_by_safetensors_and_shared_memory(small_config, clips, tmp_path):
    encoder = make_encoder(small_config).eval()
    expected = encoder(*clips[:2])
    safetensors.torch.save_model(encoder, tmp_path / "encoder.safetensors")
    other = make_encoder(small_config, seed=1).eval()
    safetensors.torch.load_model(other, tmp_path / "encoder.safetensors")
    assert torch.equal(other(*clips[:2]), expected)
    assert torch.equal(encoder.share_memory()(*clips[:2]), expected)


def test_hooks_on_the_parts_of_a_layer_are_called_with_and_without_gradients(small_config, clips):
    encoder, called = make_encoder(small_config).eval(), []
    layer = encoder.model.encoder.layers[-1]
    parts = [layer.attention.q_proj, layer.attention.out_proj, layer.layer_norm, layer.dropout, layer.feed_forward]
    parts.append(encoder.model.encoder.pos_conv_embed.conv)
    for part in parts:
        part.register_forward_hook(lambda module, *_: called.append(module))
    encoder(*clips[:2])
    with torch.no_grad():
        encoder(*clips[:2])
    assert [sum(module is part for module in called) for part in parts] == [2] * len(parts)
