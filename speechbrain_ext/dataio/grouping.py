"""What a fold leaves out, where the corpus's own groups are not wanted: other groups, or speakers dealt into folds."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Optional

from speechbrain_ext.dataio.manifest import UNKNOWN_SPEAKER, Manifest
from speechbrain_ext.dataio.sample_hash import SAMPLES_HASH
from speechbrain_ext.errors import InputError, check_whole_number, did_you_mean, first_few

NO_GROUPS = ("wav", "duration", "emo", "start", "labels", "parts", "copy_of", "same_file", SAMPLES_HASH)


def regroup(manifest: Manifest, group_by: Optional[str] = None, n_folds: Optional[int] = None) -> Manifest:
    """Give each utterance of a corpus another group; the corpus's own published folds, if it has any, are dropped.

    Arguments
    ---------
    manifest : dict
        The manifest.
    group_by : str, optional
        What becomes the group: "speaker", "group" or an attribute that every utterance has.
    n_folds : int, optional
        How many groups the speakers (or, with `group_by`, its values) are dealt into by `deal`. By default each is a
        group by itself.

    Returns
    -------
    dict
        The manifest, as it is where both are None.

    Raises
    ------
    InputError
        If an utterance lacks `group_by`, or there are fewer speakers than folds.

    Example
    -------
    >>> manifest = {f"u{i}": {"speaker": s, "emo": "sad", "group": "all"} for i, s in enumerate("abca")}
    >>> {utt_id: entry["group"] for utt_id, entry in regroup(manifest, n_folds=2).items()}
    {'u0': 'fold1', 'u1': 'fold2', 'u2': 'fold2', 'u3': 'fold1'}
    """
    if group_by is None and n_folds is None:
        return manifest
    values = _values_of(manifest, "speaker" if group_by is None else group_by)
    if n_folds is not None:
        check_whole_number("n_folds", n_folds, 2)
        n_units = len(set(values.values()))
        if n_folds > n_units:
            name = group_by or "speaker"
            raise InputError(
                f"n_folds must be at most the number of {name}s, because none is in two folds: the corpus has "
                f"{n_units} ({first_few(sorted(set(values.values())), 10)}), got {n_folds}."
            )
        dealt = deal(((values[utt_id], entry["emo"]) for utt_id, entry in manifest.items()), n_folds)
        width = len(str(n_folds))
        values = {utt_id: f"fold{dealt[value]:0{width}}" for utt_id, value in values.items()}
    return {
        utt_id: {**{key: value for key, value in entry.items() if key != "parts"}, "group": values[utt_id]}
        for utt_id, entry in manifest.items()
    }


def deal(utterances: Iterable[tuple[str, str]], n_folds: int) -> dict[str, int]:
    """Deal speakers into folds that are alike in their number of utterances of each emotion.

    The largest speaker first, each goes to the fold whose utterances of the same emotions are fewest, as shares of all
    utterances of an emotion. The order of the utterances does not matter, and nothing is drawn.

    Arguments
    ---------
    utterances : iterable of tuple
        The speaker and the emotion of each utterance.
    n_folds : int
        The number of folds, at most that of the speakers.

    Returns
    -------
    dict
        Each speaker's fold, from 1.

    Example
    -------
    >>> deal([("a", "ang"), ("b", "ang"), ("c", "sad"), ("d", "sad")], 2)
    {'a': 1, 'b': 2, 'c': 1, 'd': 2}
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for speaker, emo in utterances:
        counts[speaker].update((f"emo {emo}", "all"))
    totals = sum((counts[speaker] for speaker in sorted(counts)), Counter())
    loads: list[dict[str, float]] = [dict.fromkeys(sorted(totals), 0.0) for _ in range(n_folds)]
    folds: dict[str, int] = {}
    for speaker in sorted(counts, key=lambda name: (-counts[name]["all"], name)):
        shares = {key: n / totals[key] for key, n in sorted(counts[speaker].items())}
        # Half of what the squared loads grow by, apart from what is the same for all folds; 0 for an empty fold alone.
        growth = [sum(load[key] * share for key, share in shares.items()) for load in loads]
        fold = min(range(n_folds), key=lambda k: (growth[k], k))
        for key, share in shares.items():
            loads[fold][key] += share
        folds[speaker] = fold + 1
    return folds


def _values_of(manifest: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, str]:
    """Return each utterance's value of an attribute, which all must have."""
    values = {utt_id: entry.get(name) for utt_id, entry in manifest.items() if name not in NO_GROUPS}
    lacking = [utt_id for utt_id, value in values.items() if not isinstance(value, str) or not value]
    if values and not lacking:
        unknown = sum(value == UNKNOWN_SPEAKER for value in values.values())
        if unknown:
            raise InputError(
                f"the {name} of {unknown} of {len(values)} utterances is not known, and would be taken for one: folds "
                "by it would not be independent. Group by another attribute."
            )
        return values  # type: ignore[return-value]
    if len(lacking) < len(values):
        raise InputError(
            f"group_by is {name!r}, which {len(lacking)} of {len(values)} utterances lack (first: {lacking[0]}). "
            "Fill it in, or group by another attribute."
        )
    names = Counter(key for entry in manifest.values() for key, value in entry.items() if isinstance(value, str))
    known = sorted(key for key, n in names.items() if n == len(manifest) and key not in NO_GROUPS)
    hint = did_you_mean(str(name).lower(), known)
    raise InputError(f"group_by must be one of {', '.join(known)}, which every utterance has, got {name!r}.{hint}")
