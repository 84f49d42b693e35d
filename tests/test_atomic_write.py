"""Atomic writing: the whole new file or the old one."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import speechbrain_ext
from speechbrain_ext.atomic_write import atomic_write, check_writable, write_json
from speechbrain_ext.errors import InputError


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("old", ["old", None])
def test_atomic_write_failure_leaves_the_folder_as_it_was(tmp_path, failure, old):
    path = tmp_path / "a.txt"
    if old:
        path.write_text(old)
    with pytest.raises(failure), atomic_write(path) as file:
        file.write("new")
        raise failure
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == ({"a.txt": old} if old else {})


def test_atomic_write_keeps_the_old_file_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_write(path) as file:
        file.write("new")
        file.flush()
        assert path.read_text() == "old"
        assert len(list(tmp_path.iterdir())) == 2  # in the same folder: renaming is atomic on one disk only
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write_killed_process_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    code = (
        "import os, sys\n"
        "from speechbrain_ext.atomic_write import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file:\n"
        "    file.write('new')\n"
        "    file.flush()\n"
        "    os._exit(9)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(speechbrain_ext.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", code, str(path)], env=env, check=False).returncode == 9
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder", "--json .*folder is a folder. Name a file in it"),
        ("file/a.json", "--json .*a.json cannot be written: Not a directory .*file.. Name another"),
    ],
)
def test_check_writable_refuses_what_cannot_be_a_file(tmp_path, name, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=message):
        check_writable(tmp_path / name, "--json")
    check_writable(tmp_path / "new" / "a.json", "--json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_atomic_write_names_the_file_and_not_the_temporary_one(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder'$") as error, atomic_write(tmp_path / "folder"):
        pass
    assert error.value.filename == str(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_write_json_names_a_text_that_is_none(tmp_path):
    with pytest.raises(InputError, match=r"a.json cannot be written: '.ud800' in .*x.ud800y.* is no character"):
        write_json({"text": "x\ud800y"}, tmp_path / "a.json")
    assert not list(tmp_path.iterdir())


def test_atomic_write_others_can_read_the_file(tmp_path):
    with atomic_write(tmp_path / "a.txt"):
        pass
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644


def test_atomic_write_is_utf8_with_newlines_as_written(tmp_path):
    with atomic_write(tmp_path / "a.txt") as file:
        file.write("é\r\nb\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\r\nb\n"


def test_atomic_write_makes_folders_and_takes_text_as_path(tmp_path):
    with atomic_write(str(tmp_path / "new" / "er" / "a.txt")) as file:
        file.write("x")
    assert (tmp_path / "new" / "er" / "a.txt").read_text() == "x"


def test_write_json_is_readable_ordered_and_ends_with_a_newline(tmp_path):
    data = {"b": [1, 2.5], "a": {"é": None}}
    write_json(data, tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text == '{\n "b": [\n  1,\n  2.5\n ],\n "a": {\n  "é": null\n }\n}\n'
    assert json.loads(text) == data


def test_write_json_of_what_is_no_json_keeps_the_old_file(tmp_path):
    write_json([1], tmp_path / "a.json")
    with pytest.raises(TypeError):
        write_json([2, object()], tmp_path / "a.json")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert json.loads((tmp_path / "a.json").read_text()) == [1]
