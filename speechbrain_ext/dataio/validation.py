"""Which utterances of a fold validate: random ones, a group, or speakers who are then not trained on."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

from speechbrain_ext.dataio.manifest import UNKNOWN_SPEAKER, Manifest
from speechbrain_ext.errors import InputError
from speechbrain_ext.seeding import derive_seed

VALIDATIONS = ("random", "group", "speaker", "none")
N_DRAWS = 10  # of speakers: more would choose the same speakers with every seed


def draw_validation(
    manifest: Manifest, utt_ids: Sequence[str], validation: str, fraction: float, seed: int, fold: int
) -> list[str]:
    """Choose the validation part of a fold; the rest of the utterances is trained on.

    Arguments
    ---------
    manifest : dict
        {id: {emo, speaker, group, ...}}.
    utt_ids : list of str
        What may be trained on, sorted.
    validation : str
        One of `VALIDATIONS`, see `make_fold`.
    fraction : float
        Share of the utterances, or of the speakers, in (0, 1).
    seed, fold : int
        Seeds of the draw.

    Returns
    -------
    list of str
        Sorted ids.

    Raises
    ------
    InputError
        If speakers are to be held out, and there are too few, or they are not known.
    """
    if validation == "random":
        return _draw_within_emotions(manifest, utt_ids, fraction, seed, fold)
    if validation == "speaker":
        field, chosen = "speaker", _draw_speakers(manifest, utt_ids, fraction, seed, fold)
    else:
        groups = sorted({manifest[utt_id]["group"] for utt_id in utt_ids})
        # Of the groups without the fold-th, the one after it, cyclically.
        field, chosen = "group", [groups[(fold - 1) % len(groups)]] if validation == "group" and groups else []
    return [utt_id for utt_id in utt_ids if manifest[utt_id][field] in chosen]


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


def _draw_speakers(manifest: Manifest, utt_ids: Sequence[str], fraction: float, seed: int, fold: int) -> list[str]:
    """Draw speakers several times; take the draw with nearest to `fraction` of each emotion and of each gender."""
    traits: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for utt_id in utt_ids:
        entry = manifest[utt_id]
        traits[entry["speaker"]].update((key, entry[key]) for key in ("emo", "gender") if entry.get(key))
    if UNKNOWN_SPEAKER in traits:
        raise InputError(
            "validation 'speaker' holds out whole speakers, and this corpus does not say who speaks. Set "
            "--validation=random, group or none."
        )
    n_speakers = max(1, round(fraction * len(traits)))
    if n_speakers >= len(traits):
        raise InputError(
            f"validation 'speaker' holds out {n_speakers} of the speakers in training, and fold {fold} has "
            f"{len(traits)} there ({', '.join(sorted(traits)) or 'none'}). Lower valid_fraction, now {fraction}, or "
            "set another validation."
        )
    totals = sum(traits.values(), Counter())

    def imbalance(speakers: Sequence[str]) -> float:
        held_out = sum((traits[speaker] for speaker in speakers), Counter())
        lost = sum(held_out[trait] == n for trait, n in totals.items() if trait[0] == "emo")  # nothing left to train on
        return len(totals) * lost + sum(abs(held_out[trait] / n - fraction) for trait, n in totals.items())

    rng = random.Random(derive_seed("validation speakers", seed, fold))
    return min((rng.sample(sorted(traits), n_speakers) for _ in range(N_DRAWS)), key=imbalance)
