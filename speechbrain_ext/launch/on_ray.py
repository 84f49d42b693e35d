"""Running commands as tasks of Ray, on this machine or on a cluster whose nodes share their files.

A task whose worker or node dies is run again by Ray, elsewhere if need be; its process dies with the worker.
"""

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Optional

from speechbrain_ext.errors import InputError, check_whole_number
from speechbrain_ext.launch.jobs import HEADER, TAIL_LINES, Job, JobEvent, check_jobs
from speechbrain_ext.launch.local import GRACE_S

# What in a process's environment changes its results, or where it finds models; a worker elsewhere has its own.
FORWARDED = ("OMP_", "MKL_", "CUBLAS_", "TORCH_", "PYTORCH_", "SB_", "HF_", "TRANSFORMERS_", "PYTHONPATH")
CONNECT_S = 10.0
CANCEL_S = 2 * GRACE_S + 5  # what ending a process takes, and Ray's own part


def run_jobs_on_ray(
    jobs: Iterable[Job],
    address: Optional[str] = None,
    cpus_per_job: int = 1,
    gpus_per_job: Optional[float] = None,
    retries: int = 1,
    worker_deaths: int = 5,
    tick_s: float = 1.0,
) -> Generator[Optional[JobEvent], None, None]:
    """Run jobs as Ray tasks, as many at a time as the nodes have room for.

    A Ray that this process is connected to already is used and left as it is. Paths in a job are relative to this
    process's working directory, which every node must have. Of this process's environment the jobs get what
    `FORWARDED` names; OMP_NUM_THREADS is cpus_per_job, unless it is among that. Close the generator to end all that
    runs (`contextlib.closing`).

    Arguments
    ---------
    jobs : iterable of Job
        What to run.
    address : str, optional
        A cluster to join: "auto" for the one that this machine belongs to, or host:port. If not given, a Ray of its
        own runs on this machine until the jobs have ended.
    cpus_per_job : int
        CPU cores that a node sets aside for each job.
    gpus_per_job : float, optional
        GPUs for each, below 1 for several jobs on one; if not given, 1 where the cluster has GPUs, else 0.
    retries : int
        How often a job is run again if its exit status is not 0 or it cannot be started.
    worker_deaths : int
        How often a job is run again because its worker or node has died.
    tick_s : float
        None comes at least this often, in seconds.

    Returns
    -------
    generator of JobEvent or None
        As `run_jobs` gives them. "started" and "retried" are read in the jobs' logs, so they come a little late, and
        tell no exit status. A job that Ray gave up is "failed" with no exit status and Ray's words as tail.

    Raises
    ------
    InputError
        If Ray is not installed or cannot be reached, if no node has room for a job, or two jobs have one name.
    """
    jobs = list(jobs)
    check_jobs(jobs, retries)
    check_whole_number("cpus_per_job", cpus_per_job, 1)
    check_whole_number("worker_deaths", worker_deaths, 0)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # telemetry off
    try:
        import ray
    except ImportError as error:
        raise InputError('Ray is not installed. pip install "speechbrain-ext[ray]" (or pip install ray).') from error
    return _run_jobs(ray, jobs, address, cpus_per_job, gpus_per_job, retries, worker_deaths, tick_s)


def _run_jobs(
    ray: ModuleType,
    jobs: list[Job],
    address: Optional[str],
    cpus_per_job: int,
    gpus_per_job: Optional[float],
    retries: int,
    worker_deaths: int,
    tick_s: float,
) -> Generator[Optional[JobEvent], None, None]:
    if not jobs:
        return
    env = {name: value for name, value in os.environ.items() if name.startswith(FORWARDED)}
    env.setdefault("OMP_NUM_THREADS", str(cpus_per_job))
    folder, package_root = os.getcwd(), str(Path(__file__).resolve().parents[2])

    # Within a function, so that Ray sends the code itself: a worker cannot import this module before it has the path.
    def run_in_worker(
        name: str, command: tuple[str, ...], log_file: str
    ) -> "JobEvent":  # a text, as the class cannot be found yet
        os.chdir(folder)
        if package_root not in sys.path:
            sys.path.insert(0, package_root)
        from speechbrain_ext.launch.jobs import Job
        from speechbrain_ext.launch.local import run_job

        return run_job(Job(name, command, log_file), retries, env)

    with _connection(ray, address):
        gpus_per_job = _check_room(ray, cpus_per_job, gpus_per_job)
        task = ray.remote(num_cpus=cpus_per_job, num_gpus=gpus_per_job, max_retries=worker_deaths)(run_in_worker)
        tasks: dict[Any, _LogReader] = {}
        try:
            for job in jobs:
                log = _LogReader(job)
                tasks[task.remote(job.name, job.command, job.log_file)] = log
            while tasks:
                done, _ = ray.wait(list(tasks), timeout=tick_s)
                for log in tasks.values():
                    yield from log.read_events()
                for ref in done:
                    yield from _end_events(ray, ref, tasks.pop(ref))
                yield None
        finally:
            _cancel(ray, list(tasks))


