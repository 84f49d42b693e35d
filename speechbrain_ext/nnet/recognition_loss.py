"""RecognitionLoss: the recognition loss of eq. 4, and three known changes to it for classes of unequal size."""

from collections.abc import Sequence

import torch
from torch import nn

from speechbrain_ext.errors import InputError, check_number
from speechbrain_ext.nnet.class_weights import check_class_weights
from speechbrain_ext.nnet.losses import check_targets, soft_label_kl_loss

TINY = 1e-12  # the smallest 1 - p whose power has a gradient


class RecognitionLoss(nn.Module):
    """Recognition loss for soft labels, with class weights, focal loss and logit adjustment; by default eq. 4 itself.

    A soft label stands for a mixture: the loss is the sum over classes of the label's share times the loss that the
    class alone would have, less the entropy of the (weighted) label, which is a constant. For a clip with shares z and
    posteriors p, with all three at once,

        sum_c w_c (z_c log z_c - z_c (1 - q_c)^gamma log q_c),   q = softmax(log p + tau log prior),

    and the mean over clips, not over weights, so that clips of large and small batches count alike.

    Arguments
    ---------
    class_weights : list of float or "balanced", optional
        w_c, in the order of the classes. "balanced": n / (C n_c), of mean 1 over the training clips (King and Zeng,
        "Logistic Regression in Rare Events Data", 2001). By default all are 1.
    focal_gamma : float
        gamma of the focal loss (Lin et al., "Focal Loss for Dense Object Detection", 2017): clips that are already
        decided well count less. 0 switches it off, 2 is the authors' choice.
    logit_adjustment : float
        tau (Menon et al., "Long-tail learning via logit adjustment", 2021): training adds tau times the logarithm of
        the classes' shares of the training clips, so that decisions, made without it, favour no class. 0 switches it
        off, 1 is the authors' choice.

    Raises
    ------
    InputError
        For a negative value, or weights that are no positive numbers.

    Example
    -------
    >>> loss = RecognitionLoss(class_weights="balanced")
    >>> loss.count_classes([30, 10])
    >>> loss(torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.0, 1.0]]))  # 2 log 2
    tensor(1.3863)
    """

    weights: torch.Tensor | None
    log_prior: torch.Tensor | None

    def __init__(
        self,
        class_weights: Sequence[float] | str | None = None,
        focal_gamma: float = 0.0,
        logit_adjustment: float = 0.0,
    ) -> None:
        super().__init__()
        check_class_weights(class_weights)
        check_number("focal_gamma", focal_gamma, 0, float("inf"))
        check_number("logit_adjustment", logit_adjustment, 0, float("inf"))
        self.class_weights = class_weights
        self.focal_gamma = focal_gamma
        self.logit_adjustment = logit_adjustment
        self.register_buffer("weights", None, persistent=False)
        self.register_buffer("log_prior", None, persistent=False)

    def count_classes(self, counts: Sequence[float]) -> None:
        """Learn the sizes of the classes; needed before the first call, except for eq. 4 itself.

        Arguments
        ---------
        counts : list of float
            Training clips of each class, in the order of the classes, or with soft labels the sums of their shares.

        Raises
        ------
        InputError
            If a class has none, or if there are not as many classes as weights.
        """
        found = torch.tensor(counts, dtype=torch.float32)
        if not (found > 0).all():
            raise InputError(f"counts must be positive: every class needs a training clip, got {list(counts)}.")
        self.log_prior = (found / found.sum()).log()
        if self.class_weights == "balanced":
            self.weights = found.sum() / (len(found) * found)
        elif self.class_weights is not None:
            check_class_weights(self.class_weights, len(found))
            self.weights = torch.tensor([float(weight) for weight in self.class_weights])

    def forward(self, log_posteriors: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Compute the loss, at least in float32, under autocast too.

        Arguments
        ---------
        log_posteriors : torch.Tensor
            Natural logarithms of the predicted class probabilities, [B, C].
        targets : torch.Tensor
            Class probabilities, [B, C], no class indices.

        Returns
        -------
        torch.Tensor
            The loss in nats, a scalar. With weights it can be negative where labels are soft.

        Raises
        ------
        InputError
            If the two do not have one shape [B, C], or the classes were not counted.
        """
        if self.class_weights is None and not self.focal_gamma and not self.logit_adjustment:
            return soft_label_kl_loss(log_posteriors, targets)
        check_targets(log_posteriors, targets)
        if self.log_prior is None:
            raise InputError("RecognitionLoss has not counted the classes: call count_classes first.")
        dtype = torch.promote_types(log_posteriors.dtype, torch.float32)
        log_posteriors, targets = log_posteriors.to(dtype), targets.to(dtype)
        if self.logit_adjustment:
            prior = self.log_prior.to(log_posteriors)
            log_posteriors = (log_posteriors + self.logit_adjustment * prior).log_softmax(dim=1)
        losses = targets * log_posteriors  # [B, C]
        if self.focal_gamma:
            losses = losses * (-torch.expm1(log_posteriors)).clamp(min=TINY).pow(self.focal_gamma)
        losses = torch.xlogy(targets, targets) - losses
        if self.weights is not None:
            losses = losses * self.weights.to(losses)
        return losses.sum(dim=1).mean()
