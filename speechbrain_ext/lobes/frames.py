"""How the frames of a batch lie in memory, and attention over them: packed without padding, or in padded rows."""

from collections.abc import Callable
from typing import Optional

import torch
import torch.nn.functional as F
from speechbrain.dataio.dataio import length_to_mask

# Scores [B, H, Q, K] that attention adds before its softmax, from what each query knows, [B, Q, G], and the number K.
Bias = Callable[[torch.Tensor, int], torch.Tensor]


class PackedFrames:
    """Frames of clips one after another, [N, D]: no padding is computed, and none can be seen.

    Arguments
    ---------
    lengths
        Frames of each clip, [B], int64.
    n_frames
        Length F of the padded rows.
    eager
        Whether attention is computed step by step rather than by `scaled_dot_product_attention`.

    Attributes
    ----------
    density : float
        Share of the clips' own frames in the padded rows, in (0, 1].
    """

    def __init__(self, lengths: torch.Tensor, n_frames: int, eager: bool = False) -> None:
        self.lengths, self.n_frames = lengths.tolist(), n_frames
        self.starts = lengths.cumsum(0) - lengths
        self.density = sum(self.lengths) / (len(self.lengths) * n_frames)
        self.equal = len(set(self.lengths)) == 1
        self.eager = eager

    def pack(self, rows: torch.Tensor) -> torch.Tensor:
        """Take each clip's own frames out of [B, F, D]."""
        if self.density == 1:
            return rows.flatten(0, 1)
        return torch.cat([row[:length] for row, length in zip(rows, self.lengths)])

    def pad(self, frames: torch.Tensor) -> torch.Tensor:
        """Return [B, F, D] with zeros for padding."""
        if self.density == 1:
            return frames.unflatten(0, (len(self.lengths), -1))
        clips = frames.split(self.lengths)  # pad_sequence knows no vmap
        return torch.stack([F.pad(clip, (0, 0, 0, self.n_frames - len(clip))) for clip in clips])

    def first(self, frames: torch.Tensor) -> torch.Tensor:
        """Return frame 0 of each clip, [N, D] -> [B, D]."""
        return frames[self.starts]

    def mean(self, frames: torch.Tensor) -> torch.Tensor:
        """Return the average of each clip's frames, [N, D] -> [B, D], summed at least in float32."""
        dtype = torch.promote_types(frames.dtype, torch.float32)
        means = [clip.mean(dim=0, dtype=dtype) for clip in frames.split(self.lengths)]
        return torch.stack(means).to(frames.dtype)

    def attend(
        self,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        n_heads: int,
        bias: Optional[Bias] = None,
        basis: Optional[torch.Tensor] = None,
    ) -> torch.Tensor:
        """Attend to a clip's own frames.

        Arguments
        ---------
        queries
            [N, D], or [B, D] for frame 0 alone.
        keys, values
            [N, D].
        n_heads
            Number of heads H.
        bias
            What is added to the scores.
        basis
            What `bias` is computed from, for each query: [N, G], or [B, G].

        Returns
        -------
        torch.Tensor
            As the queries.
        """
        if self.equal:
            n_clips = len(self.lengths)
            attended = _attend(queries, keys, values, n_clips, n_heads, bias=bias, basis=basis, eager=self.eager)
            return attended.reshape(queries.shape)
        n_queries = self.lengths if len(queries) == len(keys) else 1
        bases = [None] * len(self.lengths) if basis is None else basis.split(n_queries)
        clips = zip(queries.split(n_queries), keys.split(self.lengths), values.split(self.lengths), bases)
        pieces = [
            _attend(queries, keys, values, 1, n_heads, None, bias, basis, self.eager)
            for queries, keys, values, basis in clips
        ]
        return torch.cat(pieces, dim=1).reshape(queries.shape)


class PaddedFrames:
    """Frames of clips in rows of equal length, [B, F, D]; attention masks the padding.

    Arguments
    ---------
    lengths
        Frames of each clip, [B], int64.
    n_frames
        Length F of a row.
    padded
        Whether a clip may be shorter than its row; without padding there is no mask.
    eager
        As in `PackedFrames`.
    """

    def __init__(self, lengths: torch.Tensor, n_frames: int, padded: bool = True, eager: bool = False) -> None:
        self.lengths, self.n_frames = lengths, n_frames
        self.own = length_to_mask(lengths, max_len=n_frames, dtype=torch.bool) if padded else None  # [B, F]
        self.eager = eager

    def pack(self, rows: torch.Tensor) -> torch.Tensor:
        """Take [B, F, D] as it is."""
        return rows

    def pad(self, frames: torch.Tensor) -> torch.Tensor:
        """Set the padding in [B, F, D] to zero."""
        return frames if self.own is None else frames.masked_fill(~self.own.unsqueeze(-1), 0.0)

    def first(self, frames: torch.Tensor) -> torch.Tensor:
        """Return frame 0 of each clip, [B, F, D] -> [B, D]."""
        return frames[:, 0]

    def mean(self, frames: torch.Tensor) -> torch.Tensor:
        """Return the average of each clip's own frames, [B, F, D] -> [B, D], summed at least in float32."""
        dtype = torch.promote_types(frames.dtype, torch.float32)
        return (self.pad(frames).sum(dim=1, dtype=dtype) / self.lengths.unsqueeze(1)).to(frames.dtype)

    def attend(
        self,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        n_heads: int,
        bias: Optional[Bias] = None,
        basis: Optional[torch.Tensor] = None,
    ) -> torch.Tensor:
        """Attend to a clip's own frames, as `PackedFrames.attend`; with [B, F, D] in place of [N, D]."""
        mask = None if self.own is None else self.own[:, None, None, :]  # [B, F] -> [B, heads, queries, F]
        attended = _attend(queries, keys, values, keys.shape[0], n_heads, mask, bias, basis, self.eager)
        return attended.reshape(queries.shape)


Frames = PackedFrames | PaddedFrames


def _attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    n_clips: int,
    n_heads: int,
    mask: Optional[torch.Tensor] = None,
    bias: Optional[Bias] = None,
    basis: Optional[torch.Tensor] = None,
    eager: bool = False,
) -> torch.Tensor:
    """Compute attention with several heads of B clips of equal length, [B * F, D] or [B, F, D] -> [B, F, H, D / H]."""
    shape = (n_clips, -1, n_heads, keys.shape[-1] // n_heads)
    queries = queries.view(shape).transpose(1, 2)  # [B, H, F, D / H]
    keys, values = keys.view(shape).transpose(1, 2), values.view(shape).transpose(1, 2)
    if bias is not None and basis is not None:
        added = bias(basis.view(n_clips, -1, basis.shape[-1]), keys.shape[2]).to(queries.dtype)  # [B, H, Q, F]
        mask = added if mask is None else added.masked_fill(~mask, float("-inf"))
    if eager:
        scores = queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5
        if mask is not None and mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        elif mask is not None:
            scores = scores + mask
        attended = scores.softmax(dim=-1) @ values
    else:
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    return attended.transpose(1, 2)
