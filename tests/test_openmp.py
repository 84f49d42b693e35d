"""The waiting of OpenMP's threads is set where nobody has set it."""

import os
import subprocess
import sys

import pytest

from speechbrain_ext.openmp import SPIN_COUNT, wait_briefly


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"GOMP_SPINCOUNT": SPIN_COUNT}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
    ],
)
def test_the_environment_comes_first(monkeypatch, given, expected):
    monkeypatch.setattr(os, "environ", dict(given))
    wait_briefly()
    assert os.environ == expected


@pytest.mark.parametrize("module", ["train", "speechbrain_ext.commands.main"])
def test_it_is_set_before_torch_is_there(module):
    """OpenMP reads the environment once, when torch loads it."""
    watch = (
        "import sys, speechbrain_ext.openmp as openmp\n"
        "openmp.wait_briefly = lambda: sys.exit(print('torch' in sys.modules))\n"
        f"import importlib; module = importlib.import_module('{module}')\n"
        "if module.__name__ != 'train': module.main(['predict', '--help'])\n"
    )
    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("False\n"), done.stderr
