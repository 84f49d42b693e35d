"""The versions that results are written with."""

import platform

import torch

from speechbrain_ext import __version__
from speechbrain_ext import versions as module
from speechbrain_ext.versions import versions


def test_versions_are_those_of_what_runs():
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["speechbrain_ext"] == __version__
    assert torch.__version__.startswith(found["torch"])  # a build adds "+cpu" or so


def test_versions_come_from_the_installed_packages(monkeypatch):
    monkeypatch.setattr(module, "version", lambda name: f"{name} 9")
    assert versions()["transformers"] == "transformers 9" and versions()["torchaudio"] == "torchaudio 9"
