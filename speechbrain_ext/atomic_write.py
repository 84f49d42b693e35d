"""Writing files so that a reader finds the old one or the new one, never a part."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


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
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") if binary else os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a power failure may leave an empty file under the new name
        os.chmod(temporary, 0o644)  # mkstemp lets nobody else read
        os.replace(temporary, path)
        sync(path.parent)
    except BaseException:
        os.unlink(temporary)
        raise


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
