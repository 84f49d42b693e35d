"""Runs: which classifications run for which visitor, so that each visitor can stop those of their own."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Optional


class Stopped(Exception):
    """A visitor has stopped their classification."""


class Runs:
    """Keeps the classifications that run, each with its visitor; it may be asked from several threads.

    Example
    -------
    >>> runs = Runs()
    >>> with runs.begin("one visitor") as check:
    ...     runs.stop("another visitor")
    ...     check()
    ...     runs.stop("one visitor")
    ...     check()
    Traceback (most recent call last):
    speechbrain_ext.web.runs.Stopped
    """

    def __init__(self) -> None:
        self._visitors: dict[object, Optional[str]] = {}

    @contextlib.contextmanager
    def begin(self, visitor: Optional[str]) -> Iterator[Callable[[], None]]:
        """Note that a classification runs within the block.

        Arguments
        ---------
        visitor
            What tells the visitor from others.

        Yields
        ------
        callable
            Raises `Stopped` once the visitor has stopped it.
        """
        run = object()

        def check() -> None:
            if run not in self._visitors:
                raise Stopped

        self._visitors[run] = visitor
        try:
            yield check
        finally:
            self._visitors.pop(run, None)

    def stop(self, visitor: Optional[str]) -> None:
        """Stop all that runs for a visitor."""
        for run, whose in list(self._visitors.items()):
            if whose == visitor:
                self._visitors.pop(run, None)
