"""An audit in words: the verdict, and names as they are."""

from speechbrain_ext.results.audit import audit_split
from speechbrain_ext.results.audit_text import sections_of, to_markdown, to_terminal
from tests.results.test_audit import make_split


def say(split, **options):
    found = {"split": audit_split(split, **options), "systems": [], "comparisons": []}
    return to_terminal(sections_of(found)), to_markdown(sections_of(found), "Audit", "made")


def test_a_split_without_leak_or_caution_has_a_verdict():
    text, page = say(make_split({"train": "a", "valid": "b", "test": "c"}, speaker="xyz", emo=["ang"] * 3))
    assert text.startswith("No leak found\n\nFolds\n")
    assert "## No leak found\n" in page


def test_speakers_that_are_written_in_two_ways_are_a_leak_and_are_shown():
    split = make_split({"train": "ab", "valid": "c", "test": "de"}, speaker=["s1", "s2", "s3", "S01", "s2"])
    assert " ".join(say(split)[0].split()).startswith(
        "LEAK in 1 of 1 folds 2 of 2 test speakers are also in training or validation (S01, s2; written otherwise "
        "there: S01 as s1). "
    )


def test_a_path_in_two_forms_of_unicode_is_one_recording():
    split = make_split({"train": "a", "test": "b"}, wav=["\u00e9.wav", "e\u0301.wav"])
    assert "1 of 1 test recordings, by their paths, are also in training" in say(split)[0]


def test_the_verdict_says_whether_all_speakers_are_known():
    parts = {"train": "a", "valid": "b", "test": "cd"}
    assert say(make_split(parts))[0].startswith("No leak found, but nothing says who speaks\n")
    for speakers in (["x", "y", "z", ""], ["", "y", "z", "z"]):
        text, _ = say(make_split(parts, speaker=speakers))
        assert text.startswith("No leak found, but not all speakers are known\n")
    assert "in 1 of 2 utterances that are trained or validated on: whether these speakers are tested on" in " ".join(
        text.split()
    )


def test_a_wrong_folder_of_recordings_is_said(tmp_path):
    text, _ = say(make_split({"train": "a", "test": "b"}, wav=["a.wav", "b.wav"]), audio=[tmp_path])
    assert "None of the 2 listed recordings is under" in text and "(--audio)" in text
    assert "No recording is here" not in text
