"""Writing files so that a reader finds the old one or the new one, never a part."""

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from speechbrain_ext.errors import InputError


@contextlib.contextmanager
def atomic_write(path: str | Path, binary: bool = False) -> Iterator[IO[Any]]:
    """Open a file that takes its place when it is complete.

    Arguments
    ---------
    path
        The file; missing folders are made. A process that is killed meanwhile leaves what stood there before.
    binary
        Whether bytes are written, instead of text.

    Yields
    ------
    IO
        Open for writing; text is UTF-8, with newlines as they are written.

    Raises
    ------
    InputError
        If a text is none of Unicode, such as a half of a character or a file's name that is no UTF-8.
    OSError
        Names the file, not the temporary one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with os.fdopen(handle, "wb") if binary else os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a power failure may leave an empty file under the new name
        os.chmod(temporary, 0o644)  # mkstemp lets nobody else read
        os.replace(temporary, path)
        sync(path.parent)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        if isinstance(error, UnicodeEncodeError):
            around = ascii(error.object[max(0, error.start - 30) : error.end + 30])
            raise InputError(
                f"{path} cannot be written: {ascii(error.object[error.start])} in {around} is no character of Unicode. "
                "Correct it where it comes from."
            ) from error
        if isinstance(error, OSError) and error.errno and error.filename in (temporary, None):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def delete_leftovers(folder: Path, name: str = "*") -> None:
    """Delete what processes have left that were killed in `atomic_write`; nobody may be writing such files now.

    Arguments
    ---------
    folder : pathlib.Path
        The folder.
    name : str
        The file that was to be written; by default any.
    """
    for left in folder.glob(f".{name}.*.tmp"):
        if re.fullmatch(r"[a-z0-9_]{8}", left.name.split(".")[-2]) and left.is_file() and not left.is_symlink():
            left.unlink(missing_ok=True)


def write_json(data: Any, path: str | Path) -> None:
    """Write JSON atomically, in order and indented."""
    with atomic_write(path) as file:
        json.dump(data, file, indent=1, ensure_ascii=False)
        file.write("\n")


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk; Windows has no such wait for folders."""
    if os.name != "posix" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_writable(path: str | Path, argument: str) -> None:
    """Refuse a path that no file can be written to: said before the work whose result it is for.

    Raises
    ------
    InputError
        Names the argument and the path.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{argument} {path} is a folder. Name a file in it.")
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{argument} {path} cannot be written: {error.strerror} ({folder}). Name another.") from error
