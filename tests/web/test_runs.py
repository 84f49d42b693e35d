"""Which classifications a visitor's stop ends."""

import pytest

from speechbrain_ext.web.runs import Runs, Stopped


def test_a_stop_ends_all_of_one_visitor_and_nothing_else():
    runs = Runs()
    with runs.begin("ann") as first, runs.begin("ann") as second, runs.begin("bob") as other:
        runs.stop("ann")
        for check in (first, second):
            with pytest.raises(Stopped):
                check()
        other()


def test_what_begins_after_a_stop_or_beside_one_that_ended_runs():
    runs = Runs()
    runs.stop("ann")
    with runs.begin("ann") as first:
        with runs.begin("ann") as second:
            pass
        first()
        with pytest.raises(Stopped):  # it has ended
            second()
