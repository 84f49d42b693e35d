"""Leave-one-group-out folds (LOSO where the group is the session) and how the validation part is chosen."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from speechbrain_ext.dataio.manifest import Manifest
from speechbrain_ext.errors import InputError, check_number
from speechbrain_ext.seeding import derive_seed

VALIDATIONS = ("random", "group", "none")


@dataclass(frozen=True)
class Fold:
    """One fold's parts, as sorted lists of utterance ids.

    Attributes
    ----------
    train, valid, test : list of str
        Utterance ids. `valid` is empty with validation "none".
    test_group : str
        The group that was left out.
    """

    train: list[str]
    valid: list[str]
    test: list[str]
    test_group: str


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
        {id: {emo, speaker, group, ...}}.
    fold : int
        From 1; fold k tests on the k-th group in sorted order.
    validation : str
        "random": `valid_fraction` of the other groups, drawn within each emotion, so that speakers are shared with
        training (the paper's protocol); "group": the next group in sorted order, cyclically, so that no speaker is
        shared; "none": no validation part.
    valid_fraction : float
        Share of the utterances outside the test group that validates, in (0, 1); used by "random".
    seed : int
        Seed of the random draw, together with the fold.
    emotions : list of str, optional
        Labels that must occur in training, and beyond which none may occur.

    Returns
    -------
    Fold
        The parts.

    Raises
    ------
    InputError
        If the fold does not exist, a label is unknown, an emotion is missing in training, or a test group or a
        test speaker appears in training or validation.

    Example
    -------
    >>> manifest = {f"{g}{i}": {"emo": "sad", "speaker": g, "group": g} for g in "abc" for i in range(2)}
    >>> make_fold(manifest, fold=2, validation="none")
    Fold(train=['a0', 'a1', 'c0', 'c1'], valid=[], test=['b0', 'b1'], test_group='b')
    """
    groups = sorted({entry["group"] for entry in manifest.values()})
    if not groups:
        raise InputError("the manifest holds no utterance: prepare the corpus again.")
    if isinstance(fold, bool) or not isinstance(fold, int) or not 1 <= fold <= len(groups):
        raise InputError(
            f"fold must be a whole number from 1 to {len(groups)} (the corpus has the groups {', '.join(groups)}), "
            f"got {fold!r}."
        )
    if validation not in VALIDATIONS:
        raise InputError(f"validation must be one of {', '.join(VALIDATIONS)}, got {validation!r}.")
    if validation == "random":
        check_number("valid_fraction", valid_fraction, 0, 1, inclusive=False)
    if emotions is not None:
        _check_labels(manifest, emotions)

    test_group = groups[fold - 1]
    test = sorted(utt_id for utt_id, entry in manifest.items() if entry["group"] == test_group)
    rest = sorted(utt_id for utt_id, entry in manifest.items() if entry["group"] != test_group)
    if validation == "random":
        valid = _draw_within_emotions(manifest, rest, valid_fraction, seed, fold)
    elif validation == "group":
        valid_group = groups[fold % len(groups)]
        valid = [utt_id for utt_id in rest if manifest[utt_id]["group"] == valid_group]
    else:
        valid = []
    held_out = set(valid)
    train = [utt_id for utt_id in rest if utt_id not in held_out]

    check_no_leak(manifest, train + valid, test)
    if validation == "group":
        check_no_leak(manifest, train, valid, names=("training", "validation"))
    if not train:
        raise InputError(
            f"nothing is left to train on in fold {fold}: with validation {validation!r} the corpus needs at least "
            f"{3 if validation == 'group' else 2} groups, and has {len(groups)} ({', '.join(groups)})."
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
    return Fold(train, valid, test, test_group)


def check_no_leak(
    manifest: Manifest,
    seen: Sequence[str],
    test: Sequence[str],
    names: tuple[str, str] = ("training or validation", "the test part"),
) -> None:
    """Refuse a split in which a test utterance, group or speaker is also trained or validated on.

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


def shared_speakers(manifest: Manifest) -> list[str]:
    """Return a sentence for each speaker who is in several groups, and so would be trained on and tested on."""
    groups: dict[str, set[str]] = defaultdict(set)
    for entry in manifest.values():
        groups[entry["speaker"]].add(entry["group"])
    return [
        f"Speaker {speaker!r} is in the groups {', '.join(sorted(of_speaker))}: folds would train and test on the same "
        "voice, and are refused. Give each speaker one group."
        for speaker, of_speaker in sorted(groups.items())
        if len(of_speaker) > 1
    ]


def _draw_within_emotions(
    manifest: Manifest, utt_ids: Sequence[str], fraction: float, seed: int, fold: int
) -> list[str]:
    by_emotion = defaultdict(list)
    for utt_id in utt_ids:
        by_emotion[manifest[utt_id]["emo"]].append(utt_id)
    valid: list[str] = []
    for emo, members in sorted(by_emotion.items()):
        rng = random.Random(derive_seed("validation", seed, fold, emo))
        valid += rng.sample(members, round(fraction * len(members)))
    return sorted(valid)


def _check_labels(manifest: Manifest, emotions: Sequence[str]) -> None:
    for utt_id, entry in manifest.items():
        if entry["emo"] not in emotions:
            raise InputError(
                f"{utt_id}: the label {entry['emo']!r} is unknown; the emotions are {', '.join(emotions)}. "
                "Correct the corpus, or set --emotions."
            )
