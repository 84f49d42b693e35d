"""Folds: leave one group out (LOSO where the group is the session), or those that a corpus was published with."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from speechbrain_ext.dataio.manifest import Manifest
from speechbrain_ext.dataio.overlaps import find_overlaps
from speechbrain_ext.dataio.published_folds import count_published_folds, describe_leaks, published_parts
from speechbrain_ext.dataio.validation import VALIDATIONS, draw_validation
from speechbrain_ext.errors import InputError, check_number

PUBLISHED = "its published test part"


@dataclass(frozen=True)
class Fold:
    """One fold's parts, as sorted lists of utterance ids.

    Attributes
    ----------
    train, valid, test : list of str
        Utterance ids. `valid` is empty with validation "none".
    test_group : str
        The group that was left out; `PUBLISHED` for a published fold.
    validation : str
        How `valid` was chosen: one of `VALIDATIONS`, or "published".
    cautions : tuple of str
        Sentences on what a published fold shares between training and test.
    """

    train: list[str]
    valid: list[str]
    test: list[str]
    test_group: str
    validation: str
    cautions: tuple[str, ...] = ()


def make_fold(
    manifest: Manifest,
    fold: int,
    validation: str = "random",
    valid_fraction: float = 0.1,
    seed: int = 0,
    emotions: Optional[Sequence[str]] = None,
) -> Fold:
    """Split a corpus for one fold.

    Arguments
    ---------
    manifest : dict
        {id: {emo, speaker, group, ...}}. Where entries have `parts`, one of "train", "valid", "test" and "" a fold,
        these are the folds, whatever the groups; "" is not used.
    fold : int
        From 1; fold k tests on the k-th group in sorted order.
    validation : str
        How the validation part is taken from what the fold may train on. "random": `valid_fraction` of it, drawn within
        each emotion, so that speakers are shared with training (the paper's protocol); "group": the next group in
        sorted order, cyclically, so that no speaker is shared; "speaker": `valid_fraction` of the speakers, chosen so
        that the emotions (and genders, where they are known) are balanced; "none": no validation part. A validation
        part that was published is used in place of the first three, and with "none" nowhere.
    valid_fraction : float
        Share of the utterances or speakers that validates, in (0, 1); used by "random" and "speaker".
    seed : int
        Seed of the random draw, together with the fold.
    emotions : list of str, optional
        Labels that must occur in training, and beyond which none may occur.

    Returns
    -------
    Fold
        The parts. What a published fold leaks is said in its cautions: it is refused as little as it is corrected.

    Raises
    ------
    InputError
        If the fold does not exist, a label is unknown, an emotion is missing in training, or a test group or a
        test speaker appears in training or validation of a fold that is not published.

    Example
    -------
    >>> manifest = {f"{g}{i}": {"emo": "sad", "speaker": g, "group": g} for g in "abc" for i in range(2)}
    >>> make_fold(manifest, fold=2, validation="none")
    Fold(train=['a0', 'a1', 'c0', 'c1'], valid=[], test=['b0', 'b1'], test_group='b', validation='none', cautions=())
    """
    names = fold_names(manifest)
    _check_fold(fold, names)
    if validation not in VALIDATIONS:
        raise InputError(f"validation must be one of {', '.join(VALIDATIONS)}, got {validation!r}.")
    if validation in ("random", "speaker"):
        check_number("valid_fraction", valid_fraction, 0, 1, inclusive=False)
    if emotions is not None:
        _check_labels(manifest, emotions)

    test_group = names[fold - 1]
    published = count_published_folds(manifest) > 0
    if published:
        parts = published_parts(manifest, fold)
        test, rest, valid = parts["test"], parts["train"], parts["valid"]
    else:
        test = sorted(utt_id for utt_id, entry in manifest.items() if entry["group"] == test_group)
        rest = sorted(utt_id for utt_id, entry in manifest.items() if entry["group"] != test_group)
        valid = []
    if valid and validation != "none":
        validation = "published"
    else:
        valid = draw_validation(manifest, rest, validation, valid_fraction, seed, fold)
    held_out = set(valid)
    train = [utt_id for utt_id in rest if utt_id not in held_out]

    if not published:
        check_no_leak(manifest, train + valid, test)
    if validation == "group":
        check_no_leak(manifest, train, valid, names=("training", "validation"))
    if not test:
        raise InputError(f"nothing is left to test on in fold {fold}: {PUBLISHED} is empty.")
    if not train:
        raise InputError(
            f"nothing is left to train on in fold {fold}: with validation {validation!r} the corpus needs at least "
            f"{3 if validation == 'group' else 2} groups, and has {len(names)} ({', '.join(names)})."
        )
    present = {manifest[utt_id]["emo"] for utt_id in train}
    for emo in emotions or ():
        if emo not in present:
            raise InputError(
                f"no utterance of {emo!r} is left to train on in fold {fold} (test group {test_group}, validation "
                f"{validation!r}): add data, or take {emo!r} out of the emotions."
            )
    if validation != "none" and not valid:
        raise InputError(f"the validation part of fold {fold} is empty: raise valid_fraction, now {valid_fraction}.")
    leaks = describe_leaks(manifest, train + valid, test) if published else []
    cautions = tuple(f"Fold {fold} is used as published, and {leak}." for leak in leaks)
    return Fold(train, valid, test, test_group, validation, cautions)


def fold_names(manifest: Manifest) -> list[str]:
    """Return what each fold tests on: the groups, sorted, or `PUBLISHED` for each of the corpus's own folds."""
    return [PUBLISHED] * count_published_folds(manifest) or sorted({entry["group"] for entry in manifest.values()})


def _check_fold(fold: int, names: Sequence[str]) -> None:
    if not names:
        raise InputError("the manifest holds no utterance: prepare the corpus again.")
    if isinstance(fold, bool) or not isinstance(fold, int) or not 1 <= fold <= len(names):
        has = "was published with so many folds" if names[0] == PUBLISHED else f"has the groups {', '.join(names)}"
        raise InputError(f"fold must be a whole number from 1 to {len(names)} (the corpus {has}), got {fold!r}.")


def check_no_leak(
    manifest: Manifest,
    seen: Sequence[str],
    test: Sequence[str],
    names: tuple[str, str] = ("training or validation", "the test part"),
) -> None:
    """Refuse a split in which a test utterance, group, speaker or stretch of speech is also trained or validated on.

    Arguments
    ---------
    manifest : dict
        {id: {speaker, group, ...}}.
    seen : list of str
        Ids used for training and validation.
    test : list of str
        Ids used for testing.
    names : tuple of str
        What the two are called in the message.

    Raises
    ------
    InputError
        Names what is shared.
    """
    shared = sorted(set(seen) & set(test))
    if shared:
        raise InputError(f"utterance {shared[0]} is in {names[1]} and in {names[0]}. Keep it in one of them.")
    for field in ("group", "speaker"):
        seen_values = {manifest[utt_id][field]: utt_id for utt_id in seen}
        for utt_id in test:
            value = manifest[utt_id][field]
            if value in seen_values:
                raise InputError(
                    f"{field} {value!r} of {utt_id} in {names[1]} is also in {names[0]} ({seen_values[value]}): "
                    f"the two would not be independent. Correct the corpus's {field}s."
                )
    overlaps = find_overlaps(manifest, {**dict.fromkeys(seen, "seen"), **dict.fromkeys(test, "test")})
    if overlaps:
        first, other = overlaps[0]
        raise InputError(
            f"{first} and {other} overlap in {manifest[first]['wav']}, and one is in {names[1]}, the other in "
            f"{names[0]}. Correct start and end, or give both the same group."
        )


def shared_speakers(manifest: Manifest) -> list[str]:
    """Return a sentence for each speaker who is in several groups, and so would be trained on and tested on.

    The folds that a corpus was published with are not by group: there is nothing to say here.
    """
    groups: dict[str, set[str]] = defaultdict(set)
    for entry in manifest.values() if not count_published_folds(manifest) else ():
        groups[entry["speaker"]].add(entry["group"])
    return [
        f"Speaker {speaker!r} is in the groups {', '.join(sorted(of_speaker))}: folds would train and test on the same "
        "voice, and are refused. Give each speaker one group."
        for speaker, of_speaker in sorted(groups.items())
        if len(of_speaker) > 1
    ]


def _check_labels(manifest: Manifest, emotions: Sequence[str]) -> None:
    for utt_id, entry in manifest.items():
        if entry["emo"] not in emotions:
            raise InputError(
                f"{utt_id}: the label {entry['emo']!r} is unknown; the emotions are {', '.join(emotions)}. "
                "Correct the corpus, or set --emotions."
            )
