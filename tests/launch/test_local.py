"""Jobs on this machine: order, number, repetition, logs and devices, and that no process outlives its starter."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

import speechbrain_ext.launch.local
from speechbrain_ext.errors import InputError
from speechbrain_ext.launch.jobs import Job, JobEvent
from speechbrain_ext.launch.local import run_job, run_jobs

DEADLINE_S = 600  # guards against hanging
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")

# Waits until somebody writes into a named pipe.
WAIT = "import os, sys; print(os.environ.get('CUDA_VISIBLE_DEVICES'), flush=True); open(sys.argv[1]).read()"
# Has a process of its own, writes both ids, and waits to be ended; SIGTERM leaves a file, or nothing if ignored.
FAMILY = """
import os, pathlib, signal, sys
folder, manner = pathlib.Path(sys.argv[1]), sys.argv[2]
def leave(*_):
    (folder / f"terminated.{os.getpid()}").touch()
    os._exit(1)
signal.signal(signal.SIGTERM, signal.SIG_IGN if manner == "stubborn" else leave)
signal.alarm(600)
is_parent = os.fork()
name = "parent" if is_parent else "child"
(folder / f"{name}.tmp").write_text(f"{os.getpid()}")
os.replace(folder / f"{name}.tmp", folder / name)
while not (manner == "crash" and is_parent and (folder / "child").exists()):
    signal.sigtimedwait([], 0.02) if manner == "crash" else signal.pause()
os._exit(3)
"""


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    """Let processes that are asked to end have the time that a busy machine needs."""
    monkeypatch.setattr(speechbrain_ext.launch.local, "GRACE_S", DEADLINE_S)


def wait_until(condition, deadline_s=DEADLINE_S):
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        threading.Event().wait(0.01)


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def python(code, *arguments):
    return (sys.executable, "-S", "-c", code, *map(str, arguments))


def job(tmp_path, name, code, *arguments):
    return Job(name, python(code, *arguments), str(tmp_path / "logs" / f"{name}.log"))


def states(events):
    return [(event.name, event.state) for event in events if event]


def start_family(tmp_path, manner):
    """Start two jobs, one at a time; wait for the first one's processes. Returns (generator, their ids)."""
    pool = run_jobs([job(tmp_path, "family", FAMILY, tmp_path, manner), job(tmp_path, "never", "")], tick_s=0)
    return pool, wait_for_family(tmp_path, lambda: next(pool))


def wait_for_family(tmp_path, meanwhile=lambda: None):
    def is_there():
        meanwhile()
        return (tmp_path / "parent").exists() and (tmp_path / "child").exists()

    wait_until(is_there)
    return [int((tmp_path / name).read_text()) for name in ("parent", "child")]


def test_run_jobs_one_at_a_time_in_order(tmp_path):
    code = "import sys; print(sys.argv[2], file=open(sys.argv[1], 'a'))"
    jobs = [job(tmp_path, name, code, tmp_path / "order", name) for name in "dbca"]
    assert states(run_jobs(jobs)) == [(name, state) for name in "dbca" for state in ("started", "finished")]
    assert (tmp_path / "order").read_text().split() == list("dbca")


def test_run_jobs_runs_n_at_a_time_each_on_its_device(tmp_path):
    pipes = {name: tmp_path / name for name in "abcde"}
    for pipe in pipes.values():
        os.mkfifo(pipe)
    jobs = [job(tmp_path, name, WAIT, pipe) for name, pipe in pipes.items()]
    pool = run_jobs(jobs, n_parallel=2, devices=["3", 5], env={"CUDA_VISIBLE_DEVICES": "9"}, tick_s=0)
    running = []
    for ended, started in ((None, "ab"), ("b", "c"), ("a", "d"), ("d", "e"), ("c", ""), ("e", "")):
        if ended:
            pipes[ended].write_text("go")
        expected = ([(ended, "finished")] if ended else []) + [(name, "started") for name in started]
        seen = []
        while len(seen) < len(expected):
            seen += states([next(pool)])
        running = [name for name in running + list(started) if name != ended]
        if running:
            seen += states([next(pool) for _ in range(3)])  # and nothing else begins
        assert seen == expected
    assert not any(pool)
    devices = [Path(a.log_file).read_text().splitlines()[1] for a in jobs]
    assert devices == ["3", "5", "5", "3", "3"]


def test_run_jobs_more_slots_than_jobs_and_no_jobs(tmp_path):
    assert states(run_jobs([job(tmp_path, "a", "")], 8)) == [("a", "started"), ("a", "finished")]
    assert list(run_jobs([])) == []


