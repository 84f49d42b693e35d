"""Names that are most likely one name, written in several ways."""

import pytest

from speechbrain_ext.corpora.spelling import spelling_key


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("s1", "S1"),
        ("1", "01"),
        ("Ännä", "ännä"),
        ("e\u0301va", "\u00e9va"),
        ("spk 1", "spk_1"),
        ("an\u200bna", "anna"),
    ],
)
def test_ways_to_write_one_name_have_one_key(a, b):
    assert a != b and spelling_key(a) == spelling_key(b)


@pytest.mark.parametrize(("a", "b"), [("1_11", "11_1"), ("s1", "s10"), ("anna", "hanna"), ("*", "+"), ("eva", "éva")])
def test_other_names_have_other_keys(a, b):
    assert spelling_key(a) != spelling_key(b)
