import numpy as np
import pytest
import soundfile
import soxr
import torch

from speechbrain_ext.dataio.audio import read_audio
from speechbrain_ext.dataio.audio_normalizer import SoxrAudioNormalizer
from speechbrain_ext.errors import InputError


def test_channels_are_averaged():
    audio = torch.tensor([[1.0, 0.0], [0.5, -0.5], [-1.0, 0.5]])  # [T, channels]
    assert torch.equal(SoxrAudioNormalizer(16000)(audio, 16000), torch.tensor([0.5, 0.0, -0.25]))


@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_mono_of_the_wanted_rate_stays_as_it_is(shape):
    audio = torch.arange(5.0).reshape(shape)
    assert torch.equal(SoxrAudioNormalizer(16000)(audio, 16000), torch.arange(5.0))


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 48000])
def test_other_rate_is_resampled_by_soxr(rate_hz):
    wav = np.random.default_rng(0).uniform(-1, 1, rate_hz).astype(np.float32)
    found = SoxrAudioNormalizer(16000)(torch.from_numpy(wav), rate_hz)
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found.numpy(), soxr.resample(wav, rate_hz, 16000))


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_recording_becomes_what_read_audio_gives(tmp_path, subtype):
    wav = np.random.default_rng(0).uniform(-1, 1, (4410, 2))
    soundfile.write(tmp_path / "clip.wav", wav, 44100, subtype=subtype)
    samples, rate_hz = soundfile.read(tmp_path / "clip.wav", dtype="float32")
    found = SoxrAudioNormalizer(16000)(torch.from_numpy(samples), rate_hz)
    np.testing.assert_array_equal(found.numpy(), read_audio(tmp_path / "clip.wav", "clip", 16000))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_samples_that_are_not_finite_are_an_error(bad):
    with pytest.raises(InputError, match="the recording holds 2 samples that are NaN or infinite. Leave it out."):
        SoxrAudioNormalizer()(torch.tensor([0.0, bad, 1.0, bad]), 16000)
