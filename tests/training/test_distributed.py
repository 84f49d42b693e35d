"""Processes that train together: who joins, and that all refuse as one."""

import pytest

from speechbrain_ext.errors import InputError
from speechbrain_ext.training.distributed import (
    gather,
    join_processes,
    on_main,
    report_once_per_node,
    world_size_and_rank,
)


def refuse():
    raise InputError("no")


def test_a_process_alone_is_the_first_of_one(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    join_processes({})  # asks for nothing
    assert world_size_and_rank() == (1, 0) and gather(3) == [3]


def test_what_the_main_process_refuses_is_raised():
    assert on_main(lambda: 1) == 1
    with pytest.raises(InputError, match="no"):
        on_main(refuse)


@pytest.mark.parametrize("rank, raised", [("0", InputError), ("1", SystemExit)])
def test_one_process_of_a_machine_says_what_all_refuse(monkeypatch, rank, raised):
    monkeypatch.setenv("LOCAL_RANK", rank)
    with pytest.raises(raised), report_once_per_node():
        refuse()


@pytest.mark.parametrize(
    "device, n_gpus, text",
    [("cpu", 4, "leave out --device=cpu"), (None, 1, "has started 2 processes.*this machine has 1")],
)
def test_more_processes_than_gpus_and_a_device_for_all_are_refused(monkeypatch, device, n_gpus, text):
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setattr("torch.cuda.device_count", lambda: n_gpus)
    with pytest.raises(InputError, match=f"{text}.*--distributed_backend=gloo"):
        join_processes({"device": device, "distributed_backend": "nccl"})
