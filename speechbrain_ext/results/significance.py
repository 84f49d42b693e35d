"""Uncertainty of WA, UA and of differences between systems: bootstrap over utterances or speakers, McNemar's test.

The bootstrap draws clusters: single utterances, or speakers with all of their utterances. The utterances of one speaker
are not independent, so the intervals over speakers, which are wider, are the valid ones for speakers never heard.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Optional

import numpy as np
import scipy  # which imports scipy.stats, a second's work, at its first use
from numpy.typing import ArrayLike

from speechbrain_ext.errors import InputError, check_number, check_whole_number

CELLS = 2**20  # resamples times clusters at once: about 40 MB

Counts = tuple[ArrayLike, ArrayLike]
Interval = tuple[float, float]


def accuracies(hits: ArrayLike, totals: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Compute WA and UA, as `EmotionMetrics` does, from counts.

    Arguments
    ---------
    hits : numpy.ndarray
        Correct decisions among the clips of each true class, [..., C].
    totals : numpy.ndarray
        Clips of each true class, [..., C].

    Returns
    -------
    tuple of numpy.ndarray
        (WA, UA), fractions, [...]. UA is the mean recall of the classes that occur; both are 0 where there is no clip.

    Raises
    ------
    InputError
        If the shapes differ.

    Example
    -------
    >>> WA, UA = accuracies([9, 0, 0], [9, 0, 1])
    >>> float(WA), float(UA)
    (0.9, 0.5)
    """
    hits, totals = np.asarray(hits), np.asarray(totals)
    if hits.shape != totals.shape:
        raise InputError(f"hits and totals must have the same shape, got {hits.shape} and {totals.shape}.")
    WA = hits.sum(axis=-1) / np.maximum(totals.sum(axis=-1), 1)
    recalls = hits / np.maximum(totals, 1)  # 0 for a class that does not occur
    UA = recalls.sum(axis=-1) / np.maximum((totals > 0).sum(axis=-1), 1)
    return WA, UA


def cluster_counts(
    clusters: ArrayLike, true: ArrayLike, predicted: ArrayLike, n_classes: int
) -> tuple[list[Any], np.ndarray, np.ndarray]:
    """Count clips and correct decisions of each cluster and true class.

    Arguments
    ---------
    clusters : sequence of str
        The cluster of each decision: its utterance id, or its speaker. The decisions of several seeds add up.
    true, predicted : sequence of int
        Class indices from 0, one a decision.
    n_classes : int
        C.

    Returns
    -------
    tuple
        (labels: list of the K clusters, sorted; hits: numpy.ndarray, [K, C]; totals: numpy.ndarray, [K, C]).

    Raises
    ------
    InputError
        If the lengths differ, or an index is no class.

    Example
    -------
    >>> labels, hits, totals = cluster_counts(["f1", "m1", "f1"], [0, 0, 1], [0, 1, 1], n_classes=2)
    >>> labels, hits.tolist(), totals.tolist()
    (['f1', 'm1'], [[1, 1], [0, 0]], [[1, 1], [1, 0]])
    """
    clusters, true, predicted = np.asarray(clusters), np.asarray(true), np.asarray(predicted)
    if clusters.ndim != 1 or not clusters.shape == true.shape == predicted.shape:
        raise InputError(
            "clusters, true and predicted must be flat and have one entry a decision, got the shapes "
            f"{clusters.shape}, {true.shape} and {predicted.shape}."
        )
    for name, classes in (("true", true), ("predicted", predicted)):
        wrong = classes[~np.isin(classes, np.arange(n_classes))]
        if wrong.size:
            raise InputError(f"{name} must hold class indices from 0 to {n_classes - 1}, got {wrong[0]}.")
    labels, rows = np.unique(clusters, return_inverse=True)
    hits, totals = np.zeros((2, len(labels), n_classes), np.int64)
    np.add.at(totals, (rows, true.astype(np.int64)), 1)  # an empty list comes as floats
    np.add.at(hits, (rows, true.astype(np.int64)), true == predicted)
    return labels.tolist(), hits, totals


