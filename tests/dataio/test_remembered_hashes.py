"""Hashes are remembered for as long as a file stays as it is."""

import hashlib
import os

import pytest

from speechbrain_ext.checksums import sha256_of
from speechbrain_ext.dataio import remembered_hashes
from speechbrain_ext.dataio.remembered_hashes import RememberedHashes


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"speech")
    os.utime(path, (1e9, 1e9))
    return path


def answers(path, file, what="sha", part=""):
    """Ask a new process, as it were; return the hash, and whether the file was read."""
    hashes, asked = RememberedHashes(path), []
    value = hashes.get(what, file, lambda: asked.append(1) or sha256_of(file), part)
    hashes.save()
    return value, bool(asked)


def test_unchanged_file_is_not_read_again(tmp_path, file):
    assert answers(tmp_path / "known.json", file) == (sha256_of(file), True)
    assert answers(tmp_path / "known.json", file) == (sha256_of(file), False)
    assert answers(tmp_path / "known.json", file, what="other")[1]
    assert answers(tmp_path / "known.json", file, part="#1")[1]


@pytest.mark.parametrize(("content", "time_s"), [(b"speech", 1e9 + 1), (b"speeches", 1e9)])
def test_changed_file_is_read_again(tmp_path, file, content, time_s):
    answers(tmp_path / "known.json", file)
    file.write_bytes(content)
    os.utime(file, (time_s, time_s))
    assert answers(tmp_path / "known.json", file) == (hashlib.sha256(content).hexdigest(), True)


def test_file_that_was_just_written_is_not_remembered(tmp_path, file, monkeypatch):
    monkeypatch.setattr(remembered_hashes, "RACY_S", 600)  # a busy machine takes more than two seconds
    os.utime(file)
    assert [answers(tmp_path / "known.json", file)[1] for _ in range(2)] == [True, True]


def test_processes_keep_what_others_have_saved(tmp_path, file):
    one, other = RememberedHashes(tmp_path / "known.json"), RememberedHashes(tmp_path / "known.json")
    one.get("a", file, lambda: "1")
    other.get("b", file, lambda: "2")
    one.save()
    other.save()
    found = RememberedHashes(tmp_path / "known.json")
    assert (found.known("a", file), found.known("b", file)) == ("1", "2")


@pytest.mark.parametrize("text", ["{", "[]", '{"sha": 3}', '{"sha": {"%s": "x"}}'])
def test_unreadable_memory_is_forgotten(tmp_path, file, text):
    (tmp_path / "known.json").write_text(text.replace("%s", str(file)))
    assert answers(tmp_path / "known.json", file)[1]
    assert not answers(tmp_path / "known.json", file)[1]
