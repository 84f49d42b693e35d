"""Layers without gradients: the numbers that modules give, at once after whatever has been done to the modules."""

import contextlib
import copy
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from speechbrain_ext import truncated_hubert
from speechbrain_ext.plain_layers import NARROW_BYTES, PlainLayers, join_projections
from speechbrain_ext.truncated_hubert import TruncatedHuBERT

ARCHITECTURES = {
    "hubert": {},
    "norms after": {"do_stable_layer_norm": False, "feat_extract_norm": "group"},
    "wav2vec2": {"model_type": "wav2vec2"},
    "relu": {"hidden_act": "relu"},
    "eps": {"layer_norm_eps": 0.1},
}


@pytest.fixture
def make_encoder(small_config):
    """Return a function that makes an encoder in evaluation mode, none of whose weights are zeros or ones."""

    def make(**changes):
        torch.manual_seed(0)
        encoder = TruncatedHuBERT(config={**small_config, **changes}, num_layers=3, feature_reduction=None).eval()
        with torch.no_grad():
            for parameter in encoder.model.encoder.layers.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        return encoder

    return make


@pytest.fixture
def runs(monkeypatch):
    """Collect which layers were computed by PlainLayers."""
    found, run = [], PlainLayers.run
    monkeypatch.setattr(PlainLayers, "run", lambda self, i, *args: found.append(i) or run(self, i, *args))
    return found


def check(encoder, wavs, wav_lens=None, atol=2e-6):
    """Check that an encoder gives without gradients what it gives with them, module by module; return that."""
    expected = encoder(wavs, wav_lens).detach()
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            torch.testing.assert_close(encoder(wavs, wav_lens).clone(), expected, atol=atol, rtol=1e-5)
    return expected


