"""Starting a Python script from a process that has its imports behind it: seconds less for each of many short runs."""

import functools
import json
import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Optional

SCRIPT = "SPEECHBRAIN_EXT_SCRIPT"  # the environment variable with the script and the words that `preload` takes
CAN_WARM_START = "forkserver" in multiprocessing.get_all_start_methods()  # not on Windows


def warm_up(script: str | Path, words: Sequence[str] = ()) -> None:
    """Let the fork server begin to import what a script imports, in the background; further calls do nothing.

    Arguments
    ---------
    script : str or pathlib.Path
        The script whose runs will be started.
    words : list of str
        The words of one of its runs: where they are train.py's, their corpus is read once for all runs.
    """
    if not CAN_WARM_START:
        return
    from multiprocessing import forkserver  # not on Windows

    os.environ[SCRIPT] = json.dumps([str(Path(script).resolve()), *words])  # the fork server inherits it as it starts
    multiprocessing.get_context("forkserver").set_forkserver_preload(["speechbrain_ext.launch.preload"])
    forkserver.ensure_running()


class WarmProcess:
    """A Python script in a process of its own, with what `subprocess.Popen` has of one.

    Each process is forked from one that has imported what the script imports, multiprocessing's fork server. It leads a
    session of its own; what it prints goes to a file.

    Arguments
    ---------
    words : list of str
        The script and its arguments.
    stdout : IO
        An open file for standard output and errors.
    env : dict
        The process's environment variables.
    preexec : callable, optional
        Called in the process with the fork server's process id, before the script.
    """

    def __init__(self, words: Sequence[str], stdout: IO[Any], env: Mapping[str, str], preexec: Any = None) -> None:
        warm_up(words[0])
        target = functools.partial(_run, list(words), os.fspath(stdout.name), dict(env), preexec)
        self._process = multiprocessing.get_context("forkserver").Process(target=target)
        self._process.start()
        self.pid = self._process.pid or 0

    @property
    def returncode(self) -> Optional[int]:
        """The exit status; None while the process runs."""
        return self._process.exitcode

    def poll(self) -> Optional[int]:
        """Return the exit status; None while the process runs."""
        return self._process.exitcode


def _run(words: list[str], log_file: str, env: Mapping[str, str], preexec: Any) -> None:
    """Run the script in this process as `python SCRIPT ...` does."""
    os.setsid()
    with open(os.devnull, "rb") as nothing, open(log_file, "ab") as log:
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source.fileno(), target)
    if preexec:
        preexec(os.getppid())
    os.environ.clear()
    os.environ.update(env)
    if "OMP_NUM_THREADS" in env and (torch := sys.modules.get("torch")):  # reads it when it is imported, before now
        torch.set_num_threads(int(env["OMP_NUM_THREADS"]))
    sys.argv = list(words)
    sys.path.insert(0, os.path.dirname(os.path.abspath(words[0])))
    runpy.run_path(words[0], run_name="__main__")
