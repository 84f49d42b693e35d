"""The sum of layers and attentive pooling: SUPERB's and SpeechBrain's numbers, blind to padding, in any combination."""

import pytest
import torch
import transformers
from speechbrain.lobes.models.ECAPA_TDNN import AttentiveStatisticsPooling
from torch import nn

from speechbrain_ext.errors import InputError
from speechbrain_ext.lobes import TruncatedEncoder
from speechbrain_ext.lobes.pooling import AttentivePooling, LayerSum
from tests.tiny_encoders import ENCODERS, make_config, save_checkpoint

REDUCTIONS = ("first", "mean", "attentive", None)


def make_encoder(name, **options):
    torch.manual_seed(0)
    config = {"model_type": ENCODERS[name][0], **ENCODERS[name][1]}
    encoder = TruncatedEncoder(config=config, num_layers=3, projection_dropout=0.0, **options)
    if encoder.layer_weights is not None:
        encoder.layer_weights.logits.data = torch.tensor([0.3, -0.5, 1.0, 0.1])
    return encoder


def test_layers_are_summed_with_softmax_weights():
    layer_sum = LayerSum(3)
    layer_sum.logits.data = torch.tensor([1.0, 2.0, 4.0]).log()  # weights 1/7, 2/7, 4/7
    states = torch.tensor([[[7.0, 0.0], [0.0, 7.0], [14.0, 7.0]]])
    torch.testing.assert_close(layer_sum(states), torch.tensor([[9.0, 6.0]]))
    torch.testing.assert_close(layer_sum(states.unsqueeze(2)), torch.tensor([[[9.0, 6.0]]]))


@pytest.mark.parametrize("reduction", ["first", "mean", None])
def test_sum_is_over_the_hidden_states_of_transformers(tmp_path, clips, reduction):
    """The input of the first layer and the output of each, as SUPERB and SpeechBrain's WeightedSSLModel sum them."""
    wavs = clips[0][:2, :8000]
    config = make_config("hubert-base", num_hidden_layers=3)
    model = transformers.HubertModel(config).eval()
    model.save_pretrained(tmp_path)
    states = torch.stack(model(wavs, output_hidden_states=True).hidden_states)  # [4, B, F, D]
    encoder = TruncatedEncoder(
        tmp_path, num_layers=3, layer_weights="learned", feature_reduction=reduction, waveform_scale=None
    ).eval()
    encoder.layer_weights.logits.data = torch.tensor([1.0, 2.0, 4.0, 1.0]).log()
    expected = (torch.tensor([1.0, 2.0, 4.0, 1.0])[:, None, None, None] * states).sum(dim=0) / 8
    expected = {"first": expected[:, 0], "mean": expected.mean(dim=1), None: expected}[reduction]
    torch.testing.assert_close(encoder(wavs), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_attentive_pooling_is_speechbrains_where_nothing_is_padded(training):
    theirs = AttentiveStatisticsPooling(6).train(training)
    ours = AttentivePooling(6).train(training)
    ours.load_state_dict(theirs.state_dict())
    rows = torch.randn(3, 7, 6)
    expected = theirs(rows.transpose(1, 2)).squeeze(2)
    torch.testing.assert_close(ours(rows, torch.full((3,), 7)), expected, rtol=1e-5, atol=1e-5)
    for (key, found), wanted in zip(ours.state_dict().items(), theirs.state_dict().values()):  # BatchNorm's too
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5, msg=key)


@pytest.mark.parametrize("training", [False, True])
def test_attentive_pooling_sees_no_padding(training):
    lengths, rows = torch.tensor([5, 1, 3]), torch.randn(3, 5, 6)
    first = AttentivePooling(6).train(training)
    second = AttentivePooling(6).train(training)
    second.load_state_dict(first.state_dict())
    longer = nn.functional.pad(rows, (0, 0, 0, 4), value=9.0)
    longer[1, 1:], longer[2, 3:] = -7.0, 5.0
    torch.testing.assert_close(first(rows, lengths), second(longer, lengths), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=1e-5, atol=1e-5)
    if not training:
        alone = torch.cat([first(row[None, :n], torch.tensor([n])) for row, n in zip(rows, lengths)])
        torch.testing.assert_close(first(rows, lengths), alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layer_weights", [None, "learned"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", ["hubert", "wavlm", "wav2vec2-bert", "whisper"])
def test_features_of_layers_and_the_head_make_the_output(clips, name, reduction, layer_weights):
    wavs, wav_lens, lengths = clips
    encoder = make_encoder(name, feature_reduction=reduction, layer_weights=layer_weights).eval()
    with torch.no_grad():
        feats, expected = encoder.layer_features(wavs, wav_lens), encoder(wavs, wav_lens)
        n_frames = encoder.frame_lengths(torch.tensor(lengths))
        torch.testing.assert_close(encoder.head(feats, n_frames), expected, rtol=1e-5, atol=1e-5)
        alone = encoder(wavs[1:2, : lengths[1]])[0]
    assert feats.shape[:2] == (3, encoder.n_states) == (3, 4)
    assert feats.dim() == (3 if reduction in ("first", "mean") else 4)
    assert expected.shape[-1] == encoder.embedding_dim == (64 if reduction == "attentive" else 32)
    torch.testing.assert_close(expected[1] if reduction else expected[1, : len(alone)], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradients_of_the_sum_are_those_of_the_features(clips, reduction):
    encoder = make_encoder("hubert", feature_reduction=reduction, layer_weights="learned").eval()
    batch = clips[0][:, :6000], clips[1]
    encoder(*batch).square().sum().backward()
    found = {name: parameter.grad for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    assert found["layer_weights.logits"].abs().max() > 0
    encoder.zero_grad()
    n_frames = encoder.frame_lengths((batch[1] * 6000).round().long())
    encoder.head(encoder.layer_features(*batch), n_frames).square().sum().backward()
    for name, gradient in found.items():
        wanted = encoder.get_parameter(name).grad
        torch.testing.assert_close(
            gradient, wanted, rtol=1e-4, atol=1e-5 * max(1.0, wanted.abs().max().item()), msg=name
        )


def test_a_frozen_encoder_trains_what_stands_above_it(tmp_path, clips):
    encoder = TruncatedEncoder(
        save_checkpoint("hubert", tmp_path),
        num_layers=2,
        layer_weights="learned",
        feature_reduction="attentive",
        freeze=True,
        projection_dropout=0.5,
    ).train()
    encoder(*clips[:2]).square().sum().backward()
    trained = {name for name, parameter in encoder.named_parameters() if parameter.grad is not None}
    assert {name.partition(".")[0] for name in trained} == {"layer_weights", "pooling"}
    assert not encoder.model.training and encoder.pooling.training
    kept = set(encoder.checkpoint_state())
    assert not any(name.startswith("model.") for name in kept) and "layer_weights.logits" in kept


def test_unknown_layer_weights_are_refused():
    with pytest.raises(InputError, match=r"layer_weights must be one of \(None, 'learned'\), got 'fixed'"):
        make_encoder("hubert", layer_weights="fixed")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_attentive_pooling_of_large_values_in_half_precision_sums_in_float32(dtype):
    """A square of 400 is beyond float16; the values that the two see are the same."""
    torch.manual_seed(0)
    pooling = AttentivePooling(8).eval()
    rows, lengths = (400 * torch.randn(2, 1500, 8)).to(dtype), torch.tensor([1500, 700])
    expected = pooling(rows.float(), lengths)
    found = pooling.to(dtype)(rows, lengths)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=20.0)
