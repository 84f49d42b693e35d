"""Shares of annotators: which targets and which truth they are."""

import pytest

from speechbrain_ext.corpora import prepare_corpus
from tests.corpora.csv_files import refusal, write

SOFT = "id,wav,emo,speaker,emo:ang,emo:Hap,emo:sad\n"


def test_shares_of_annotators_are_targets(recordings, capsys):
    lines = ["a,a.wav,,s1,2,1,1", "b,b.wav,sad,s2,,2,2", "c,c.wav,,s1,0,3,", "d,deep/d.wav,ang,s2,,,"]
    prepared = prepare_corpus("csv", write(recordings, SOFT + "\n".join(lines)), progress=False)
    assert prepared.emotions == ["Hap", "ang", "sad"]
    found = {utt_id: (entry["emo"], entry.get("labels")) for utt_id, entry in prepared.manifest.items()}
    assert found == {
        "a": ("ang", {"ang": 0.5, "Hap": 0.25, "sad": 0.25}), "b": ("sad", {"Hap": 0.5, "sad": 0.5}),
        "c": ("Hap", None), "d": ("ang", None),
    }  # fmt: skip
    said = "2 of 4 utterances have shares of several emotions as their target; WA and UA count the largest share as the"
    assert prepared.notes == [f"{said} truth."] and prepared.notes[0] in capsys.readouterr().out


def test_shares_are_those_of_the_chosen_emotions_and_a_tie_is_said(recordings):
    lines = ["a,a.wav,,s1,2,1,1", "b,b.wav,,s2,1,2,2", "c,c.wav,,s1,0,3,1", "d,deep/d.wav,,s2,1,,1"]
    prepared = prepare_corpus("csv", write(recordings, SOFT + "\n".join(lines)), ["ang", "sad"], progress=False)
    found = {utt_id: (entry["emo"], entry.get("labels")) for utt_id, entry in prepared.manifest.items()}
    assert found["a"] == ("ang", {"ang": pytest.approx(2 / 3), "sad": pytest.approx(1 / 3)})
    assert found["b"] == ("sad", {"ang": pytest.approx(1 / 3), "sad": pytest.approx(2 / 3)})  # Hap is not chosen
    assert found["d"] == ("ang", {"ang": 0.5, "sad": 0.5}) and "c" not in found
    assert prepared.notes[1] == "1 of them have several largest shares: the first in alphabetical order counts."


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (",s1,x,,", "the share of 'ang' must be a number from 0, got 'x'. Correct it."),
        (",s1,-1,,", "the share of 'ang' must be a number from 0, got '-1'. Correct it."),
        (',s1,"0,5",,', "the share of 'ang' must be a number from 0, got '0,5'. Write 0.5 with a point."),
        ("sad,s1,2,,1", "emo is 'sad', and the largest share is that of 'ang'. Correct one, or leave emo empty."),
        (',s1,"2,75",,', "the share of 'ang' must be a number from 0, got '2,75'. Write 2.75 with a point."),
        (",s1,0,0,", "the shares of ang, Hap add up to 0. Correct one, or leave all of them empty."),
        ("sad,s1,0,0,0", "the shares of ang, Hap, sad add up to 0. Correct one, or leave all of them empty."),
        (",s1,,,", "the field 'emo' is empty. Fill it in, or a share of a label."),
    ],
)
def test_shares_that_are_none_are_named(tmp_path, cells, said):
    assert refusal(write(tmp_path, f"{SOFT}a,a.wav,{cells}\n")).splitlines()[1:] == [f"c.csv, row 2, a: {said}"]


def test_every_share_of_a_row_that_is_none_is_named(tmp_path):
    said = refusal(write(tmp_path, f"{SOFT}a,a.wav,,s1,x,1,y\n")).splitlines()[1:]
    assert [line.partition("share of ")[2][:5] for line in said] == ["'ang'", "'sad'"]


def test_labels_that_are_never_the_largest_share_are_said(recordings):
    lines = ["a,a.wav,,s1,2,1,1", "b,b.wav,,s2,,1,3"]
    prepared = prepare_corpus("csv", write(recordings, SOFT + "\n".join(lines)), progress=False)
    assert prepared.emotions == ["ang", "sad"]
    assert prepared.notes[-1] == (
        "No class, because they are nobody's largest share: Hap. What they were given is left out, and the other "
        "shares are divided by their sum."
    )
