"""WaitMeter: how much of an epoch the device waits for its batches."""

import logging
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

MAX_SHARE = 0.1  # of an epoch that a device may wait before something is said


class WaitMeter:
    """Adds up the time in which no batch is worked on.

    Arguments
    ---------
    clock : callable
        Gives the time in seconds.

    Example
    -------
    >>> times = iter([0.0, 0.0, 1.0, 4.0, 6.0, 10.0])
    >>> meter = WaitMeter(clock=lambda: next(times))
    >>> meter.begin_epoch()  # at 0 s
    >>> meter.begin_batch(), meter.end_batch()  # the first batch comes at 1 and is done at 4
    (None, None)
    >>> meter.begin_batch(), meter.end_batch()  # the next comes at 6
    (None, None)
    >>> meter.share
    0.3
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter):
        self.clock = clock
        self.warned = False
        self.begin_epoch()

    def begin_epoch(self) -> None:
        """Count anew, from now on."""
        self.start = self.idle_since = self.clock()
        self.waited_s = 0.0

    def begin_batch(self) -> None:
        """Note that a batch has come."""
        self.waited_s += self.clock() - self.idle_since

    def end_batch(self) -> None:
        """Note that a batch is done."""
        self.idle_since = self.clock()

    @property
    def share(self) -> float:
        """Share of the time until the last batch was done that was spent waiting, 0 to 1."""
        elapsed_s = self.idle_since - self.start
        return self.waited_s / elapsed_s if elapsed_s > 0 else 0.0

    def warn_once(self, epoch: int, num_workers: int, corpus_in_memory: bool) -> None:
        """Warn, the first time that an epoch's share is above a tenth, that reading is too slow for the device.

        Arguments
        ---------
        epoch : int
            The epoch that has ended.
        num_workers : int
            Processes that read and augment, as in the hyperparameters.
        corpus_in_memory : bool
            As in the hyperparameters.
        """
        if self.warned or self.share <= MAX_SHARE:
            return
        self.warned = True
        logger.warning(
            "In epoch %d the device waited for batches for %.0f%% of the time. Let more processes read and augment: "
            "--num_workers is %d%s.",
            epoch,
            100 * self.share,
            num_workers,
            "" if corpus_in_memory else "; --corpus_in_memory=True reads each file only once",
        )
