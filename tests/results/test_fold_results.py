"""What a tested fold leaves behind, what is printed of it, and how its results are recognised."""

import csv
import json
from types import SimpleNamespace

import pytest

from speechbrain_ext.corpora import get_corpus
from speechbrain_ext.dataio.folds import Fold
from speechbrain_ext.errors import InputError
from speechbrain_ext.results.fold_results import is_finished, result_text, write_results
from speechbrain_ext.results.report import write_report
from speechbrain_ext.results.tested_run import read_metrics, read_tested_run
from speechbrain_ext.training.added_keys import ADDED_KEYS
from speechbrain_ext.training.hparams_file import hparams_text, settings_fingerprint
from speechbrain_ext.training.settings import UNFINGERPRINTED_KEYS
from tests.results.run_files import write_run

IDENTITY = {"fold": 1, "seed": 2, "manifest": "ab"}
SETTINGS = """
fold: 1
lr: 0.1
batch_size: 8
max_grad_norm: .inf
augmentations:
    - !new:audiomentations.Gain {p: 0.5}
# ==== Wiring
loss: !name:torch.nn.functional.mse_loss
"""
MANIFEST = {
    "u1": {"speaker": "f", "group": "Session1"},
    "u2": {"speaker": "m", "group": "Session1"},
    "u3": {"speaker": "m", "group": "Session2"},
}
FOUND = {
    "WA": 0.5,
    "UA": 0.5,
    "recall": {"ang": 0.5, "happiness": None},
    "absent": ["happiness"],
    "n": 2,
    "confusion": [[1, 1], [0, 0]],
}


@pytest.fixture
def write(tmp_path):
    """Return a function that writes the results of a fold that was made up, and returns its folder."""

    def make(debug=False, faults=(), corpus="csv", n_processes=1, cautions=()):
        brain = SimpleNamespace(
            debug=debug,
            test_metrics=FOUND,
            predictions={"u2": (0, 1, [0.5, 0.5]), "u1": (0, 0, [0.25, 0.75])},
            epochs=[{"epoch": 1, "train_loss": 1.5, "valid_loss": 1.0, "valid_WA": 0.5, "valid_UA": 0.5}],
            test_loss=0.5,
            tested_epoch=1,
        )
        hparams = {
            "emotions": ["ang", "happiness"],
            "batch_size": 8,
            "validation": "random",
            "tested_weights": "best",
            "encoder": SimpleNamespace(architecture=lambda: {"hidden_size": 8}),
            "eval_clip": SimpleNamespace(waveform_scale="peak"),
        }
        fold = Fold(
            train=["u3"], valid=[], test=["u1", "u2"], test_group="Session1", validation="random", cautions=cautions
        )
        run = SimpleNamespace(folder=tmp_path, fold=fold, prepared=SimpleNamespace(manifest=MANIFEST, notes=[]))
        recorded = {**IDENTITY, "corpus": corpus, "corpus_faults": list(faults), "n_processes": n_processes}
        (tmp_path / "run.json").write_text(json.dumps(recorded))
        (tmp_path / "hyperparams.yaml").write_text(SETTINGS)
        write_results(brain, hparams, run)
        return tmp_path

    return make


def test_results_are_those_that_the_report_reads(write):
    folder = write()
    metrics = read_metrics(folder / "test_metrics.json")
    run = read_tested_run(folder / "test_metrics.json", metrics)
    assert (run.ids, run.speakers, run.true.tolist(), run.predicted.tolist()) == (
        ("u1", "u2"), ("f", "m"), [0, 0], [0, 1],
    )  # fmt: skip
    assert {key: metrics[key] for key in FOUND} == FOUND
    assert (metrics["n_folds"], metrics["test_group"], metrics["corpus"]) == (2, "Session1", "csv")
    assert "debug" not in metrics
    json.dumps(metrics, allow_nan=False)


@pytest.mark.parametrize("name", ["test_metrics.json", "predictions.csv"])
def test_results_with_any_byte_changed_are_refused(write, name):
    """A digit of a posterior changes no count, and the name of a group is as good as another."""
    path = write() / name
    data = path.read_bytes()
    for i in range(0, len(data), 7 if name == "predictions.csv" else 61):
        if data[i : i + 1].isspace():  # JSON has any number of these
            continue
        path.write_bytes(data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :])
        with pytest.raises(InputError, match=name):
            read_tested_run(path.with_name("test_metrics.json"), read_metrics(path.with_name("test_metrics.json")))


def test_results_predictions_are_the_decisions_of_the_brain_and_not_a_second_argmax(write):
    with open(write() / "predictions.csv", newline="") as file:
        assert list(csv.reader(file)) == [
            ["id", "true", "predicted", "ang", "happiness"],
            ["u1", "ang", "ang", "0.25000000", "0.75000000"],
            ["u2", "ang", "happiness", "0.50000000", "0.50000000"],
        ]


