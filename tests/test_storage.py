"""What a file system refuses, as sentences; and what is no file."""

import errno
import os
import re
import socket

import pytest

from speechbrain_ext.atomic_write import atomic_write
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.prediction_file import PredictionFile
from speechbrain_ext.inference.recordings import Prediction
from speechbrain_ext.storage import FAULTS, check_regular, describe_fault, naming, reading


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


@pytest.fixture
def little_room():
    """Return a function after which no file may have more than 100 bytes: as a full disk, for everybody."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_what_fails_while_it_is_written_is_named(tmp_path, little_room):
    path = tmp_path / "a.json"
    little_room()
    for write in (lambda: write_whole(path), lambda: write_bare(path)):
        with pytest.raises(OSError) as error:
            write()
        assert describe_fault(error.value).startswith(f"{path} cannot be written: it is larger than a limit allows.")


def write_whole(path):
    """Write by `atomic_write`."""
    with atomic_write(path) as file:
        file.write("x" * 10_000)


def write_bare(path):
    """Write within `naming`."""
    with naming(path), open(path, "w") as file:
        file.write("x" * 10_000)


def test_an_answer_that_does_not_fit_names_the_file(tmp_path, little_room):
    paths = [str(tmp_path / f"{i}.wav") for i in range(9)]
    for path in paths:
        (tmp_path / path).touch()
    settings = tmp_path / "out.csv", paths, ("ang", "sad"), "model"
    with PredictionFile(*settings) as predictions:
        little_room()
        with pytest.raises(OSError) as error:
            for path in paths:
                predictions.add(Prediction(path, 1.0, "sad", (0.25, 0.75)))
    assert str(tmp_path / "out") in describe_fault(error.value)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EIO, "Input/output error"), "cannot be read: Input/output error. Copy it."),
        (OSError("of no number"), "cannot be read: of no number. Copy it."),
        (RecursionError(), "is nested too deeply. Copy it."),
        (ValueError("two\nlines"), "is no JSON: two lines. Copy it."),
        (InputError("its own sentence"), "its own sentence"),
    ],
)
def test_what_keeps_a_file_from_being_read_is_a_sentence(tmp_path, error, said):
    (tmp_path / "a.json").touch()
    with pytest.raises(InputError, match=f"{re.escape(said)}$"), reading(tmp_path / "a.json", "is no JSON", "Copy it."):
        raise error


def test_errors_of_other_kinds_are_not_those_of_a_file(tmp_path):
    (tmp_path / "a.json").touch()
    with pytest.raises(KeyError), reading(tmp_path / "a.json", "is no JSON", "Copy it."):
        raise KeyError("a")
