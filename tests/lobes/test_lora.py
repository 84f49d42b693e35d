"""LoRA: what is trained, what stays, and that the merged encoder is an ordinary one with the same outputs."""

import copy

import pytest
import torch
from speechbrain.nnet.adapters import LoRA

from speechbrain_ext.errors import InputError
from speechbrain_ext.lobes.lora import merge_lora
from speechbrain_ext.lobes.truncated_encoder import TruncatedHuBERT
from tests.tiny_encoders import ENCODERS

REDUCTIONS = ("first", "mean", None)


def make(config, **options):
    """Make a small random encoder, always the same but for its adapters."""
    torch.manual_seed(0)
    return TruncatedHuBERT(config=config, num_layers=3, **{"projection_dropout": 0.0, **options})


def fill(encoder):
    """Give the adapters weights as if they had been trained."""
    for module in encoder.modules():
        if isinstance(module, LoRA):
            torch.nn.init.normal_(module.adapter_up_proj.weight, std=0.3)
    return encoder


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_lora_begins_as_the_encoder(small_config, clips, reduction):
    plain, adapted = (make(small_config, feature_reduction=reduction, lora_rank=rank) for rank in (0, 2))
    assert torch.equal(adapted(*clips[:2]), plain(*clips[:2]))


@pytest.mark.parametrize("checkpoint_activations", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_lora_trains_adapters_alone(small_config, clips, reduction, checkpoint_activations):
    encoder = make(
        small_config,
        feature_reduction=reduction,
        checkpoint_activations=checkpoint_activations,
        lora_rank=2,
        lora_projections=["q_proj", "output_dense"],
    )
    fill(encoder).train()(*clips[:2]).square().sum().backward()
    trained = {name: parameter for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert sorted(trained) == sorted(
        f"model.encoder.layers.{i}.{place}.adapter_{side}_proj.weight"
        for i in range(3)
        for place in ("attention.q_proj", "feed_forward.output_dense")
        for side in ("down", "up")
    )
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in trained.values())
    assert all(parameter.grad is None for name, parameter in encoder.named_parameters() if name not in trained)


def test_feature_encoder_is_trained_beside_lora_where_it_is_not_frozen(small_config):
    encoder = make(small_config, lora_rank=2, freeze_feature_extractor=False)
    trained = {name.split(".")[1] for name, parameter in encoder.named_parameters() if parameter.requires_grad}
    assert trained == {"feature_extractor", "encoder"}
    assert not any(p.requires_grad for p in encoder.model.feature_projection.parameters())


def test_lora_is_w_plus_b_a(small_config):
    encoder = fill(make(small_config, lora_rank=2))
    module = encoder.model.encoder.layers[0].attention.q_proj
    hidden = torch.randn(5, 32)
    a, b = module.adapter_down_proj.weight, module.adapter_up_proj.weight
    expected = hidden @ (module.pretrained_module.weight + b @ a).T + module.pretrained_module.bias
    torch.testing.assert_close(module(hidden), expected)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_merged_encoder_is_an_ordinary_one_with_the_same_outputs(small_config, clips, reduction):
    encoder = fill(make(small_config, feature_reduction=reduction, lora_rank=4, lora_projections=["v_proj"])).eval()
    expected, before = encoder(*clips[:2]), make(small_config, feature_reduction=reduction).eval()(*clips[:2])
    merged = copy.deepcopy(encoder)
    merge_lora(merged)
    ordinary = make(small_config, feature_reduction=reduction).eval()
    ordinary.load_state_dict(merged.state_dict(), strict=True)
    torch.testing.assert_close(ordinary(*clips[:2]), expected, rtol=1e-5, atol=1e-5)
    assert (expected - before).abs().max() > 1e-2


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_batch_mates_change_nothing_under_lora(small_config, clips, reduction):
    wavs, wav_lens, lengths = clips
    encoder = fill(make(small_config, feature_reduction=reduction, lora_rank=2)).eval()
    for together, wav, length in zip(encoder(wavs, wav_lens), wavs, lengths):
        alone = encoder(wav[None, :length])[0]
        own = together if reduction else together[: len(alone)]
        torch.testing.assert_close(own, alone, rtol=1e-5, atol=1e-5)


def test_lora_in_half_precision_is_close(small_config, clips):
    encoder = fill(make(small_config, lora_rank=2)).eval()
    expected = encoder(*clips[:2])
    with torch.autocast("cpu", torch.bfloat16):
        assert (encoder(*clips[:2]) - expected).abs().max() < 0.05
    assert (encoder.bfloat16()(*clips[:2]) - expected).abs().max() < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"lora_projections": ["q_proj", "query"]},
            r"lora_projections must be a list of the encoder's linear layers, got \['q_proj', 'query'\]. This encoder "
            "has intermediate_dense, k_proj, out_proj, output_dense, q_proj, v_proj.",
        ),
        ({"lora_projections": "q_proj"}, "must be a list of the encoder's linear layers, got 'q_proj'"),
        ({"lora_projections": []}, r"must be a list of the encoder's linear layers, got \[\]"),
        ({"lora_rank": 33}, "lora_rank must be at most 32, the size of the smallest projection, got 33"),
        ({"lora_rank": -1}, "lora_rank must be a whole number from 1, got -1"),
        ({"freeze": True}, "freeze=True keeps all weights, and lora_rank is 2: leave one of them out"),
    ],
)
def test_lora_that_cannot_be_is_refused(small_config, options, message):
    with pytest.raises(InputError, match=message):
        make(small_config, **{"lora_rank": 2, **options})


@pytest.mark.parametrize("name", ENCODERS)
def test_by_default_queries_and_values_of_every_family_are_adapted(name):
    model_type, values = ENCODERS[name]
    encoder = make({"model_type": model_type, **values}, lora_rank=2)
    adapted = {path.rpartition(".")[2] for path, module in encoder.named_modules() if isinstance(module, LoRA)}
    assert adapted == ({"linear_q", "linear_v"} if name == "wav2vec2-bert" else {"q_proj", "v_proj"})


@pytest.mark.parametrize("name", ENCODERS)
def test_every_linear_layer_of_every_family_can_be_adapted_and_merged(name, clips):
    model_type, values = ENCODERS[name]
    config = {"model_type": model_type, **values}
    with pytest.raises(InputError, match=r"got \['none'\]. This encoder has ") as refused:
        make(config, lora_rank=2, lora_projections=["none"])
    known = str(refused.value).rpartition("has ")[2].rstrip(".").split(", ")
    assert len(known) >= 6
    encoder = fill(make(config, lora_rank=2, lora_projections=known)).eval()
    expected = encoder(*clips[:2])
    expected.square().sum().backward()
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    n_linear = sum(type(module) is torch.nn.Linear for module in make(config).layers.modules())
    assert len(trained) == 2 * n_linear and all(parameter.grad.any() for parameter in trained)
    merged = copy.deepcopy(encoder)
    merge_lora(merged)
    ordinary = make(config).eval()
    ordinary.load_state_dict(merged.state_dict(), strict=True)
    torch.testing.assert_close(ordinary(*clips[:2]), expected, rtol=1e-5, atol=1e-5)
