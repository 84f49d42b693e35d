"""Fixtures of the tests of a run's files."""

from tests.training.run_files import claim, hparams_file  # noqa: F401
