"""Worker processes: enough open files, and no waiting for a batch that is lost."""

import resource

import pytest
import torch

from speechbrain_ext.dataio.workers import allow_open_files, end_with_a_lost_batch
from speechbrain_ext.errors import InputError


@pytest.fixture
def limits(monkeypatch):
    """Return a function that sets what the system says of the limits, and the list of those that are then set."""

    def say(soft, hard):
        found = []
        monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
        monkeypatch.setattr(resource, "setrlimit", lambda _, pair: found.append(pair))
        return found

    return say


@pytest.mark.parametrize(
    ("num_workers", "soft", "hard", "raised"),
    [
        (2, 128, 128, []),
        (2, 24, 4096, [(128, 4096)]),
        (2, 24, resource.RLIM_INFINITY, [(128, resource.RLIM_INFINITY)]),
        (2, resource.RLIM_INFINITY, resource.RLIM_INFINITY, []),
        (0, 24, 24, []),
    ],
)
def test_the_limit_is_raised_as_far_as_workers_need_it(limits, num_workers, soft, hard, raised):
    found = limits(soft, hard)
    allow_open_files(num_workers)
    assert found == raised


@pytest.mark.parametrize(("hard", "allowed"), [(24, 0), (127, 1)])
def test_a_limit_that_cannot_be_raised_is_said_with_the_number_of_workers_that_it_allows(limits, hard, allowed):
    limits(24, hard)
    said = f"num_workers is 2, for which 128 files must be open at a time, and the limit is {hard}. Raise it "
    with pytest.raises(InputError, match=said + rf"\(ulimit -n 128\), or set --num_workers={allowed}\."):
        allow_open_files(2)


class Unsendable:
    """A batch that cannot be handed over."""

    def __reduce__(self):
        raise RuntimeError("unable to open shared memory object: Too many open files")


def test_a_batch_that_a_worker_cannot_hand_over_ends_the_reading():
    loader = torch.utils.data.DataLoader(
        [0], num_workers=1, collate_fn=lambda _: Unsendable(), worker_init_fn=end_with_a_lost_batch, timeout=60
    )
    with pytest.raises(RuntimeError, match="^DataLoader worker .* exited unexpectedly"):
        next(iter(loader))
