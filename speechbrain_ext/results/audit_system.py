"""Predictions of any system held against the labels: accuracies with intervals, gaps between groups, calibration."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from speechbrain_ext.errors import InputError
from speechbrain_ext.results.confusion_metrics import confusion_metrics, metric_intervals
from speechbrain_ext.results.significance import bootstrap_difference, mcnemar
from speechbrain_ext.results.system_predictions import System

ATTRIBUTES = ("gender", "language", "style")
N_BINS = 15


def audit_system(system: System, utterances: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Say how good a system is, and for whom.

    Arguments
    ---------
    system : System
        Its decisions.
    utterances : dict
        {id: {speaker, gender, language, style}}, each where it is known.

    Returns
    -------
    dict
        Ready for JSON; fractions.

        - "name", "n_utterances", "n_speakers" (None where they are not all known), "labels";
        - "metrics": for "WA", "UA", "macro_F1" and "recall <label>" the "value" (None for a label that does not occur),
          and 95% intervals "over_utterances" and "over_speakers" (None where there is none);
        - "groups": for each of gender, language and style a list, for each value: "value", "n_utterances", "WA", "UA"
          and "gap": by how much it is better than all others, as `bootstrap_difference` returns it, over utterances and
          over speakers;
        - "calibration": None, or the expected calibration error "ECE", the mean "confidence" and the "WA".
    """
    speakers = [str(utterances.get(utt_id, {}).get("speaker", "")) for utt_id in system.ids]
    clusters = {"over_utterances": system.ids, "over_speakers": speakers if all(speakers) else None}
    confusion = system.confusions(["all"] * len(system.ids))[1][0]
    names = ["WA", "UA", "macro_F1", *(f"recall {label}" for label in system.labels)]
    metrics: dict[str, dict[str, Any]] = {
        name: {"value": None if math.isnan(value) else float(value)}
        for name, value in zip(names, confusion_metrics(confusion))
    }
    for kind, members in clusters.items():
        found = metric_intervals(system.confusions(members)[1]) if members else None
        for name, interval in zip(names, found or [None] * len(names)):
            metrics[name][kind] = interval
    return {
        "name": system.name,
        "n_utterances": len(system.ids),
        "n_speakers": len(set(speakers)) if all(speakers) else None,
        "labels": system.labels,
        "confusion": confusion.tolist(),
        "metrics": metrics,
        "groups": {
            key: groups
            for key in ATTRIBUTES
            if (groups := _groups(system, [utterances.get(utt_id, {}).get(key) for utt_id in system.ids], speakers))
        },
        "calibration": _calibration(system),
    }


def _groups(system: System, values: Sequence[Optional[str]], speakers: Sequence[str]) -> list[dict[str, Any]]:
    """Compare the utterances of each value of an attribute with all others whose value is known."""
    names = sorted({value for value in values if value})
    if len(names) < 2:
        return []
    clusters = {"over_utterances": {utt_id: utt_id for utt_id in system.ids}}
    clusters["over_speakers"] = dict(zip(system.ids, speakers))
    groups: list[dict[str, Any]] = []
    for name in names:
        here = system.subset([i for i, value in enumerate(values) if value == name])
        others = system.subset([i for i, value in enumerate(values) if value and value != name])
        WA, UA = confusion_metrics(here.confusions(["all"] * len(here.ids))[1][0])[:2]
        if groups and len(names) == 2:  # the first one's gap from the other side: one draw for both
            gap = {over: _mirrored(found) for over, found in groups[0]["gap"].items()}
        else:
            gap = {over: _gap(here, others, cluster_of) for over, cluster_of in clusters.items()}
        groups.append({"value": name, "n_utterances": len(here.ids), "WA": float(WA), "UA": float(UA), "gap": gap})
    return groups


def _mirrored(gap: Optional[Mapping[str, Mapping[str, Any]]]) -> Optional[dict[str, Any]]:
    """Turn a minus b into b minus a."""
    if gap is None:
        return None
    return {
        name: {
            "difference": 0 - one["difference"],
            "interval": one["interval"] and (0 - one["interval"][1], 0 - one["interval"][0]),
        }
        for name, one in gap.items()
    }


def _gap(here: System, others: System, cluster_of: Mapping[str, str]) -> Optional[dict[str, Any]]:
    """Compare two groups of different clusters, or of the same; None where some are in one group only, or unknown."""
    (names_a, a), (names_b, b) = (one.counts([cluster_of[utt_id] for utt_id in one.ids]) for one in (here, others))
    if "" in names_a + names_b or (names_a != names_b and set(names_a) & set(names_b)):
        return None
    return bootstrap_difference(a, b, paired=names_a == names_b)


