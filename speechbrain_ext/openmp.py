"""How OpenMP's threads, which compute for torch on a CPU, wait for work."""

import os

# About as long as the pause between two small operations. Measured with GNU's OpenMP on two cores, a clip of 4 s in 22
# layers of width 128: 29 ms on an idle machine and 80 to 90 ms on a busy one. Without spinning 50 ms and 46 ms, with
# its own setting 27 ms and more than a second.
SPIN_COUNT = "5000"


def wait_briefly() -> None:
    """Let waiting threads spin for a moment and then sleep, unless the environment says how they should wait.

    To be called before torch is imported. Threads that spin for long take the time of others on a busy machine; those
    that sleep at once are woken too late on an idle one.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
