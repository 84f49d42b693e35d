"""Augmentation: the nine of the paper, and the same waveform for the same seed, epoch and utterance."""

import random
from collections import Counter

import audiomentations
import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from speechbrain_ext.augment.waveforms import PAPER_AUGMENTATIONS, WaveformAugment
from speechbrain_ext.errors import InputError

# Sec. 3.4, in the paper's order.
CLASSES = {
    "gaussian_noise": "AddGaussianNoise",
    "clipping_distortion": "ClippingDistortion",
    "gain": "Gain",
    "gain_transition": "GainTransition",
    "polarity_inversion": "PolarityInversion",
    "tanh_distortion": "TanhDistortion",
    "time_mask": "TimeMask",
    "time_stretch": "TimeStretch",
    "pitch_shift": "PitchShift",
}
NINE = list(CLASSES)
WAV = (0.1 * np.random.default_rng(0).standard_normal(8000)).astype(np.float32)


def double(p=1.0):
    """Make a transform that doubles a waveform."""
    gain_db = float(20 * np.log10(2))
    return audiomentations.Gain(min_gain_db=gain_db, max_gain_db=gain_db, p=p)


def test_paper_augmentations_are_the_nine_of_the_paper():
    assert list(PAPER_AUGMENTATIONS) == NINE


@pytest.mark.parametrize("name", NINE)
@pytest.mark.parametrize("n_samples", [8000, 400])
def test_each_augmentation_changes_a_clip_and_keeps_its_length(name, n_samples):
    wav = WAV[:n_samples].copy()
    augmented = WaveformAugment([PAPER_AUGMENTATIONS[name](p=1.0)])(wav, 1, "a")
    assert (augmented.shape, augmented.dtype, augmented.flags.c_contiguous) == ((n_samples,), np.float32, True)
    assert np.isfinite(augmented).all()
    assert not np.array_equal(augmented, wav)
    assert np.array_equal(wav, WAV[:n_samples])


@pytest.mark.parametrize("name", NINE)
def test_augmentation_by_name_is_the_librarys_own(name):
    (transform,) = WaveformAugment([name]).compose.transforms
    assert type(transform) is getattr(audiomentations, CLASSES[name])
    assert transform.p == 0.5
    waveforms = {WaveformAugment([name])(WAV, 1, utt_id).tobytes() for utt_id in "abcdefghijkl"}
    assert WAV.tobytes() in waveforms
    assert len(waveforms) > 1


def test_augmentations_are_applied_in_order():
    clip = audiomentations.Clip(a_min=-0.5, a_max=0.5, p=1.0)
    wav = np.array([0.1, 0.4, -0.7] * 200, dtype=np.float32)
    for utt_id in "abcdefgh":
        np.testing.assert_allclose(WaveformAugment([double(), clip])(wav, 1, utt_id)[:3], [0.2, 0.5, -0.5], rtol=1e-6)
        np.testing.assert_allclose(WaveformAugment([clip, double()])(wav, 1, utt_id)[:3], [0.2, 0.8, -1.0], rtol=1e-6)


class Backwards(audiomentations.PolarityInversion):
    """A transform that returns a view, in float64."""

    def apply(self, samples, sample_rate):
        """Turn the clip around."""
        return samples.astype(np.float64)[::-1]


def test_augment_returns_contiguous_float32_whatever_a_transform_returns():
    augmented = WaveformAugment([Backwards(p=1.0)])(WAV, 1, "a")
    assert (augmented.dtype, augmented.flags.c_contiguous) == (np.float32, True)
    assert np.array_equal(augmented, WAV[::-1])


def test_augment_is_decided_by_seed_epoch_and_utterance():
    def noisy(seed=1, epoch=2, utt_id="a"):
        return WaveformAugment([audiomentations.AddGaussianNoise(p=1.0)], seed=seed)(WAV, epoch, utt_id).tobytes()

    assert noisy() == noisy()
    assert len({noisy(), noisy(seed=2), noisy(epoch=3), noisy(utt_id="b")}) == 4


