"""What is written, killed before each change of a file: nothing is lost, and the same command goes on."""

import os
import shutil

import pytest
import torch

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference import bundle_writer
from speechbrain_ext.inference.bundle import check_bundle
from speechbrain_ext.inference.bundle_settings import BundleSettings
from speechbrain_ext.inference.prediction_file import PredictionFile
from speechbrain_ext.inference.recordings import Prediction
from speechbrain_ext.json_reader import read_json, with_checksum
from speechbrain_ext.training.checkpoints import AtomicCheckpointer
from speechbrain_ext.training.hparams_file import hparams_text
from speechbrain_ext.training.run_folder import check_run_folder, claim_run_folder, read_run
from tests.bundle_making import make_parts, save_parts
from tests.kills import killed_before_each_change
from tests.training.run_files import HPARAMS, IDENTITY

EMOTIONS = ["ang", "neu"]


def test_kills_are_before_each_change_and_the_last_process_ends(tmp_path):
    def action():
        (tmp_path / "a").mkdir()
        with open(tmp_path / "a" / "x", "w") as file:
            file.write("x")
        os.rename(tmp_path / "a" / "x", tmp_path / "y")

    found = []
    for n in killed_before_each_change(action, tmp_path):
        found.append((n, sorted(path.name for path in tmp_path.rglob("*"))))
        shutil.rmtree(tmp_path / "a", ignore_errors=True)
    assert found == [(1, []), (2, ["a"]), (3, ["a", "x"])]
    assert (tmp_path / "y").read_text() == "x"


def test_a_json_file_is_the_old_one_or_the_new_one(tmp_path):
    path = tmp_path / "x.json"
    write_json({"old": 1}, path)
    n_kills = 0
    for _ in killed_before_each_change(lambda: write_json({"new": 2}, path), tmp_path):
        assert read_json(path, "") == {"old": 1}
        n_kills += 1
    assert read_json(path, "") == {"new": 2} and n_kills >= 2


@pytest.mark.parametrize("begun", [False, True])
def test_a_run_folder_is_taken_again_by_the_same_command(tmp_path, begun):
    (tmp_path / "small.yaml").write_text(HPARAMS)
    folder = tmp_path / "run"
    text, later = (hparams_text(tmp_path / "small.yaml", {"number_of_epochs": n}) for n in (3, 4))

    def claim(text=text, n_processes=4):
        claim_run_folder(folder, IDENTITY, text, ("number_of_epochs",), {"n_processes": n_processes})

    n_kills = 0
    if begun:
        claim(later, n_processes=2)
    for _ in killed_before_each_change(claim, folder):
        n_kills += 1
        run = read_run(folder)
        assert run in ({}, *(with_checksum({**IDENTITY, "n_processes": n}) for n in (2, 4)))  # never without a number
        check_run_folder(folder, IDENTITY, text, ("number_of_epochs",))
        if run:
            (folder / "epochs.json").touch()  # once something was trained, it is this run's
            with pytest.raises(InputError, match="fold is 1 there, 2 now"):
                check_run_folder(folder, {**IDENTITY, "fold": 2}, text)
        if not begun:
            shutil.rmtree(folder, ignore_errors=True)
    assert read_run(folder)["n_processes"] == 4 and n_kills >= 4


@pytest.mark.parametrize("in_background", [False, True])
def test_a_checkpoint_is_there_at_any_moment(tmp_path, in_background):
    def checkpointer(epoch):
        model = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(model.weight, epoch)
        return AtomicCheckpointer(tmp_path / "save", {"model": model}, in_background=in_background), model

    def save(epoch=2):
        saver, _ = checkpointer(epoch)
        saver.save_and_keep_only(meta={"epoch": epoch}, num_to_keep=1)
        saver.wait()

    save(1)
    shutil.copytree(tmp_path / "save", tmp_path / "first")
    n_kills = 0
    for _ in killed_before_each_change(save, tmp_path / "save"):
        n_kills += 1
        found, model = checkpointer(0)
        found.set_aside_damaged()
        epoch = found.recover_if_possible().meta["epoch"]
        assert epoch in (1, 2) and model.weight.item() == epoch
        assert not list((tmp_path / "save").glob("damaged*"))
        shutil.rmtree(tmp_path / "save")
        shutil.copytree(tmp_path / "first", tmp_path / "save")
    assert checkpointer(0)[0].recover_if_possible().meta["epoch"] == 2 and n_kills >= 6


@pytest.mark.parametrize("ending", [".csv", ".json", ".jsonl"])
def test_answers_that_were_given_once_are_never_lost(tmp_path, ending):
    paths = [str(tmp_path / f"{i}.wav") for i in range(4)]
    for path in paths:
        with open(path, "w"):
            os.utime(path, (1_000_000_000, 1_000_000_000))

    def classify(paths, end=True):
        with PredictionFile(tmp_path / f"out{ending}", paths, EMOTIONS, "m1") as out:
            for path in paths:
                if path not in out.predictions:
                    out.add(Prediction(path, 1.0, "ang", (0.75, 0.25)))
            if end:
                out.write()

    classify(paths[:2])
    classify(paths[:3], end=False)
    (tmp_path / f"out{ending}.partial").rename(tmp_path / "kept")
    n_kills = 0
    for _ in killed_before_each_change(lambda: classify(paths), tmp_path):
        n_kills += 1
        known = PredictionFile(tmp_path / f"out{ending}", paths, EMOTIONS, "m1").predictions
        assert list(known)[:2] == paths[:2]
    assert len(PredictionFile(tmp_path / f"out{ending}", paths, EMOTIONS, "m1").predictions) == 4 and n_kills >= 4


def test_a_bundle_that_is_written_again_can_be_loaded_at_any_moment(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle_writer, "load_classifier", lambda folder, options: check_bundle(folder))
    parts, out = make_parts(len(EMOTIONS)), tmp_path / "exported" / "bundle"
    settings = BundleSettings(EMOTIONS, 64, parts["encoder"].architecture())
    weights = save_parts(tmp_path / "weights", parts)

    for text in ("a card", "another card"):

        def write(text=text):
            monkeypatch.setattr(bundle_writer, "write_onnx", lambda _, path, __: path.write_text(text))
            bundle_writer.write_bundle(out, weights, settings, text, onnx="fp32")

        n_kills = 0
        for _ in killed_before_each_change(write, out.parent):
            n_kills += 1
            assert not out.exists() or check_bundle(out)
        assert (out / "README.md").read_text() == (out / "model.onnx").read_text() == text and n_kills >= 8
        assert check_bundle(out)