@pytest.mark.parametrize("n_processes", [1, 2])
def test_results_have_the_settings_of_one_process_with_batches_as_large(write, n_processes):
    metrics = read_metrics(write(n_processes=n_processes) / "test_metrics.json")
    asked = {
        "lr": 0.1,
        "batch_size": 8 * n_processes,
        "max_grad_norm": "inf",
        "augmentations": [{"!new:audiomentations.Gain": {"p": 0.5}}],
    }
    off = {key: value for key, value in ADDED_KEYS.items() if key not in UNFINGERPRINTED_KEYS}
    assert metrics["hyperparameters"] == {**off, **asked}


def test_results_are_printed_with_their_paths(write, capsys):
    folder = write(faults=["Session5 is missing."], corpus="iemocap")
    assert capsys.readouterr().out == (
        "\nFold 1 of 2, tested on Session1 with the weights of epoch 1:\n"
        "WA 50.00%   UA 50.00%   (2 utterances)\n"
        "Not the complete published IEMOCAP: Session5 is missing. Published results are not comparable.\n"
        "No test utterance of happiness: left out of UA.\n"
        "       true        ang  happiness     recall\n"
        "        ang          1          1      50.0%\n"
        "  happiness          0          0          -\n"
        f"Written to {folder}: test_metrics.json, predictions.csv, confusion.png, curves.png\n"
    )


def test_results_of_a_synthetic_corpus_say_so(write, capsys):
    write(corpus="synthetic")
    assert f"\n{get_corpus('synthetic').note}\n" in capsys.readouterr().out


def test_results_say_what_their_fold_leaks(write, capsys):
    leak = "Fold 3 is used as published, and it shares 2 of 2 test speakers with training (a, b)."
    folder = write(cautions=(leak,))
    assert leak in capsys.readouterr().out.splitlines()
    assert read_metrics(folder / "test_metrics.json")["fold_cautions"] == [leak]


def test_results_of_a_few_batches_say_that_they_are_none(write, capsys):
    folder = write(debug=True)
    metrics = read_metrics(folder / "test_metrics.json")
    assert metrics["debug"] is True
    assert "utterances)\nTHIS IS NO RESULT: with --debug" in capsys.readouterr().out
    assert result_text({**metrics, "debug": False}).count("NO RESULT") == 0
    assert not is_finished(folder, IDENTITY, metrics["settings"])
    with pytest.raises(ValueError, match="has been tested"):
        write_report([folder])


@pytest.mark.parametrize(
    "change", [{"fold": 2}, {"seed": 1}, {"manifest": "cd"}, {"settings": "other"}, {"debug": True}]
)
def test_results_of_another_run_are_not_taken_for_finished(tmp_path, change):
    folder = tmp_path / "run"
    assert not is_finished(folder, IDENTITY, "ff")
    write_run(folder, **{**IDENTITY, "settings": "ff"})
    assert is_finished(folder, IDENTITY, "ff")
    (folder / "predictions.csv").rename(tmp_path / "predictions.csv")
    assert not is_finished(folder, IDENTITY, "ff")
    write_run(tmp_path / "other", **{**IDENTITY, "settings": "ff", **change})
    assert not is_finished(tmp_path / "other", IDENTITY, "ff")


@pytest.mark.parametrize("text", ['{"fold": 1,', "[]", "null", 100_000 * "["])
def test_broken_results_are_not_taken_for_finished(tmp_path, text):
    folder = write_run(tmp_path / "run", **IDENTITY, settings="ff")
    assert is_finished(folder, IDENTITY, "ff")
    (folder / "test_metrics.json").write_text(text)
    assert not is_finished(folder, IDENTITY, "ff")


def test_results_whose_predictions_are_damaged_are_not_taken_for_finished(tmp_path):
    folder = write_run(tmp_path / "run", **IDENTITY, settings="ff")
    path = folder / "predictions.csv"
    path.write_text(path.read_text().replace("sad,sad", "sad,ang"))
    assert not is_finished(folder, IDENTITY, "ff")


def test_saved_settings_have_the_fingerprint_of_what_was_asked(write):
    folder = write()
    found = read_metrics(folder / "test_metrics.json")["settings"]
    assert found == settings_fingerprint(hparams_text(folder / "hyperparams.yaml"), UNFINGERPRINTED_KEYS)
    same = settings_fingerprint(hparams_text(folder / "hyperparams.yaml", {"fold": 2, "lr": 0.1}), UNFINGERPRINTED_KEYS)
    assert (
        found
        == same
        != settings_fingerprint(hparams_text(folder / "hyperparams.yaml", {"lr": 0.2}), UNFINGERPRINTED_KEYS)
    )
