"""The job pool: order, number, repetition, logs and devices of jobs, and that no process outlives the pool."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import speechbrain_ext.launch.local
from speechbrain_ext.errors import InputError
from speechbrain_ext.launch.local import Job, JobEvent, run_job, run_jobs

DEADLINE_S = 30
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")

# Prints what it does into a file, waits until `wait_for` jobs have begun, and stays a moment for one too many to show.
MEET = """
import os, sys, threading, time
path, name, n_jobs = sys.argv[1], sys.argv[2], int(sys.argv[3])
def tell(sign):
    with open(path, "a") as file:
        file.write(f"{sign} {name} {os.environ.get('CUDA_VISIBLE_DEVICES')}\\n")
tell("+")
deadline = time.monotonic() + 30
while open(path).read().count("+") < n_jobs and time.monotonic() < deadline:
    threading.Event().wait(0.01)
threading.Event().wait(0.3)
tell("-")
"""
# Has a process of its own, writes both ids, and waits to be ended; SIGTERM leaves a file, or nothing if ignored.
FAMILY = """
import os, pathlib, signal, sys, threading, time
folder, obedient = pathlib.Path(sys.argv[1]), sys.argv[2] == "obedient"
def leave(*_):
    (folder / f"terminated.{os.getpid()}").touch()
    os._exit(1)
signal.signal(signal.SIGTERM, leave if obedient else signal.SIG_IGN)
if os.fork():
    (folder / "parent.tmp").write_text(f"{os.getpid()}")
    os.replace(folder / "parent.tmp", folder / "parent")
else:
    (folder / "child.tmp").write_text(f"{os.getpid()}")
    os.replace(folder / "child.tmp", folder / "child")
deadline = time.monotonic() + 120
while time.monotonic() < deadline:
    threading.Event().wait(0.05)
"""


def wait_until(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        threading.Event().wait(0.02)


def is_alive(pid):
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except FileNotFoundError:  # no Linux, or gone since
        return not Path("/proc/self").exists()


def python(code, *arguments):
    return (sys.executable, "-S", "-c", code, *map(str, arguments))


def job(tmp_path, name, code, *arguments):
    return Job(name, python(code, *arguments), str(tmp_path / "logs" / f"{name}.log"))


def states(events):
    return [(event.name, event.state) for event in events if event]


def start_family(tmp_path, manner):
    """Start a pool of two jobs, one at a time; wait for the first one's processes. Returns (generator, their ids)."""
    pool = run_jobs([job(tmp_path, "family", FAMILY, tmp_path, manner), job(tmp_path, "never", "")], tick_s=0.02)
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
    events = states(run_jobs(jobs))
    assert events == [(name, state) for name in "dbca" for state in ("started", "finished")]
    assert (tmp_path / "order").read_text().split() == list("dbca")


@pytest.mark.parametrize("n_parallel", [1, 3])
def test_run_jobs_runs_n_at_a_time_and_never_more(tmp_path, n_parallel):
    jobs = [job(tmp_path, str(i), MEET, tmp_path / "told", i, n_parallel) for i in range(5)]
    events = states(run_jobs(jobs, n_parallel))
    assert [name for name, state in events if state == "started"] == list("01234")
    assert sorted(name for name, state in events if state == "finished") == list("01234")
    running, most = 0, 0
    for line in (tmp_path / "told").read_text().splitlines():
        running += 1 if line[0] == "+" else -1
        most = max(most, running)
    assert (running, most) == (0, n_parallel)


def test_run_jobs_more_slots_than_jobs_and_no_jobs(tmp_path):
    assert states(run_jobs([job(tmp_path, "a", "")], 8)) == [("a", "started"), ("a", "finished")]
    assert list(run_jobs([])) == []


def test_run_jobs_failed_job_is_run_again(tmp_path):
    code = """
import pathlib, sys
marker = pathlib.Path(sys.argv[1])
if not marker.exists():
    marker.touch()
    sys.exit("not yet")
print("now")
"""
    events = [e for e in run_jobs([job(tmp_path, "a", code, tmp_path / "marker")]) if e]
    assert events == [
        JobEvent("a", "started"),
        JobEvent("a", "retried", 1, "not yet"),
        JobEvent("a", "finished", 0),
    ]
    log = [line.split(" on ")[0] for line in (tmp_path / "logs" / "a.log").read_text().splitlines()]
    assert log == ["#### attempt 1 of 2", "not yet", "", "#### attempt 2 of 2", "now"]


@pytest.mark.parametrize("retries", [0, 2])
def test_run_jobs_failing_job_ends_with_its_last_attempt_and_the_others_go_on(tmp_path, retries):
    code = """
import sys
n = len(open(sys.argv[1], "a+").write("x") and open(sys.argv[1]).read())
print(f"attempt {n}")
sys.exit(n + 10)
"""
    jobs = [job(tmp_path, "bad", code, tmp_path / "n"), job(tmp_path, "good", "")]
    events = [event for event in run_jobs(jobs, retries=retries) if event]
    n = retries + 1
    retried = [JobEvent("bad", "retried", 10 + i, f"attempt {i}") for i in range(1, n)]
    failed = JobEvent("bad", "failed", 10 + n, f"attempt {n}")
    good = [JobEvent("good", "started"), JobEvent("good", "finished", 0)]
    assert events == [JobEvent("bad", "started"), *retried, failed, *good]