def _calibration(system: System) -> Optional[dict[str, float]]:
    if system.posteriors is None:
        return None
    import torch  # only now: torchmetrics takes seconds
    from torchmetrics.functional.classification import multiclass_calibration_error

    posteriors, true = torch.from_numpy(system.posteriors), torch.from_numpy(system.true)
    error = multiclass_calibration_error(posteriors, true, len(system.labels), n_bins=N_BINS, norm="l1")
    right = system.posteriors.argmax(axis=1) == system.true
    return {"ECE": float(error), "confidence": float(system.posteriors.max(axis=1).mean()), "WA": float(right.mean())}


def compare_systems(a: System, b: System, utterances: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Compare two systems on the utterances that both have decided about.

    Returns
    -------
    dict
        Ready for JSON: "a", "b", "n_utterances", "over_utterances" and "over_speakers" (as `bootstrap_difference`
        returns them; the latter None where a speaker is not known), "mcnemar".

    Raises
    ------
    InputError
        If they have none in common, or one has another label.
    """
    place_b = {utt_id: i for i, utt_id in enumerate(b.ids)}
    common = [(i, place_b[utt_id]) for i, utt_id in enumerate(a.ids) if utt_id in place_b]
    if not common:
        raise InputError(f"{a.name} and {b.name} have no utterance in common: nothing to compare.")
    labels = sorted({*a.labels, *b.labels})
    a, b = (one.subset(places).relabelled(labels) for one, places in zip((a, b), zip(*common)))
    if (a.true != b.true).any():
        i = int((a.true != b.true).argmax())
        raise InputError(
            f"{a.ids[i]} is {labels[a.true[i]]} in {a.name} and {labels[b.true[i]]} in {b.name}: the truth must be one."
        )
    speakers = [str(utterances.get(utt_id, {}).get("speaker", "")) for utt_id in a.ids]

    def difference(clusters: Sequence[str]) -> dict[str, Any]:
        return bootstrap_difference(a.counts(clusters)[1], b.counts(clusters)[1])

    return {
        "a": a.name,
        "b": b.name,
        "n_utterances": len(common),
        "over_utterances": difference(a.ids),
        "over_speakers": difference(speakers) if all(speakers) else None,
        "mcnemar": mcnemar(a.predicted == a.true, b.predicted == b.true),
    }


def keep_tested(system: System, folds: Sequence[Mapping[str, Sequence[str]]]) -> System:
    """Keep the utterances that the folds test on: of the others, a number would say what was learned by heart.

    Raises
    ------
    InputError
        If none is tested.
    """
    tested = {utt_id for parts in folds for utt_id in parts["test"]}
    places = [i for i, utt_id in enumerate(system.ids) if utt_id in tested]
    if tested and not places:
        raise InputError(
            f"{system.name}: none of its {len(system.ids)} utterances (the first is {system.ids[0]}) is in a test part "
            f"of the lists (the first is {min(tested)}). Give predictions of the test part, under the lists' ids."
        )
    return system.subset(places) if tested else system


def coverage(
    system: System,
    folds: Sequence[Mapping[str, Sequence[str]]],
    utterances: Mapping[str, Mapping[str, Any]] = {},  # noqa: B006
) -> dict[str, Any]:
    """Say whether the predicted utterances are those that the folds test on.

    Returns
    -------
    dict
        "not_listed" (predicted, and in no list), "not_tested" (predicted, and in no test part), "missing" (tested by
        the folds that are predicted at all, and not predicted), "other_label" (whose true label is not the lists'):
        the numbers, each with the first id.
    """
    truths = {utt_id: utterances.get(utt_id, {}).get("emo") for utt_id in system.ids}
    other = {
        utt_id
        for utt_id, true in zip(system.ids, system.true.tolist())
        if truths[utt_id] and truths[utt_id] != system.labels[true]
    }
    listed = {utt_id for parts in folds for ids in parts.values() for utt_id in ids}
    decided = set(system.ids)
    begun = [set(parts["test"]) for parts in folds if decided & set(parts["test"])]
    tested = set().union(*begun) if begun else set()
    sets = {
        "not_listed": decided - listed,
        "not_tested": (decided & listed) - tested,
        "missing": tested - decided,
        "other_label": other,
    }
    return {name: {"n": len(ids), "first": min(ids, default=None)} for name, ids in sets.items()}