def bootstrap_intervals(
    hits: ArrayLike, totals: ArrayLike, confidence: float = 0.95, n_resamples: int = 9999, seed: int = 0
) -> Optional[dict[str, Interval]]:
    """Compute percentile bootstrap intervals of WA and UA.

    Each resample draws K of the K clusters with replacement; WA and UA are computed anew from each (Bisani and Ney,
    "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004). With about ten speakers
    an interval over speakers is still somewhat too narrow, and with fewer than five it says little.

    Arguments
    ---------
    hits, totals : numpy.ndarray
        Counts of each cluster and true class, [K, C], as `cluster_counts` returns them.
    confidence : float
        Share of the resamples within the interval, in (0, 1).
    n_resamples : int
        Number of resamples, 2 or more.
    seed : int
        Seed of the draws.

    Returns
    -------
    dict or None
        {"WA": (low, high), "UA": (low, high)}, fractions. None with fewer than two clusters.

    Raises
    ------
    InputError
        If shapes, counts or an option cannot be.

    Example
    -------
    >>> bootstrap_intervals([[1], [0]], [[1], [1]])
    {'WA': (0.0, 1.0), 'UA': (0.0, 1.0)}
    """
    hits, totals = _checked("hits and totals", hits, totals)

    found = percentiles([len(hits)], lambda drawn: _accuracies_of(drawn, hits, totals), confidence, n_resamples, seed)
    return None if found is None else {name: bounds for name, bounds in zip(("WA", "UA"), found) if bounds}