def test_partner_has_an_augmentation_of_its_own():
    """Of a clip in its own place, as the partner of one and of another, and drawn again for each: six draws."""
    augment = WaveformAugment([audiomentations.AddGaussianNoise(p=1.0)])
    roles = [(partner_of, repeat) for partner_of in ("", "b", "c") for repeat in (0, 1)]
    drawn = [augment(WAV, 1, "a", *role).tobytes() for role in roles]
    assert len(set(drawn)) == 6
    assert [augment(WAV, 1, "a", *role).tobytes() for role in roles] == drawn


def test_augment_is_independent_of_the_order_of_clips_and_of_global_states():
    augment = WaveformAugment(NINE, seed=5)
    utt_ids = list("abcdefgh")
    expected = {utt_id: augment(WAV, 1, utt_id).tobytes() for utt_id in utt_ids}
    random.seed(1)
    np.random.seed(1)
    assert {utt_id: augment(WAV, 1, utt_id).tobytes() for utt_id in reversed(utt_ids)} == expected
    assert len(set(expected.values())) == 8


class Failing(audiomentations.Gain):
    """A transform that breaks after having drawn."""

    def apply(self, samples, sample_rate):
        """Fail."""
        raise RuntimeError("broken transform")


@pytest.mark.parametrize("transform", [*NINE, Failing(p=1.0)], ids=lambda transform: str(transform).split(" ")[0])
def test_augment_leaves_the_global_random_states_alone(transform):
    augment = WaveformAugment([transform])
    random.seed(11)
    np.random.seed(12)
    expected = random.random(), np.random.random()
    random.seed(11)
    np.random.seed(12)
    try:
        augment(WAV, 1, "a")
    except RuntimeError as error:
        assert str(error) == "broken transform"
    assert (random.random(), np.random.random()) == expected


@pytest.mark.parametrize("augment", [WaveformAugment([double()], prob=0), WaveformAugment([]), WaveformAugment(None)])
def test_augment_with_probability_0_or_without_transforms_changes_nothing(augment):
    for utt_id in "abcdefghij":
        augmented = augment(WAV, 1, utt_id)
        assert np.array_equal(augmented, WAV)
        augmented[:] = 0  # the caller's own
    assert WAV.any()


@pytest.mark.parametrize(("prob", "low", "high"), [(0.8, 0.75, 0.85), (0.3, 0.25, 0.35), (1.0, 1, 1)])
def test_augment_prob_is_the_share_of_clips_that_are_augmented(prob, low, high):
    augment = WaveformAugment([audiomentations.PolarityInversion(p=1.0)], prob=prob)
    wav = np.ones(4, dtype=np.float32)
    signs = np.array([augment(wav, 1, f"utt{i}") for i in range(1000)])
    assert set(np.unique(signs)) <= {-1.0, 1.0}
    assert (signs == signs[:, :1]).all()
    assert low <= (signs[:, 0] == -1).mean() <= high


def used(waveform):
    """Read off which of the transforms 2, 3, 5 and 7 multiplied ones, and in which order they lie."""
    value = round(float(waveform[0]), 3)
    return {factor for factor in (2, 3, 5, 7) if value % factor == 0}


def multiply(factor):
    gain_db = float(20 * np.log10(factor))
    return audiomentations.Gain(min_gain_db=gain_db, max_gain_db=gain_db, p=1.0)


def test_augment_combines_some_of_the_transforms_all_combinations_alike():
    """1 to 2 of 4: 4 combinations of one, 6 of two, each number for half of the clips."""
    augment = WaveformAugment([multiply(factor) for factor in (2, 3, 5, 7)], n_transforms=[1, 2])
    wav = np.ones(4, dtype=np.float32)
    counts = Counter(frozenset(used(augment(wav, 1, f"utt{i}"))) for i in range(2000))
    assert {len(combination) for combination in counts} == {1, 2} and len(counts) == 10
    for combination, count in counts.items():
        expected = 1000 / (4 if len(combination) == 1 else 6)
        assert abs(count - expected) < 5 * expected**0.5