def test_run_jobs_job_killed_by_a_signal_has_failed(tmp_path):
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


def test_run_jobs_what_is_no_command_is_raised(tmp_path):
    with pytest.raises(TypeError, match="int"):
        list(run_jobs([Job("a", (sys.executable, 5), str(tmp_path / "a.log"))]))


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


def test_run_jobs_two_at_a_time_never_share_a_device(tmp_path):
    jobs = [job(tmp_path, str(i), MEET, tmp_path / "told", i, 2) for i in range(5)]
    list(run_jobs(jobs, n_parallel=2, devices=["3", 5], env={"CUDA_VISIBLE_DEVICES": "9"}))
    told = [line.split() for line in (tmp_path / "told").read_text().splitlines()]
    assert {device for _, _, device in told} == {"3", "5"}
    running = []
    for sign, _, device in told:
        running.append(device) if sign == "+" else running.remove(device)
        assert len(set(running)) == len(running)


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


def test_run_jobs_ticks_while_nothing_happens(tmp_path):
    code = """
import pathlib, sys, threading, time
deadline = time.monotonic() + 30
while not pathlib.Path(sys.argv[1]).exists() and time.monotonic() < deadline:
    threading.Event().wait(0.01)
"""
    start, n_ticks = time.monotonic(), 0
    for event in run_jobs([job(tmp_path, "a", code, tmp_path / "go")], tick_s=0.05):
        n_ticks += event is None
        if n_ticks == 4:
            (tmp_path / "go").touch()
    assert n_ticks >= 4
    assert time.monotonic() - start < DEADLINE_S - 5
    assert n_ticks <= (time.monotonic() - start) / 0.05


def test_run_jobs_ticks_while_events_come_faster_than_ticks(tmp_path):
    jobs = [job(tmp_path, str(i), "") for i in range(8)]  # about 0.1 s each
    assert None in list(run_jobs(jobs, tick_s=0.3))


def test_run_jobs_closed_ends_the_whole_group_and_starts_nothing(tmp_path):
    pool, pids = start_family(tmp_path, "obedient")
    assert all(is_alive(pid) for pid in pids)
    pool.close()
    assert not any(is_alive(pid) for pid in pids)
    assert {path.name for path in tmp_path.glob("terminated.*")} == {f"terminated.{pid}" for pid in pids}
    assert not (tmp_path / "logs" / "never.log").exists()
    assert "attempt 2" not in (tmp_path / "logs" / "family.log").read_text()


def test_run_jobs_closed_kills_what_ignores_sigterm(tmp_path, monkeypatch):
    monkeypatch.setattr(speechbrain_ext.launch.local, "GRACE_S", 0.3)
    pool, pids = start_family(tmp_path, "stubborn")
    start = time.monotonic()
    pool.close()
    assert time.monotonic() - start > 0.3
    # A process is dead at once, and gone when somebody has asked for its status.
    assert not any(is_alive(pid) for pid in pids)


def test_run_jobs_interrupted_ends_the_jobs(tmp_path):
    pool, pids = start_family(tmp_path, "obedient")
    with pytest.raises(KeyboardInterrupt):
        pool.throw(KeyboardInterrupt)
    assert not any(is_alive(pid) for pid in pids)
    assert not (tmp_path / "logs" / "never.log").exists()


def test_run_job_crashed_parent_leaves_nobody_behind(tmp_path):
    crash = """
    if os.getpid() == os.getpgrp() and (folder / "child").exists():
        os._exit(3)
"""
    event = run_job(job(tmp_path, "a", FAMILY.rstrip("\n") + crash, tmp_path, "obedient"), retries=0)
    assert event == JobEvent("a", "failed", 3)
    assert not is_alive(int((tmp_path / "child").read_text()))


def test_run_jobs_thread_that_cannot_be_started_is_raised_and_ends_the_others(tmp_path, monkeypatch):
    start, started = threading.Thread.start, []

    def start_one(thread):
        if started:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_one)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        next(run_jobs([job(tmp_path, name, "import signal; signal.alarm(120); signal.pause()") for name in "ab"], 2))
    assert not started[0].is_alive()


@linux_only
@pytest.mark.parametrize("how", ["SIGINT", "SIGKILL", "exit"])
def test_run_jobs_pool_process_ends_and_the_job_with_it(tmp_path, how):
    script = """
import sys, pathlib
from speechbrain_ext.launch.local import Job, run_jobs
folder, family, how = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
pool = run_jobs([Job("family", (sys.executable, "-S", "-c", family, str(folder), "obedient"), str(folder / "log"))],
                tick_s=0.05)
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
