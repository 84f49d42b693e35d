"""From a recording to the waveform that the model sees: cut, padded, scaled, augmented, in that order."""

import numpy as np
import pytest
import soundfile
import torch

from speechbrain_ext.dataio.clip_reader import ClipReader
from speechbrain_ext.dataio.waveform_cache import WaveformStore

RATE_HZ = 8


@pytest.fixture
def path(tmp_path):
    """Write a recording of eight samples, 0.5 at its peak within the first four."""
    soundfile.write(
        tmp_path / "a.wav", np.array([0.0, 0.5, -0.25, 0.25, 0.75, 0.0, 0.0, 0.0]), RATE_HZ, subtype="FLOAT"
    )
    return str(tmp_path / "a.wav")


def test_a_clip_is_cut_before_it_is_scaled(path):
    wav, n_samples = ClipReader(WaveformStore(RATE_HZ), max_s=0.5)("a", path)
    assert wav.tolist() == [0.0, 1.0, -0.5, 0.5]  # by the peak of what is left
    assert n_samples.tolist() == [4]


def test_padding_to_a_fixed_length_is_not_counted_as_the_clips_own(path):
    reader = ClipReader(WaveformStore(RATE_HZ), max_s=0.5, fixed_length_s=0.75, waveform_scale=None)
    wav, n_samples = reader("a", path)
    assert wav.tolist() == [0.0, 0.5, -0.25, 0.25, 0.125, 0.125]  # the mean of the four
    assert n_samples.tolist() == [4]


def test_augmentation_gets_the_scaled_clip_and_what_it_is_drawn_for(path):
    calls = []

    def augment(wav, *drawn_for):
        calls.append((wav.max(), *drawn_for))
        return 2 * wav

    wav, _ = ClipReader(WaveformStore(RATE_HZ), augment=augment)("a", path, epoch=3, partner_of="b", repeat=2)
    assert calls == [(1.0, 3, "a", "b", 2)]
    assert wav.max() == 2.0 and wav.dtype == torch.float32