@pytest.mark.parametrize(("retries", "n_attempts", "good_at"), [(1, 2, 2), (0, 1, 9), (2, 3, 9)])
def test_run_jobs_failed_job_is_run_again_and_the_others_go_on(tmp_path, retries, n_attempts, good_at):
    code = f"""
import sys
n = len(open(sys.argv[1], "a+").write("x") and open(sys.argv[1]).read())
print(f"attempt {{n}}")
sys.exit(n + 10 if n < {good_at} else 0)
"""
    jobs = [job(tmp_path, "bad", code, tmp_path / "n"), job(tmp_path, "good", "")]
    events = [event for event in run_jobs(jobs, retries=retries, tick_s=60)]
    failures = [JobEvent("bad", "retried", 10 + i, f"attempt {i}") for i in range(1, n_attempts)]
    last = JobEvent("bad", "failed", 10 + n_attempts, f"attempt {n_attempts}")
    if good_at == n_attempts:
        last = JobEvent("bad", "finished", 0)
    good = [JobEvent("good", "started"), JobEvent("good", "finished", 0)]
    assert events == [JobEvent("bad", "started"), *failures, last, *good]
    log = [line.split(" on ")[0] for line in Path(jobs[0].log_file).read_text().split("\n")]
    parts = [[f"#### attempt {i} of {retries + 1}", f"attempt {i}", ""] for i in range(1, n_attempts + 1)]
    assert log == sum(parts, [])


def test_run_job_killed_by_a_signal_has_failed(tmp_path):
    event = run_job(job(tmp_path, "a", "import os; os.kill(os.getpid(), 9)"), retries=0)
    assert event == JobEvent("a", "failed", -9)


def test_run_job_tail_is_the_last_lines_as_a_terminal_shows_them(tmp_path):
    code = """
import sys
for i in range(50):
    print(f"line {i}")
sys.stdout.write("10%\\r50%\\r100%\\n")
sys.stdout.flush()
sys.stdout.buffer.write(b"caf\\xe9\\r\\n")
sys.stdout.flush()
sys.exit("the reason")
"""
    tail = run_job(job(tmp_path, "a", code), retries=0).tail.split("\n")
    assert tail == [*(f"line {i}" for i in range(33, 50)), "100%", "caf\ufffd", "the reason"]


def test_run_job_tail_of_a_long_log_is_short(tmp_path):
    code = "import sys; sys.stdout.write('x' * 10**6 + '\\n'); sys.exit('the reason')"
    tail = run_job(job(tmp_path, "a", code), retries=0).tail
    assert tail.endswith("x\nthe reason") and len(tail) == 2**16 - 1  # without the last newline


def test_run_jobs_command_that_cannot_be_started_has_failed_and_the_others_go_on(tmp_path):
    bad = Job("bad", (str(tmp_path / "missing"), "x"), str(tmp_path / "bad.log"))
    events = [event for event in run_jobs([bad, job(tmp_path, "good", "")], retries=1) if event]
    assert states(events)[:3] == [("bad", "started"), ("bad", "retried"), ("bad", "failed")]
    assert states(events)[3:] == [("good", "started"), ("good", "finished")]
    assert events[2].returncode is None
    assert events[2].tail.startswith(f"{tmp_path / 'missing'} cannot be started: [Errno 2]")
    assert (tmp_path / "bad.log").read_text().count("cannot be started") == 2


def test_run_jobs_log_that_cannot_be_written_fails_its_job_alone(tmp_path):
    (tmp_path / "file").touch()
    bad = Job("bad", python(""), str(tmp_path / "file" / "bad.log"))
    events = [event for event in run_jobs([bad, job(tmp_path, "good", "")], retries=0) if event]
    assert states(events)[1:] == [("bad", "failed"), ("good", "started"), ("good", "finished")]
    assert events[1].returncode is None and "bad.log cannot be written" in events[1].tail


def test_run_jobs_what_is_no_command_is_raised_and_ends_the_others(tmp_path):
    bad = Job("bad", (sys.executable, 5), str(tmp_path / "bad.log"))
    pool = run_jobs([job(tmp_path, "family", FAMILY, tmp_path, "obedient"), bad], n_parallel=2, tick_s=0)
    assert states([next(pool)]) == [("family", "started")]
    with pytest.raises(TypeError, match="int"):
        list(pool)
    assert not (tmp_path / "child").exists() or not is_alive(int((tmp_path / "child").read_text()))


def test_run_job_log_keeps_what_stood_there_and_takes_output_and_errors(tmp_path):
    code = "import os; os.write(1, b'output\\n'); os.write(2, b'error\\n')"
    a = job(tmp_path, "a", code)
    Path(a.log_file).parent.mkdir()
    Path(a.log_file).write_text("before\n")
    run_job(a)
    before, gap, header, *lines = Path(a.log_file).read_text().splitlines()
    assert (before, gap) == ("before", "")
    start, date, clock = header.rsplit(" ", 2)
    assert start == f"#### attempt 1 of 2 on {socket.gethostname()},"
    assert abs(time.mktime(time.strptime(f"{date} {clock}", "%Y-%m-%d %H:%M:%S")) - time.time()) < 3600
    assert lines == ["output", "error"]


def test_run_job_reads_nothing_from_the_terminal(tmp_path):
    (tmp_path / "typed").write_text("an answer\n")
    standard_input = os.dup(0)
    try:
        with open(tmp_path / "typed") as typed:
            os.dup2(typed.fileno(), 0)
        assert "EOFError" in run_job(job(tmp_path, "a", "input()"), retries=0).tail
    finally:
        os.dup2(standard_input, 0)
        os.close(standard_input)


