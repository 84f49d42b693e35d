"""Log-mel features: those of transformers' feature extractors, of each clip alone."""

import numpy as np
import pytest
import torch
import transformers

from speechbrain_ext.lobes.log_mel import kaldi_log_mel, whisper_log_mel

N_SAMPLES = (16000, 8123, 700)


@pytest.fixture(params=["noise", "quiet", "pauses"])
def wavs(request):
    """Three clips in one padded batch, with noise in the padding."""
    times = torch.arange(N_SAMPLES[0]) / 16000
    noise = torch.randn(3, N_SAMPLES[0])
    tone = torch.sin(2 * torch.pi * 220 * times) * (torch.sin(2 * torch.pi * 3 * times) > 0)
    return {"noise": 0.3 * noise, "quiet": 1e-3 * noise, "pauses": tone + 1e-3 * noise}[request.param]


@pytest.mark.parametrize("n_mels", [80, 128])
def test_whisper_features_are_those_of_transformers(wavs, n_mels):
    extractor = transformers.WhisperFeatureExtractor(feature_size=n_mels)
    feats = whisper_log_mel(wavs, torch.tensor(N_SAMPLES), n_mels)
    assert feats.shape == (3, 100, n_mels)
    for found, wav, n in zip(feats, wavs.numpy(), N_SAMPLES):
        expected = extractor(wav[:n], sampling_rate=16000, padding="do_not_pad")["input_features"]
        expected = torch.from_numpy(np.array(expected))[0].T
        torch.testing.assert_close(found[: n // 160], expected, rtol=0, atol=1e-4)  # its spectra are float32
        assert not found[n // 160 :].any()


def test_kaldi_features_are_those_of_transformers(wavs):
    extractor = transformers.SeamlessM4TFeatureExtractor()
    feats = kaldi_log_mel(wavs, torch.tensor(N_SAMPLES))
    for found, wav, n in zip(feats, wavs.numpy(), N_SAMPLES):
        n_frames = (n - 400) // 160 + 1
        answer = extractor(wav[:n], sampling_rate=16000, return_tensors="np")
        expected = torch.from_numpy(answer["input_features"])[0, : int(answer["attention_mask"].sum())]  # [F / 2, 160]
        assert len(expected) == n_frames // 2
        torch.testing.assert_close(found[: len(expected) * 2].reshape(-1, 160), expected, rtol=0, atol=5e-5)
        assert not found[n_frames:].any()


@pytest.mark.parametrize("extract", [lambda wavs, n: whisper_log_mel(wavs, n, 80), kaldi_log_mel])
def test_batch_mates_change_nothing(wavs, extract):
    batch = extract(wavs, torch.tensor(N_SAMPLES))
    for found, wav, n in zip(batch, wavs, N_SAMPLES):
        alone = extract(wav[None, :n], torch.tensor([n]))[0]
        torch.testing.assert_close(found[: len(alone)], alone, rtol=0, atol=1e-6)


def test_tables_made_in_inference_mode_serve_in_training():
    with torch.inference_mode():
        whisper_log_mel(torch.randn(1, 800), torch.tensor([800]), 80)
    wavs = torch.randn(1, 800, requires_grad=True)
    whisper_log_mel(wavs, torch.tensor([800]), 80).sum().backward()
    assert wavs.grad.abs().max() > 0
