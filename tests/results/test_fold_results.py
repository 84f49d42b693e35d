"""What a fold leaves behind, and how its results are recognised."""

import json

import pytest

from speechbrain_ext.results.fold_results import is_finished
from speechbrain_ext.training.history import read_epochs, write_epochs
from speechbrain_ext.training.hparams_file import settings_fingerprint
from speechbrain_ext.training.settings import UNFINGERPRINTED_KEYS

IDENTITY = {"fold": 1, "seed": 2, "manifest": "ab"}


def test_epochs_come_back(tmp_path):
    assert read_epochs(tmp_path) == []
    write_epochs(tmp_path, [{"epoch": 1, "train_loss": 0.5}])
    assert read_epochs(tmp_path) == [{"epoch": 1, "train_loss": 0.5}]


@pytest.mark.parametrize(
    "change", [{"fold": 2}, {"seed": 1}, {"manifest": "cd"}, {"settings": "other"}, {"debug": True}]
)
def test_results_of_another_run_are_not_taken_for_finished(tmp_path, change):
    found = {**IDENTITY, "settings": "ff", "WA": 0.5}
    assert not is_finished(tmp_path, IDENTITY, "ff")
    (tmp_path / "test_metrics.json").write_text(json.dumps(found))
    assert not is_finished(tmp_path, IDENTITY, "ff")  # without predictions
    (tmp_path / "predictions.csv").touch()
    assert is_finished(tmp_path, IDENTITY, "ff")
    (tmp_path / "test_metrics.json").write_text(json.dumps({**found, **change}))
    assert not is_finished(tmp_path, IDENTITY, "ff")


@pytest.mark.parametrize("text", ['{"fold": 1,', "[]", "null"])
def test_broken_results_are_not_taken_for_finished(tmp_path, text):
    (tmp_path / "predictions.csv").touch()
    (tmp_path / "test_metrics.json").write_text(text)
    assert not is_finished(tmp_path, IDENTITY, "ff")


@pytest.mark.parametrize("text", ['[{"epoch": 1', "null", "3"])
def test_broken_epochs_are_none(tmp_path, text):
    (tmp_path / "epochs.json").write_text(text)
    assert read_epochs(tmp_path) == []


def test_saved_settings_have_the_fingerprint_of_what_was_asked(fit, root, demo_corpus):
    folder = fit("fold", "--number_of_epochs=1", "--lambda_c=0")
    found = json.loads((folder / "test_metrics.json").read_text())["settings"]
    assert found == settings_fingerprint(folder / "hyperparams.yaml", leave_out=UNFINGERPRINTED_KEYS)
    again = fit("elsewhere", "--number_of_epochs=1", "--lambda_c=0.0", "--fold=2", "--seed=3")
    assert json.loads((again / "test_metrics.json").read_text())["settings"] == found
    longer = fit("longer", "--number_of_epochs=2", "--lambda_c=0")
    assert json.loads((longer / "test_metrics.json").read_text())["settings"] != found
