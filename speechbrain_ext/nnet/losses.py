"""Losses for soft labels: recognition loss (eq. 4) and center loss on the most probable class (eq. 5)."""

import torch
from torch import nn

from speechbrain_ext.errors import InputError

ONE_HOT = "Class indices have to be made one-hot: torch.nn.functional.one_hot(labels, n_classes)."


def soft_label_kl_loss(log_posteriors: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Kullback-Leibler divergence of the posteriors from soft targets, mean over the batch (eq. 4).

    Computed at least in float32, under autocast too.

    Arguments
    ---------
    log_posteriors : torch.Tensor
        Natural logarithms of the predicted class probabilities, [B, C].
    targets : torch.Tensor
        Class probabilities, [B, C], no class indices; a zero contributes nothing, as long as its log-posterior is
        finite.

    Returns
    -------
    torch.Tensor
        The loss in nats, a scalar.

    Raises
    ------
    InputError
        If the two do not have one shape [B, C] with at least one clip.

    Example
    -------
    >>> soft_label_kl_loss(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.0, 1.0]]))
    tensor(0.6931)
    """
    check_targets(log_posteriors, targets)
    dtype = torch.promote_types(log_posteriors.dtype, torch.float32)
    return nn.functional.kl_div(log_posteriors.to(dtype), targets.to(dtype), reduction="batchmean")


def check_targets(log_posteriors: torch.Tensor, targets: torch.Tensor) -> None:
    """Refuse log-posteriors and targets that do not have one shape [B, C] with at least one clip."""
    if log_posteriors.shape != targets.shape or targets.dim() != 2 or len(targets) == 0:
        raise InputError(
            f"log_posteriors and targets must have one shape [B, C], got {list(log_posteriors.shape)} and "
            f"{list(targets.shape)}. {ONE_HOT}"
        )


class ArgmaxCenterLoss(nn.Module):
    """Center loss for mixed labels: squared distance to the center of the most probable class (eq. 5).

    The centers are learnable parameters, so the module belongs in a Brain's `modules`, in an optimizer of its own
    (Sec. 3.2) and among the checkpointer's recoverables.

    Arguments
    ---------
    n_classes : int
        Number of emotions.
    emb_dim : int
        Size of the embedding.

    Example
    -------
    >>> center_loss = ArgmaxCenterLoss(n_classes=2, emb_dim=3)
    >>> center_loss.centers.data.zero_()
    tensor([[0., 0., 0.],
            [0., 0., 0.]])
    >>> center_loss(torch.ones(4, 3), torch.tensor([[0.3, 0.7]] * 4))
    tensor(3., grad_fn=<MeanBackward0>)
    """

    def __init__(self, n_classes: int, emb_dim: int) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.randn(n_classes, emb_dim))

    def forward(self, emb: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Compute the loss, at least in float32, under autocast too.

        Arguments
        ---------
        emb : torch.Tensor
            Embeddings f_0(F_e^0), [B, D].
        targets : torch.Tensor
            Class probabilities, [B, C], no class indices; of equally probable classes the first counts.

        Returns
        -------
        torch.Tensor
            Mean over the batch of the squared Euclidean distances, a scalar.

        Raises
        ------
        InputError
            If the sizes differ from those that the centers have.
        """
        n_classes, emb_dim = self.centers.shape
        if emb.shape != (len(emb), emb_dim) or targets.shape != (len(emb), n_classes) or len(emb) == 0:
            raise InputError(
                f"ArgmaxCenterLoss has {n_classes} centers of size {emb_dim}; got embeddings "
                f"of shape {list(emb.shape)} and targets of shape {list(targets.shape)}. {ONE_HOT}"
            )
        # The expanded form |x|^2 + |c|^2 - 2xc loses everything in bf16, so the difference is taken directly. Autocast
        # changes none of these operations.
        emb = emb.to(torch.promote_types(emb.dtype, torch.float32))
        distances = emb - self.centers[targets.argmax(dim=-1)].to(emb.dtype)  # [B, D]
        return distances.square().sum(dim=-1).mean()
