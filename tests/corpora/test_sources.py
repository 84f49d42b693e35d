"""What a user may give in place of a corpus's folder."""

import pytest

from speechbrain_ext.corpora.sources import check_data_folder
from speechbrain_ext.errors import InputError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("corpus.tar.gz", r"corpus.tar.gz is an archive. Unpack it first"),
        ("packed", r"packed does not exist. .*packed.zip is still packed: unpack it first"),
        ("notes.txt", "notes.txt is a file, not a folder: give the folder that holds IEMOCAP"),
        ("nowhere", "nowhere does not exist. Give the folder that holds IEMOCAP; `make demo` makes a synthetic one"),
    ],
)
def test_what_is_no_folder_is_refused_with_the_cure(tmp_path, given, message):
    for name in ("corpus.tar.gz", "packed.zip", "notes.txt"):
        (tmp_path / name).write_text("")
    with pytest.raises(InputError, match=message):
        check_data_folder(tmp_path / given, "holds IEMOCAP")


def test_a_folder_is_taken(tmp_path):
    check_data_folder(tmp_path, "holds IEMOCAP")
