"""Reports that several modules of tests read."""

import pytest

from speechbrain_ext.results import report
from tests.results.report_files import TRACKED, write_set


@pytest.fixture
def quick_pictures(monkeypatch):
    """Put next to nothing in the place of the pictures, which take most of the time and have tests of their own."""

    def draw(*args):
        path = args[-2]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\x89PNG")

    monkeypatch.setattr(report, "plot_confusion", draw)
    monkeypatch.setattr(report, "plot_folds", draw)


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Write one report on two seeds of IEMOCAP-like runs: (folder, Report)."""
    folder = write_set(tmp_path_factory.mktemp("report") / "loso", epochs=TRACKED)
    return folder, report.write_report([folder])


@pytest.fixture(scope="session")
def compared(tmp_path_factory):
    """Write one report on three systems, two of whose folders have the same name: (folders, Report)."""
    folder = tmp_path_factory.mktemp("compared")
    paths = [folder / "x" / "loso", folder / "y" / "loso", folder / "group"]
    for path, share, validation, seeds in zip(
        paths, (0.3, 0.9, 0.6), ("random", "none", "group"), ((1, 2), (1, 2), (2,))
    ):
        write_set(path, seeds, share=share, validation=validation, settings=str(share))
    return paths, report.write_report(paths)
