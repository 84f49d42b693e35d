"""What a user may give in place of a corpus's folder."""

import os
from pathlib import Path

import pytest

from speechbrain_ext.corpora import prepare_corpus
from speechbrain_ext.corpora.sources import check_data_folder, read_text
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


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
def test_a_named_pipe_in_the_place_of_a_list_is_refused(tmp_path, name):
    """Nobody writes into it: it would be read for ever."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match=f"{name} is no regular file. Leave it out, or save what it gives as a file."):
        prepare_corpus("csv", tmp_path / name, progress=False)


def test_a_list_that_the_shell_gives_through_a_pipe_is_read(tmp_path):
    reading, writing = os.pipe()
    os.write(writing, b"wav,emo\r\na.wav,sad\r\n")
    os.close(writing)
    assert read_text(Path(f"/dev/fd/{reading}")) == "wav,emo\na.wav,sad\n"
    os.close(reading)
