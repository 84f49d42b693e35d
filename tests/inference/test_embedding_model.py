import pytest
import torch

from speechbrain_ext.dataio.waveform_scale import pad_with_mean, scale_waveforms
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.embedding_model import EmbeddingModel
from speechbrain_ext.lobes import FilterbankEncoder, TruncatedEncoder
from tests.bundle_making import make_parts
from tests.tiny_encoders import ENCODERS

FILTERBANK = {
    **{"n_mels": 16, "window_ms": 32, "hop_ms": 20, "channels": 8, "dilations": [2, 3], "res2net_scale": 4},
    **{"squeezed_channels": 4, "pooled_channels": 8, "attention_channels": 4, "embedding_dim": 6},
}


@pytest.fixture
def model():
    """Return a function that makes an embedding model out of the same encoder and f_0."""
    parts = make_parts(feature_reduction="mean")

    def make(**options):
        return EmbeddingModel(parts["encoder"], parts["f_0"], **options)

    return make


def prepared_as_in_training(wav, length, max_s=None, fixed_length_s=None, scale="peak"):
    """Prepare one clip as the recipe's dataio_prep does: cut, pad with the mean, scale; [T] -> [1, T]."""
    wav = wav[:length] if max_s is None else wav[: min(length, round(max_s * 16000))]
    if fixed_length_s is not None:
        wav = pad_with_mean(wav, round(fixed_length_s * 16000))
    return scale_waveforms(wav.unsqueeze(0), scale=scale)


@pytest.mark.parametrize("scale", ["peak", "layer", None])
@pytest.mark.parametrize("max_s", [None, 0.4, 0.8, 2.0])
def test_batch_equals_clips_prepared_as_in_training(model, clips, max_s, scale):
    wavs, wav_lens, lengths = clips
    embedding_model = model(max_s=max_s, waveform_scale=scale)
    found = embedding_model(wavs, wav_lens)
    for row, wav, length in zip(found, wavs, lengths):
        clip = prepared_as_in_training(wav, length, max_s, scale=scale)
        expected = embedding_model.f_0(embedding_model.encoder(clip))
        torch.testing.assert_close(row.unsqueeze(0), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mask_padding", [True, False])
@pytest.mark.parametrize("scale", ["peak", "layer"])
@pytest.mark.parametrize("max_s", [None, 0.4])
@pytest.mark.parametrize("fixed_length_s", [0.5, 1.5])
def test_fixed_length_equals_clips_prepared_as_in_training(model, clips, fixed_length_s, max_s, scale, mask_padding):
    wavs, wav_lens, lengths = clips
    wavs = wavs + 0.1 * (wavs != 0)  # means that are not zero
    options = {"max_s": max_s, "waveform_scale": scale, "fixed_length_s": fixed_length_s}
    embedding_model = model(mask_padding=mask_padding, **options)
    found = embedding_model(wavs, wav_lens)
    for row, wav, length in zip(found, wavs, lengths):
        clip = prepared_as_in_training(wav, length, max_s, fixed_length_s, scale)
        n_samples = round(min(length / 16000, max_s or 9, fixed_length_s) * 16000)
        lens = (torch.tensor([n_samples / clip.shape[1]]),) if mask_padding else ()
        expected = embedding_model.f_0(embedding_model.encoder(clip, *lens))
        torch.testing.assert_close(row.unsqueeze(0), expected, atol=1e-5, rtol=0)


def test_padding_counts_where_it_is_not_masked(model, clips):
    wavs, wav_lens, _ = clips
    embedding_model = model(mask_padding=False)
    expected = embedding_model.f_0(embedding_model.encoder(scale_waveforms(wavs, wav_lens)))
    found = embedding_model(wavs, wav_lens)
    assert torch.equal(found, expected)
    assert not torch.allclose(found[2], model()(wavs, wav_lens)[2], atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"max_s": 0.5}, {"fixed_length_s": 0.5}, {"fixed_length_s": 1.5}])
def test_samples_beyond_a_clip_and_the_input_make_no_difference(model, clips, options):
    wavs, wav_lens, lengths = clips
    noisy = wavs.clone()
    noisy[2, lengths[2] :] = 7.0
    before = noisy.clone()
    embedding_model = model(**options)
    torch.testing.assert_close(embedding_model(noisy, wav_lens), embedding_model(wavs, wav_lens), atol=1e-6, rtol=0)
    assert torch.equal(noisy, before)


def test_without_lengths_every_clip_is_whole(model, clips):
    wavs = clips[0]
    assert torch.equal(model()(wavs), model()(wavs, torch.ones(3)))


def test_seconds_are_of_the_sample_rate(model):
    embedding_model = model(sample_rate_hz=8000, max_s=0.5, fixed_length_s=1.5)
    assert (embedding_model.max_samples, embedding_model.fixed_samples) == (4000, 12000)


def test_embedding_has_the_size_of_f_0(model, clips):
    assert model()(clips[0], clips[1]).shape == (3, 64)


def test_unknown_scale_is_an_error(model):
    with pytest.raises(InputError, match="waveform_scale must be one of .*, got 'loud'"):
        model(waveform_scale="loud")


def test_half_precision_keeps_norms_and_embeddings_in_float32(model, clips):
    wavs, wav_lens, lengths = clips
    parts = make_parts(feature_reduction="mean")
    fine, coarse = model(), EmbeddingModel(parts["encoder"], parts["f_0"])
    coarse.use_half_precision("bf16")
    dtypes = {name: parameter.dtype for name, parameter in coarse.named_parameters()}
    halved = {name for name, dtype in dtypes.items() if dtype == torch.bfloat16}
    assert "encoder.model.encoder.layers.0.attention.q_proj.weight" in halved
    assert "encoder.model.feature_extractor.conv_layers.0.conv.weight" in halved
    assert "encoder.model.encoder.pos_conv_embed.conv.weight" in halved  # one kernel in place of direction and length
    assert not any("norm" in name or name.startswith("f_0") for name in halved)
    found = coarse(wavs, wav_lens)
    assert found.dtype == torch.float32 and not torch.equal(found, fine(wavs, wav_lens))
    torch.testing.assert_close(found, fine(wavs, wav_lens), atol=0.05, rtol=0.05)
    alone = [coarse(wav[None, :length]) for wav, length in zip(wavs, lengths)]
    torch.testing.assert_close(torch.cat(alone), found, atol=0.02, rtol=0.02)  # rounded to 8 bits, in another order


def test_half_precision_is_one_of_two(model):
    with pytest.raises(InputError, match="precision must be one of bf16, fp16, got 'fp8'"):
        model().use_half_precision("fp8")


@pytest.mark.parametrize("name", [*ENCODERS, "filterbank"])
def test_every_encoder_is_close_in_half_precision(name, clips):
    wavs, wav_lens, _ = clips
    torch.manual_seed(0)
    if name == "filterbank":
        encoder = FilterbankEncoder(FILTERBANK).eval()
    else:
        model_type, config = ENCODERS[name]
        encoder = TruncatedEncoder(
            config={"model_type": model_type, **config}, num_layers=3, feature_reduction="mean", waveform_scale=None
        ).eval()
    model = EmbeddingModel(encoder, torch.nn.Identity()).eval()
    with torch.inference_mode():
        expected = model(wavs, wav_lens)
        model.use_half_precision("bf16")
        found = model(wavs, wav_lens)
    assert found.dtype == torch.float32
    assert 0 < (found - expected).norm() / expected.norm() < 0.02
