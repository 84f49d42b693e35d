"""Each file of a run's folder, a bundle and answers, damaged in every way: read, or refused in a sentence."""

import os
import random
import shutil

import pytest

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.commands.export import read_result
from speechbrain_ext.dataio.manifest import describe_changes, read_manifest
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.bundle import check_bundle
from speechbrain_ext.inference.prediction_file import PredictionFile
from speechbrain_ext.inference.recordings import Prediction
from speechbrain_ext.results.across_corpora import summarise_across
from speechbrain_ext.results.result_set import read_result_set
from speechbrain_ext.results.tested_run import read_metrics, read_tested_run
from speechbrain_ext.training.history import read_epochs, write_epochs
from speechbrain_ext.training.hparams_file import hparams_text, read_settings, settings_fingerprint
from speechbrain_ext.training.run_folder import claim_run_folder, read_run
from tests.bundle_making import make_bundle
from tests.damage import put_damage_in_place
from tests.results.run_files import write_run
from tests.training.run_files import HPARAMS, IDENTITY

ENTRY = {"wav": "{data_root}/a.wav", "duration": 1.5, "emo": "sad", "speaker": "s1", "group": "g1", "samples": "0f"}
EMOTIONS = ["ang", "neu"]
# What cannot be a file of ours, whatever it holds; anything else may also be read.
NEVER_READ = (
    "cut in half",
    "not UTF-8",
    "random bytes",
    "a text",
    "a number",
    "nested",
    "a named pipe",
    "a folder",
    "an alias bomb",
)


def read_test(path):
    return read_tested_run(path.with_name("test_metrics.json"), read_metrics(path.with_name("test_metrics.json")))


def read_hparams(path):
    settings, _ = read_settings(path)
    return settings, settings_fingerprint(hparams_text(path))


def read_answers(path):
    out = path.with_name(path.name.removesuffix(".partial"))
    found = PredictionFile(out, recordings(path.parent), EMOTIONS, "m1").predictions
    assert set(found.values()) <= set(answers(path.parent)), "a damaged row was kept"


def recordings(folder):
    return [str(folder / "wavs" / f"{i}.wav") for i in range(3)]


def answers(folder):
    return [Prediction(path, 1.25, "ang", (0.75, 0.25)) for path in recordings(folder)]


READERS = {
    "run/run.json": lambda path: read_run(path.parent),
    "run/hyperparams.yaml": read_hparams,
    "run/epochs.json": read_epochs,
    "run/manifest.json": lambda path: describe_changes(read_manifest(path), {"a": ENTRY}),
    "run/test_metrics.json": lambda path: (read_test(path), read_result(path.parent)),
    "run/predictions.csv": read_test,
    "out.csv": read_answers,
    "out.json": read_answers,
    "out.jsonl": read_answers,
    "killed.csv.partial": read_answers,
    "bundle/bundle.json": lambda path: check_bundle(path.parent),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Write one of each file."""
    folder = tmp_path_factory.mktemp("whole")
    more = {"recall": {"ang": 1 / 3, "sad": 1.0}, "encoder_config": {"model_type": "hubert"}}
    write_run(folder / "run", **more)
    (folder / "small.yaml").write_text(HPARAMS)
    claim_run_folder(folder / "run", IDENTITY, hparams_text(folder / "small.yaml"), (), {"n_processes": 2})
    write_epochs(folder / "run", [{"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": 0.25}])
    write_json({"a": ENTRY, "b": {**ENTRY, "start": 0.5}}, folder / "run" / "manifest.json")
    make_bundle(folder / "bundle")
    (folder / "wavs").mkdir()
    for path in recordings(folder):
        with open(path, "w"):
            os.utime(path, (1_000_000_000, 1_000_000_000))
    for name in ("out.csv", "out.json", "out.jsonl", "killed.csv"):
        with PredictionFile(folder / name, recordings(folder), EMOTIONS, "m1") as out:
            for prediction in answers(folder):
                out.add(prediction)
            if name != "killed.csv":
                out.write()
    return folder


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_refused_by_its_name(whole, name):
    path, read = whole / name, READERS[name]
    for seed in range(3):
        for kind in put_damage_in_place(path, random.Random(seed)):
            try:
                read(path)
            except InputError as error:
                assert str(path) in str(error) or str(path.parent) in str(error), (kind, str(error))
            else:
                assert not kind.startswith(NEVER_READ) or name == "killed.csv.partial", kind
    read(path)


def test_a_report_names_the_run_that_is_broken(tmp_path):
    for fold in (1, 2, 3):
        write_run(tmp_path / f"seed1/fold{fold}", fold=fold, n_folds=3)
    assert len(read_result_set(tmp_path).runs) == 3
    for name in ("test_metrics.json", "predictions.csv"):
        path = tmp_path / "seed1/fold2" / name
        for kind in put_damage_in_place(path, random.Random(0)):
            if kind.startswith(NEVER_READ):
                with pytest.raises(InputError, match=f"fold2/{name}"):
                    read_result_set(tmp_path)
    shutil.rmtree(tmp_path / "seed1/fold2")
    assert len(read_result_set(tmp_path, allow=["incomplete"]).runs) == 2
    assert summarise_across(read_result_set(tmp_path, allow=["incomplete"])) == []
