"""EmbeddingModel: from recordings as they are to embeddings, with the cutting, padding and scaling of the training."""

from typing import Any, Optional

import torch
from speechbrain.dataio.dataio import length_to_mask
from torch import nn
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from speechbrain_ext.dataio.audio import WAVEFORM_SCALES, check_fixed_length
from speechbrain_ext.dataio.waveform_scale import num_samples, scale_waveforms
from speechbrain_ext.errors import InputError, check_number, check_whole_number
from speechbrain_ext.limits import LONGEST_CLIP_S, SHORTEST_S
from speechbrain_ext.lobes.onednn_linear import use_onednn

HALF_PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class EmbeddingModel(nn.Module):
    """The `embedding_model` of `speechbrain.inference.classifiers.EncoderClassifier`: clip preparation, encoder, f_0.

    Training prepares each clip by itself, before it stands in a batch; this does the same to the clips of a batch.

    Arguments
    ---------
    encoder : torch.nn.Module
        Called with (wavs, wav_lens), gives [B, E]; its own waveform scaling has to be off.
    f_0 : torch.nn.Module
        Turns [B, E] into embeddings [B, D].
    sample_rate_hz : int
        Sample rate of the waveforms.
    waveform_scale : str, optional
        "peak", "layer" or None, see `scale_waveforms`.
    max_s : float, optional
        Longer clips are cut to their first `max_s` seconds; by default none is.
    fixed_length_s : float, optional
        Every clip is padded with its own mean, or cut, to this many seconds; by default none is.
    mask_padding : bool
        Whether the encoder is told the clips' lengths; without it padding is attended to as speech is.

    Example
    -------
    >>> class Mean(nn.Module):
    ...     def forward(self, wavs, wav_lens):
    ...         return wavs.sum(dim=1, keepdim=True) / num_samples(wavs, wav_lens).unsqueeze(1)
    >>> model = EmbeddingModel(Mean(), nn.Identity(), sample_rate_hz=16000, waveform_scale=None)
    >>> model(torch.tensor([[1.0, 1.0, 1.0, 1.0], [4.0, 2.0, 9.0, 9.0]]), torch.tensor([1.0, 0.5]))
    tensor([[1.],
            [3.]])
    """

    encoder: Any  # a module with min_samples

    def __init__(
        self,
        encoder: nn.Module,
        f_0: nn.Module,
        sample_rate_hz: int = 16000,
        waveform_scale: Optional[str] = "peak",
        max_s: Optional[float] = None,
        fixed_length_s: Optional[float] = None,
        mask_padding: bool = True,
    ):
        super().__init__()
        if waveform_scale not in WAVEFORM_SCALES:
            raise InputError(f"waveform_scale must be one of {WAVEFORM_SCALES}, got {waveform_scale!r}.")
        check_whole_number("sample_rate_hz", sample_rate_hz, 1)
        if max_s is not None:
            check_number("max_s", max_s, SHORTEST_S, LONGEST_CLIP_S)
        check_fixed_length(fixed_length_s, sample_rate_hz)
        self.encoder = encoder
        self.f_0 = f_0
        self.waveform_scale = waveform_scale
        self.max_samples = None if max_s is None else round(max_s * sample_rate_hz)
        self.fixed_samples = None if fixed_length_s is None else round(fixed_length_s * sample_rate_hz)
        self.mask_padding = mask_padding
        self.half_precision: Optional[torch.dtype] = None
        use_onednn(encoder)  # it is not trained any more

    def use_half_precision(self, precision: str) -> None:
        """Compute the encoder's products in half precision from now on, from weights that are rounded once.

        Norms, softmax and sums inside an operation are computed in float32, and so is f_0.

        Arguments
        ---------
        precision : str
            "bf16" or "fp16".
        """
        if precision not in HALF_PRECISIONS:
            raise InputError(f"precision must be one of {', '.join(HALF_PRECISIONS)}, got {precision!r}.")
        self.half_precision = HALF_PRECISIONS[precision]
        for module in list(self.encoder.modules()):
            if isinstance(module, (nn.Linear, nn.Conv1d)):
                if is_parametrized(module, "weight"):  # weight-normed: the kernel is computed once as well
                    remove_parametrizations(module, "weight")
                module.to(self.half_precision)

    @property
    def min_samples(self) -> int:
        """Shortest clip that can be embedded, in samples."""
        return self.encoder.min_samples if self.fixed_samples is None else 1

    @property
    def longest_samples(self) -> Optional[int]:
        """Longest clip that can be embedded, in samples; None where all are, or longer ones are cut."""
        most = getattr(self.encoder, "max_samples", None)
        heard = self.fixed_samples or self.max_samples
        return None if most is None or (heard is not None and heard <= most) else most

    def forward(self, wavs: torch.Tensor, wav_lens: Optional[torch.Tensor] = None) -> torch.Tensor:
        """Embed clips.

        Arguments
        ---------
        wavs : torch.Tensor
            Padded waveforms at `sample_rate_hz`, [B, T]; they stay as they are.
        wav_lens : torch.Tensor, optional
            Relative lengths in (0, 1], [B]. Without it every clip is T samples long.

        Returns
        -------
        torch.Tensor
            Embeddings, [B, D].
        """
        n_samples = num_samples(wavs, wav_lens)
        if self.max_samples is not None:
            n_samples = n_samples.clamp(max=self.max_samples)
            wavs = wavs[:, : min(wavs.shape[1], self.max_samples)]  # min: torch.export decides on one case otherwise
        if self.fixed_samples is None:
            wavs = scale_waveforms(wavs, n_samples / wavs.shape[1], self.waveform_scale)
        else:
            n_samples = n_samples.clamp(max=self.fixed_samples)
            wavs = _pad_with_means(wavs, n_samples, self.fixed_samples)
            wavs = scale_waveforms(wavs, scale=self.waveform_scale)  # the padding belongs to the clip here
        encoder_inputs = (wavs, n_samples / wavs.shape[1]) if self.mask_padding else (wavs,)
        if self.half_precision is None:
            return self.f_0(self.encoder(*encoder_inputs))
        with torch.autocast(wavs.device.type, self.half_precision):
            feats = self.encoder(*encoder_inputs)
        return self.f_0(feats.float())


def _pad_with_means(wavs: torch.Tensor, n_samples: torch.Tensor, n_fixed: int) -> torch.Tensor:
    """Do what `pad_with_mean` does, to a batch and without a loop, which an ONNX graph could not have."""
    wavs = nn.functional.pad(wavs, (0, n_fixed))[:, :n_fixed]
    mask = length_to_mask(n_samples, max_len=n_fixed, dtype=torch.bool)  # [B, T]
    means = wavs.masked_fill(~mask, 0.0).sum(dim=1, keepdim=True) / n_samples.unsqueeze(1)  # [B, 1]
    return torch.where(mask, wavs, means)
