"""What the benchmarks share."""

import os

import pytest

from benchmarks import timing
from speechbrain_ext.errors import InputError


def answer_or_die(connection, turn, key, mortal):
    while question := connection.recv():
        if key == mortal:
            os._exit(9)
        connection.send(f"{question} {turn}")


def test_each_rival_has_a_process_and_one_that_dies_is_named():
    with timing.processes(answer_or_die, ["a", "b"], None) as connections:
        for connection in connections.values():
            connection.send("turn")
        assert [connection.recv() for connection in connections.values()] == ["turn 0", "turn 1"]
    with pytest.raises(InputError, match="the process of b ended before its answer, perhaps for want of memory"):
        with timing.processes(answer_or_die, ["a", "b"], "b") as connections:
            connections["b"].send("turn")
            connections["b"].recv()
