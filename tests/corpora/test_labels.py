"""Labels: which of a corpus's a user means, and which cannot be used."""

import pytest

from speechbrain_ext.corpora.labels import RESERVED, check_reserved, find_labels, list_counts, match_label
from speechbrain_ext.errors import InputError

COUNTS = {"sad": 1, "hap": 2, "ang": 3}


@pytest.mark.parametrize(
    ("emotions", "found"), [([3, 1], ["03", "01"]), (["03", False], ["03", "false"]), ([1.0, None], ["01", "null"])]
)
def test_labels_that_yaml_reads_as_numbers_are_found(emotions, found):
    assert find_labels(emotions, dict.fromkeys(("01", "03", "false", "null"), 1), "my.csv") == found


@pytest.mark.parametrize(
    ("emotions", "message"),
    [
        (
            ["ang", "happiness"],
            "no utterance of my.csv .* 'happiness'; it has ang 3, hap 2, sad 1. Did you mean hap",
        ),
        (["angr", "sad"], "'angr'.*Did you mean ang"),
        (["ang", "excited"], "labelled 'excited'; it has ang .*exc counts as hap"),
        ([7, "sad"], "labelled 7; it has"),
        (["ang", "ang"], "emotions must differ from one another"),
        ("ang", "must be a list of labels, got 'ang'"),
    ],
)
def test_emotions_that_nobody_has_are_refused(emotions, message):
    with pytest.raises(InputError, match=message):
        find_labels(emotions, COUNTS, "my.csv", merged=[("exc", "hap")])


@pytest.mark.parametrize("label", RESERVED)
def test_a_label_that_is_a_column_of_the_predictions_is_refused(label):
    with pytest.raises(InputError, match=f"my.csv: the label '{label}' is also a column of the files with predictions"):
        check_reserved(["sad", label], "my.csv")


def test_a_label_in_parentheses_is_refused():
    check_reserved(["sad", "(half", "half)"], "my.csv")
    with pytest.raises(InputError, match=r"my.csv: the label '\(sad\)' is in parentheses, which YAML files"):
        check_reserved(["(sad)"], "my.csv")


def test_words_of_others_are_the_corpuss_own_labels():
    merged = [("exc", "hap")]
    words = {"Angry": "ang", " SAD": "sad", "excitement": "hap", "boredom": "boredom", "exc": "hap"}
    assert {word: match_label(word, list(COUNTS), merged) for word in words} == words
    assert match_label("exc", ["exc", "hap"], merged) == "exc"  # a class of its own


def test_counts_are_listed_by_label():
    assert list_counts(COUNTS) == "ang 3, hap 2, sad 1"
