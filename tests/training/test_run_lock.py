"""One process in a run's folder."""

import errno
import subprocess
import sys

import filelock
import pytest

from speechbrain_ext.errors import InputError
from speechbrain_ext.training.run_lock import LOCK_FILE, hold_run_folder

HOLDER = """
import sys
from speechbrain_ext.training.run_lock import hold_run_folder
with hold_run_folder(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path, root):
    """A process that holds a folder until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_what_a_killed_process_was_writing_is_deleted(tmp_path):
    names = [".run.json.a1b2c3d_.tmp", ".mine.tmp", ".run.json.other.tmp", "run.json"]
    for name in names:
        (tmp_path / name).touch()
    with hold_run_folder(tmp_path):
        left = {path.name for path in tmp_path.iterdir()}
    assert left == {*names[1:], LOCK_FILE}


def test_folder_of_another_process_is_refused_and_kept(holder, tmp_path, caplog):
    with pytest.raises(InputError, match="run is in use by another process. Wait until it has ended, or choose"):
        with hold_run_folder(tmp_path / "run", timeout_s=0.1):
            pytest.fail("two processes hold the folder")
    assert f"Another process works in {tmp_path / 'run'}: waiting for it" in caplog.text
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK_FILE]


def test_killed_process_lets_go(holder, tmp_path):
    holder.kill()
    with hold_run_folder(tmp_path / "run", timeout_s=600):
        pass


def test_folder_is_waited_for(holder, tmp_path, monkeypatch):
    acquire = filelock.FileLock.acquire

    def end_holder_and_acquire(lock, timeout):
        if timeout > 0:  # the second try, after the warning
            holder.communicate()
        return acquire(lock, timeout=timeout)

    monkeypatch.setattr(filelock.FileLock, "acquire", end_holder_and_acquire)
    with hold_run_folder(tmp_path / "run", timeout_s=600):
        pass


def test_folder_is_free_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError):
            with hold_run_folder(tmp_path / "run", timeout_s=0.1):
                raise KeyError


@pytest.mark.parametrize("error", [OSError(errno.ENOLCK, "no locks"), NotImplementedError("no flock")])
def test_file_system_without_locks_is_used_with_a_warning(tmp_path, monkeypatch, caplog, error):
    def acquire(lock, timeout):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with hold_run_folder(tmp_path):
        assert "has no locks: see to it that one process alone works there" in caplog.text


def test_other_faults_of_the_file_system_are_raised(tmp_path, monkeypatch):
    def acquire(lock, timeout):
        raise OSError(errno.EACCES, "not yours")

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    with pytest.raises(OSError, match="not yours"):
        with hold_run_folder(tmp_path):
            pytest.fail("a folder that may not be written is held")
