"""The validation part of new speakers; the other kinds are tested with the folds that they belong to."""

import pytest

from speechbrain_ext.dataio.folds import make_fold
from speechbrain_ext.dataio.validation import draw_validation
from speechbrain_ext.errors import InputError


def corpus(counts, genders=""):
    """Make a corpus from {speaker: "aas"}, a letter for the emotion of each clip; each speaker is a group."""
    gender = dict(zip(counts, genders))
    return {
        f"{speaker}{i}": {"emo": emo, "speaker": speaker, "group": speaker, "gender": gender.get(speaker, "")}
        for speaker, emotions in counts.items()
        for i, emo in enumerate(emotions)
    }


def speakers(utt_ids):
    return {utt_id[0] for utt_id in utt_ids}


def test_speaker_validation_holds_out_whole_speakers():
    manifest = corpus(dict.fromkeys("abcdefghij", "aass"))
    fold = make_fold(manifest, 3, "speaker", valid_fraction=0.3)
    assert len(speakers(fold.valid)) == 3  # of the nine who are not tested on
    assert not speakers(fold.valid) & (speakers(fold.train) | {"c"})
    assert len(fold.valid) == 12 and len(fold.train) == 24
    assert fold.validation == "speaker"


def test_speaker_validation_holds_out_one_speaker_at_least():
    assert len(speakers(make_fold(corpus(dict.fromkeys("abc", "as")), 1, "speaker", valid_fraction=0.01).valid)) == 1


def test_speaker_validation_is_decided_by_the_seed_and_the_fold():
    manifest = corpus(dict.fromkeys("abcdefghij", "aass"))
    assert make_fold(manifest, 1, "speaker", seed=4) == make_fold(manifest, 1, "speaker", seed=4)
    assert len({tuple(make_fold(manifest, 1, "speaker", seed=seed).valid) for seed in range(20)}) > 3
    drawn = {fold: speakers(draw_validation(manifest, sorted(manifest), "speaker", 0.1, 0, fold)) for fold in range(9)}
    assert len(set(map(frozenset, drawn.values()))) > 1


def test_speaker_validation_is_independent_of_the_manifests_order():
    manifest = corpus(dict.fromkeys("abcdefghij", "aass"))
    turned = dict(reversed(manifest.items()))
    assert make_fold(turned, 1, "speaker") == make_fold(manifest, 1, "speaker")


def test_speaker_validation_prefers_speakers_with_all_emotions():
    # One of five: only c has both emotions, in their shares. Ten draws miss it with probability 0.8 ** 10 = 0.11.
    manifest = corpus({"a": "aaaa", "b": "aaaa", "c": "as", "d": "ssss", "e": "ssss"})
    chosen = [speakers(draw_validation(manifest, sorted(manifest), "speaker", 0.2, seed, 1)) for seed in range(40)]
    assert sum(one == {"c"} for one in chosen) > 25


def test_speaker_validation_never_takes_the_only_speaker_of_an_emotion():
    manifest = corpus({"a": "aab", "b": "aaa", "c": "aaa"})
    chosen = [speakers(draw_validation(manifest, sorted(manifest), "speaker", 0.3, seed, 1)) for seed in range(40)]
    assert {"a"} not in chosen


def test_speaker_validation_takes_a_woman_and_a_man_of_ten():
    manifest = corpus(dict.fromkeys("abcdefghij", "as"), "ffffffffmm")
    chosen = [speakers(draw_validation(manifest, sorted(manifest), "speaker", 0.5, seed, 1)) for seed in range(20)]
    assert sum(len(one & set("ij")) == 1 for one in chosen) > 17  # by chance in 56%


@pytest.mark.parametrize(("names", "fraction"), [("ab", 0.1), ("abc", 0.9)])
def test_speaker_validation_refuses_to_take_all_speakers(names, fraction):
    n = len(names) - 1
    message = rf"holds out {n} of the speakers in training, and fold 1 has {n} there \(b.*Lower valid_fraction, now"
    with pytest.raises(InputError, match=message):
        make_fold(corpus(dict.fromkeys(names, "aas")), 1, "speaker", valid_fraction=fraction)


def test_speaker_validation_refuses_speakers_that_are_not_known():
    manifest = corpus(dict.fromkeys("abc", "as"))
    manifest["b0"]["speaker"] = "unknown"
    with pytest.raises(InputError, match="does not say who speaks. Set --validation=random, group or none"):
        draw_validation(manifest, sorted(manifest), "speaker", 0.3, 0, 1)
