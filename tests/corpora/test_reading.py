"""A reading ends at what is wrong; an examination, which goes on, has tests of its own."""

import pytest

from speechbrain_ext.corpora.reading import Reading
from speechbrain_ext.dataio.rows import RowErrors
from speechbrain_ext.errors import InputError

ROW = {"id": "a", "wav": "a.wav", "emo": "sad", "speaker": "s1", "group": "g1"}


def test_rows_are_checked(tmp_path):
    assert Reading().rows(lambda source: [ROW], tmp_path) == [ROW]
    with pytest.raises(RowErrors, match="a: the id stands twice"):
        Reading().rows(lambda source: [ROW, {**ROW}], tmp_path)


def test_clips_that_are_named_are_refused_below_the_heading():
    Reading().refuse("a recording is in two groups", {})
    with pytest.raises(InputError, match="^a recording is in two groups:\nb is a.$"):
        Reading().refuse("a recording is in two groups", {"b": "b is a."})
