"""waveform_scale: auto, and the sample rate, as a checkpoint's preprocessor_config.json says them."""

import json

import pytest
import torch

from speechbrain_ext.dataio.waveform_scale import scale_waveforms
from speechbrain_ext.errors import InputError
from speechbrain_ext.lobes import TruncatedEncoder
from speechbrain_ext.lobes.preprocessor import PREPROCESSOR_FILE, find_waveform_scale
from tests.tiny_encoders import save_checkpoint


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return {
        name: save_checkpoint(name, tmp_path_factory.mktemp(name)) for name in ("wavlm", "wav2vec2-bert", "whisper")
    }


def says(folder, text):
    (folder / PREPROCESSOR_FILE).write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("preprocessor", "scale"),
    [({"do_normalize": True}, "layer"), ({"do_normalize": False}, None), ({"sampling_rate": 16000}, "layer")],
)
def test_auto_is_what_the_checkpoint_says(checkpoints, preprocessor, scale):
    folder = says(checkpoints["wavlm"], preprocessor)
    assert find_waveform_scale("auto", folder, sample_rate_hz=16000) == scale
    assert find_waveform_scale("peak", folder) == "peak"
    encoder = TruncatedEncoder(folder, num_layers=1, waveform_scale="auto").eval()
    plain = TruncatedEncoder(folder, num_layers=1, waveform_scale=None).eval()
    wavs = 0.1 * torch.randn(1, 4000) + 0.2
    torch.testing.assert_close(encoder(wavs), plain(scale_waveforms(wavs, scale=scale)))


@pytest.mark.parametrize("name", ["wav2vec2-bert", "whisper"])
def test_auto_leaves_log_mel_encoders_their_own_scale(checkpoints, name):
    (checkpoints[name] / PREPROCESSOR_FILE).unlink()
    assert find_waveform_scale("auto", checkpoints[name]) is None


@pytest.mark.parametrize("scale", ["auto", "peak", None])
def test_another_sample_rate_is_refused(checkpoints, scale):
    folder = says(checkpoints["wavlm"], {"sampling_rate": 8000})
    with pytest.raises(InputError, match="sample_rate is 16000, and .*says that the encoder takes 8000 Hz: set sample"):
        find_waveform_scale(scale, folder, sample_rate_hz=16000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "preprocessor_config.json is no JSON: .* Copy it again"),
        ("[]", "preprocessor_config.json is not a JSON object"),
        ({"do_normalize": "yes"}, "do_normalize must be true or false, got 'yes'"),
        ({"sampling_rate": "16000"}, "sampling_rate must be a whole number, got '16000'"),
    ],
)
def test_preprocessor_that_cannot_be_read_is_refused(checkpoints, text, message):
    with pytest.raises(InputError, match=message):
        find_waveform_scale("auto", says(checkpoints["wavlm"], text))


def test_auto_without_a_preprocessor_is_refused(checkpoints):
    (checkpoints["wavlm"] / PREPROCESSOR_FILE).unlink(missing_ok=True)
    with pytest.raises(
        InputError, match="auto needs .*preprocessor_config.json, and there is none.*hf download .*layer"
    ):
        find_waveform_scale("auto", checkpoints["wavlm"])
    assert find_waveform_scale("layer", checkpoints["wavlm"], sample_rate_hz=16000) == "layer"
    with pytest.raises(InputError, match="auto needs a checkpoint .encoder_source.*choose peak, layer or null"):
        find_waveform_scale("auto")


@pytest.mark.parametrize("name", ["whisper", "wav2vec2-bert"])
def test_log_mel_spectra_of_another_rate_are_refused(checkpoints, name):
    folder = says(checkpoints[name], {"sampling_rate": 8000})
    for rate_hz in (8000, 16000, None):
        with pytest.raises(InputError, match="log-mel spectra, which are computed at 16000 Hz; .* says 8000 Hz"):
            find_waveform_scale("auto", folder, sample_rate_hz=rate_hz)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [("whisper", "feature_size", 128), ("whisper", "hop_length", 320), ("wav2vec2-bert", "stride", 4)],
)
def test_log_mel_spectra_that_are_computed_otherwise_are_refused(checkpoints, name, key, value):
    folder = says(checkpoints[name], {key: value})
    with pytest.raises(InputError, match=f"preprocessor_config.json: {key} must be .*log-mel spectra, got {value}"):
        find_waveform_scale("auto", folder)
