"""The detector of speech: the answers of its package's own model, in any pieces and any company."""

import warnings

import numpy as np
import pytest
import torch

from speechbrain_ext.inference.speech_detector import SpeechDetector, has_speech, make_detector, speech_shares
from tests.babble import make_babble


@pytest.fixture(scope="module")
def detector():
    return SpeechDetector()


@pytest.fixture(scope="module")
def reference(detector):
    """Silero's TorchScript with the detector's weights: they stand in its package beside newer ones."""
    n_threads = torch.get_num_threads()
    import silero_vad  # sets the number of threads

    torch.set_num_threads(n_threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = silero_vad.load_silero_vad()
    encoder = {f"encoder.{i}.reparam_conv": f"conv{i + 1}" for i in range(4)}
    names = {"stft.forward_basis_buffer": "stft_conv.weight", "decoder.decoder.2": "final_conv", **encoder}
    for name, tensor in model._model.state_dict().items():
        for theirs, ours in names.items():
            name = name.replace(theirs, ours)
        name = name.replace("decoder.rnn.", "lstm.") + ("_l0" if "rnn" in name else "")
        tensor.copy_(detector.state_dict()[name])
    return model


def probabilities(detector, wav):
    with torch.inference_mode():
        return detector(torch.from_numpy(wav)[None])[0][0].numpy()


def test_probabilities_are_those_of_the_package(detector, reference):
    wav = np.concatenate([make_babble(1.5), np.zeros(4000, np.float32), make_babble(0.7, seed=1)])
    with torch.inference_mode():
        expected = reference.audio_forward(torch.from_numpy(wav)[None], 16000)[0].numpy()
    found = probabilities(detector, wav)
    assert found.shape == expected.shape == (-(-len(wav) // 512),) and expected.max() > 0.9 and expected.min() < 0.1
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("lengths", [[100], [511, 513], [512], [20000]])
def test_listen_in_any_blocks_finds_what_is_found_in_the_whole(detector, lengths):
    wav = np.concatenate([make_babble(1.0), np.zeros(9000, np.float32), make_babble(1.0, seed=1)])
    blocks, start = [], 0
    while start < len(wav):
        blocks.append(wav[start : start + lengths[len(blocks) % len(lengths)]])
        start += len(blocks[-1])
    found = []
    assert (np.concatenate(list(detector.listen(blocks, found))) == wav).all()
    assert (np.concatenate(found) == (probabilities(detector, wav) >= 0.5)).all()


def test_detect_in_company_finds_what_is_found_alone(detector):
    wavs = [torch.from_numpy(make_babble(s, seed=i)) for i, s in enumerate((2.0, 0.63))] + [torch.zeros(100)]
    n_samples = torch.tensor([len(wav) for wav in wavs])
    found = detector.detect(torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True), n_samples)
    for wav, is_speech in zip(wavs, found):
        assert (is_speech == (probabilities(detector, wav.numpy()) >= 0.5)).all()
    assert [has_speech(is_speech) for is_speech in found] == [True, True, False]


TIMES_S = np.arange(32000) / 16000
NO_SPEECH = {
    "silence": np.zeros(32000),
    "quiet_noise": 1e-3 * np.random.default_rng(0).standard_normal(32000),
    "loud_noise": 0.3 * np.random.default_rng(0).standard_normal(32000),
    "hum": 0.1 * np.sin(2 * np.pi * 50 * TIMES_S) + 0.05 * np.sin(2 * np.pi * 150 * TIMES_S),
    "tone": 0.3 * np.sin(2 * np.pi * 440 * TIMES_S),
    "chord": 0.1 * sum(np.sin(2 * np.pi * f * TIMES_S) for f in (220, 277.2, 329.6)),
    "clicks": 0.9 * (np.arange(32000) % 4000 < 20),
}


@pytest.mark.parametrize("wav", NO_SPEECH.values(), ids=NO_SPEECH)
def test_silence_noise_and_tones_are_no_speech(detector, wav):
    assert not has_speech(probabilities(detector, wav.astype(np.float32)) >= 0.5)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_voice_is_speech(detector, seed):
    assert (probabilities(detector, make_babble(3, seed=seed)) >= 0.5).mean() > 0.6


@pytest.mark.parametrize(("n_chunks", "expected"), [(3, False), (4, True)])  # 96 and 128 ms
def test_has_speech_from_a_tenth_of_a_second_on(n_chunks, expected):
    assert has_speech(np.arange(50) < n_chunks) == expected


def test_speech_shares_of_stretches_by_hand():
    is_speech = np.array([True, False, True, True])  # to 0.128 s
    shares = speech_shares(is_speech, np.array([0.0, 0.016, 0.064]), np.array([0.128, 0.048, 0.128]))
    np.testing.assert_allclose(shares, [0.75, 0.5, 1.0])


def test_detector_has_no_gradients_and_takes_no_other_rate(detector):
    assert not any(parameter.requires_grad for parameter in detector.parameters()) and not detector.training
    classifier = type("Classifier", (), {"hparams": type("H", (), {"sample_rate": 8000}), "device": "cpu"})
    assert make_detector(classifier) is None