def test_augment_keeps_the_lists_order_in_a_combination():
    clip = audiomentations.Clip(a_min=-0.5, a_max=0.5, p=1.0)
    wav = np.array([0.1, 0.4, -0.7] * 200, dtype=np.float32)
    for utt_id in "abcdefgh":
        augmented = WaveformAugment([double(), clip], n_transforms=[2, 2])(wav, 1, utt_id)
        np.testing.assert_allclose(augmented[:3], [0.2, 0.5, -0.5], rtol=1e-6)


def test_augment_with_a_probability_combines_for_that_share_of_the_clips():
    augment = WaveformAugment(["polarity_inversion", "gain"], prob=0.8, n_transforms=(1, 1))
    changed = [not np.array_equal(augment(WAV, 1, f"utt{i}"), WAV) for i in range(1000)]
    assert 0.75 <= np.mean(changed) <= 0.85  # all of them, were the library's own p of 0.5 not set to 1


def test_augment_takes_at_most_all_of_a_short_list():
    wav = np.ones(1600, dtype=np.float32)
    assert (WaveformAugment(["polarity_inversion"], n_transforms=[2, 3])(wav, 1, "a") == -1).all()
    assert (WaveformAugment([], n_transforms=[1, 3])(wav, 1, "a") == 1).all()


@pytest.mark.parametrize("n_transforms", [[1], [2, 1], [-1, 1], [1.0, 2.0], ["1", "2"], 2, "12", [True, True]])
def test_augment_refuses_what_is_no_range(n_transforms):
    with pytest.raises(InputError, match=r"two whole numbers from 0, \[n_min, n_max\], got "):
        WaveformAugment(["gain", "time_mask"], n_transforms=n_transforms)


def test_augment_refuses_a_name_that_is_not_in_a_list():
    with pytest.raises(InputError, match=r"augmentations must be a list, got 'pitch_shift': write \[pitch_shift\]"):
        WaveformAugment("pitch_shift")


def test_augment_refuses_an_unknown_name_and_lists_the_known():
    message = f"augmentation 'gaussian' is unknown; known are {', '.join(NINE)}"
    with pytest.raises(InputError, match=message):
        WaveformAugment(["gain", "gaussian"])
    with pytest.raises(InputError, match=r"'pitchshift' is unknown; .* Did you mean pitch_shift\?"):
        WaveformAugment(["pitchshift"])


@pytest.mark.parametrize("prob", [-0.1, 1.1])
def test_augment_refuses_a_probability_out_of_range(prob):
    with pytest.raises(InputError, match=f"prob must be a number from 0 to 1, got {prob}"):
        WaveformAugment([], prob=prob)


def test_augment_refuses_a_transform_that_changes_the_length():
    faster = audiomentations.TimeStretch(min_rate=1.25, max_rate=1.25, leave_length_unchanged=False, p=1.0)
    message = r"^utt7: augmentation changed the length from 8000 to 6400 samples\. Use transforms that keep it"
    with pytest.raises(InputError, match=message):
        WaveformAugment([faster])(WAV, 1, "utt7")


def test_augment_uses_the_sample_rate():
    half_a_second = audiomentations.TimeMask(min_band_part=0.5, max_band_part=0.5, fade_duration=0.0, p=1.0)
    rates = []
    half_a_second.apply = lambda samples, sample_rate: rates.append(sample_rate) or samples
    WaveformAugment([half_a_second])(WAV, 1, "a")
    WaveformAugment([half_a_second], sample_rate_hz=8000)(WAV, 1, "a")
    assert rates == [16000, 8000]


class Clips(Dataset):
    """Sixteen utterances, augmented as they are read."""

    augment = WaveformAugment(["gaussian_noise", "gain", "time_mask", "pitch_shift"], seed=3)

    def __len__(self):
        return 16

    def __getitem__(self, index):
        return index, self.augment(WAV, 1, f"utt{index}")


def test_augment_is_the_same_from_every_number_of_workers():
    served = []
    for kwargs in ({}, {"num_workers": 2}, {"num_workers": 2, "sampler": list(reversed(range(16)))}):
        loader = DataLoader(Clips(), batch_size=None, **kwargs)
        served.append({index: wav.numpy().tobytes() for index, wav in loader})
    assert len(served[0]) == 16
    assert served[1] == served[0]
    assert served[2] == served[0]
    assert len(set(served[0].values())) > 12
