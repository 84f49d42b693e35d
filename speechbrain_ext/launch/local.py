"""Running commands as processes of this machine, several at a time: repeated on failure, ended with their starter."""

import atexit
import contextlib
import ctypes
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from speechbrain_ext.errors import InputError, check_whole_number

HEADER = "#### attempt"  # how the line starts that each attempt writes into its log first
TAIL_LINES = 20
TAIL_BYTES = 2**16
POLL_S = 0.1
GRACE_S = 5.0  # from SIGTERM to SIGKILL
PR_SET_PDEATHSIG = 1  # of linux/prctl.h
# Loaded here: between fork and exec nothing may be imported.
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Job:
    """A command to run.

    Attributes
    ----------
    name : str
        What its events call it; unique.
    command : tuple of str
        The program and its arguments.
    log_file : str
        What it prints is appended here, standard output and errors; missing folders are made.
    """

    name: str
    command: tuple
    log_file: str


@dataclass(frozen=True)
class JobEvent:
    """What happened to a job.

    Attributes
    ----------
    name : str
        The job's name.
    state : str
        "started", "retried", "finished" or "failed"; the last two end a job, and each job ends once.
    returncode : int or None
        The attempt's exit status, negative for a signal; None if the command could not be started.
    tail : str
        The last lines of a failed attempt's log.
    """

    name: str
    state: str
    returncode: Optional[int] = None
    tail: str = ""


def check_jobs(jobs, retries):
    """Refuse jobs that share a name, and a number of retries that is none.

    Raises
    ------
    InputError
        Says which.
    """
    check_whole_number("retries", retries, 0)
    names = [job.name for job in jobs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"each job must have its own name, got more than once: {', '.join(twice)}. Rename them.")


def run_jobs(jobs, n_parallel=1, retries=1, devices=(), env=None, tick_s=1.0):
    """Run jobs on this machine, in the order given.

    Close the generator to end all that runs (`contextlib.closing`); an exception in it and the interpreter's end do the
    same. Ended are a job's process and those it has started: by SIGTERM, and by SIGKILL after a grace. If this process
    is killed without a chance to do so, on Linux the jobs' own processes are killed with it; elsewhere they run on.

    Arguments
    ---------
    jobs : iterable of Job
        What to run.
    n_parallel : int
        How many at a time.
    retries : int
        How often a job that fails is run again.
    devices : tuple of str
        Values of CUDA_VISIBLE_DEVICES that the jobs running at a time take in turn; empty leaves it as it is.
    env : dict, optional
        Environment variables for the jobs, added to this process's.
    tick_s : float
        None comes at least this often, in seconds.

    Returns
    -------
    generator of JobEvent or None
        What happens, as it happens, and None now and then, for a display to be refreshed.

    Raises
    ------
    InputError
        If two jobs have one name, or n_parallel or retries is no whole number or too small.
    """
    jobs = list(jobs)
    check_jobs(jobs, retries)
    check_whole_number("n_parallel", n_parallel, 1)
    return _run_jobs(jobs, n_parallel, retries, tuple(devices), env or {}, tick_s)


def run_job(job, retries=1, env=None, on_retry=None, stop=None):
    """Run one job in this thread, which its process does not outlive.

    Arguments
    ---------
    job : Job
        What to run.
    retries : int
        How often it is run again if its exit status is not 0 or it cannot be started.
    env : dict, optional
        Environment variables for it, added to this process's.
    on_retry : callable, optional
        Called with a JobEvent before it is run again.
    stop : threading.Event, optional
        Set it to end the job.

    Returns
    -------
    JobEvent
        "finished", or "failed" with the last attempt's exit status and last lines.
    """
    stop = stop or threading.Event()
    for attempt in range(1, retries + 2):
        returncode, tail = _run_attempt(job, f"{attempt} of {retries + 1}", {**os.environ, **(env or {})}, stop)
        if returncode == 0:
            return JobEvent(job.name, "finished", 0)
        if attempt > retries or stop.is_set():
            return JobEvent(job.name, "failed", returncode, tail)
        if on_retry:
            on_retry(JobEvent(job.name, "retried", returncode, tail))


