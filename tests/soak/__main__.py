"""Run kills, faults, bad inputs, fuzzing and load for some minutes, and write what they found: see `make soak`."""

import argparse
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> int:
    from tests.soak.soak import soak

    parser = argparse.ArgumentParser(prog="make soak", description=__doc__, allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: %(default)s)")
    parser.add_argument("--seed", help="repeats a run; default: a new one, which is printed")
    parser.add_argument(
        "--only", help="some kinds of trials, joined by commas: kills, faults, bad_inputs, load, fuzz; default: all"
    )
    parser.add_argument("--short", action="store_true", help="a smaller beginning, as the tests have it")
    parser.add_argument("--write", metavar="FILE.md", help="put the table into this page, between its marks")
    options = parser.parse_args()
    return soak(options.minutes, options.seed, options.only, options.write, options.short)


if __name__ == "__main__":
    sys.exit(main())
