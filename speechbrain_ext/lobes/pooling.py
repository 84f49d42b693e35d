"""From the frames of several layers to one embedding: a learned sum of layers, and attentive statistics over frames."""

import torch
from speechbrain.dataio.dataio import length_to_mask
from speechbrain.lobes.models.ECAPA_TDNN import AttentiveStatisticsPooling
from torch import nn


class LayerSum(nn.Module):
    """A weighted sum of layers, sum_k softmax(w)_k h_k, as in SUPERB (Yang et al., Interspeech 2021).

    Arguments
    ---------
    n_states : int
        How many are summed.

    Example
    -------
    >>> LayerSum(3)(torch.tensor([[[1.0], [2.0], [6.0]]]))  # equal weights at first
    tensor([[3.]], grad_fn=...)
    """

    def __init__(self, n_states: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(n_states))

    def weights(self, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Return the weights, [K]."""
        return self.logits.softmax(dim=0).to(dtype)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Sum over layers, [B, K, ..., D] -> [B, ..., D]."""
        weights = self.weights(states.dtype).expand(len(states), 1, -1)  # [K] -> [B, 1, K]
        return torch.bmm(weights, states.flatten(2)).view(len(states), *states.shape[2:])  # tensordot transposes first


class AttentivePooling(AttentiveStatisticsPooling):
    """SpeechBrain's `AttentiveStatisticsPooling`, with the same weights, blind to padding also in training.

    There, the BatchNorm within it counts padded frames in training, and relative lengths may round to one frame less.

    Arguments
    ---------
    channels : int
        Size D of a frame.

    Example
    -------
    >>> AttentivePooling(8)(torch.randn(2, 5, 8), torch.tensor([5, 3])).shape
    torch.Size([2, 16])
    """

    def forward(self, rows: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Compute the attended mean and standard deviation of each clip's own frames.

        Arguments
        ---------
        rows : torch.Tensor
            Frames, [B, F, D].
        lengths : torch.Tensor
            Frames of each clip, at least one, [B], int64.

        Returns
        -------
        torch.Tensor
            [B, 2 D], of sums in float32 or better.
        """
        exact = rows.to(torch.promote_types(rows.dtype, torch.float32))  # a square of 256 is beyond float16
        own = length_to_mask(lengths, max_len=rows.shape[1], dtype=torch.bool)  # [B, F]
        uniform = own.unsqueeze(2).to(exact.dtype) / lengths[:, None, None]
        overall = (part.to(rows.dtype).unsqueeze(1).expand_as(rows) for part in self._statistics(exact, uniform))
        context = torch.cat([rows, *overall], 2)
        if self.training:  # BatchNorm computes statistics, of own frames
            scores = rows.new_full(rows.shape, float("-inf")).masked_scatter(
                own.unsqueeze(2), self._score(context[own])
            )
        else:
            scores = self._score(context.flatten(0, 1)).view(rows.shape)
            scores = scores.masked_fill(~own.unsqueeze(2), float("-inf"))
        return torch.cat(self._statistics(exact, scores.softmax(dim=1, dtype=exact.dtype)), dim=1).to(rows.dtype)

    def _score(self, context: torch.Tensor) -> torch.Tensor:
        """Compute the attention scores of frames, [N, 3 D] -> [N, D]: all its convolutions see one frame."""
        context = context.t().unsqueeze(0)  # [N, 3 D] -> [1, 3 D, N]
        return self.conv(self.tanh(self.tdnn(context))).squeeze(0).t()

    def _statistics(self, rows: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute weighted means and standard deviations over frames, [B, F, D] -> two of [B, D]."""
        means = (weights * rows).sum(dim=1)
        variances = (weights * (rows - means.unsqueeze(1)).square()).sum(dim=1)
        return means, variances.clamp(min=self.eps).sqrt()
