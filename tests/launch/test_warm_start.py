"""Runs that share their imports are processes as others are."""

import gc
import json
import os
import runpy
import sys

import pytest

from speechbrain_ext.launch.jobs import Job
from speechbrain_ext.launch.local import run_jobs
from speechbrain_ext.launch.warm_start import CAN_WARM_START, SCRIPT
from speechbrain_ext.training import run
from tests.launch.test_local import is_alive, states, wait_for_family, wait_until

pytestmark = pytest.mark.skipif(not CAN_WARM_START, reason="multiprocessing has no fork server here")
SAYING = """
import os, sys, time
IMPORTED_BY = os.getpid()
if __name__ == "__main__":
    print(sys.argv[1:], os.environ.get("CUDA_VISIBLE_DEVICES"), os.getsid(0) == os.getpid(), sys.stdin.read() == "")
    print(__file__, file=sys.stderr)
    sys.exit({"fail": 3, "say": "in words"}.get(sys.argv[1], 0))
"""


@pytest.fixture
def job(tmp_path):
    """Return a function that makes a warm job out of a script."""
    path = tmp_path / "script.py"

    def make(name, script, *words):
        path.write_text(script)
        command = (sys.executable, str(path), *map(str, words))
        return Job(name, command, str(tmp_path / "logs" / f"{name}.log"), warm=True)

    return make


def test_script_is_run_as_by_python_itself(job, tmp_path):
    jobs = [job(word, SAYING, word) for word in ("good", "fail", "say")]
    events = [event for event in run_jobs(jobs, devices=["7"], retries=0) if event]
    assert states(events)[1::2] == [("good", "finished"), ("fail", "failed"), ("say", "failed")]
    assert [event.returncode for event in events[1::2]] == [0, 3, 1]
    lines = (tmp_path / "logs" / "good.log").read_text().splitlines()
    assert sorted(lines[1:]) == sorted(["['good'] 7 True True", str(tmp_path / "script.py")])
    assert "in words" in events[-1].tail


def test_end_of_the_jobs_ends_their_processes(job, tmp_path):
    from tests.launch.test_local import FAMILY

    pool = run_jobs([job("family", FAMILY, tmp_path, "obedient")], tick_s=0)
    processes = wait_for_family(tmp_path, lambda: next(pool))
    assert os.getpid() not in processes and all(map(is_alive, processes))
    pool.close()
    wait_until(lambda: not any(map(is_alive, processes)))
    assert (tmp_path / f"terminated.{processes[0]}").exists()


def test_script_with_a_fault_says_so_itself(job, tmp_path):
    *_, last = (event for event in run_jobs([job("broken", "1 / 0\n")], retries=0) if event)
    assert (last.state, last.returncode) == ("failed", 1)
    assert "ZeroDivisionError" in last.tail


def test_runs_inherit_the_corpus_and_its_rows_are_read_once(root, demo_corpus, tmp_path, monkeypatch, capsys):
    (tmp_path / "script.py").write_text("")
    options = {"data_folder": str(demo_corpus), "output_folder": str(tmp_path / "fold")}
    words = [str(root / "hparams" / "demo.yaml"), *(f"--{key}={value}" for key, value in options.items())]
    monkeypatch.setenv(SCRIPT, json.dumps([str(tmp_path / "script.py"), *words]))
    monkeypatch.setattr(run, "CORPORA_READ", {})
    runpy.run_module("speechbrain_ext.launch.preload")
    gc.unfreeze()
    assert capsys.readouterr() == ("", "") and len(run.CORPORA_READ) == 1
    monkeypatch.setattr(run, "prepare_corpus", None)  # a second reading would call it
    assert len(run.Run.read(words[0], {**options, "fold": 3}).manifest) == 80
    assert not (tmp_path / "fold").exists()
