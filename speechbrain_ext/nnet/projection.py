"""The projection module: f_0 makes the embedding, f_1 the class log-posteriors (Sec. 2.2, Fig. 1)."""

import torch
from torch import nn


class EmotionEmbedding(nn.Linear):
    """f_0: one linear layer from the encoder's features to the embedding; no activation follows.

    Arguments
    ---------
    input_dim : int
        Size of the encoder's features.
    emb_dim : int
        Size of the embedding.

    Example
    -------
    >>> EmotionEmbedding(1024)(torch.zeros(2, 1024)).shape
    torch.Size([2, 64])
    """

    def __init__(self, input_dim: int, emb_dim: int = 64) -> None:
        super().__init__(input_dim, emb_dim)


class EmotionClassifier(nn.Linear):
    """f_1 with log-softmax: one linear layer from the embedding [B, D] to log-posteriors [B, C], at least in float32.

    Arguments
    ---------
    emb_dim : int
        Size of the embedding.
    n_classes : int
        Number of emotions.

    Example
    -------
    >>> log_posteriors = EmotionClassifier(64, 4)(torch.zeros(2, 64))
    >>> log_posteriors.exp().sum(dim=1).round(decimals=4)
    tensor([1., 1.], grad_fn=<RoundBackward1>)
    """

    def __init__(self, emb_dim: int, n_classes: int) -> None:
        super().__init__(emb_dim, n_classes)

    def forward(self, emb: torch.Tensor) -> torch.Tensor:
        """Turn embeddings [B, D] into log-posteriors [B, C]."""
        logits = super().forward(emb)
        return logits.log_softmax(dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
