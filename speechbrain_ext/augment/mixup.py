"""Mixup of waveforms of different lengths: label-adaptive (eq. 1 and 3) and conventional (eq. 1 and 2)."""

from typing import Any

import torch
from speechbrain.dataio.dataio import length_to_mask
from torch import nn

from speechbrain_ext.dataio.waveform_scale import num_samples
from speechbrain_ext.errors import InputError, check_number

Clips = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # wavs [B, T], wav_lens [B], targets [B, C]


def length_adaptive_weight(
    n_samples: torch.Tensor, partner_n_samples: torch.Tensor, lam: float | torch.Tensor = 0.5
) -> torch.Tensor:
    """Weight of a clip's label in a mixed pair: its share of the mixed audio (eq. 3).

    Arguments
    ---------
    n_samples : torch.Tensor
        Lengths l_i of the clips, in any one unit, [B].
    partner_n_samples : torch.Tensor
        Lengths l_j of their partners, in the same unit, [B].
    lam : float or torch.Tensor
        Mixing coefficient lambda of the waveforms, in [0, 1].

    Returns
    -------
    torch.Tensor
        lam * l_i / (lam * l_i + (1 - lam) * l_j), [B], at least in float32, as float16 ends at 4 s of samples. The
        partner's weight is one minus it.

    Example
    -------
    >>> length_adaptive_weight(torch.tensor([3.0]), torch.tensor([1.0]))
    tensor([0.7500])
    """
    dtype = torch.promote_types(n_samples.dtype, torch.float32)
    own, other = lam * n_samples.to(dtype), (1 - lam) * partner_n_samples.to(dtype)
    return own / (own + other)


