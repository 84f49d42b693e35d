"""WA, UA, macro-F1 and recalls of confusion counts; with bootstrap intervals."""

from typing import Optional

import numpy as np
from numpy.typing import ArrayLike

from speechbrain_ext.results.significance import Interval, accuracies, percentiles, resampled_sums


def confusion_metrics(confusions: ArrayLike) -> np.ndarray:
    """Compute WA, UA, macro-F1 and the recall of each class.

    Arguments
    ---------
    confusions : numpy.ndarray
        Counts, true by predicted class, [..., C, C].

    Returns
    -------
    numpy.ndarray
        Fractions, [..., 3 + C]. UA is the mean recall of the classes that occur, macro-F1 the mean F1 of the classes
        that occur or were decided for; the recall of a class that does not occur is NaN.

    Example
    -------
    >>> confusion_metrics([[2, 0], [1, 1]]).round(3).tolist()
    [0.75, 0.75, 0.733, 1.0, 0.5]
    """
    counts = np.asarray(confusions, dtype=float)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)  # [..., C]
    n_true, n_predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    WA, UA = accuracies(hits, n_true)
    with np.errstate(invalid="ignore"):  # 0 / 0: NaN
        recalls, f1 = hits / n_true, 2 * hits / (n_true + n_predicted)
    present = np.maximum((n_true + n_predicted > 0).sum(axis=-1), 1)
    return np.concatenate([np.stack([WA, UA, np.nansum(f1, axis=-1) / present], axis=-1), recalls], axis=-1)


def metric_intervals(
    confusions: ArrayLike, confidence: float = 0.95, n_resamples: int = 9999, seed: int = 0
) -> Optional[list[Optional[Interval]]]:
    """Compute percentile bootstrap intervals of what `confusion_metrics` computes.

    Arguments
    ---------
    confusions : numpy.ndarray
        The confusion counts of each cluster, [K, C, C].
    confidence, n_resamples, seed
        As in `bootstrap_intervals`.

    Returns
    -------
    list or None
        An interval for each of the 3 + C metrics; None for a class that does not occur. Resamples without a class do
        not count for its recall. None with fewer than two clusters.

    Example
    -------
    >>> metric_intervals([[[1, 0], [0, 0]], [[0, 1], [0, 0]]])
    [(0.0, 1.0), (0.0, 1.0), (0.0, 1.0), (0.0, 1.0), None]
    """
    counts = np.asarray(confusions, dtype=float)
    n_classes = counts.shape[-1]

    def statistic(drawn: np.ndarray) -> np.ndarray:
        sums = resampled_sums(drawn, counts.reshape(len(counts), -1))  # [B, C * C]
        return confusion_metrics(sums.reshape(-1, n_classes, n_classes)).T  # [B, 3 + C] -> [3 + C, B]

    return percentiles([len(counts)], statistic, confidence, n_resamples, seed)
