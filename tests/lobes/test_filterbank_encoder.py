"""The filterbank encoder computes what SpeechBrain's parts compute, and sees no padding."""

import pytest
import torch

from speechbrain_ext.errors import InputError
from speechbrain_ext.lobes.filterbank_encoder import FilterbankEncoder

CONFIG = {
    "model_type": "filterbank",
    "n_mels": 16,
    "window_ms": 32,
    "hop_ms": 20,
    "channels": 8,
    "dilations": [2, 3],
    "res2net_scale": 4,
    "squeezed_channels": 4,
    "pooled_channels": 8,
    "attention_channels": 4,
    "embedding_dim": 6,
}


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    encoder = FilterbankEncoder(CONFIG)
    for _ in range(3):  # so that no running statistic is what it was made with
        encoder(torch.randn(8, 8000))
    return encoder.eval()


def test_a_clip_is_encoded_the_same_alone_and_in_a_batch(encoder):
    lengths = [512, 1000, 8000, 7999, 4321]
    wavs = [torch.randn(length) * 0.1**i for i, length in enumerate(lengths)]
    padded = torch.randn(len(wavs), 8000)  # what stands in the padding is never seen
    for row, wav in zip(padded, wavs):
        row[: len(wav)] = wav
    with torch.no_grad():
        together = encoder(padded, torch.tensor(lengths) / 8000)
        alone = torch.cat([encoder(wav.unsqueeze(0)) for wav in wavs])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_encoder_is_speechbrains_network_beside_statistics(encoder):
    wavs = torch.randn(2, 8000)
    with torch.no_grad():
        feats = encoder.filterbanks(wavs)
        feats = (feats - encoder.band_norm.running_mean) / (encoder.band_norm.running_var + 1e-5).sqrt()
        changes = feats.diff(dim=1)
        statistics = [feats.mean(1), feats.std(1, correction=0), changes.abs().mean(1), changes.std(1, correction=0)]
        both = torch.cat([encoder.network(feats).squeeze(1), encoder.statistics_norm(torch.cat(statistics, 1))], 1)
        torch.testing.assert_close(encoder(wavs), encoder.last_layer(both), atol=1e-5, rtol=0)


def test_training_normalises_bands_by_own_frames_alone():
    encoder = FilterbankEncoder(CONFIG)
    wavs = torch.randn(2, 8000)
    encoder(wavs, torch.tensor([1.0, 0.5]))
    with torch.no_grad():
        frames = torch.cat([encoder.filterbanks(wavs[:1])[0], encoder.filterbanks(wavs[1:, :4000])[0]])  # [N, M]
    torch.testing.assert_close(encoder.band_norm.running_mean, 0.1 * frames.mean(dim=0))  # from 0, with momentum 0.1


def test_equalizer_changes_training_alone():
    torch.manual_seed(0)
    wavs = torch.randn(4, 8000)
    flat, equalized = FilterbankEncoder(CONFIG), FilterbankEncoder(CONFIG, equalizer_db=6.0)
    equalized.load_state_dict(flat.state_dict())
    assert not torch.allclose(flat(wavs), equalized(wavs), atol=1e-2)
    equalized.load_state_dict(flat.state_dict())
    flat.eval(), equalized.eval()
    assert torch.equal(flat(wavs), equalized(wavs))


def test_architecture_builds_the_same_encoder(encoder):
    assert encoder.architecture() == CONFIG
    other = FilterbankEncoder(encoder.architecture())
    other.load_state_dict(encoder.state_dict())
    wavs = torch.randn(1, 8000)
    assert torch.equal(other.eval()(wavs), encoder(wavs))
    assert encoder.embedding_dim == 6 and encoder.min_samples == 512
    assert encoder.values_a_sample == 514 / 320  # real and imaginary parts of 257 frequencies, a frame of 320 samples


@pytest.mark.parametrize(
    "change, message",
    [
        ({"n_mels": 4}, r"encoder_config.n_mels must be a whole number from 8 to 256, got 4"),
        ({"dilations": []}, r"encoder_config.dilations must be a list of 1 to 16 values"),
        ({"channels": 10}, r"encoder_config.channels must be a multiple of res2net_scale, 4, got 10"),
        ({"layers": 3}, r"encoder_config.layers is unknown"),
        ({"model_type": "hubert"}, r"encoder_config.model_type must be one of \('filterbank',\), got 'hubert'"),
    ],
)
def test_a_config_that_cannot_be_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        FilterbankEncoder({**CONFIG, **change})
