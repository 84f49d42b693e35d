"""Weighted and unweighted accuracy, recalls and confusion counts, on torchmetrics; over all processes that evaluate."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torchmetrics.classification import MulticlassConfusionMatrix

from speechbrain_ext.errors import InputError
from speechbrain_ext.training.distributed import gather


class EmotionMetrics:
    """Collects decisions and computes WA, UA and the recall of each emotion.

    WA (weighted accuracy) is the share of correct decisions; UA (unweighted accuracy) is the mean of the recalls of
    the emotions that occur among the targets. An emotion that does not occur has no recall: it is left out of UA and
    named. Where several processes each hold a part of the clips, all compute over the clips of all.

    Arguments
    ---------
    emotions : list of str
        Labels, in the order of the class indices.
    device : str or torch.device
        Where the counts are kept: the device of the tensors that come.

    Example
    -------
    >>> metrics = EmotionMetrics(["ang", "hap", "sad"])
    >>> metrics.update(torch.eye(3)[[0, 0, 1, 0]], torch.tensor([0, 0, 1, 1]))
    tensor([0, 0, 1, 0])
    >>> metrics.compute()
    {'WA': 0.75, 'UA': 0.75, 'recall': {'ang': 1.0, 'hap': 0.5, 'sad': None}, 'absent': ['sad'], 'n': 4,
    'confusion': [[2, 0, 0], [1, 1, 0], [0, 0, 0]]}
    """

    def __init__(self, emotions: Sequence[str], device: str | torch.device = "cpu"):
        self.emotions = list(emotions)
        self.counts = MulticlassConfusionMatrix(len(self.emotions)).to(device)

    def update(self, log_posteriors: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Decide about a batch and count the decisions.

        This is the only place that decides: `exp` can make two log-posteriors equal that differ by one rounding
        step, so whoever writes predictions takes the decisions from here.

        Arguments
        ---------
        log_posteriors : torch.Tensor
            [B, C]; the largest decides, the first of equals.
        targets : torch.Tensor
            Class indices, [B].

        Returns
        -------
        torch.Tensor
            The decisions: class indices, [B].

        Raises
        ------
        InputError
            If a log-posterior is NaN: that decides nothing.
        """
        if log_posteriors.isnan().any():
            raise InputError(
                "log-posteriors are NaN in evaluation. Use --eval_precision=fp32; if it is, the weights are of no use: "
                "lower lr, and train anew in another --output_folder."
            )
        decisions = log_posteriors.argmax(dim=1)
        self.counts.update(decisions, targets)
        return decisions

    def compute(self) -> dict[str, Any]:
        """Compute all metrics over what was added, here and in all other processes: torchmetrics adds their counts.

        Returns
        -------
        dict
            WA and UA (fractions), recall (emotion -> fraction, None where absent), absent (emotions that do not
            occur), n (number of clips), confusion (counts, [true][predicted]).
        """
        confusion = self.counts.compute().to("cpu", torch.float64)  # [C, C], true by predicted
        n_true = confusion.sum(dim=1)
        present = n_true > 0
        n = int(n_true.sum())
        recalls = confusion.diagonal() / n_true
        return {
            "WA": float(confusion.diagonal().sum() / n) if n else 0.0,
            "UA": float(recalls[present].mean()) if n else 0.0,
            "recall": {emo: float(r) if p else None for emo, r, p in zip(self.emotions, recalls, present)},
            "absent": [emo for emo, p in zip(self.emotions, present) if not p],
            "n": n,
            "confusion": confusion.long().tolist(),
        }


def mean_batch_loss(losses: Sequence[float]) -> float:
    """Average the losses of all processes' batches in the order, and with the running mean, of a Brain in one process.

    Arguments
    ---------
    losses : list of float
        A loss for each batch of this process, where each of n processes has every n-th batch. Losses that are not
        finite are left out.

    Returns
    -------
    float
        The mean, the same in all processes.

    Example
    -------
    >>> mean_batch_loss([1.0, 2.0, 6.0])
    3.0
    """
    average = 0.0
    in_turn = itertools.chain.from_iterable(itertools.zip_longest(*gather(losses)))
    for n, loss in enumerate((loss for loss in in_turn if loss is not None), 1):
        if math.isfinite(loss):
            average -= average / n
            average += loss / n
    return average