def _run_jobs(jobs, n_parallel, retries, devices, env, tick_s):
    events, stop = queue.SimpleQueue(), threading.Event()
    waiting, lock = iter(jobs), threading.Lock()

    def work(slot):
        own_env = {**env, "CUDA_VISIBLE_DEVICES": str(devices[slot % len(devices)])} if devices else env
        try:
            while True:
                with lock:  # taking a job and telling of it are one step, or the order is lost
                    job = None if stop.is_set() else next(waiting, None)
                    if job is None:
                        return
                    events.put(JobEvent(job.name, "started"))
                events.put(run_job(job, retries, own_env, events.put, stop))
        except BaseException as error:  # raised where somebody sees it
            events.put(error)

    # Daemons, for the interpreter waits for other threads before it calls what is registered with atexit.
    threads = [threading.Thread(target=work, args=(k,), daemon=True) for k in range(min(n_parallel, len(jobs)))]

    def end():
        stop.set()
        for thread in threads:
            if thread.ident:
                thread.join()

    atexit.register(end)
    try:
        for thread in threads:
            thread.start()
        n_left, next_tick = len(jobs), time.monotonic() + tick_s
        while n_left:
            try:
                event = events.get(timeout=max(0.0, next_tick - time.monotonic()))
            except queue.Empty:
                event, next_tick = None, time.monotonic() + tick_s
            if isinstance(event, BaseException):
                raise event
            if event and event.state in ("finished", "failed"):
                n_left -= 1
            yield event
    finally:
        end()
        atexit.unregister(end)


def _run_attempt(job, number, env, stop):
    """Run a job's command once. Returns (exit status, the log's last lines)."""
    try:
        Path(job.log_file).parent.mkdir(parents=True, exist_ok=True)
        with open(job.log_file, "a+b", buffering=0) as log:
            gap = "\n" if log.tell() else ""
            started_at = f"on {socket.gethostname()}, {time.strftime('%Y-%m-%d %H:%M:%S')}"
            log.write(f"{gap}{HEADER} {number} {started_at}\n".encode())
            start = log.tell()
            try:
                returncode = _run_process(job.command, log, env, stop)
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                returncode = None
                log.write(f"{job.command[0]} cannot be started: {error}\n".encode())
            return returncode, _tail(log, start)
    except OSError as error:
        return None, f"{job.log_file} cannot be written: {error}"


def _run_process(command, log, env, stop):
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=env,
        start_new_session=True,  # a group of its own, which can be ended as a whole
        preexec_fn=_die_with(os.getpid()) if _LIBC else None,
    )
    try:
        while process.poll() is None and not stop.wait(POLL_S):
            pass
    finally:
        _end_group(process)
    return process.returncode


def _die_with(parent):
    """Return what a child calls before exec, so that Linux kills it when the thread that started it ends."""

    def ask_for_death():
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it has ended before it could be asked for
            os._exit(1)

    return ask_for_death


def _end_group(process):
    """End a process and all in its group; what a crashed one leaves behind may hold its folder's lock."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + GRACE_S
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left
            os.killpg(process.pid, kind)
            while time.monotonic() < deadline:
                process.poll()  # a process that nobody has waited for stays in its group
                os.killpg(process.pid, 0)
                time.sleep(0.02)
    process.wait()


def _tail(log, start):
    """Read the last lines of a log, from a byte offset on."""
    log.seek(max(start, log.seek(0, os.SEEK_END) - TAIL_BYTES))
    lines = log.read().decode("utf-8", errors="replace").replace("\r\n", "\n").strip().split("\n")
    # Of what a progress bar has overwritten, the last remains.
    return "\n".join(line.rsplit("\r", 1)[-1] for line in lines[-TAIL_LINES:])
