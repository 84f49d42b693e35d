"""Scaling: against numpy on clips without padding, and whatever stands in the padding."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from speechbrain_ext.dataio.waveform_scale import num_samples, pad_with_mean, scale_waveforms
from speechbrain_ext.errors import InputError

LENGTHS = [1000, 400, 1, 640]


def clips():
    """Make clips of several lengths, levels and offsets; the largest sample of each is negative."""
    rng = np.random.default_rng(0)
    found = [(rng.normal(0.1 * i, 0.02 + 0.1 * i, n)).astype("f4") for i, n in enumerate(LENGTHS)]
    for clip in found:
        clip[len(clip) // 2] = -3 * np.abs(clip).max()
    return found


def padded(filling=0.0):
    """Put the clips in a batch: (wavs [4, 1000], relative lengths [4])."""
    wavs = torch.full((len(LENGTHS), max(LENGTHS)), filling)
    for row, clip in zip(wavs, clips()):
        row[: len(clip)] = torch.from_numpy(clip)
    return wavs, torch.tensor(LENGTHS) / max(LENGTHS)


def by_peak(clip):
    return clip / np.abs(clip).max()


def by_layer(clip):
    clip = clip.astype(np.float64)
    return (clip - clip.mean()) / np.sqrt(clip.var() + 1e-7)


@pytest.mark.parametrize(("scale", "expected"), [("peak", by_peak), ("layer", by_layer), (None, np.asarray)])
@pytest.mark.parametrize("filling", [0.0, 1e6, -1e6, float("nan"), float("inf")])
def test_scale_waveforms_sees_a_clips_own_samples_and_zeroes_the_padding(scale, expected, filling):
    wavs, wav_lens = padded(filling)
    scaled = scale_waveforms(wavs, wav_lens, scale)
    assert (scaled.shape, scaled.dtype) == (wavs.shape, torch.float32)
    for row, clip in zip(scaled.numpy(), clips()):
        np.testing.assert_allclose(row[: len(clip)], expected(clip), rtol=1e-5, atol=1e-5)
        assert (row[len(clip) :] == 0).all()


@pytest.mark.parametrize("scale", ["peak", "layer", None])
def test_scale_waveforms_without_lengths_takes_the_whole_row(scale):
    wavs = padded()[0][:1]
    assert torch.equal(scale_waveforms(wavs, scale=scale), scale_waveforms(wavs, torch.ones(1), scale))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("scale", ["peak", "layer", None])
def test_scale_waveforms_traced_on_clips_without_padding_takes_padded_ones(scale):
    wavs, wav_lens = torch.randn(2, 8), torch.tensor([1.0, 0.5])
    traced = torch.jit.trace(lambda wavs, wav_lens: scale_waveforms(wavs, wav_lens, scale), (wavs, torch.ones(2)))
    assert torch.equal(traced(wavs, wav_lens), scale_waveforms(wavs, wav_lens, scale))
    assert not traced(wavs, wav_lens)[1, 4:].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", ["peak", "layer", None])
def test_scale_waveforms_of_half_precision_are_those_of_double(scale, dtype):
    """34 s at rms 0.35 around 0.2: the sum of samples, 108800, and of squares are beyond float16."""
    torch.manual_seed(0)
    wavs = (0.2 + 0.35 * torch.randn(2, 34 * 16000)).to(dtype)
    wav_lens = torch.tensor([1.0, 0.75])
    found, expected = scale_waveforms(wavs, wav_lens, scale), scale_waveforms(wavs.double(), wav_lens, scale)
    assert (found.dtype, expected.dtype) == (dtype, torch.float64)
    torch.testing.assert_close(found.double(), expected, rtol=torch.finfo(dtype).eps, atol=1e-5)


def test_scale_waveforms_of_integers_are_float32():
    assert scale_waveforms(torch.tensor([[16384, -32768]], dtype=torch.int16)).tolist() == [[0.5, -1.0]]


@pytest.mark.parametrize("shape", [(8,), (2, 8, 3), (0, 8)])
@pytest.mark.parametrize("function", [num_samples, scale_waveforms])
def test_what_is_not_a_batch_of_waveforms_is_refused(function, shape):
    with pytest.raises(InputError, match=rf"wavs must be waveforms .* got the shape \[{', '.join(map(str, shape))}\]"):
        function(torch.zeros(shape))


def test_scale_waveforms_peak_unless_told_otherwise():
    assert scale_waveforms(torch.tensor([[0.25, -0.5]])).tolist() == [[0.5, -1.0]]


@pytest.mark.parametrize("scale", ["peak", "layer", None])
def test_scale_waveforms_leaves_the_input_as_it_was(scale):
    wavs, wav_lens = padded(7.0)
    before = wavs.clone()
    scale_waveforms(wavs, wav_lens, scale).zero_()
    scale_waveforms(wavs, scale=scale).zero_()
    assert torch.equal(wavs, before)


@pytest.mark.parametrize("scale", ["peak", "layer", None])
def test_scale_waveforms_silence_and_empty_clips_stay_zero(scale):
    wavs = torch.tensor([[0.0, 0.0, 9.0, 9.0], [9.0, 9.0, 9.0, 9.0], [1.0, -1.0, 1.0, -1.0]])
    scaled = scale_waveforms(wavs, torch.tensor([0.5, 0.0, 1.0]), scale)
    assert scaled[:2].abs().max() == 0
    torch.testing.assert_close(scaled[2], wavs[2])


def test_scale_waveforms_layer_removes_a_large_offset_by_hand():
    """Samples 101, 99, 101, 99: mean 100, variance 1."""
    scaled = scale_waveforms(torch.tensor([[101.0, 99.0, 101.0, 99.0, 5.0]]), torch.tensor([0.8]), "layer")
    torch.testing.assert_close(scaled, torch.tensor([[1.0, -1.0, 1.0, -1.0, 0.0]]))


@pytest.mark.parametrize("scale", ["max", "", 1])
def test_scale_waveforms_refuses_an_unknown_scale(scale):
    with pytest.raises(InputError, match=rf"waveform_scale must be one of .*'peak', 'layer', None.*, got {scale!r}"):
        scale_waveforms(torch.zeros(1, 4), scale=scale)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(data=st.tuples(st.integers(400, 600 * 16000), st.floats(0, 1)).map(lambda d: (d[0], round(d[0] * d[1]))))
@example(data=(34 * 16000, 34 * 16000 - 1))
@example(data=(600 * 16000, 4_800_097))  # a product in float32 is 4 800 096
def test_num_samples_is_exact_for_clips_of_up_to_ten_minutes(data):
    n_times, n = data
    wavs = torch.zeros(1, 1).expand(2, n_times)  # one sample of memory
    wav_lens = torch.tensor([n, n_times], dtype=torch.float32) / n_times
    found = num_samples(wavs, wav_lens)
    assert (found.tolist(), found.dtype) == ([n, n_times], torch.int64)


def test_num_samples_without_lengths_is_the_width():
    found = num_samples(torch.zeros(3, 7))
    assert (found.tolist(), found.dtype) == ([7, 7, 7], torch.int64)


@pytest.mark.parametrize(
    ("n_samples", "expected"),
    [(6, [1.0, 2.0, 6.0, 3.0, 3.0, 3.0]), (3, [1.0, 2.0, 6.0]), (2, [1.0, 2.0]), (4, [1.0, 2.0, 6.0, 3.0])],
)
def test_pad_with_mean_by_hand(n_samples, expected):
    wav = torch.tensor([1.0, 2.0, 6.0])
    assert pad_with_mean(wav, n_samples).tolist() == expected
    assert wav.tolist() == [1.0, 2.0, 6.0]


def test_pad_with_mean_in_half_precision_is_that_of_double():
    wav = torch.full((200_000,), 0.75, dtype=torch.float16)
    assert pad_with_mean(wav, 200_001)[-1].item() == 0.75
