"""What a file system refuses, as sentences; and what is no file."""

import errno
import os
import socket

import pytest

from speechbrain_ext.errors import InputError
from speechbrain_ext.storage import FAULTS, check_regular, describe_fault


def test_every_fault_names_the_file_and_what_to_do():
    for number in FAULTS:
        said = describe_fault(OSError(number, os.strerror(number), "a/b.csv"))
        assert said.startswith("a/b.csv ") and said.count(". ") >= 1 and said.endswith(".")


def test_the_file_is_the_one_that_is_written_or_the_folder():
    full = OSError(errno.ENOSPC, "No space left on device", "from.py", None, "to.py")
    assert describe_fault(full) == "to.py cannot be written: the disk is full. Make room there."
    nameless = OSError(errno.EDQUOT, "Disk quota exceeded")
    assert describe_fault(nameless, "results").startswith("results cannot be written: your quota there is used up.")
    assert describe_fault(nameless).startswith("A file cannot be written")


def test_real_faults_of_a_path_are_sentences(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file" / "under", tmp_path / "none" / "there", tmp_path / ("x" * 300)):
        with pytest.raises(OSError) as error:
            path.write_text("x")
        assert describe_fault(error.value).startswith(f"{path} ")


def test_other_errors_are_none():
    assert describe_fault(OSError(errno.EIO, "Input/output error", "x")) is None
    assert describe_fault(RuntimeError("shapes do not match")) is None
    assert describe_fault(OSError("no number")) is None


def test_pipes_sockets_devices_and_folders_are_no_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("pipe")
    for path in ("pipe", "socket", "link", "/dev/zero", tmp_path):
        with pytest.raises(InputError, match="^u7: .* is no regular file. Leave it out"):
            check_regular(path, "u7: ")
    check_regular("file")
