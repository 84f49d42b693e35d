"""TruncatedHuBERT against torchaudio's encoder, which the paper used, and the promises about padding."""

import warnings

import pytest
import torch
import torchaudio
import transformers
from torch import nn

from speechbrain_ext import truncated_hubert
from speechbrain_ext.errors import InputError
from speechbrain_ext.losses import ArgmaxCenterLoss, soft_label_kl_loss
from speechbrain_ext.projection import EmotionClassifier, EmotionEmbedding
from speechbrain_ext.truncated_hubert import TruncatedHuBERT

N_LAYERS = 4


def torchaudio_encoder(projection_dropout):
    """Build torchaudio's encoder in the HuBERT-Large style, small, as the authors' code configures it."""
    torch.manual_seed(1)
    model = torchaudio.models.wav2vec2_model(
        extractor_mode="layer_norm",
        extractor_conv_layer_config=[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16, 2, 2)] * 2,
        extractor_conv_bias=True,
        encoder_embed_dim=32,
        encoder_projection_dropout=0.0,
        encoder_pos_conv_kernel=16,
        encoder_pos_conv_groups=4,
        encoder_num_layers=N_LAYERS,
        encoder_num_heads=4,
        encoder_attention_dropout=0.0,
        encoder_ff_interm_features=64,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.0,
        encoder_layer_norm_first=True,
        encoder_layer_drop=0.0,
        aux_num_out=None,
    )
    for parameter in model.parameters():  # biases and LayerNorms too must matter
        nn.init.normal_(parameter, 1.0 if parameter.dim() == 1 and parameter.numel() == 1 else 0.0, 0.15)
    for layer in model.encoder.transformer.layers:
        layer.dropout.p = projection_dropout
    return model


def to_transformers_key(key):
    """Translate a parameter's name from torchaudio's naming to that of a transformers checkpoint."""
    for old, new in (
        ("feature_extractor.conv_layers", "feature_extractor.conv_layers"),
        ("encoder.feature_projection", "feature_projection"),
        ("encoder.transformer.pos_conv_embed", "encoder.pos_conv_embed"),
        ("encoder.transformer.", "encoder."),
    ):
        if key.startswith(old):
            return key.replace(old, new, 1)
    raise KeyError(key)


def save_checkpoint(model, folder, config):
    """Save torchaudio's weights under transformers' own names, as a Hub checkpoint holds them."""
    weights = {to_transformers_key(key): value.clone() for key, value in model.state_dict().items()}
    hubert = transformers.HubertModel(transformers.HubertConfig(**config, mask_time_prob=0.05))
    missing, unexpected = hubert.load_state_dict(weights, strict=False)
    assert not unexpected
    assert missing == ["masked_spec_embed"]
    hubert.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("reduction", ["first", None])
@pytest.mark.parametrize("num_layers", [1, 3, 4])
def test_paper_model_equals_torchaudio(tmp_path, small_config, num_layers, reduction, training):
    reference = torchaudio_encoder(projection_dropout=0.4).train(training)
    source = save_checkpoint(reference, tmp_path / "hub", small_config)
    encoder = TruncatedHuBERT(
        source,
        num_layers=num_layers,
        projection_dropout=0.4,
        feature_reduction=reduction,
        freeze_feature_extractor=False,
        waveform_scale=None,
    ).train(training)
    f_0, f_1, center_loss = EmotionEmbedding(32, 8), EmotionClassifier(8, 4), ArgmaxCenterLoss(4, 8)
    wavs = 0.3 * torch.randn(3, 8000)
    targets = torch.tensor([[0.3, 0.7, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.25, 0.0, 0.0, 0.75]])

    torch.manual_seed(5)
    expected_feats = reference.extract_features(wavs)[0][num_layers - 1]
    expected_emb = nn.functional.linear(expected_feats[:, 0], f_0.weight, f_0.bias)
    expected_logits = nn.functional.linear(expected_emb, f_1.weight, f_1.bias)
    # Eq. 4 and 5 written out: a zero target contributes nothing.
    log_ratio = torch.where(targets > 0, targets, 1.0).log() - torch.log_softmax(expected_logits, dim=1)
    expected_kl = (targets * log_ratio).sum() / 3
    nearest = center_loss.centers[torch.tensor([1, 2, 3])]
    expected_center = ((expected_emb - nearest) ** 2).sum() / 3
    (expected_kl + 0.002 * expected_center).backward()
    wanted = {to_transformers_key(key): p.grad for key, p in reference.named_parameters() if p.grad is not None}
    wanted_heads = [p.grad.clone() for module in (f_0, f_1, center_loss) for p in module.parameters()]
    for module in (f_0, f_1, center_loss):
        module.zero_grad()

    torch.manual_seed(5)
    feats = encoder(wavs)
    if reduction is None:
        torch.testing.assert_close(feats, expected_feats, rtol=1e-5, atol=1e-5)
        feats = feats[:, 0]
    torch.testing.assert_close(feats, expected_feats[:, 0], rtol=1e-5, atol=1e-5)
    emb = f_0(feats)
    log_posteriors = f_1(emb)
    kl, center = soft_label_kl_loss(log_posteriors, targets), center_loss(emb, targets)
    torch.testing.assert_close(log_posteriors, expected_logits.log_softmax(1), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(kl, expected_kl, rtol=1e-5, atol=0)
    torch.testing.assert_close(center, expected_center, rtol=1e-5, atol=0)

    (kl + 0.002 * center).backward()
    found = {key: p.grad for key, p in encoder.model.named_parameters()}
    assert found.keys() == wanted.keys()
    for key, gradient in found.items():
        scale = wanted[key].abs().max()
        assert scale > 0 or "k_proj.bias" in key, key  # a shift of all keys changes no attention
        torch.testing.assert_close(gradient, wanted[key], rtol=1e-5, atol=max(1e-5 * scale.item(), 1e-8), msg=key)
    for parameter, gradient in zip(
        [p for module in (f_0, f_1, center_loss) for p in module.parameters()], wanted_heads
    ):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-5, atol=1e-6)


