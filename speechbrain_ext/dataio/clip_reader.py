"""ClipReader: from a recording to the waveform that training or testing sees."""

from typing import Optional

import torch

from speechbrain_ext.dataio.audio import Segment
from speechbrain_ext.dataio.waveform_cache import WaveformStore
from speechbrain_ext.dataio.waveform_scale import pad_with_mean, scale_waveforms


class ClipReader:
    """Reads, cuts, pads, scales and augments one clip: an item of a dataset's pipeline, for any way to start workers.

    Arguments
    ---------
    store : WaveformStore
        Reads recordings, and has their sample rate.
    max_s : float, optional
        Longer clips are cut to their first `max_s` seconds.
    fixed_length_s : float, optional
        Clips are padded to this length with their mean, as the authors' code does.
    waveform_scale : str, optional
        "peak", "layer" or None, see `scale_waveforms`.
    augment : callable, optional
        Takes (waveform, epoch, id, partner_of, repeat) and returns the augmented waveform, as `WaveformAugment` does.

    Example
    -------
    >>> import soundfile
    >>> path = getfixture("tmp_path") / "a.wav"
    >>> soundfile.write(path, [0.0, 0.5, -0.25, 0.0] * 4000, 16000)
    >>> wav, n_samples = ClipReader(WaveformStore(16000), max_s=0.5)("a", str(path))
    >>> wav.shape, wav.max(), n_samples
    (torch.Size([8000]), tensor(1.), tensor([8000]))
    """

    def __init__(
        self,
        store: WaveformStore,
        max_s: Optional[float] = None,
        fixed_length_s: Optional[float] = None,
        waveform_scale: Optional[str] = "peak",
        augment=None,  # noqa: ANN001  a WaveformAugment; augment/ stands above this room
    ):
        self.store = store
        self.max_s = max_s
        self.fixed_length_s = fixed_length_s
        self.waveform_scale = waveform_scale
        self.augment = augment

    def __call__(
        self,
        utt_id: str,
        wav: str,
        epoch: int = 0,
        partner_of: str = "",
        segment: Optional[Segment] = None,
        repeat: int = 0,
        samples_hash: Optional[str] = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read a clip.

        Arguments
        ---------
        utt_id : str
            Its id.
        wav : str
            Path of its recording.
        epoch : int
            Epoch of training, which seeds augmentation.
        partner_of : str
            Id of the clip that it is mixed into; "" in its own place.
        segment : tuple, optional
            The part of the recording that the clip is, (start, duration) in seconds; None for all of it.
        repeat : int
            How often it was drawn in this epoch before.
        samples_hash : str, optional
            What the manifest says of its samples; without it nothing is compared.

        Returns
        -------
        tuple
            (waveform [T], its own length in samples [1], without what was padded).

        Raises
        ------
        InputError
            If the recording cannot be read, or has changed since the corpus was prepared.
        """
        sig = torch.from_numpy(self.store.read(wav, utt_id, self.max_s, segment, samples_hash))
        n_samples = len(sig)
        if self.fixed_length_s is not None:
            sig = pad_with_mean(sig, round(self.fixed_length_s * self.store.sample_rate_hz))
            n_samples = min(n_samples, len(sig))
        sig = scale_waveforms(sig.unsqueeze(0), scale=self.waveform_scale).squeeze(0)  # [T] -> [1, T] -> [T]
        if self.augment is not None:
            sig = torch.from_numpy(self.augment(sig.numpy(), epoch, utt_id, partner_of, repeat))
        return sig, torch.tensor([n_samples])