@contextlib.contextmanager
def _connection(ray: ModuleType, address: Optional[str]) -> Iterator[None]:
    """Connect to Ray, and disconnect; a connection that is there already stays."""
    if ray.is_initialized():
        yield
        return
    options = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:  # by itself Ray would join one that happens to run here
        ray.init(address="local", include_dashboard=False, **options)
    else:
        try:
            if address != "auto":  # Ray itself tries for minutes
                host, _, port = address.rpartition(":")
                socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
            ray.init(address=address, **options)
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise InputError(
                f"Ray's address must be auto or host:port of a running cluster, got {address!r} ({reason}). "
                "Start one with ray start --head, or leave the address out to use this machine alone."
            ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_room(ray: ModuleType, cpus: int, gpus: Optional[float]) -> float:
    """Refuse jobs that would wait for ever. Returns the GPUs for each job."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    nodes = [(of_node.get("CPU", 0), of_node.get("GPU", 0)) for of_node in resources]
    if gpus is None:
        gpus = int(any(node_gpus >= 1 for _, node_gpus in nodes))
    if not isinstance(gpus, (int, float)) or gpus < 0 or (gpus > 1 and gpus % 1):
        raise InputError(f"gpus_per_job must be a whole number from 0, or a fraction of 1, got {gpus!r}.")
    if not any(node_cpus >= cpus and node_gpus >= gpus for node_cpus, node_gpus in nodes):
        biggest = max(nodes, key=lambda node: (min(node[1], gpus), node[0]), default=(0, 0))
        raise InputError(
            f"no node has room for a job: it asks for {cpus} CPUs and {gpus:g} GPUs, the biggest node has "
            f"{biggest[0]:g} CPUs and {biggest[1]:g} GPUs. Ask for less, or add a node to the cluster."
        )
    return gpus


class _LogReader:
    """Sees in a job's log that an attempt has begun: the log is the one thing that a worker shares with us."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.n_attempts = 0
        self.position = os.path.getsize(job.log_file) if os.path.exists(job.log_file) else 0

    def read_events(self) -> list[JobEvent]:
        """Return the events since the last call."""
        try:
            with open(self.job.log_file, "rb") as file:
                file.seek(self.position)
                new = file.read()
        except OSError:
            return []
        whole_lines = new[: new.rfind(b"\n") + 1]
        self.position += len(whole_lines)
        return [self.begin() for line in whole_lines.split(b"\n") if line.startswith(HEADER.encode())]

    def begin(self) -> JobEvent:
        """Count an attempt. Returns its event."""
        self.n_attempts += 1
        return JobEvent(self.job.name, "started" if self.n_attempts == 1 else "retried")


def _end_events(ray: ModuleType, ref: Any, log: _LogReader) -> Iterator[JobEvent]:
    """Yield how a job ended."""
    try:
        event = ray.get(ref)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None) or error  # an exception in the worker, without its traceback
        lines = f"{type(cause).__name__}: {cause}".strip().splitlines()
        event = JobEvent(log.job.name, "failed", tail="\n".join(lines[-TAIL_LINES:]))
    else:
        if not log.n_attempts:  # a network's file system is slow
            yield log.begin()
    yield event


def _cancel(ray: ModuleType, refs: list) -> None:
    """End tasks: first so that they end their processes themselves, then, where that fails, by killing the workers."""
    for force in (False, True):
        if refs and ray.is_initialized():
            for ref in refs:
                ray.cancel(ref, force=force)
            _, refs = ray.wait(refs, num_returns=len(refs), timeout=CANCEL_S)