def test_projection_dropout_is_active_in_training(small_config):
    encoder = TruncatedHuBERT(config=small_config, num_layers=2, projection_dropout=0.4)
    wavs = torch.randn(1, 8000)
    encoder.train()
    assert not torch.equal(encoder(wavs), encoder(wavs))
    encoder.eval()
    assert torch.equal(encoder(wavs), encoder(wavs))
    dropouts = {name: module.p for name, module in encoder.named_modules() if isinstance(module, nn.Dropout)}
    assert {name for name, p in dropouts.items() if p > 0} == {f"model.encoder.layers.{i}.dropout" for i in range(2)}


def test_parameter_count_of_hubert_large():
    """22 layers of HuBERT-Large: 290.25 M with the final LayerNorm of the full model, which is not kept here."""
    stem = 512 * 10 + 4 * 512 * 512 * 3 + 2 * 512 * 512 * 2 + 7 * 512 + 7 * 2 * 512  # kernels, biases, LayerNorms
    projection = 2 * 512 + 512 * 1024 + 1024
    positions = 1024 * (1024 // 16) * 128 + 128 + 1024  # weight norm: direction, length, bias
    layer = 4 * (1024 * 1024 + 1024) + 2 * 1024 * 4096 + 4096 + 1024 + 2 * 2 * 1024
    expected = stem + projection + positions + 22 * layer
    assert round((expected + 2 * 1024) / 1e6, 2) == 290.25

    config = {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "conv_dim": [512] * 7,
        "conv_bias": True,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
    }
    with torch.device("meta"):
        encoder = TruncatedHuBERT(config=config, num_layers=22)
    assert sum(p.numel() for p in encoder.parameters()) == expected
    assert encoder.min_samples == 400


LAYOUTS = {
    "packed": lambda patch: patch.setattr(truncated_hubert, "DENSE", 1.0),
    "rows in training": lambda patch: patch.setattr(truncated_hubert, "DENSE", 0.0),
    "rows on a GPU": lambda patch: patch.setattr(TruncatedHuBERT, "_packs", staticmethod(lambda wavs: False)),
}
NORMS = {
    "layer": {},
    "group": {"feat_extract_norm": "group"},
    "batch": {"conv_pos_batch_norm": True},
}


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
    layer = TruncatedHuBERT._layer

    def spy(self, module, hidden, frames, *args):
        layouts.append((hidden.dim(), getattr(frames, "own", None) is not None))
        return layer(self, module, hidden, frames, *args)

    monkeypatch.setattr(TruncatedHuBERT, "_layer", spy)
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


@pytest.mark.parametrize("model_class", [transformers.HubertModel, transformers.Wav2Vec2Model])
@pytest.mark.parametrize("stable", [True, False])
def test_checkpoint_gives_the_model_of_transformers(tmp_path, small_config, model_class, stable):
    config = {**small_config, "do_stable_layer_norm": stable, "num_hidden_layers": 3, "mask_time_prob": 0.0}
    model = model_class(model_class.config_class(**config)).eval()
    model.save_pretrained(tmp_path)
    model.encoder.layer_norm = nn.Identity() if stable else model.encoder.layer_norm
    wavs = torch.randn(2, 8000)
    expected = model(wavs).last_hidden_state
    encoder = TruncatedHuBERT(tmp_path, num_layers=3, feature_reduction=None, waveform_scale=None).eval()
    torch.testing.assert_close(encoder(wavs), expected, rtol=1e-5, atol=1e-5)
    first = TruncatedHuBERT(tmp_path, num_layers=3, waveform_scale=None).eval()
    torch.testing.assert_close(first(wavs), expected[:, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reduction", ["first", None])
def test_adapters_of_wav2vec2_are_computed(tmp_path, small_config, reduction):
    config = transformers.Wav2Vec2Config(**{**small_config, "num_hidden_layers": 2}, adapter_attn_dim=4)
    model = transformers.Wav2Vec2Model(config).eval()
    for layer in model.encoder.layers:
        nn.init.normal_(layer.adapter_layer.linear_2.weight)
    model.save_pretrained(tmp_path)
    model.encoder.layer_norm = nn.Identity()
    wavs = torch.randn(2, 8000)
    expected = model(wavs).last_hidden_state
    encoder = TruncatedHuBERT(tmp_path, num_layers=2, feature_reduction=reduction, waveform_scale=None).eval()
    torch.testing.assert_close(encoder(wavs), expected if reduction is None else expected[:, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("freeze_stem", "freeze"), [(True, False), (False, False), (True, True), (False, True)])
def test_freezing_survives_train(small_config, freeze_stem, freeze):
    encoder = TruncatedHuBERT(
        config=small_config, num_layers=2, freeze_feature_extractor=freeze_stem, freeze=freeze
    ).train()
    stem = list(encoder.model.feature_extractor.parameters())
    rest = [p for name, p in encoder.named_parameters() if "feature_extractor" not in name]
    assert {p.requires_grad for p in stem} == {not (freeze_stem or freeze)}
    assert {p.requires_grad for p in rest} == {not freeze}
    wavs = torch.randn(1, 4000)
    assert torch.equal(encoder(wavs), encoder(wavs)) is freeze
    if not freeze:
        encoder(wavs).sum().backward()
        assert all((p.grad is not None) is not freeze_stem for p in stem)
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
        ({"feature_reduction": "last"}, r"feature_reduction must be one of \('first', 'mean', None\), got 'last'"),
        ({"waveform_scale": "rms"}, "waveform_scale must be one of .*'peak', 'layer', None.*got 'rms'"),
        ({"attn_implementation": "fast"}, "attn_implementation must be one of .*got 'fast'"),
        ({"projection_dropout": 1.5}, "projection_dropout must be a number from 0 to 1, got 1.5"),
        (
            {"config": {"num_hiden_layers": 4}},
            "'num_hiden_layers', which HubertConfig .* Did you mean num_hidden_layers",
        ),
        ({"config": {"model_type": "wavlm"}}, r"model_type 'wavlm'; known are \['hubert', 'wav2vec2'\]"),
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


def test_silence_gives_finite_features(small_config):
    encoder = TruncatedHuBERT(config=small_config, num_layers=1).train()
    assert torch.isfinite(encoder(torch.zeros(2, 4000), torch.tensor([1.0, 0.5]))).all()


@pytest.mark.parametrize("change", ["load", "in_place", "dtype", "fused", "fused_in_eval"])
def test_the_positional_kernel_follows_its_weights(small_config, clips, change):
    encoder = TruncatedHuBERT(config=small_config, num_layers=2).eval()
    other = TruncatedHuBERT(config=small_config, num_layers=2).eval()
    wavs, wav_lens, _ = clips
    with torch.inference_mode():
        before = encoder(wavs, wav_lens)
    if change == "load":
        encoder.load_state_dict(other.state_dict())
    elif change == "in_place":
        with torch.no_grad():
            encoder.model.encoder.pos_conv_embed.conv.parametrizations.weight.original1.mul_(-1)
    elif change == "dtype":
        encoder.double()
    else:  # a fused step leaves the weights' versions as they are
        optimizer = torch.optim.Adam(encoder.parameters(), lr=0.5, fused=True)
        encoder.train(change == "fused")
        encoder(wavs, wav_lens).sum().backward()
        optimizer.step()
        encoder.eval()
    with torch.no_grad():
        after = encoder(wavs, wav_lens)
    learning = encoder(wavs, wav_lens)  # with gradients: transformers' own way
    torch.testing.assert_close(after, learning.detach(), atol=1e-6, rtol=1e-5)
    if change != "dtype":
        assert (after - before).abs().max() > 1e-3


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
    truncated_hubert._compiled.cache_clear()
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
    truncated_hubert._compiled.cache_clear()
    assert len(results[0]) == len(results[1]) > 50
    for plain, compiled in zip(*results):
        torch.testing.assert_close(plain, compiled, rtol=1e-5, atol=1e-6)
    assert 2 <= len(graphs) <= 4  # both halves of a layer, packed and in padded rows
