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
        os.chmod(temporary, 0o644)  # mkstemp lets nobody else read
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_json(data: Any, path: str | Path) -> None:
    """Write JSON atomically, in order and indented."""
    with atomic_write(path) as file:
        json.dump(data, file, indent=1, ensure_ascii=False)
        file.write("\n")
