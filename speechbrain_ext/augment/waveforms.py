"""audiomentations as a step of a data pipeline: the same waveform for the same seed, epoch and utterance."""

import random
from collections.abc import Sequence
from typing import Any

import audiomentations
import numpy as np

from speechbrain_ext.errors import InputError, check_number, did_you_mean
from speechbrain_ext.seeding import derive_seed

# The nine that Sec. 3.4 names, each with the library's own ranges; the paper gives none.
PAPER_AUGMENTATIONS = {
    "gaussian_noise": audiomentations.AddGaussianNoise,
    "clipping_distortion": audiomentations.ClippingDistortion,
    "gain": audiomentations.Gain,
    "gain_transition": audiomentations.GainTransition,
    "polarity_inversion": audiomentations.PolarityInversion,
    "tanh_distortion": audiomentations.TanhDistortion,
    "time_mask": audiomentations.TimeMask,
    "time_stretch": audiomentations.TimeStretch,
    "pitch_shift": audiomentations.PitchShift,
}


def check_name(name: str) -> None:
    """Refuse a name that is none of `PAPER_AUGMENTATIONS`."""
    if name not in PAPER_AUGMENTATIONS:
        known = ", ".join(PAPER_AUGMENTATIONS)
        hint = did_you_mean(name, PAPER_AUGMENTATIONS)
        raise InputError(f"augmentation {name!r} is unknown; known are {known}.{hint}")


class WaveformAugment:
    """Applies a random combination of audiomentations, in the order of the list, to single clips.

    Without `n_transforms`, each transform is applied with a probability of its own. With it, a number is drawn for
    each clip, uniformly from the range, and then as many of the transforms, all combinations alike.

    The random numbers come from (seed, epoch, utterance id) alone, and for a mixup partner also from the clip that it
    is mixed into: neither the number of DataLoader workers nor the order of the clips changes a waveform, and the
    global random states are left as they were.

    Arguments
    ---------
    transforms : list
        audiomentations transforms, or names out of `PAPER_AUGMENTATIONS`, which have the library's own ranges. Those
        given by name have the library's own probability too, 0.5, or, with `n_transforms`, 1.
    prob : float
        Probability in [0, 1] that a clip is augmented at all.
    sample_rate_hz : int
        Sample rate of the waveforms.
    seed : int
        Experiment seed.
    n_transforms : list, optional
        Smallest and largest number of transforms for a clip that is augmented, [n_min, n_max]; at most all of them.

    Raises
    ------
    InputError
        For an unknown name, a range that is none, and a transform that changes a clip's length: eq. 3 and
        the batches rely on it.

    Example
    -------
    >>> augment = WaveformAugment(["polarity_inversion", audiomentations.Gain(p=1.0)], prob=1.0, seed=7)
    >>> wav = np.ones(16000, dtype=np.float32)
    >>> bool((augment(wav, epoch=1, utt_id="a") == augment(wav, epoch=1, utt_id="a")).all())
    True
    """

    def __init__(
        self,
        transforms: Sequence[Any] | None,
        prob: float = 1.0,
        sample_rate_hz: int = 16000,
        seed: int = 0,
        n_transforms: Sequence[int] | None = None,
    ) -> None:
        check_number("prob", prob, 0, 1)
        if isinstance(transforms, str):
            raise InputError(f"augmentations must be a list, got {transforms!r}: write [{transforms}].")
        p = 0.5 if n_transforms is None else 1.0
        found = [self._transform(transform, p) for transform in transforms or ()]
        if n_transforms is None or not found:
            self.compose = audiomentations.Compose(found, p=prob)
        else:
            self.compose = audiomentations.SomeOf(self._range(n_transforms, len(found)), found, p=prob)
        self.sample_rate_hz = sample_rate_hz
        self.seed = seed

    @staticmethod
    def _transform(transform: Any, p: float) -> Any:
        if not isinstance(transform, str):
            return transform
        check_name(transform)
        return PAPER_AUGMENTATIONS[transform](p=p)

    @staticmethod
    def _range(n_transforms: Sequence[int], n_known: int) -> tuple[int, int]:
        bounds = tuple(n_transforms) if isinstance(n_transforms, (list, tuple)) else ()
        if len(bounds) != 2 or not all(type(n) is int for n in bounds) or not 0 <= bounds[0] <= bounds[1]:
            raise InputError(
                "n_transforms (n_augmentations in the YAML) must be two whole numbers from 0, [n_min, n_max], got "
                f"{n_transforms!r}."
            )
        return min(bounds[0], n_known), min(bounds[1], n_known)

    def __call__(self, wav: np.ndarray, epoch: int, utt_id: str, partner_of: str = "", repeat: int = 0) -> np.ndarray:
        """Augment one clip.

        Arguments
        ---------
        wav : numpy.ndarray
            Waveform, [T], float32.
        epoch : int
            Epoch of training.
        utt_id : str
            Utterance id.
        partner_of : str
            For a mixup partner, the id of the clip that it is mixed into: a partner gets an augmentation of its own,
            not the one that the same clip has in its own place in this epoch.
        repeat : int
            How often the clip was drawn in this epoch before: each time it gets another augmentation.

        Returns
        -------
        numpy.ndarray
            Augmented waveform, [T], float32; the input stays as it was.
        """
        if not self.compose.p or not self.compose.transforms:
            return wav.copy()
        states = random.getstate(), np.random.get_state()
        drawn_for = [part for part in (partner_of, repeat) if part]
        seed = derive_seed("augment", self.seed, epoch, utt_id, *drawn_for)
        random.seed(seed)
        np.random.seed(seed)
        try:
            augmented = self.compose(wav.copy(), sample_rate=self.sample_rate_hz)
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
        if augmented.shape != wav.shape:
            raise InputError(
                f"{utt_id}: augmentation changed the length from {len(wav)} to {len(augmented)} samples. "
                "Use transforms that keep it (TimeStretch has leave_length_unchanged=True)."
            )
        return np.ascontiguousarray(augmented, dtype=np.float32)
