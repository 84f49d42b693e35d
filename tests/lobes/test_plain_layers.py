"""Layers without gradients: the numbers that modules give, at once after whatever has been done to the modules."""

import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from speechbrain_ext.lobes import truncated_encoder as truncated_hubert
from speechbrain_ext.lobes.frames import PackedFrames
from speechbrain_ext.lobes.plain_layers import PlainLayers
from speechbrain_ext.lobes.truncated_encoder import TruncatedHuBERT

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

    def make(reduction=None, **changes):
        torch.manual_seed(0)
        encoder = TruncatedHuBERT(config={**small_config, **changes}, num_layers=3, feature_reduction=reduction).eval()
        with torch.no_grad():
            for parameter in encoder.model.encoder.layers.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        return encoder

    return make


@pytest.fixture
def runs(monkeypatch):
    """Collect how many layers PlainLayers has computed, each time that it did."""
    found, run = [], PlainLayers.run
    monkeypatch.setattr(PlainLayers, "run", lambda self, *args: found.append(len(self.layers)) or run(self, *args))
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
@pytest.mark.parametrize("reduction", ["first", None])
def test_numbers_are_those_of_the_modules(
    reduction, architecture, attention, rows, make_encoder, clips, runs, monkeypatch
):
    if rows:
        monkeypatch.setattr(TruncatedHuBERT, "_packs", staticmethod(lambda wavs: False))
    encoder = make_encoder(reduction, **ARCHITECTURES[architecture])
    encoder.model.config._attn_implementation = attention
    wavs, wav_lens, _ = clips
    check(encoder, wavs, wav_lens)
    check(encoder, wavs[:1])
    assert runs == 4 * [3]


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
        hidden = PlainLayers(encoder.model.encoder.layers, stable=True).run(torch.randn(1, 32), Frames(), False)
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


def replace_hooks(layer):
    layer.attention.k_proj._forward_hooks = OrderedDict()
    hook_projection(layer)
    layer.attention.k_proj.register_forward_hook(lambda module, args, out: 2 * out)


def change_eps(layer):
    layer.layer_norm.eps = 0.5


def change_heads(layer):
    layer.attention.num_heads = 2


def prune_heads(layer):
    attention = layer.attention
    for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
        projection.weight.data, projection.bias.data = projection.weight.data[:16], projection.bias.data[:16]
    attention.out_proj.weight.data = attention.out_proj.weight.data[:, :16]
    attention.num_heads = 2


def add_an_adapter(layer):
    layer.adapter_layer = nn.Linear(32, 32)


def drop_a_bias(layer):
    layer.attention.out_proj.bias = None


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
    replace_hooks,
    change_eps,
    change_heads,
    prune_heads,
    add_an_adapter,
    drop_a_bias,
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
    encoder.model.encoder.layers.extend(copy.deepcopy(other.model.encoder.layers))
    longer = check(encoder, wavs, wav_lens, atol=1e-5)
    for one, two in ((before, replaced), (replaced, shorter), (shorter, others), (others, longer)):
        assert (one - two).abs().max() > 1e-2
    assert runs == [3, 3] + [3, 3] + [2, 2] + [3, 3] + [6, 6]


def test_a_hook_sees_what_its_module_computes_and_is_forgotten_when_removed(make_encoder, clips, runs):
    encoder = make_encoder()
    seen = []
    hook = encoder.model.encoder.layers[0].attention.v_proj.register_forward_hook(lambda *args: seen.append(args[2]))
    with torch.no_grad():
        encoder(clips[0])
        assert len(seen) == 1 and seen[0].shape[-1] == 32 and not runs
        hook.remove()
        encoder(clips[0])
    assert len(seen) == 1 and runs == [3]


def test_dropout_that_is_switched_on_drops(make_encoder, clips, runs):
    encoder = make_encoder()
    dropout = encoder.model.encoder.layers[0].dropout
    dropout.p = 0.5
    with torch.no_grad():
        assert torch.equal(encoder(clips[0]), encoder(clips[0]))
        assert runs == 2 * [3]
        dropout.train()
        assert not torch.equal(encoder(clips[0]), encoder(clips[0]))
    assert runs == 2 * [3]


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
    assert runs == [3]


def test_a_copy_has_weights_of_its_own(make_encoder, clips):
    encoder = make_encoder()
    wavs, wav_lens, _ = clips
    before = check(encoder, wavs, wav_lens)  # leaves PlainLayers that are in use
    other = copy.deepcopy(encoder)
    torch.testing.assert_close(check(other, wavs, wav_lens), before)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(2.0)
    torch.testing.assert_close(check(encoder, wavs, wav_lens), before)
    doubled = check(other, wavs, wav_lens, atol=1e-3)
    replace_forward(other.model.encoder.layers[1])
    replaced = check(other, wavs, wav_lens, atol=1e-3)
    assert (doubled - before).abs().max() > 1e-2 and (replaced - doubled).abs().max() > 1e-2


def test_a_class_that_is_patched_computes_what_it_is_patched_to(make_encoder, clips, runs, monkeypatch):
    encoder = make_encoder()
    before = check(encoder, *clips[:2])
    forward = nn.LayerNorm.forward
    monkeypatch.setattr(nn.LayerNorm, "forward", lambda module, x: 2 * forward(module, x))
    assert (check(encoder, *clips[:2], atol=1e-4) - before).abs().max() > 1e-2
    assert len(runs) == 2


def test_norms_that_move_count_at_once(make_encoder, clips):
    encoder = make_encoder(do_stable_layer_norm=False)
    before = check(encoder, *clips[:2])
    encoder.model.config.do_stable_layer_norm = True
    assert (check(encoder, *clips[:2], atol=1e-4) - before).abs().max() > 1e-2


def test_activations_may_be_functions(make_encoder, clips, runs):
    encoder = make_encoder()
    for layer in encoder.model.encoder.layers:
        del layer.feed_forward.intermediate_act_fn
        layer.feed_forward.intermediate_act_fn = torch.relu
    before = check(encoder, *clips[:2])
    encoder.model.encoder.layers[0].feed_forward.intermediate_act_fn = torch.tanh
    assert (check(encoder, *clips[:2]) - before).abs().max() > 1e-2 and runs == 4 * [3]


def test_what_comes_in_stays_as_it_is(make_encoder):
    layers = make_encoder().model.encoder.layers
    hidden = torch.randn(5, 32)
    before = hidden.clone()
    with torch.no_grad():
        PlainLayers(layers, stable=True).run(hidden, PackedFrames(torch.tensor([5]), 5), True)
    assert torch.equal(hidden, before)


def test_moved_weights_are_used_where_they_are(make_encoder, clips):
    encoder = make_encoder()
    wavs, wav_lens, _ = clips
    before = check(encoder, wavs, wav_lens)
    doubles = check(encoder.double(), wavs.double(), wav_lens, atol=1e-12)
    torch.testing.assert_close(doubles.float(), before, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(check(encoder.float(), wavs, wav_lens), before, atol=1e-4, rtol=1e-4)
