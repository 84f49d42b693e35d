"""What a fold leaves in its folder, and what happens where its recordings change or a file cannot be written."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
import soundfile
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from recipes.IEMOCAP import train
from speechbrain_ext.errors import InputError
from tests.recipes.fold_reading import history, posteriors, results


def test_fold_folder_is_complete_and_consistent(fit, capsys):
    folder = fit("fold2", "--fold=2")
    for name in ("hyperparams.yaml", "train.py", "env.log", "log.txt", "train_log.txt", "run.json", "manifest.json"):
        assert (folder / name).stat().st_size > 0, name
    for name in ("confusion.png", "curves.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG"), name

    metrics, rows = results(folder)
    true, predicted = [row["true"] for row in rows], [row["predicted"] for row in rows]
    assert len(rows) == metrics["n"] == 16  # one session: 2 speakers, 4 emotions, 2 sentences
    assert all(row["id"].startswith("Ses02") for row in rows)
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert metrics["WA"] == pytest.approx(accuracy_score(true, predicted))
    assert metrics["UA"] == pytest.approx(balanced_accuracy_score(true, predicted))
    assert metrics["confusion"] == confusion_matrix(true, predicted, labels=metrics["emotions"]).tolist()
    np.testing.assert_allclose(posteriors(folder).sum(axis=1), 1, atol=1e-6)
    assert [metrics["emotions"][i] for i in posteriors(folder).argmax(axis=1)] == predicted
    assert metrics["fold"] == 2
    assert metrics["seed"] == 1
    assert metrics["test_group"] == "Session2"
    assert metrics["versions"]["torch"] == torch.__version__.split("+")[0]
    assert json.loads((folder / "run.json").read_text())["manifest"] == metrics["manifest"]
    assert metrics["n_folds"] == 5
    assert metrics["epochs"] == history(folder) == json.loads((folder / "epochs.json").read_text())
    assert [entry["epoch"] for entry in metrics["epochs"]] == [1, 2, 3]
    assert not any("test_WA" in entry for entry in metrics["epochs"])  # unless it is asked for
    assert metrics["speakers"] == {row["id"]: f"Ses02_{row['id'].split('_')[-1][0]}" for row in rows}

    said = capsys.readouterr().out
    assert f"WA {100 * metrics['WA']:.2f}%   UA {100 * metrics['UA']:.2f}%   (16 utterances)" in said
    assert f"Written to {folder}: test_metrics.json" in said


def test_debug_results_say_that_they_are_none(fit):
    folder = fit("fold", "--debug", "--number_of_epochs=1")
    assert [path.name for path in folder.iterdir()] == ["debug"]  # a real run finds nothing of it
    assert results(folder / "debug")[0]["debug"] is True
    assert "debug" not in results(fit("fold", "--number_of_epochs=1"))[0]


def test_tensorboard_is_one_key(fit):
    folder = fit("fold", "--tensorboard=True", "--number_of_epochs=1")
    assert list((folder / "tensorboard").glob("events*"))
    assert not (fit("without", "--number_of_epochs=1") / "tensorboard").exists()


def test_finished_run_is_tested_on_another_corpus(fit, demo_corpus, tmp_path, monkeypatch):
    """The other corpus holds recordings of the run's own test fold: its answers are known."""
    monkeypatch.setattr("speechbrain_ext.training.run.check_no_copies", lambda *_: None)  # which refuses them
    folder = fit("fold", "--number_of_epochs=1")
    before = results(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    own = {row["id"]: row for row in before[1] if row["true"] in ("ang", "sad")}
    lines = [f"{i},{manifest[i]['wav'].replace('{data_root}', str(demo_corpus))},{own[i]['true']},x,x" for i in own]
    lines += [line.replace(",ang,", ",bored,").replace("Ses", "Copy", 1) for line in lines if ",ang," in line]
    (tmp_path / "mine.csv").write_text("\n".join(["id,wav,emo,speaker,group", *lines]) + "\n")
    assert fit("fold", "--number_of_epochs=1", f"--test_corpus=[{tmp_path}/mine.csv]") == folder
    assert results(folder) == before
    with open(folder / "across" / "mine" / "predictions.csv", newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["id"] for row in found] == list(own)
    for row in found:
        shares = np.array([float(own[row["id"]][emo]) for emo in ("ang", "sad")])
        np.testing.assert_allclose([float(row["ang"]), float(row["sad"])], shares / shares.sum(), rtol=1e-4)
        assert row["true"] == own[row["id"]]["true"]
        assert row["predicted"] == ("ang", "sad")[int(shares.argmax())]
    metrics = json.loads((folder / "across" / "mine" / "cross_metrics.json").read_text())
    assert (metrics["left_out"], metrics["not_there"]) == ({"bored": 4}, ["hap", "neu"])


def test_a_recording_that_changes_under_a_run_is_named(fit, demo_corpus, tmp_path, monkeypatch):
    copy = shutil.copytree(demo_corpus, tmp_path / "copy")
    prepare = train.dataio_prep

    def prepare_then_change(hparams, run):
        changed = run.manifest[run.fold.train[0]]["wav"]
        soundfile.write(changed, soundfile.read(changed, dtype="int16")[0][::-1], 16000)
        return prepare(hparams, run)

    monkeypatch.setattr(train, "dataio_prep", prepare_then_change)
    with pytest.raises(InputError, match=r"wav has changed since the corpus was prepared: it holds .* the manifest"):
        fit("fold", "--num_workers=1", data_folder=copy)
    monkeypatch.setattr(train, "dataio_prep", prepare)
    metrics = results(fit("fold", "--number_of_epochs=1"))[0]  # copied again as it was
    assert metrics["samples"] == json.loads((tmp_path / "fold" / "run.json").read_text())["samples"]
    with pytest.raises(
        InputError, match=r"the corpus has changed: 1 utterance has other samples \(Ses.*: Session.*wav\)"
    ):
        fit("fold", data_folder=copy)


def test_recording_that_breaks_later_names_its_utterance(fit, demo_corpus, tmp_path, monkeypatch):
    """A file that was fine when it was checked and is not when it is read."""
    copy = shutil.copytree(demo_corpus, tmp_path / "copy")
    path = next(copy.glob("Session3/sentences/wav/*/Ses03*[0-9].wav"))
    plan = train.plan_batches
    monkeypatch.setattr(train, "plan_batches", lambda *a: path.write_bytes(b"") or plan(*a))
    with pytest.raises(InputError, match=f"{path.stem}: .* is empty"):
        fit("fold", "--validation=none", data_folder=copy)


def test_a_folder_that_an_earlier_version_began_without_hashes_is_resumed(fit, tmp_path):
    folder = fit("fold", "--number_of_epochs=1")
    for name in ("manifest.json", "run.json"):
        text = (folder / name).read_text()
        text_then = re.sub(r',\s*"(samples(_hash)?|sha256)": "[^"]*"', "", text.replace('"sealed": true,', ""))
        (folder / name).write_text(text_then)
        assert "samples" in text and "samples" not in (folder / name).read_text()
    assert results(fit("fold", "--number_of_epochs=2"))[0]["n_epochs"] == 2
    assert "samples_hash" in (folder / "manifest.json").read_text()


@pytest.mark.parametrize("n_bytes", [40_000, 500])
def test_a_file_that_cannot_be_written_ends_a_run_in_a_sentence_and_loses_nothing(fit, tmp_path, n_bytes):
    """A limit on the size of files stands for a full disk: the checkpoint, and the first file, do not fit."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        with pytest.raises(InputError) as error:
            fit("fold")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert re.match(rf"{tmp_path}/fold\S* cannot be written", str(error.value))
    assert str(error.value).endswith(". What was saved stays, and the same command then resumes the run.")
    if n_bytes > 500:
        assert results(fit("fold")) == results(fit("whole"))
