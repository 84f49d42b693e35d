"""Several processes that train together, as torchrun starts them: joining, sharing what each has, refusing as one."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Optional, TypeVar

import torch
from speechbrain.utils.distributed import ddp_broadcast, ddp_init_group, if_main_process, is_distributed_initialized

from speechbrain_ext.errors import InputError

T = TypeVar("T")


def world_size_and_rank() -> tuple[int, int]:
    """Return (how many processes train together, which of them this is, from 0)."""
    if not is_distributed_initialized():
        return 1, 0
    return torch.distributed.get_world_size(), torch.distributed.get_rank()


def gather(value: T) -> list[T]:
    """Collect what each process has, in the order of their ranks; alone, a process has its own.

    Arguments
    ---------
    value : object
        This process's; anything that can be pickled.

    Returns
    -------
    list
        A value for each process, the same list in all.

    Example
    -------
    >>> gather("mine")
    ['mine']
    """
    if not is_distributed_initialized():
        return [value]
    values: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def join_processes(run_opts: Mapping[str, Any]) -> None:
    """Join the other processes that torchrun has started, if it has; refuse what they cannot run on."""
    if "LOCAL_RANK" not in os.environ:
        return
    device, n_gpus, n_here = run_opts["device"], torch.cuda.device_count(), int(os.environ["LOCAL_WORLD_SIZE"])
    if run_opts["distributed_backend"] != "gloo":
        on_cpu = "On the CPU, give --device=cpu --distributed_backend=gloo."
        if device:
            raise InputError(f"torchrun gives each process a GPU of its own: leave out --device={device}. {on_cpu}")
        if n_here > n_gpus:
            raise InputError(
                f"torchrun has started {n_here} processes, each for a GPU of its own; this machine has {n_gpus}. "
                f"Choose --nproc_per_node. {on_cpu}"
            )
    ddp_init_group(run_opts)


def on_main(function: Callable[[], T]) -> T:
    """Call a function in the main process alone; all processes get what it returns, or refuse what it refuses.

    Arguments
    ---------
    function : callable
        Takes nothing; what it returns can be pickled.

    Raises
    ------
    InputError
        What the main process raised.
    """
    answer: tuple[Any, Optional[InputError]] = (None, None)
    if if_main_process():
        try:
            answer = function(), None
        except InputError as error:
            answer = None, error
    if is_distributed_initialized():
        answer = ddp_broadcast(answer)
    value, refusal = answer
    if refusal is not None:
        raise refusal
    return value


@contextlib.contextmanager
def report_once_per_node() -> Iterator[None]:
    """Report an InputError once per node; torchrun stops all processes at the first that ends with an error."""
    try:
        yield
    except InputError:
        if int(os.environ.get("LOCAL_RANK", 0)) > 0:
            sys.exit(0)
        raise