class PairMixup(nn.Module):
    """The common part of both mixups: which clips are mixed, and how waveforms of different lengths are added.

    A subclass says how lambda is drawn (`sample_lam`) and what a clip's label weighs (`label_weight`).

    Arguments
    ---------
    prob : float
        Probability in [0, 1] that a clip is mixed; drawn for each clip on its own.
    mask_padding : bool
        Whether samples beyond a clip's length count as silence. False mixes them too, as the authors' code does with
        clips that it has padded with their mean.
    overwrite_same_class : bool
        True repeats a fault of the authors' code: in a pair of one class the second label overwrites the first,
        so that the target sums to the partner's weight alone. False is the paper's equation.
    """

    def __init__(self, prob: float = 0.5, mask_padding: bool = True, overwrite_same_class: bool = False) -> None:
        super().__init__()
        check_number("prob", prob, 0, 1)
        self.prob = prob
        self.mask_padding = mask_padding
        self.overwrite_same_class = overwrite_same_class

    def sample_lam(self, n_clips: int, device: torch.device | str) -> torch.Tensor:
        """Draw lambda for each clip, [B]."""
        raise NotImplementedError

    def label_weight(self, n_samples: torch.Tensor, partner_n_samples: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
        """Weight of each clip's own label, [B]."""
        raise NotImplementedError

    def forward(
        self, wavs: torch.Tensor, wav_lens: torch.Tensor, targets: torch.Tensor, partner: Clips | None = None
    ) -> Clips:
        """Mix clips with their partners in training; return the input as it is in evaluation.

        Arguments
        ---------
        wavs : torch.Tensor
            Padded waveforms, [B, T].
        wav_lens : torch.Tensor
            Relative lengths in (0, 1], [B].
        targets : torch.Tensor
            Class probabilities, [B, C]; one-hot for clips with one label. Indices, SpeechBrain's [B, 1], are refused.
        partner : tuple, optional
            (wavs [B, T'], wav_lens [B], targets [B, C]): the clip that each clip is mixed with. A partner of length
            0 means that the clip has none and stays as it is. Without `partner`, clips are paired by a random
            permutation of the batch.

        Returns
        -------
        tuple
            (wavs [B, max(T, T')], wav_lens [B], targets [B, C]). A mixed clip is as long as the longer of its pair.
            The tensors given are never changed. Lengths are at least float32, as float16 is 16 ms off in 34 s.

        Raises
        ------
        InputError
            If `wavs` are no waveforms, `targets` no class probabilities, or there are more clips than partners.
        """
        if not self.training:
            return wavs, wav_lens, targets
        self._check_targets(wavs, targets)
        if partner is None:
            order = torch.randperm(wavs.shape[0], device=wavs.device)
            partner = wavs[order], wav_lens[order], targets[order]
        chosen = torch.rand(wavs.shape[0], device=wavs.device) < self.prob
        lam = self.sample_lam(wavs.shape[0], wavs.device)
        return self.mix(wavs, wav_lens, targets, partner, chosen, lam)

    def mix(
        self,
        wavs: torch.Tensor,
        wav_lens: torch.Tensor,
        targets: torch.Tensor,
        partner: Clips,
        chosen: torch.Tensor,
        lam: torch.Tensor,
    ) -> Clips:
        """Mix the chosen clips with the given lambdas: the part of `forward` without randomness.

        Arguments
        ---------
        wavs, wav_lens, targets, partner
            As in `forward`.
        chosen : torch.Tensor
            Which clips are mixed, [B], bool.
        lam : torch.Tensor
            Mixing coefficients in [0, 1], [B].

        Returns
        -------
        tuple
            As `forward`.
        """
        partner_wavs, partner_lens, partner_targets = partner
        if partner_wavs.shape[0] != wavs.shape[0]:
            raise InputError(
                f"partner must hold one clip for each of the {wavs.shape[0]} clips, it holds {partner_wavs.shape[0]}."
            )
        self._check_targets(wavs, targets, partner_targets)
        if not targets.is_floating_point():  # torch's one_hot gives integers, which hold no weights
            targets = targets.float()
        n_samples = num_samples(wavs, wav_lens)
        partner_n_samples = num_samples(partner_wavs, partner_lens)
        chosen = chosen & (partner_n_samples > 0)

        n_times = max(wavs.shape[1], partner_wavs.shape[1])
        own = self._padded(wavs, n_samples, n_times)
        other = self._padded(partner_wavs, partner_n_samples, n_times)
        lam_wav = lam.to(wavs.dtype).unsqueeze(1)  # [B] -> [B, 1]
        mixed_wavs = lam_wav * own + (1 - lam_wav) * other
        mixed_wavs = torch.where(chosen.unsqueeze(1), mixed_wavs, own)

        weight = self.label_weight(n_samples, partner_n_samples, lam).to(targets.dtype).unsqueeze(1)
        own_part = weight * targets
        if self.overwrite_same_class:
            same_class = (targets.argmax(1) == partner_targets.argmax(1)).unsqueeze(1)
            own_part = own_part.masked_fill(same_class, 0.0)
        mixed_targets = own_part + (1 - weight) * partner_targets
        mixed_targets = torch.where(chosen.unsqueeze(1), mixed_targets, targets)

        mixed_n_samples = torch.where(chosen, torch.maximum(n_samples, partner_n_samples), n_samples)
        mixed_lens = mixed_n_samples / n_times
        return mixed_wavs, mixed_lens.to(torch.promote_types(wav_lens.dtype, torch.float32)), mixed_targets

    @staticmethod
    def _check_targets(wavs: torch.Tensor, *targets: torch.Tensor) -> None:
        """Refuse labels that are not class probabilities [B, C]."""
        first = targets[0]
        if first.dim() != 2 or len(first) != len(wavs) or any(found.shape != first.shape for found in targets):
            shapes = " and ".join(str(list(found.shape)) for found in targets)
            raise InputError(
                f"targets must be class probabilities [B, C] of {len(wavs)} clips and their partners, got the shapes "
                f"{shapes}. Make labels one-hot first: torch.nn.functional.one_hot(labels, n_classes)."
            )
        if first.shape[1] == 1:
            raise InputError(
                f"targets have the shape {list(first.shape)}: these are class indices, as SpeechBrain's label encoder "
                "gives them, or there is but one class. mixup mixes class probabilities [B, C]: "
                "torch.nn.functional.one_hot(labels.squeeze(1), n_classes)."
            )

    def _padded(self, wavs: torch.Tensor, n_samples: torch.Tensor, n_times: int) -> torch.Tensor:
        if self.mask_padding:
            beyond = ~length_to_mask(n_samples, max_len=wavs.shape[1], dtype=torch.bool)
            wavs = wavs.masked_fill(beyond, 0.0)
        return nn.functional.pad(wavs, (0, n_times - wavs.shape[1]))


class LengthAdaptiveMixup(PairMixup):
    """Label-adaptive mixup (Kang et al., ICASSP 2023, eq. 1 and 3): labels are weighted by clip length.

    Arguments
    ---------
    prob : float
        Probability in [0, 1] that a clip is mixed.
    lam : float
        Mixing coefficient lambda of the waveforms, in (0, 1); a constant, as in the paper.
    **kwargs
        `mask_padding` and `overwrite_same_class`, see `PairMixup`.

    Example
    -------
    >>> mixup = LengthAdaptiveMixup(prob=1.0)
    >>> wavs, wav_lens = torch.ones(1, 8), torch.tensor([0.5])
    >>> partner = torch.ones(1, 12), torch.tensor([1.0]), torch.tensor([[0.0, 1.0]])
    >>> mixup(wavs, wav_lens, torch.tensor([[1.0, 0.0]]), partner)[1:]
    (tensor([1.]), tensor([[0.2500, 0.7500]]))
    """

    def __init__(self, prob: float = 0.5, lam: float = 0.5, **kwargs: Any) -> None:
        super().__init__(prob, **kwargs)
        check_number("lam", lam, 0, 1, inclusive=False)
        self.lam = lam

    def sample_lam(self, n_clips: int, device: torch.device | str) -> torch.Tensor:
        """Return the constant lambda for each clip, [B]."""
        return torch.full((n_clips,), self.lam, device=device)

    def label_weight(self, n_samples: torch.Tensor, partner_n_samples: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
        """Weight of each clip's own label by eq. 3, [B]."""
        return length_adaptive_weight(n_samples, partner_n_samples, lam)


class ConventionalMixup(PairMixup):
    """Conventional mixup (Zhang et al., ICLR 2018; eq. 1 and 2): labels are weighted like the waveforms.

    Arguments
    ---------
    prob : float
        Probability in [0, 1] that a clip is mixed.
    alpha : float
        Parameter of Beta(alpha, alpha), at least 0.01, from which lambda is drawn for each pair. The paper does not
        give its value; 1 is the uniform distribution.
    **kwargs
        `mask_padding` and `overwrite_same_class`, see `PairMixup`.

    Example
    -------
    >>> mixup = ConventionalMixup(prob=1.0, alpha=1.0)
    >>> targets = torch.eye(2)
    >>> wavs, wav_lens, mixed = mixup(torch.ones(2, 8), torch.ones(2), targets)
    >>> mixed.sum(dim=1)
    tensor([1., 1.])
    """

    def __init__(self, prob: float = 0.5, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(prob, **kwargs)
        check_number("alpha", alpha, 0.01, float("inf"))  # below, torch's Beta underflows and gives 0.5
        self.alpha = alpha

    def sample_lam(self, n_clips: int, device: torch.device | str) -> torch.Tensor:
        """Draw lambda ~ Beta(alpha, alpha) for each clip, [B]."""
        alpha = torch.full((n_clips,), float(self.alpha), device=device)
        return torch.distributions.Beta(alpha, alpha).sample()

    def label_weight(self, n_samples: torch.Tensor, partner_n_samples: torch.Tensor, lam: torch.Tensor) -> torch.Tensor:
        """Weight of each clip's own label by eq. 2: lambda, [B]."""
        return lam


def make_mixup(method: str = "label_adaptive", lam: float = 0.5, alpha: float = 1.0, **kwargs: Any) -> PairMixup:
    """Make a mixup by the name of its method, so that a YAML file can switch by one key.

    Arguments
    ---------
    method : str
        "label_adaptive" or "conventional".
    lam : float
        See `LengthAdaptiveMixup`.
    alpha : float
        See `ConventionalMixup`.
    **kwargs
        Arguments of `PairMixup`.

    Returns
    -------
    PairMixup
        The module.

    Raises
    ------
    InputError
        If the method is unknown.

    Example
    -------
    >>> make_mixup("conventional", alpha=0.4)
    ConventionalMixup()
    """
    if method == "label_adaptive":
        return LengthAdaptiveMixup(lam=lam, **kwargs)
    if method == "conventional":
        return ConventionalMixup(alpha=alpha, **kwargs)
    raise InputError(f"the mixup method must be label_adaptive or conventional, got {method!r}.")
