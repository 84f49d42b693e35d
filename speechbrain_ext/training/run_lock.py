"""A run's folder belongs to one process at a time."""

import contextlib
import errno
import logging
from collections.abc import Iterator
from pathlib import Path

import filelock

from speechbrain_ext.atomic_write import delete_leftovers
from speechbrain_ext.errors import InputError

logger = logging.getLogger(__name__)
logging.getLogger("filelock").setLevel(logging.INFO)  # it logs every step of its own

LOCK_FILE = ".lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def hold_run_folder(folder: str | Path, timeout_s: float = 30.0) -> Iterator[None]:
    """Keep every other process out of a run's folder; the system lets go of it when this process dies.

    Arguments
    ---------
    folder : str or pathlib.Path
        The run's folder, made where it is missing.
    timeout_s : float
        How long to wait for another process, such as one that is being killed.

    Raises
    ------
    InputError
        If another process still works there.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        logger.warning("Another process works in %s: waiting for it, at most %.0f s.", folder, timeout_s)
        try:
            lock.acquire(timeout=timeout_s)
        except filelock.Timeout:
            raise InputError(
                f"{folder} is in use by another process. Wait until it has ended, or choose another --output_folder."
            ) from None
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise
        logger.warning("The file system of %s has no locks: see to it that one process alone works there.", folder)
    if lock.is_locked:
        delete_leftovers(folder)
    try:
        yield
    finally:
        lock.release()
