"""What a file system refuses, in a sentence with the file and what to do; and files that are none."""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from typing import Optional

from speechbrain_ext.errors import InputError, in_one_line
from speechbrain_ext.outside_text import printable

FAULTS = {
    errno.ENOSPC: "cannot be written: the disk is full. Make room there.",
    errno.EDQUOT: "cannot be written: your quota there is used up. Make room there.",
    errno.EFBIG: "cannot be written: it is larger than a limit allows. Raise the limit (ulimit -f).",
    errno.EROFS: "cannot be written: the file system is read-only. Choose another folder.",
    errno.EACCES: "is not yours to use: permission denied. Change its permissions, or choose another folder.",
    errno.EPERM: "is not yours to use: not permitted. Change its owner, or choose another folder.",
    errno.ENOENT: "does not exist. Check the path.",
    errno.EEXIST: "is in the way: a file stands where a folder is needed. Choose another path.",
    errno.ENOTDIR: "cannot be used: a part of this path is a file, not a folder. Choose another path.",
    errno.EISDIR: "is a folder, and a file is needed. Choose another path.",
    errno.ENAMETOOLONG: "has too long a name. Choose a shorter one.",
    errno.EMFILE: "cannot be opened: too many files are open. Raise the limit (ulimit -n).",
}
# torch writes by streams that forget why they failed; safetensors tells it as a text.
WRITE_FAILED = re.compile("iostream error|unexpected pos|file write failed|No space left|os error 28")
NOT_WHOLE = "cannot be written to the end: the disk is full, or a limit on sizes is reached. Make room there."


def describe_fault(error: BaseException, place: Optional[str | os.PathLike] = None) -> Optional[str]:
    """Say in a sentence what a file system refuses.

    Arguments
    ---------
    error : BaseException
        An OSError, or what torch and safetensors raise where a write fails.
    place : str or pathlib.Path, optional
        The file or folder, where the error does not name one.

    Returns
    -------
    str or None
        The file, the fault and what to do; None for errors of other kinds.

    Example
    -------
    >>> describe_fault(OSError(errno.ENOSPC, "No space left on device", "a.csv"))
    'a.csv cannot be written: the disk is full. Make room there.'
    >>> describe_fault(OSError(errno.EIO, "Input/output error")) is None
    True
    """
    number = error.errno if isinstance(error, OSError) else None
    fault = FAULTS.get(number) if number is not None else None
    if fault is None and WRITE_FAILED.search(str(error)):
        fault = NOT_WHOLE
    if fault is None:
        return None
    named = getattr(error, "filename2", None) or getattr(error, "filename", None) or place
    return f"{printable(os.fsdecode(named)) if named is not None else 'A file'} {fault}"


def check_regular(path: str | os.PathLike, prefix: str = "") -> None:
    """Refuse what would be read for ever, or keep the reader waiting: named pipes, sockets and devices.

    Raises
    ------
    InputError
        Names the path.
    OSError
        If there is nothing.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise InputError(f"{prefix}{path} is no regular file. Leave it out, or save what it gives as a file.")


@contextlib.contextmanager
def reading(
    path: str | os.PathLike, wrong: str, hint: str, unreadable: tuple[type[Exception], ...] = (ValueError,)
) -> Iterator[None]:
    """Say in a sentence, with what to do, why a file cannot be read, or what is `wrong`, such as "is no JSON".

    That shows by the errors that are `unreadable`. InputErrors and errors of other kinds stay as they are.
    """
    try:
        check_regular(path)
        yield
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}. {hint}") from error
    except RecursionError as error:
        raise InputError(f"{path} is nested too deeply. {hint}") from error
    except unreadable as error:
        raise InputError(f"{path} {wrong}: {in_one_line(error)}. {hint}") from error


@contextlib.contextmanager
def naming(path: str | os.PathLike) -> Iterator[None]:
    """Add a file's name to the faults that have none: those of writing, not of opening."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise
