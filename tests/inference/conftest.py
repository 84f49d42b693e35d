"""Fixtures of the tests of bundles."""

import shutil

import pytest


@pytest.fixture
def bundle(good_bundle, tmp_path):
    """Copy a bundle of a small random model, to change it."""
    return shutil.copytree(good_bundle, tmp_path / "bundle")
