"""SoxrAudioNormalizer: any recording as the mono waveform that training would have read from it."""

import numpy as np
import torch

from speechbrain_ext.dataio.audio import average_channels, resample
from speechbrain_ext.errors import InputError, check_whole_number


class SoxrAudioNormalizer:
    """The `audio_normalizer` of SpeechBrain's inference classes, with the resampling that `read_audio` does.

    SpeechBrain's own resamples by another method (torchaudio's), which gives slightly other posteriors than training
    saw.

    Arguments
    ---------
    sample_rate : int
        Sample rate of the returned waveforms.

    Example
    -------
    >>> SoxrAudioNormalizer(16000)(torch.zeros(8000, 2), 8000).shape
    torch.Size([16000])
    """

    def __init__(self, sample_rate: int = 16000):
        check_whole_number("sample_rate", sample_rate, 1)
        self.sample_rate = sample_rate

    def __call__(self, audio: torch.Tensor, sample_rate: int) -> torch.Tensor:
        """Average the channels and resample.

        Arguments
        ---------
        audio : torch.Tensor
            A recording, [T, channels] or [T].
        sample_rate : int
            Its sample rate.

        Returns
        -------
        torch.Tensor
            The waveform, [T], float32, on the same device.

        Raises
        ------
        InputError
            If the recording holds samples that are not finite.
        """
        samples = audio.cpu().numpy()
        n_bad = int(np.count_nonzero(~np.isfinite(samples)))
        if n_bad:
            raise InputError(f"the recording holds {n_bad} samples that are NaN or infinite. Leave it out.")
        samples = samples[:, np.newaxis] if samples.ndim == 1 else samples  # [T] -> [T, 1]
        wav = resample(average_channels(samples), sample_rate, self.sample_rate)
        return torch.from_numpy(wav).to(audio.device)
