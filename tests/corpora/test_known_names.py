"""What the names of recordings say, by the schemes of the corpora."""

import pytest

from speechbrain_ext.corpora.known_names import describe_name


@pytest.mark.parametrize(
    "name",
    ["08a01Wa", "08a01Wa.wav", "downloads/emodb/wav/08a01Wa.wav", r"C:\wav\08a01Wa.flac", "emodb-08a01Wa", "x_08a01Wa"],
)
def test_names_say_who_speaks_whatever_stands_before(name):
    assert describe_name("emodb", name) == {
        "id": "08a01Wa",
        "emo": "ang",
        "speaker": "08",
        "group": "08",
        "gender": "female",
    }


@pytest.mark.parametrize(
    ("corpus", "name"),
    [("emodb", "x08a01Wa"), ("emodb", "08a01Wa_x"), ("emodb", "08a01Xa"), ("csv", "08a01Wa"), ("nobody", "08a01Wa")],
)
def test_other_names_say_nothing(corpus, name):
    assert describe_name(corpus, name) == {}
