"""WA, UA, macro-F1 and recalls of confusion counts, with bootstrap intervals, and gaps between groups of utterances."""

from collections.abc import Sequence
from typing import Any, Optional

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


def group_gaps(
    confusions_a: ArrayLike, confusions_b: ArrayLike, confidence: float = 0.95, n_resamples: int = 9999, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Compute by how much a system is better on group a than on group b, which have no cluster in common.

    Each group's clusters are resampled by themselves. Groups that share their clusters, such as two styles of the same
    speakers, are compared by `paired_bootstrap`.

    Arguments
    ---------
    confusions_a, confusions_b : numpy.ndarray
        The confusion counts of each cluster of a group, [K, C, C].
    confidence, n_resamples, seed
        As in `bootstrap_intervals`.

    Returns
    -------
    dict
        As `paired_bootstrap` returns it; the interval is None where a group has fewer than two clusters.

    Example
    -------
    >>> right, wrong = [[1, 0], [0, 0]], [[0, 1], [0, 0]]
    >>> group_gaps([right, right], [right, wrong])["WA"]
    {'difference': 0.5, 'interval': (0.0, 1.0)}
    """
    groups = [np.asarray(one, dtype=float) for one in (confusions_a, confusions_b)]

    def gap(sums: Sequence[np.ndarray]) -> np.ndarray:
        a, b = (confusion_metrics(one)[..., :2] for one in sums)  # [..., WA and UA]
        return np.moveaxis(a - b, -1, 0)

    def statistic(*drawn: np.ndarray) -> np.ndarray:
        sums = (resampled_sums(one, counts.reshape(len(counts), -1)) for one, counts in zip(drawn, groups))
        return gap([one.reshape(-1, *groups[0].shape[1:]) for one in sums])

    differences = gap([one.sum(axis=0) for one in groups])
    found = percentiles([len(one) for one in groups], statistic, confidence, n_resamples, seed) or [None, None]
    return {
        name: {"difference": float(difference), "interval": interval}
        for name, difference, interval in zip(("WA", "UA"), differences, found)
    }
