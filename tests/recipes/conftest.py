"""What the tests of the recipe share: training one fold in this process, and reading its folder."""

import sys

import pytest
from fold_reading import SMALL

import train


@pytest.fixture
def fit(root, demo_corpus, tmp_path, monkeypatch):
    """Return a function that trains one fold and returns its folder."""
    monkeypatch.delenv("IEMOCAP_ROOT", raising=False)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the experiment folder sets its own

    def run(name, *options, yaml="hparams/demo.yaml", data_folder=demo_corpus):
        folder = tmp_path / name
        corpus = [f"--data_folder={data_folder}"] if data_folder else []
        train.main([str(root / yaml), *corpus, f"--output_folder={folder}", *SMALL, *options])
        return folder

    return run