@pytest.mark.parametrize("rows", [False, True], ids=["packed", "rows"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_numbers_are_those_of_the_modules(architecture, attention, rows, make_encoder, clips, runs, monkeypatch):
    if rows:
        monkeypatch.setattr(TruncatedHuBERT, "_packs", staticmethod(lambda wavs: False))
    encoder = make_encoder(**ARCHITECTURES[architecture])
    encoder.model.config._attn_implementation = attention
    wavs, wav_lens, _ = clips
    check(encoder, wavs, wav_lens)
    check(encoder, wavs[:1])
    assert runs == 4 * [0, 1]  # the last layer is left to `forward`, which may want one frame of it


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_leaves_the_residual_stream_in_full_precision(dtype, make_encoder, clips, runs):
    encoder = make_encoder()
    wavs, wav_lens, _ = clips
    with torch.autocast("cpu", dtype=dtype):
        check(encoder, wavs, wav_lens, atol=2e-2)
    assert runs

    class Frames:
        def attend(self, queries, keys, values, n_heads):
            assert values.dtype == dtype
            return values

    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        hidden = PlainLayers(encoder.model.encoder.layers, stable=True).run(0, torch.randn(1, 32), Frames())
    assert hidden.dtype == torch.float32


def replace_module(layer):
    class Twice(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    module = Twice(32, 32)
    module.load_state_dict(layer.attention.k_proj.state_dict())
    layer.attention.k_proj = module


def replace_weight(layer):
    layer.feed_forward.output_dense.weight = nn.Parameter(torch.randn_like(layer.feed_forward.output_dense.weight))


def replace_norm(layer):
    layer.final_layer_norm = nn.LayerNorm(32, eps=0.5)


def replace_norm_by_another_class(layer):
    class Half(nn.LayerNorm):
        def forward(self, x):
            return 0.5 * super().forward(x)

    layer.final_layer_norm = Half(32)


def replace_feed_forward(layer):
    layer.feed_forward = nn.Sequential(nn.Linear(32, 32), nn.ReLU())


def replace_dropout(layer):
    class Half(nn.Dropout):
        def forward(self, x):
            return 0.5 * x

    layer.dropout = Half().eval()


def replace_activation(layer):
    layer.feed_forward.intermediate_act_fn = nn.Tanh()


def parametrize_weight(layer):
    class Double(nn.Module):
        def forward(self, x):
            return 2 * x

    parametrize.register_parametrization(layer.attention.v_proj, "weight", Double())


def change_in_place(layer):
    with torch.no_grad():
        layer.attention.q_proj.weight.mul_(3.0)


def change_data(layer):
    layer.attention.v_proj.bias.data = torch.randn(32)
    layer.attention.q_proj.weight.data.add_(0.5)


def swap_classes(layer):
    class Minus(nn.Linear):
        def forward(self, x):
            return -super().forward(x)

    layer.attention.out_proj.__class__ = Minus


def replace_forward(layer):
    module = layer.feed_forward.output_dense
    module.forward = lambda x: 3 * nn.Linear.forward(module, x)


def hook_projection(layer):
    layer.attention.q_proj.register_forward_hook(lambda module, args, out: 2 * out)


def hook_before(layer):
    layer.feed_forward.register_forward_pre_hook(lambda module, args: (2 * args[0],))


def assign_weights(layer):
    weights = {key: torch.randn_like(value) for key, value in layer.state_dict().items()}
    layer.load_state_dict(weights, assign=True)


def load_weights(layer):
    layer.load_state_dict({key: torch.randn_like(value) for key, value in layer.state_dict().items()})


CHANGES = (
    replace_module,
    replace_weight,
    replace_norm,
    replace_norm_by_another_class,
    replace_feed_forward,
    replace_dropout,
    replace_activation,
    parametrize_weight,
    change_in_place,
    change_data,
    swap_classes,
    replace_forward,
    hook_projection,
    hook_before,
    assign_weights,
    load_weights,
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_is_done_to_a_module_counts_at_once(change, make_encoder, clips, runs):
    encoder = make_encoder()
    wavs, wav_lens, _ = clips
    before = check(encoder, wavs, wav_lens)
    assert runs
    change(encoder.model.encoder.layers[1])
    after = check(encoder, wavs, wav_lens, atol=1e-4)
    assert (after - before).abs().max() > 1e-2


def test_adapters_of_wav2vec2_are_left_to_modules(make_encoder, clips, runs):
    check(make_encoder(model_type="wav2vec2", adapter_attn_dim=8), *clips[:2])
    assert not runs


def test_layers_may_be_replaced_and_taken_away(make_encoder, clips, runs):
    encoder, other = make_encoder(), make_encoder(hidden_act="relu")
    wavs, wav_lens, _ = clips
    before = check(encoder, wavs, wav_lens)
    layers = encoder.model.encoder.layers
    layers[0] = other.model.encoder.layers[0]
    replaced = check(encoder, wavs, wav_lens)
    del layers[1]
    shorter = check(encoder, wavs, wav_lens)
    encoder.model.encoder.layers = nn.ModuleList(other.model.encoder.layers)
    others = check(encoder, wavs, wav_lens)
    for one, two in ((before, replaced), (replaced, shorter), (shorter, others)):
        assert (one - two).abs().max() > 1e-2
    assert runs == [0, 1, 0, 1] + [0, 1, 0, 1] + [0, 0] + [0, 1, 0, 1]


def test_a_hook_sees_what_its_module_computes_and_is_forgotten_when_removed(make_encoder, clips, runs):
    encoder = make_encoder()
    seen = []
    hook = encoder.model.encoder.layers[0].attention.v_proj.register_forward_hook(lambda *args: seen.append(args[2]))
    with torch.no_grad():
        encoder(clips[0])
        assert len(seen) == 1 and seen[0].shape[-1] == 32 and not runs
        hook.remove()
        encoder(clips[0])
    assert len(seen) == 1 and runs == [0, 1]


def test_dropout_that_is_switched_on_drops(make_encoder, clips, runs):
    encoder = make_encoder()
    dropout = encoder.model.encoder.layers[0].dropout
    dropout.p = 0.5
    with torch.no_grad():
        assert torch.equal(encoder(clips[0]), encoder(clips[0]))
        assert runs == 2 * [0, 1]
        dropout.train()
        assert not torch.equal(encoder(clips[0]), encoder(clips[0]))
    assert runs == 2 * [0, 1]


@pytest.mark.filterwarnings("ignore")  # torch warns of what a trace takes for constant
def test_training_tracing_and_compiling_compute_with_modules(make_encoder, clips, runs, monkeypatch):
    halves = (truncated_hubert._project, truncated_hubert._finish)
    monkeypatch.setattr(truncated_hubert, "_compiled", lambda: halves)
    encoder = make_encoder()
    encoder(clips[0])
    with torch.no_grad():
        encoder.train()(clips[0])
        torch.jit.trace(encoder.eval(), clips[0], check_trace=False)
        torch.export.export(encoder, (clips[0],), strict=False)
        encoder.compile_layers = True
        encoder(clips[0])
        encoder.compile_layers = False
        assert not runs
        encoder(clips[0])
    assert runs == [0, 1]


@pytest.mark.parametrize("apart", [False, True])
def test_a_copy_has_weights_of_its_own(apart, make_encoder, clips):
    encoder = make_encoder()
    wavs, wav_lens, _ = clips
    for layer in encoder.model.encoder.layers:
        if apart:
            move_key((layer.attention.q_proj, layer.attention.k_proj, layer.attention.v_proj))
    before = check(encoder, wavs, wav_lens)  # leaves PlainLayers that are in use
    other = copy.deepcopy(encoder)
    torch.testing.assert_close(check(other, wavs, wav_lens), before)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(2.0)
    torch.testing.assert_close(check(encoder, wavs, wav_lens), before)
    doubled = check(other, wavs, wav_lens, atol=1e-4)
    replace_forward(other.model.encoder.layers[1])
    replaced = check(other, wavs, wav_lens, atol=1e-4)
    assert (doubled - before).abs().max() > 1e-2 and (replaced - doubled).abs().max() > 1e-2


def joined(encoder):
    """Tell of each layer whether its projections are one product."""
    return [layer.joint is not None for layer in PlainLayers(encoder.model.encoder.layers, stable=True).weights]


def test_projections_are_joined_where_a_layer_is_narrow(make_encoder, clips):
    encoder = make_encoder()
    assert joined(encoder) == [True, True, True]
    weights = {key: value.clone() for key, value in encoder.state_dict().items()}
    attention = encoder.model.encoder.layers[1].attention
    joint = PlainLayers(encoder.model.encoder.layers, stable=True).weights[1].joint
    for i, parts in enumerate(zip(*(p.parameters() for p in (attention.q_proj, attention.k_proj, attention.v_proj)))):
        torch.testing.assert_close(joint[i], torch.cat(parts), rtol=0, atol=0)
        assert joint[i].data_ptr() == parts[0].data_ptr()  # no copy
    expected = check(encoder, *clips[:2])
    assert joined(encoder.double()) == [True, True, True]
    torch.testing.assert_close(encoder.double()(clips[0].double(), clips[1]).float(), expected, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        encoder(clips[0].double())
    assert joined(encoder.float()) == [True, True, True]
    check(encoder, *clips[:2])
    for key, value in encoder.state_dict().items():
        torch.testing.assert_close(value, weights[key], rtol=0, atol=0)
    addresses = [parameter.data_ptr() for parameter in encoder.parameters()]
    join_projections(encoder.model.encoder.layers)  # once is enough
    assert addresses == [parameter.data_ptr() for parameter in encoder.parameters()]


def test_wide_projections_are_left_apart():
    width = 304  # 3 * 304 * 304 weights of 4 bytes are more than a MB
    config = {"hidden_size": width, "num_attention_heads": 4, "intermediate_size": 8, "num_hidden_layers": 1}
    config = {**config, "conv_dim": [8] * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 4}
    for size, expected in ((width, [False]), (width - 16, [True])):
        assert (3 * 4 * size * size > NARROW_BYTES) is not expected[0]
        encoder = TruncatedHuBERT(config={**config, "hidden_size": size}, num_layers=1).eval()
        assert joined(encoder) == expected
        check(encoder, torch.randn(1, 4000), atol=1e-5)


def move_key(projections):
    projections[1].weight.data = projections[1].weight.data.clone()


def exchange(projections):
    projections[0].weight.data, projections[1].weight.data = projections[1].weight.data, projections[0].weight.data


def turn(projections):
    projections[2].weight.data = projections[2].weight.data.t()


def fill_an_array(projections):
    array = np.random.default_rng(0).normal(size=(3, 32, 32)).astype("float32")
    for projection, weight in zip(projections, array):
        projection.weight.data = torch.from_numpy(weight)  # next to each other, and still no block of torch's


def take_bias(projections):
    projections[0].bias = None


@pytest.mark.parametrize(
    "change", [move_key, exchange, turn, fill_an_array, take_bias], ids=lambda change: change.__name__
)
def test_projections_that_lie_otherwise_are_three_products(change, make_encoder, clips):
    encoder = make_encoder()
    attention = encoder.model.encoder.layers[1].attention
    with torch.no_grad():
        encoder(clips[0])
    change((attention.q_proj, attention.k_proj, attention.v_proj))
    assert joined(encoder) == [True, False, True]
    check(encoder, *clips[:2])


def test_what_is_no_linear_layer_is_not_joined(make_encoder, clips):
    class Wrapped(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return 2 * self.inner(x)

    encoder = make_encoder()
    attention = encoder.model.encoder.layers[1].attention
    attention.k_proj = Wrapped(attention.k_proj)
    encoder.double()
    wavs, wav_lens, _ = clips
    check(encoder, wavs.double(), wav_lens)


def test_moved_weights_leave_no_memory_behind(make_encoder, clips):
    encoder = make_encoder()
    with torch.no_grad():
        encoder(clips[0])
    kept = weakref.ref(encoder._plain_layers.weights[0].joint[0])
    assert kept() is not None
    encoder.double()
    assert kept() is None


def test_joined_projections_learn_and_are_saved_each_by_itself(make_encoder, clips, tmp_path):
    encoder = make_encoder()
    other = copy.deepcopy(encoder)
    assert joined(other) == [False, False, False]  # apart, for comparison
    for model in (encoder, other):
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, fused=True)
        for _ in range(3):
            optimizer.zero_grad()
            model(clips[0], clips[1]).square().mean().backward()
            optimizer.step()
            with torch.no_grad():
                model(clips[0])
    for (name, ours), theirs in zip(encoder.named_parameters(), other.parameters()):
        torch.testing.assert_close(ours, theirs, msg=name, atol=1e-4, rtol=1e-3)
    torch.save(encoder.state_dict(), tmp_path / "weights.pt")
    n_bytes = sum(value.nbytes for value in encoder.state_dict().values())
    assert (tmp_path / "weights.pt").stat().st_size < n_bytes + 100_000
    fresh = make_encoder()
    fresh.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert joined(fresh) == [True, True, True]
    torch.testing.assert_close(check(fresh, *clips[:2]), check(encoder, *clips[:2]), rtol=0, atol=0)


def test_the_model_inside_can_be_saved_as_a_checkpoint(make_encoder, clips, tmp_path):
    encoder = make_encoder()
    with contextlib.redirect_stdout(None):
        encoder.model.save_pretrained(tmp_path)
    again = TruncatedHuBERT(source=str(tmp_path), num_layers=3, feature_reduction=None).eval()
    torch.testing.assert_close(check(again, *clips[:2]), check(encoder, *clips[:2]), rtol=0, atol=0)
