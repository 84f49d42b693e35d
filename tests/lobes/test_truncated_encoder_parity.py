"""TruncatedHuBERT against torchaudio's encoder, which the paper used, and against transformers' models."""

import pytest
import torch
import torchaudio
import transformers
from torch import nn

from speechbrain_ext.lobes.truncated_encoder import TruncatedHuBERT
from speechbrain_ext.nnet.losses import ArgmaxCenterLoss, soft_label_kl_loss
from speechbrain_ext.nnet.projection import EmotionClassifier, EmotionEmbedding

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


def test_parameter_count_of_hubert_large():
    """22 layers of HuBERT-Large: 290.25 M with the final LayerNorm of the full model, which is not kept here."""
    feature_encoder = (
        512 * 10 + 4 * 512 * 512 * 3 + 2 * 512 * 512 * 2 + 7 * 512 + 7 * 2 * 512
    )  # kernels, biases, LayerNorms
    projection = 2 * 512 + 512 * 1024 + 1024
    positions = 1024 * (1024 // 16) * 128 + 128 + 1024  # weight norm: direction, length, bias
    layer = 4 * (1024 * 1024 + 1024) + 2 * 1024 * 4096 + 4096 + 1024 + 2 * 2 * 1024
    expected = feature_encoder + projection + positions + 22 * layer
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
