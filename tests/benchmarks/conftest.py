"""What the tests of the benchmarks share: the scripts on the path, a tiny model, its recipe and noise."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import ours  # noqa: E402


@pytest.fixture(scope="session")
def tiny():
    """Return the (config, number of layers) of the tiny size."""
    return ours.sizes("tiny")


@pytest.fixture(scope="module")
def recipe(tiny):
    """Return the recipe, ready to train a tiny model."""
    return ours.Recipe(*tiny)


@pytest.fixture(scope="session")
def noise():
    """Return clips of noise of any length."""
    return ours.Noise(200_000)