def test_run_jobs_without_devices_leaves_the_environment_and_adds_to_it(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.setenv("OF_THE_POOL", "pool")
    code = "import os; print([os.environ.get(k) for k in ('CUDA_VISIBLE_DEVICES', 'OF_THE_POOL', 'OF_THE_JOB')])"
    a = job(tmp_path, "a", code)
    list(run_jobs([a], env={"OF_THE_JOB": "job"}))
    assert Path(a.log_file).read_text().splitlines()[1] == "['7', 'pool', 'job']"
    assert "OF_THE_JOB" not in os.environ


def test_run_jobs_names_must_be_unique(tmp_path):
    with pytest.raises(InputError, match="its own name, got more than once: a, b. Rename"):
        run_jobs([job(tmp_path, name, "") for name in "abcab"])


@pytest.mark.parametrize("name, value", [("n_parallel", 0), ("n_parallel", 1.5), ("n_parallel", True), ("retries", -1)])
def test_run_jobs_numbers_are_checked_at_once(tmp_path, name, value):
    with pytest.raises(InputError, match=rf"{name} must be a whole number from [01], got {value}"):
        run_jobs([job(tmp_path, "a", "")], **{name: value})


def test_run_jobs_ticks_while_nothing_happens_and_while_much_does(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    pool = run_jobs([job(tmp_path, "a", WAIT, tmp_path / "pipe")], tick_s=0.03)
    start = time.monotonic()
    ticks = [next(pool) for _ in range(5)][1:]
    assert ticks == [None] * 4
    assert time.monotonic() - start >= 4 * 0.03
    (tmp_path / "pipe").write_text("go")
    assert states(pool) == [("a", "finished")]
    assert None in list(run_jobs([job(tmp_path, str(i), "") for i in range(3)], tick_s=0))


@pytest.mark.parametrize("how", ["close", "throw"])
def test_run_jobs_closed_or_interrupted_ends_the_whole_group_and_starts_nothing(tmp_path, how):
    pool, pids = start_family(tmp_path, "obedient")
    assert all(is_alive(pid) for pid in pids)
    if how == "close":
        pool.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            pool.throw(KeyboardInterrupt)
    assert not any(is_alive(pid) for pid in pids)
    assert {path.name for path in tmp_path.glob("terminated.*")} == {f"terminated.{pid}" for pid in pids}
    assert not (tmp_path / "logs" / "never.log").exists()
    assert "attempt 2" not in (tmp_path / "logs" / "family.log").read_text()


def test_run_jobs_closed_kills_what_ignores_sigterm(tmp_path, monkeypatch):
    monkeypatch.setattr(speechbrain_ext.launch.local, "GRACE_S", 0.1)
    pool, pids = start_family(tmp_path, "stubborn")
    start = time.monotonic()
    pool.close()
    assert time.monotonic() - start > 0.1
    assert not any(is_alive(pid) for pid in pids)


def test_run_job_crashed_parent_leaves_nobody_behind(tmp_path):
    event = run_job(job(tmp_path, "a", FAMILY, tmp_path, "crash"), retries=0)
    assert event == JobEvent("a", "failed", 3)
    assert not is_alive(int((tmp_path / "child").read_text()))


@linux_only
@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL", "exit"])
def test_run_jobs_starter_ends_and_the_job_with_it(tmp_path, how):
    script = """
import sys, pathlib
from speechbrain_ext.launch import local
from speechbrain_ext.launch.jobs import Job
local.GRACE_S = 600
folder, family, how = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
family = Job("family", (sys.executable, "-S", "-c", family, str(folder), "obedient"), str(folder / "log"))
pool = local.run_jobs([family], tick_s=0)
for event in pool:
    if how == "exit" and (folder / "parent").exists() and (folder / "child").exists():
        sys.exit(4)  # the generator is still there when the interpreter ends
"""
    env = {**os.environ, "PYTHONPATH": str(Path(speechbrain_ext.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), FAMILY, how], env=env, stderr=subprocess.PIPE, text=True
    )
    pids = wait_for_family(tmp_path)
    if how != "exit":
        process.send_signal(signal.Signals[how])
    _, errors = process.communicate(timeout=DEADLINE_S)
    try:
        if how == "SIGKILL":  # the kernel ends the job's process; what that has started is its own affair
            assert process.returncode == -signal.SIGKILL
            wait_until(lambda: not is_alive(pids[0]))
        else:
            assert not any(is_alive(pid) for pid in pids)
            assert (process.returncode == 4) if how == "exit" else ("KeyboardInterrupt" in errors)
            assert len(list(tmp_path.glob("terminated.*"))) == 2  # asked, not killed
    finally:
        for pid in filter(is_alive, pids):
            os.kill(pid, signal.SIGKILL)


def test_job_and_event_can_be_sent_to_another_process():
    a = Job("a", ("b", "c"), "d")
    event = JobEvent("a", "failed", 1, "x")
    assert pickle.loads(pickle.dumps((a, event))) == (a, event)
