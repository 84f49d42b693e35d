"""RememberedHashes: what was computed of files' contents, for as long as the files have not changed."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Optional

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.json_reader import read_json

RACY_S = 2.0  # a file that has just been written may change again without another time stamp


class RememberedHashes:
    """Hashes of contents, kept in one JSON file with each file's size and time of change, as git's index does it.

    Several processes may use the file: who saves last keeps what the others have saved. What gets lost is computed
    again.

    Arguments
    ---------
    path : str or pathlib.Path
        The JSON file; it may be missing.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.txt").write_text("speech")
    >>> hashes = RememberedHashes(folder / "hashes.json")
    >>> hashes.get("length", folder / "a.txt", lambda: str(6))
    '6'
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._known = self._read()
        self._new: dict[str, dict[str, list]] = {}

    def _read(self) -> dict[str, dict[str, list]]:
        with contextlib.suppress(ValueError, TypeError):  # missing, damaged, or of another version
            found = read_json(self.path, "It is written again.")
            return {what: dict(files) for what, files in found.items()}
        return {}

    def known(self, what: str, file: str | Path, part: str = "") -> Optional[str]:
        """Return a hash that is remembered; None where the file is new or has changed. Arguments as in `get`."""
        state, name = _state(file, part)
        known = self._known.get(what, {}).get(name)
        return known[2] if isinstance(known, list) and known[:2] == state and len(known) == 3 else None

    def get(self, what: str, file: str | Path, compute: Callable[[], str], part: str = "") -> str:
        """Return the hash of a file's content, computed where it is not known.

        Arguments
        ---------
        what : str
            What is computed of it, with all that it depends on beside the content.
        file : str or pathlib.Path
            The file.
        compute : callable
            Reads the file and returns its hash.
        part : str
            Which part of the file.

        Raises
        ------
        OSError
            If there is no such file.
        """
        known = self.known(what, file, part)
        if known is not None:
            return known
        state, name = _state(file, part)
        value = compute()
        if state[1] < (time.time() - RACY_S) * 1e9:
            self._new.setdefault(what, {})[name] = [*state, value]
        return value

    def save(self) -> None:
        """Write what is new; a folder that can only be read stays as it is."""
        if not self._new:
            return
        self._known = self._read()
        for what, files in self._new.items():
            self._known.setdefault(what, {}).update(files)
        with contextlib.suppress(OSError):
            write_json(self._known, self.path)
        self._new = {}


def _state(file: str | Path, part: str) -> tuple[list[int], str]:
    stat = os.stat(file)
    return [stat.st_size, stat.st_mtime_ns], f"{os.path.abspath(file)}{part}"
