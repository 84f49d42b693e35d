"""Commands to run, and what happens to them: what running here and running on Ray have in common."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional

from speechbrain_ext.errors import InputError, check_whole_number

HEADER = "#### attempt"  # how the line starts that each attempt writes into its log first
TAIL_LINES = 20


@dataclass(frozen=True)
class Job:
    """A command to run."""

    name: str  # unique
    command: tuple[str, ...]  # the program and its arguments
    log_file: str  # what it prints is appended here, standard output and errors; missing folders are made
    warm: bool = (
        False  # a Python script with many short runs: on this machine they share its imports, see `WarmProcess`
    )


@dataclass(frozen=True)
class JobEvent:
    """What happened to a job."""

    name: str
    state: str  # "started", "retried", "finished" or "failed"; the last two end a job, and each job ends once
    returncode: Optional[int] = (
        None  # the attempt's exit status, negative for a signal; None if it could not be started
    )
    tail: str = ""  # the last lines of a failed attempt's log


def check_jobs(jobs: Iterable[Job], retries: int) -> None:
    """Refuse jobs that share a name, and a number of retries that is none."""
    check_whole_number("retries", retries, 0)
    names = [job.name for job in jobs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"each job must have its own name, got more than once: {', '.join(twice)}. Rename them.")
