"""audiomentations as a step of a data pipeline: the same waveform for the same seed, epoch and utterance."""

import random

import audiomentations
import numpy as np

from speechbrain_ext.errors import InputError, check_number
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


class WaveformAugment:
    """Applies a list of audiomentations, in order, to single clips.

    The random numbers come from (seed, epoch, utterance id) alone, and for a mixup partner also from the clip that it
    is mixed into: neither the number of DataLoader workers nor the order of the clips changes a waveform, and the
    global random states are left as they were.

    Arguments
    ---------
    transforms : list
        audiomentations transforms, or names out of `PAPER_AUGMENTATIONS`.
    prob : float
        Probability in [0, 1] that a clip is augmented at all.
    sample_rate_hz : int
        Sample rate of the waveforms.
    seed : int
        Experiment seed.

    Raises
    ------
    InputError
        For an unknown name, and for a transform that changes a clip's length: eq. 3 and the batches rely on it.

    Example
    -------
    >>> augment = WaveformAugment(["polarity_inversion", audiomentations.Gain(p=1.0)], prob=1.0, seed=7)
    >>> wav = np.ones(16000, dtype=np.float32)
    >>> bool((augment(wav, epoch=1, utt_id="a") == augment(wav, epoch=1, utt_id="a")).all())
    True
    """

    def __init__(self, transforms, prob=1.0, sample_rate_hz=16000, seed=0):
        check_number("prob", prob, 0, 1)
        self.compose = audiomentations.Compose([self._transform(transform) for transform in transforms or ()], p=prob)
        self.sample_rate_hz = sample_rate_hz
        self.seed = seed

    @staticmethod
    def _transform(transform):
        if not isinstance(transform, str):
            return transform
        if transform not in PAPER_AUGMENTATIONS:
            raise InputError(f"augmentation {transform!r} is unknown; known are {', '.join(PAPER_AUGMENTATIONS)}.")
        return PAPER_AUGMENTATIONS[transform]()

    def __call__(self, wav: np.ndarray, epoch: int, utt_id: str, partner_of: str = "") -> np.ndarray:
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

        Returns
        -------
        numpy.ndarray
            Augmented waveform, [T], float32; the input stays as it was.
        """
        states = random.getstate(), np.random.get_state()
        seed = derive_seed("augment", self.seed, epoch, utt_id, *([partner_of] if partner_of else []))
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
