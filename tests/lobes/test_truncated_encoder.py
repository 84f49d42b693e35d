"""TruncatedHuBERT: the promises about padding, layouts, dropout and freezing, and what it refuses."""

import warnings

import pytest
import torch
from torch import nn

from speechbrain_ext.errors import InputError
from speechbrain_ext.lobes import family, layer, truncated_encoder
from speechbrain_ext.lobes.truncated_encoder import TruncatedHuBERT


def test_projection_dropout_is_active_in_training(small_config):
    encoder = TruncatedHuBERT(config=small_config, num_layers=2, projection_dropout=0.4)
    wavs = torch.randn(1, 8000)
    encoder.train()
    assert not torch.equal(encoder(wavs), encoder(wavs))
    encoder.eval()
    assert torch.equal(encoder(wavs), encoder(wavs))
    dropouts = {name: module.p for name, module in encoder.named_modules() if isinstance(module, nn.Dropout)}
    assert {name for name, p in dropouts.items() if p > 0} == {f"model.encoder.layers.{i}.dropout" for i in range(2)}


LAYOUTS = {
    "packed": lambda patch: patch.setattr(family, "DENSE", 1.0),
    "rows in training": lambda patch: patch.setattr(family, "DENSE", 0.0),
    "rows on a GPU": lambda patch: patch.setattr(TruncatedHuBERT, "_packs", staticmethod(lambda wavs: False)),
}
NORMS = {
    "layer": {},
    "group": {"feat_extract_norm": "group"},
    "batch": {"conv_pos_batch_norm": True},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_batch_norm_in_training_is_of_the_clips_own_frames(small_config, layout, monkeypatch):
    LAYOUTS[layout](monkeypatch)
    wavs, wav_lens = 0.3 * torch.randn(2, 16000), torch.tensor([1.0, 0.9])
    found = []
    for n_more in (0, 320, 9000):
        torch.manual_seed(0)
        config = {**small_config, **NORMS["batch"]}
        encoder = TruncatedHuBERT(config=config, num_layers=2, projection_dropout=0.0, feature_reduction="mean")
        output = encoder.train()(nn.functional.pad(wavs, (0, n_more)), wav_lens * 16000 / (16000 + n_more))
        found.append((output, encoder.model.encoder.pos_conv_embed.batch_norm.running_var))
    for output, variances in found[1:]:
        torch.testing.assert_close(output, found[0][0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(variances, found[0][1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("scale", ["peak", "layer", None])
@pytest.mark.parametrize("reduction", ["first", "mean", None])
def test_output_does_not_depend_on_padding_or_batch_mates(
    small_config, clips, reduction, scale, norm, layout, monkeypatch
):
    LAYOUTS[layout](monkeypatch)
    wavs, wav_lens, lengths = clips
    config = {**small_config, **NORMS[norm]}
    encoder = TruncatedHuBERT(config=config, num_layers=3, feature_reduction=reduction, waveform_scale=scale).eval()
    if norm == "batch":
        encoder.model.encoder.pos_conv_embed.batch_norm.running_mean.fill_(0.3)
    batched = encoder(wavs, wav_lens)
    longer = encoder(nn.functional.pad(wavs, (0, 16000)), wav_lens / 2)
    shuffled = encoder(wavs[[2, 0, 1]], wav_lens[[2, 0, 1]])[[1, 2, 0]]
    noise = wavs + 7.0 * (torch.arange(16000) >= torch.tensor(lengths).unsqueeze(1))  # what stands in the padding
    noisy = encoder(noise, wav_lens)
    for i, length in enumerate(lengths):
        alone = encoder(wavs[i : i + 1, :length])[0]
        a_little = encoder(
            torch.cat([wavs[i : i + 1, :length], torch.ones(1, 100)], dim=1), torch.tensor([length / (length + 100)])
        )
        for outputs in (batched, longer, shuffled, noisy, a_little.expand(3, *a_little.shape[1:])):
            output = outputs[i] if reduction else outputs[i, : len(alone)]
            torch.testing.assert_close(output, alone, rtol=1e-5, atol=1e-5)
    if reduction is None:
        assert longer.shape[1] == 99  # the frames of the row, not those of its longest clip
        assert not longer[:, 49:].any()


def test_a_traced_encoder_takes_other_lengths(small_config, clips):
    wavs, wav_lens, _ = clips
    encoder = TruncatedHuBERT(config=small_config, num_layers=2).eval()
    with torch.no_grad():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the lengths' check, which stays with the example
            traced = torch.jit.trace(encoder, (wavs, wav_lens), check_trace=False)
        other = torch.tensor([0.4, 1.0, 0.8])
        torch.testing.assert_close(traced(wavs, other), encoder(wavs, other), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reduction", ["first", "mean", None])
@pytest.mark.parametrize("n_clips", [1, 3])
def test_a_traced_encoder_takes_other_batch_sizes(n_clips, reduction, small_config, clips):
    wavs = clips[0][[0, 1, 1]]
    encoder = TruncatedHuBERT(config=small_config, num_layers=2, feature_reduction=reduction).eval()
    with torch.no_grad():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the lengths' check, which stays with the example
            traced = torch.jit.trace(encoder, (wavs[:2],), check_trace=False)
        torch.testing.assert_close(traced(wavs[:n_clips]), encoder(wavs[:n_clips]), rtol=1e-5, atol=1e-5)


def test_first_frame_equals_the_whole_last_layer_in_training(small_config, clips):
    wavs, wav_lens, _ = clips
    whole = TruncatedHuBERT(config=small_config, num_layers=3, feature_reduction=None).train()
    first = TruncatedHuBERT(config=small_config, num_layers=3, feature_reduction="first").train()
    first.load_state_dict(whole.state_dict())
    torch.manual_seed(3)
    expected = whole(wavs, wav_lens)[:, 0]
    torch.manual_seed(3)
    torch.testing.assert_close(first(wavs, wav_lens), expected, rtol=1e-5, atol=1e-5)


def test_mean_is_the_average_of_a_clips_own_frames(small_config, clips):
    wavs, wav_lens, lengths = clips
    frames = TruncatedHuBERT(config=small_config, num_layers=2, feature_reduction=None).eval()
    mean = TruncatedHuBERT(config=small_config, num_layers=2, feature_reduction="mean").eval()
    mean.load_state_dict(frames.state_dict())
    outputs = frames(wavs, wav_lens)
    n_frames = frames.frame_lengths(torch.tensor(lengths))
    assert n_frames.tolist() == [49, 29, 14]  # (n - 400) // 320 + 1
    for output, n, averaged in zip(outputs, n_frames, mean(wavs, wav_lens)):
        torch.testing.assert_close(averaged, output[:n].mean(dim=0))
        assert not output[n:].any()


def test_batches_are_padded_where_that_is_cheaper(small_config, clips, monkeypatch):
    """A batch is computed on a GPU, and in training on a CPU where little is padded, as padded rows."""
    layouts = []

    def spy(chosen, module, hidden, frames, *args):
        layouts.append((hidden.dim(), getattr(frames, "own", None) is not None))
        return layer.compute_layer(chosen, module, hidden, frames, *args)

    monkeypatch.setattr(truncated_encoder, "compute_layer", spy)
    encoder = TruncatedHuBERT(config=small_config, num_layers=1)
    wavs = clips[0][:, :4800]
    for wav_lens in ([1.0, 1.0, 1.0], [1.0, 0.9, 0.8], [1.0, 0.5, 0.5]):
        encoder(wavs, torch.tensor(wav_lens))
        with torch.no_grad():
            encoder(wavs, torch.tensor(wav_lens))
    assert layouts == [(3, False), (2, False), (3, True), (2, False), (2, False), (2, False)]


def test_eager_attention_equals_sdpa(small_config, clips):
    wavs, wav_lens, _ = clips
    sdpa = TruncatedHuBERT(config=small_config, num_layers=3).eval()
    eager = TruncatedHuBERT(config=small_config, num_layers=3, attn_implementation="eager").eval()
    eager.load_state_dict(sdpa.state_dict())
    torch.testing.assert_close(eager(wavs, wav_lens), sdpa(wavs, wav_lens), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("freeze_feature_encoder", "freeze"), [(True, False), (False, False), (True, True), (False, True)]
)
def test_freezing_survives_train(small_config, freeze_feature_encoder, freeze):
    encoder = TruncatedHuBERT(
        config=small_config, num_layers=2, freeze_feature_extractor=freeze_feature_encoder, freeze=freeze
    ).train()
    feature_encoder = list(encoder.model.feature_extractor.parameters())
    rest = [p for name, p in encoder.named_parameters() if "feature_extractor" not in name]
    assert {p.requires_grad for p in feature_encoder} == {not (freeze_feature_encoder or freeze)}
    assert {p.requires_grad for p in rest} == {not freeze}
    wavs = torch.randn(1, 4000)
    assert torch.equal(encoder(wavs), encoder(wavs)) is freeze
    if not freeze:
        encoder(wavs).sum().backward()
        assert all((p.grad is not None) is not freeze_feature_encoder for p in feature_encoder)
        assert all(p.grad is not None for p in rest)


def test_input_stays_as_it_was(small_config, clips):
    wavs, wav_lens, _ = clips
    before = wavs.clone()
    TruncatedHuBERT(config=small_config, num_layers=1).train()(wavs, wav_lens)
    assert torch.equal(wavs, before)
    assert not wavs.requires_grad


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_layers": 5}, "num_layers is 5, but the config has 4 layers: choose 1 to 4"),
        ({"num_layers": 0}, "num_layers must be a whole number from 1, got 0"),
        ({"num_layers": "all"}, "num_layers must be a whole number from 1, got 'all'"),
        (
            {"feature_reduction": "last"},
            r"feature_reduction must be one of \('first', 'mean', 'attentive', None\), got 'last'",
        ),
        ({"waveform_scale": "rms"}, "waveform_scale must be one of .*'peak', 'layer', None.*got 'rms'"),
        ({"attn_implementation": "fast"}, "attn_implementation must be one of .*got 'fast'"),
        ({"projection_dropout": 1.5}, "projection_dropout must be a number from 0 to 1, got 1.5"),
        (
            {"config": {"num_hiden_layers": 4}},
            "'num_hiden_layers', which HubertConfig .* Did you mean num_hidden_layers",
        ),
        ({"config": {"hidden_size": "wide"}}, "config: hidden_size must be a whole number from 1 to 16384, got 'wide'"),
        ({"config": {"mask_time_prob": "often"}}, "a value that HubertConfig does not take: [^$]*mask_time_prob"),
        (
            {"config": {"model_type": "sew"}},
            "the config is of a 'sew' model; known are data2vec-audio, hubert, unispeech, unispeech-sat, wav2vec2, "
            "wav2vec2-bert, wavlm, whisper",
        ),
        ({"config": None}, "needs a source .* or a config"),
    ],
)
def test_unusable_arguments_are_refused(small_config, arguments, message):
    with pytest.raises(InputError, match=message):
        TruncatedHuBERT(**{"config": small_config, "num_layers": 2, **arguments})


def test_short_clip_is_refused_with_its_position(small_config):
    encoder = TruncatedHuBERT(config=small_config, num_layers=1)
    assert encoder(torch.randn(1, 400)).shape == (1, 32)
    with pytest.raises(InputError, match="clip 1 of the batch has 399 samples; the encoder needs at least 400"):
        encoder(torch.randn(2, 798), torch.tensor([1.0, 0.5]))


@pytest.mark.parametrize(
    ("wav_lens", "message"),
    [
        (torch.tensor([8000.0, 4000.0]), r"must be relative, in \(0, 1\]: clip 0 .* Divide lengths in samples"),
        (torch.tensor([1.0, 1.2]), "clip 1 of the batch would have 9600 of 8000 samples"),
        (torch.ones(2, 1), r"one length a clip, \[2\], got the shape \[2, 1\]"),
        (torch.ones(3), r"one length a clip, \[2\], got the shape \[3\]"),
    ],
)
def test_impossible_lengths_are_refused(small_config, wav_lens, message):
    with pytest.raises(InputError, match=message):
        TruncatedHuBERT(config=small_config, num_layers=1)(torch.randn(2, 8000), wav_lens)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_waveforms_of_another_precision_are_taken(small_config, dtype):
    encoder = TruncatedHuBERT(config=small_config, num_layers=1).eval()
    wavs = torch.randn(1, 4000).half()
    torch.testing.assert_close(encoder(wavs.to(dtype)), encoder(wavs.float()))


def test_long_clip_in_half_precision_is_scaled_by_its_true_variance(small_config):
    """34 s at rms 0.35: the sum of squares, 66640, is beyond float16."""
    torch.manual_seed(0)
    encoder = TruncatedHuBERT(config=small_config, num_layers=1, waveform_scale="layer").eval()
    wavs = 0.35 * torch.randn(1, 34 * 16000)
    with torch.no_grad():
        expected = encoder(wavs)
        found = encoder.half()(wavs.half())
    assert expected.abs().max() > 0.1
    assert (found - expected).abs().max() < 4e-3


def test_silence_gives_finite_features(small_config):
    encoder = TruncatedHuBERT(config=small_config, num_layers=1).train()
    assert torch.isfinite(encoder(torch.zeros(2, 4000), torch.tensor([1.0, 0.5]))).all()


@pytest.mark.parametrize("feature_reduction", ["first", "mean"])
def test_checkpointed_activations_change_no_gradient(small_config, clips, feature_reduction):
    wavs, wav_lens, _ = clips
    gradients, kept = [], []
    for checkpoint_activations in (False, True):
        torch.manual_seed(0)
        encoder = TruncatedHuBERT(
            config=small_config,
            num_layers=4,
            feature_reduction=feature_reduction,
            projection_dropout=0.5,
            checkpoint_activations=checkpoint_activations,
        ).train()
        kept.append(0)

        def keep(tensor):
            kept[-1] += tensor.numel()
            return tensor

        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output = encoder(wavs, wav_lens)
        output.square().sum().backward()
        gradients.append([p.grad for p in encoder.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) > 50
    for plain, checkpointed in zip(*gradients):
        assert torch.equal(plain, checkpointed)
    assert kept[1] < kept[0] / 2


def test_compiled_layers_give_the_same_numbers_with_few_graphs(small_config, clips, monkeypatch):
    graphs = []

    def backend(graph, _):  # what is traced is run as it is: no compiler is needed
        graphs.append(graph)
        return graph.forward

    compiler = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda function, dynamic: compiler(function, dynamic=dynamic, backend=backend)
    )
    layer._compiled.cache_clear()
    wavs, wav_lens, _ = clips
    batches = [(wavs, wav_lens), (wavs[:, :9000], wav_lens), (wavs[:2, :12000], wav_lens[:2]), (wavs[:, :4800], None)]
    results = []
    for compile_layers in (False, True):
        torch.manual_seed(0)
        encoder = TruncatedHuBERT(config=small_config, num_layers=4, compile_layers=compile_layers)
        for batch in batches:
            torch.manual_seed(1)
            encoder(*batch).square().sum().backward()
        results.append([p.grad for p in encoder.parameters() if p.grad is not None])
    layer._compiled.cache_clear()
    assert len(results[0]) == len(results[1]) > 50
    for plain, compiled in zip(*results):
        torch.testing.assert_close(plain, compiled, rtol=1e-5, atol=1e-6)
    assert 2 <= len(graphs) <= 4  # both halves of a layer, packed and in padded rows
