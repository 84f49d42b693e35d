"""WaitMeter: what it counts as waiting, and when it says something."""

import pytest

from speechbrain_ext.training.wait_meter import WaitMeter


class Clock:
    now = 5.0

    def __call__(self):
        return self.now

    def pass_s(self, seconds):
        self.now += seconds


def epoch(meter, clock, *steps):
    """Go through an epoch of (seconds of waiting, seconds of work)."""
    meter.begin_epoch()
    for waiting_s, work_s in steps:
        clock.pass_s(waiting_s)
        meter.begin_batch()
        clock.pass_s(work_s)
        meter.end_batch()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def meter(clock):
    return WaitMeter(clock)


def test_each_epoch_counts_anew(meter, clock):
    assert meter.share == 0
    epoch(meter, clock, (3.0, 1.0), (1.0, 3.0))
    assert meter.share == 0.5
    clock.pass_s(100)  # a validation
    epoch(meter, clock, (1.0, 3.0))
    assert meter.share == 0.25


def test_a_device_that_waits_is_told_of_once(meter, clock, caplog):
    epoch(meter, clock, (1.0, 9.5))
    meter.warn_once(1, 4, False)
    assert not caplog.messages
    epoch(meter, clock, (1.0, 2.0), (2.0, 5.0))
    meter.warn_once(2, 4, False)
    meter.warn_once(3, 4, False)
    (message,) = caplog.messages
    assert "In epoch 2 the device waited for batches for 30% of the time" in message
    assert "--num_workers is 4; --corpus_in_memory=True" in message


def test_what_is_switched_on_is_not_advised(meter, clock, caplog):
    epoch(meter, clock, (1.0, 1.0))
    meter.warn_once(1, 2, True)
    assert "corpus_in_memory" not in caplog.text and "--num_workers is 2." in caplog.text
