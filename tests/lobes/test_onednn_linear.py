"""Linear layers by oneDNN: the same numbers and weights, and only where they are faster."""

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from speechbrain_ext.inference.embedding_model import EmbeddingModel
from speechbrain_ext.lobes import TruncatedEncoder, onednn_linear
from speechbrain_ext.lobes.onednn_linear import OneDNNLinear, use_onednn

has_operator = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this torch is built without oneDNN"
)


class Operators(TorchDispatchMode):
    """Write down which operators run."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **kwargs or {})


def is_by_onednn(layer, inputs):
    """Run a layer; tell whether its product was oneDNN's."""
    with Operators() as operators:
        layer(inputs)
    return any(name.startswith("mkldnn._linear_pointwise") for name in operators.names)


@pytest.fixture
def layers(monkeypatch):
    """Return two layers, of which the wide one is computed by oneDNN, and a copy of them as they were."""
    monkeypatch.setattr(onednn_linear, "has_slow_products", lambda: True)
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(1024, 1024, bias=False), nn.Linear(1024, 1023), nn.Linear(1023, 1100))
    faster = copy.deepcopy(plain).eval()
    faster[2].weight.requires_grad_(False)
    use_onednn(faster)
    return faster, plain


@has_operator
def test_wide_layers_have_the_same_outputs_weights_and_names(layers):
    faster, plain = layers
    assert [type(layer) for layer in faster] == [OneDNNLinear, nn.Linear, OneDNNLinear]
    assert faster.state_dict().keys() == plain.state_dict().keys()
    assert [p.requires_grad for p in faster.parameters()] == [True, True, True, False, True]
    assert not any(layer.training for layer in faster)
    inputs = torch.randn(2, 7, 1024)
    with torch.no_grad():
        torch.testing.assert_close(faster(inputs), plain(inputs), rtol=1e-5, atol=1e-5)
        faster[0].weight.mul_(2)  # nothing of the weights is kept elsewhere
        torch.testing.assert_close(copy.deepcopy(faster[0])(inputs), 2 * plain[0](inputs), rtol=1e-5, atol=1e-5)


@has_operator
def test_onednn_computes_without_gradients_alone_and_in_the_weights_precision(layers):
    layer, inputs = layers[0][0], torch.randn(3, 1024)
    assert not is_by_onednn(layer, inputs)
    with torch.inference_mode():
        assert is_by_onednn(layer, inputs)
        assert not is_by_onednn(layer, torch.randn(1024, 3).t())  # of which it makes heavy weather
        with torch.autocast("cpu", torch.bfloat16):
            assert not is_by_onednn(layer, inputs)
            rounded = copy.deepcopy(layer).bfloat16()
            assert not is_by_onednn(rounded, inputs) and is_by_onednn(rounded, inputs.bfloat16())
        with torch.autocast("cpu", torch.float16):
            assert not is_by_onednn(layer, inputs) and not is_by_onednn(rounded, inputs.bfloat16())
        assert not is_by_onednn(layer.double(), inputs.double())


@has_operator
def test_rounded_layers_have_the_same_outputs(layers):
    faster, plain = (layer.bfloat16() for layer in layers)
    inputs = torch.randn(7, 1024).bfloat16()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(faster[0](inputs), plain[0](inputs), rtol=2**-7, atol=2**-7)
        torch.testing.assert_close(faster[2](inputs[:, :1023].contiguous()), plain[2](inputs[:, :1023]))


def test_layers_stay_as_they_are_where_products_are_fast(monkeypatch):
    monkeypatch.setattr(onednn_linear, "has_slow_products", lambda: False)
    layers = nn.Sequential(nn.Linear(1024, 1024))
    use_onednn(layers)
    assert type(layers[0]) is nn.Linear


WIDE = {"hidden_size": 1024, "num_attention_heads": 4, "intermediate_size": 1024, "num_hidden_layers": 1}


@pytest.mark.parametrize("use", ["frozen", "trained", "classifier"])
def test_encoders_that_are_not_trained_use_it(use, monkeypatch):
    monkeypatch.setattr(onednn_linear, "has_slow_products", lambda: True)
    config = {**WIDE, "conv_dim": [16] * 7, "num_conv_pos_embeddings": 4}
    encoder = TruncatedEncoder(config=config, num_layers=1, freeze=use == "frozen")
    if use == "classifier":
        EmbeddingModel(encoder, nn.Identity())
    kind = nn.Linear if use == "trained" else OneDNNLinear
    assert type(encoder.layers[0].attention.q_proj) is kind