def bootstrap_difference(
    counts_a: Counts,
    counts_b: Counts,
    paired: bool = True,
    confidence: float = 0.95,
    n_resamples: int = 9999,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Compute by how much a is better than b, with percentile bootstrap intervals.

    Two systems are paired: both are evaluated on the same resamples, so that what is hard for both cancels out. An
    interval without 0 is evidence of a difference between these trained models; how much another training of the same
    system would differ is not in it. Two groups of speakers are not paired: each is resampled by itself.

    Arguments
    ---------
    counts_a, counts_b : tuple of numpy.ndarray
        (hits, totals) of each, [K, C]; of pairs row by row for the same clusters. The totals may differ, as they do
        where one system was run with more seeds.
    paired : bool
        Whether both have the same clusters.
    confidence, n_resamples, seed
        As in `bootstrap_intervals`.

    Returns
    -------
    dict
        {"WA": {"difference": a - b, "interval": (low, high)}, "UA": {...}}, fractions; the interval is None with fewer
        than two clusters.

    Raises
    ------
    InputError
        If shapes, counts or an option cannot be, or there is no cluster.

    Example
    -------
    >>> totals = [[2, 2], [2, 2]]
    >>> bootstrap_difference(([[2, 1], [1, 2]], totals), ([[1, 1], [1, 1]], totals))["WA"]
    {'difference': 0.25, 'interval': (0.25, 0.25)}
    """
    sides = [_checked(name, *counts) for name, counts in (("counts_a", counts_a), ("counts_b", counts_b))]
    (hits_a, _), (hits_b, _) = sides
    if hits_a.shape[not paired :] != hits_b.shape[not paired :]:
        raise InputError(
            f"counts_a and counts_b must be of the same clusters and classes, got {hits_a.shape} and {hits_b.shape}."
        )
    if not len(hits_a) or not len(hits_b):
        raise InputError("counts_a and counts_b hold no cluster: the two systems have none in common.")

    def statistic(*drawn: np.ndarray) -> np.ndarray:
        a, b = (_accuracies_of(one, *counts) for one, counts in zip(2 * drawn if paired else drawn, sides))
        return a - b  # [2, B]

    everything = [np.arange(len(hits))[None] for hits, _ in sides]
    differences = statistic(*everything[: 1 if paired else 2])[:, 0]
    sizes = [len(hits_a)] if paired else [len(hits_a), len(hits_b)]
    intervals = percentiles(sizes, statistic, confidence, n_resamples, seed) or [None, None]
    return {
        name: {"difference": float(difference), "interval": interval}
        for name, difference, interval in zip(("WA", "UA"), differences, intervals)
    }


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> dict[str, Any]:
    """Test whether two systems make equally many errors: the exact form of McNemar's test.

    If they do, an utterance that only one of them gets right is as likely to be a's as b's; p is that of the two-sided
    binomial test (McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12, 1947). Utterances count as independent: each may occur once, so in one seed only.

    Arguments
    ---------
    correct_a, correct_b : numpy.ndarray
        Whether each system is right, for the same utterances in the same order, bool, [N].

    Returns
    -------
    dict
        only_a, only_b (numbers of utterances that only this system gets right), p (1.0 where both are 0).

    Raises
    ------
    InputError
        If the arrays are not boolean, flat and of one length.

    Example
    -------
    >>> mcnemar([True] + [False] * 5, [False] + [True] * 5)
    {'only_a': 1, 'only_b': 5, 'p': 0.21875}
    """
    correct_a, correct_b = np.asarray(correct_a), np.asarray(correct_b)
    for name, correct in (("correct_a", correct_a), ("correct_b", correct_b)):
        if correct.dtype != bool or correct.ndim != 1:
            raise InputError(f"{name} must be a flat array of bool, got {correct.dtype} of shape {correct.shape}.")
    if correct_a.shape != correct_b.shape:
        raise InputError(
            f"correct_a and correct_b must be of the same utterances, got {len(correct_a)} and {len(correct_b)}."
        )
    only_a, only_b = int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum())
    p = float(scipy.stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return {"only_a": only_a, "only_b": only_b, "p": p}


def _checked(name: str, hits: ArrayLike, totals: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    hits, totals = np.asarray(hits, dtype=float), np.asarray(totals, dtype=float)
    if hits.ndim != 2 or hits.shape != totals.shape:
        raise InputError(f"{name} must be [clusters, classes] twice, got the shapes {hits.shape} and {totals.shape}.")
    if (hits < 0).any() or not (hits <= totals).all():
        raise InputError(f"{name}: the hits of a cluster must be from 0 to its clips. Count them with cluster_counts.")
    if (totals.sum(axis=1) == 0).any():
        raise InputError(f"{name}: cluster {int(totals.sum(axis=1).argmin())} has no clips. Leave it out.")
    return hits, totals


def _accuracies_of(drawn: np.ndarray, hits: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Compute (WA, UA), [2, B], of the clusters that were drawn, [B, K] of their indices."""
    return np.stack(accuracies(*np.split(resampled_sums(drawn, np.hstack([hits, totals])), 2, axis=-1)))


def resampled_sums(drawn: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Add up the rows of counts [K, M] that were drawn, [B, K] of their indices, into [B, M]."""
    n_clusters = len(counts)
    offsets = n_clusters * np.arange(len(drawn))[:, None]  # rows apart, so that one bincount does for all
    weights = np.bincount((drawn + offsets).ravel(), minlength=drawn.size).reshape(drawn.shape)
    return weights @ counts  # [B, K] @ [K, M] -> [B, M]


def percentiles(
    n_clusters: Sequence[int], statistic: Callable[..., np.ndarray], confidence: float, n_resamples: int, seed: int
) -> Optional[list[Optional[Interval]]]:
    """Draw clusters of each group, [B, K] indices; take the percentiles of each statistic, [S, B], NaN left out."""
    check_number("confidence", confidence, 0, 1, inclusive=False)
    check_whole_number("n_resamples", n_resamples, 2)
    if min(n_clusters) < 2:
        return None

    def on_drawn(*drawn: np.ndarray, axis: int) -> np.ndarray:
        del axis  # clusters are along the last
        return statistic(*drawn)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.stats.DegenerateDataWarning)  # of NaN, which are left out below
        values = scipy.stats.bootstrap(
            tuple(np.arange(n) for n in n_clusters),
            on_drawn,
            vectorized=True,
            batch=max(1, CELLS // max(n_clusters)),
            n_resamples=n_resamples,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
    tails = 50 * (1 - confidence), 50 * (1 + confidence)
    bounds = [np.percentile(row[~np.isnan(row)], tails) if not np.isnan(row).all() else None for row in values]
    return [None if pair is None else (float(pair[0]), float(pair[1])) for pair in bounds]
