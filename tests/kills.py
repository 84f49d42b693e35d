"""Kills at every change of a folder: what a process leaves behind that dies between any two of its writes."""

import itertools
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink", "shutil.rmtree")


def killed_before_each_change(action: Callable[[], object], folder: Path) -> Iterator[int]:
    """Run an action in processes of its own; the n-th is killed right before its n-th change below a folder.

    What Python has buffered is lost with the process, as by SIGKILL at that moment.

    Arguments
    ---------
    action
        What is to be killed; it starts from what stands in the folder at that time.
    folder
        Where changes count: files that are opened for writing, renamed or removed, and folders.

    Yields
    ------
    int
        n, after each kill; the last process is not killed, and nothing is yielded after it.
    """
    for n in itertools.count(1):
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            _die_before(n, str(folder))
            try:
                action()
                os._exit(0)
            except BaseException:  # the child must not go on as a second pytest
                traceback.print_exc()
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            return
        yield n


def _die_before(n: int, folder: str) -> None:
    left = n

    def count(event: str, args: tuple) -> None:
        nonlocal left
        if event in CHANGES or (event == "open" and isinstance(args[2], int) and args[2] & WRITING):
            if any(isinstance(arg, (str, os.PathLike)) and str(arg).startswith(folder) for arg in args):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
