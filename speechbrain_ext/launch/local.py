"""Running commands as processes of this machine, several at a time: repeated on failure, ended with their starter."""

import atexit
import contextlib
import ctypes
import functools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, Optional

import psutil

from speechbrain_ext.errors import check_whole_number
from speechbrain_ext.launch.jobs import HEADER, TAIL_LINES, Job, JobEvent, check_jobs
from speechbrain_ext.launch.warm_start import CAN_WARM_START, WarmProcess
from speechbrain_ext.storage import describe_fault

Process = subprocess.Popen | WarmProcess
TAIL_BYTES = 2**16
POLL_S = 0.02
GRACE_S = 5.0  # from SIGTERM to SIGKILL
PR_SET_PDEATHSIG = 1  # of linux/prctl.h; psutil has nothing like it
PRCTL: Any = ctypes.CDLL(None).prctl if sys.platform == "linux" else None  # loaded before fork


def run_jobs(
    jobs: Iterable[Job],
    n_parallel: int = 1,
    retries: int = 1,
    devices: Sequence[object] = (),
    env: Optional[Mapping[str, str]] = None,
    tick_s: float = 1.0,
) -> Generator[Optional[JobEvent], None, None]:
    """Run jobs on this machine, in the order given.

    Close the generator to end all that runs (`contextlib.closing`); an exception in it and the interpreter's end do the
    same. A job's process is ended with those it has started: by SIGTERM, and by SIGKILL after a grace period. If this
    process is killed itself, Linux kills the jobs' processes; elsewhere they run on.

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
        None comes about this often, in seconds, for a display to be refreshed.

    Returns
    -------
    generator of JobEvent or None
        What happens. Nothing is started while nobody asks for the next event.
    """
    jobs = list(jobs)
    check_jobs(jobs, retries)
    check_whole_number("n_parallel", n_parallel, 1)
    envs = [{**os.environ, **(env or {})} for _ in range(min(n_parallel, len(jobs)))]
    for slot, own_env in enumerate(envs if devices else ()):
        own_env["CUDA_VISIBLE_DEVICES"] = str(devices[slot % len(devices)])
    return _run_jobs(jobs, envs, retries, tick_s)


def run_job(job: Job, retries: int = 1, env: Optional[Mapping[str, str]] = None) -> JobEvent:
    """Run one job as `run_jobs` does. Returns how it ended."""
    *_, last = filter(None, run_jobs([job], retries=retries, env=env))
    return last


def _run_jobs(
    jobs: list[Job], envs: list[dict], retries: int, tick_s: float
) -> Generator[Optional[JobEvent], None, None]:
    processes: list[Process] = []
    end = functools.partial(_end_groups, processes)
    atexit.register(end)
    try:
        waiting, n_left = iter(jobs), len(jobs)
        slots = [_work(waiting, env, retries, processes) for env in envs]
        next_tick_s = time.monotonic() + tick_s
        while n_left:
            for slot in slots:
                if event := next(slot, None):
                    n_left -= event.state in ("finished", "failed")
                    yield event
            if time.monotonic() >= next_tick_s:
                next_tick_s = time.monotonic() + tick_s
                yield None
            time.sleep(POLL_S)
    finally:
        end()
        atexit.unregister(end)


def _work(jobs: Iterator[Job], env: dict, retries: int, processes: list) -> Iterator[Optional[JobEvent]]:
    """Run jobs one after the other. Yields what happens, and None while nothing does."""
    for job in jobs:
        yield JobEvent(job.name, "started")
        for attempt in range(1, retries + 2):
            returncode, tail = yield from _run_attempt(job, f"{attempt} of {retries + 1}", env, processes)
            if returncode == 0:
                yield JobEvent(job.name, "finished", 0)
                break
            yield JobEvent(job.name, "retried" if attempt <= retries else "failed", returncode, tail)


def _run_attempt(job: Job, number: str, env: dict, processes: list) -> Generator[None, None, tuple[Optional[int], str]]:
    """Run a job's command once; `processes` holds its process as long. Returns (exit status, the log's last lines)."""
    try:
        Path(job.log_file).parent.mkdir(parents=True, exist_ok=True)
        with open(job.log_file, "a+b", buffering=0) as log:
            begun = f"{HEADER} {number} on {socket.gethostname()}, {time.strftime('%Y-%m-%d %H:%M:%S')}\n"
            log.write((("\n" if log.tell() else "") + begun).encode())
            start = log.tell()
            try:
                process = _start(job, log, env)
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                log.write(f"{job.command[0]} cannot be started: {error}\n".encode())
                return None, _tail(log, start)
            processes.append(process)
            while process.poll() is None:
                yield
            _end_groups([process])  # what a crashed one leaves behind may hold its folder's lock
            processes.remove(process)
            return process.returncode, _tail(log, start)
    except OSError as error:
        return None, f"{job.log_file} cannot be written: {describe_fault(error) or error}"


def _start(job: Job, log: IO[Any], env: dict) -> Process:
    """Start a job's process in a group of its own, which can be ended as a whole."""
    if job.warm and CAN_WARM_START:
        return WarmProcess(job.command[1:], log, env, _die_with if PRCTL else None)
    return subprocess.Popen(
        job.command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=env,
        start_new_session=True,
        preexec_fn=functools.partial(_die_with, os.getpid()) if PRCTL else None,
    )


def _die_with(starter: int) -> None:
    """Ask Linux, between fork and exec, to kill this process when its starter ends."""
    PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != starter:  # it has ended already
        os._exit(1)


def _end_groups(processes: list[Process]) -> None:
    """End processes and all in their groups; of a crashed process, psutil no longer knows the children."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left
                os.killpg(process.pid, kind)
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline and _any_lives({process.pid for process in processes}):
            time.sleep(0.02)


def _any_lives(groups: set[int]) -> bool:
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(ProcessLookupError):
            if process.info["status"] != psutil.STATUS_ZOMBIE and os.getpgid(process.pid) in groups:
                return True
    return False


def _tail(log: BinaryIO, start: int) -> str:
    """Read the last lines of a log, from a byte offset on."""
    log.seek(max(start, log.seek(0, os.SEEK_END) - TAIL_BYTES))
    lines = log.read().decode("utf-8", errors="replace").replace("\r\n", "\n").strip().split("\n")
    # Of what a progress bar has overwritten, the last remains.
    return "\n".join(line.rsplit("\r", 1)[-1] for line in lines[-TAIL_LINES:])
