"""Worker processes that read clips: the open files that they need, and an end where one of them loses a batch."""

import multiprocessing.queues
import os
import traceback

from speechbrain_ext.errors import InputError

OTHER_FILES = 64  # that the program itself has open
FILES_OF_A_WORKER = 32  # pipes, and two batches ahead of some 13 tensors in shared memory, each an open file


def allow_open_files(num_workers: int) -> None:
    """Raise the limit on open files to what workers need.

    Arguments
    ---------
    num_workers : int
        How many processes read.

    Raises
    ------
    InputError
        If the system does not allow so many; says how many workers it allows.
    """
    if os.name != "posix" or not num_workers:
        return
    import resource

    needed = OTHER_FILES + FILES_OF_A_WORKER * num_workers
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise InputError(
            f"num_workers is {num_workers}, for which {needed} files must be open at a time, and the limit is {hard}. "
            f"Raise it (ulimit -n {needed}), or set --num_workers={max(0, hard - OTHER_FILES) // FILES_OF_A_WORKER}."
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def end_with_a_lost_batch(worker_id: int) -> None:
    """Let a worker end where a batch cannot be handed over; else the DataLoader, whose `worker_init_fn` it is, hangs.

    A thread of the worker puts batches into shared memory. Python only prints what goes wrong there, such as a full
    /dev/shm, and the process that waits for the batch would never hear of it.
    """
    del worker_id
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(_end)  # type: ignore[attr-defined]


def _end(error: BaseException, batch: object) -> None:
    del batch
    traceback.print_exception(error)
    os._exit(1)
