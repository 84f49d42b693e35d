"""Other corpora that a run is tested on: how they are named, and which of their clips and labels count."""

import csv

import numpy as np
import pytest
import soundfile

from speechbrain_ext.errors import InputError
from speechbrain_ext.training.other_corpora import find_other_corpora, read_other_corpora


def write_csv(folder, labels, name="mine.csv"):
    """Write a CSV with one short recording for each label, and return its path."""
    folder.mkdir(exist_ok=True)
    with open(folder / name, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "wav", "emo", "speaker", "group"])
        for i, label in enumerate(labels):
            soundfile.write(folder / f"{i}.wav", 0.1 * np.random.default_rng(i).standard_normal(8000), 16000)
            rows.writerow([f"u{i}", f"{i}.wav", label, f"s{i % 2}", f"s{i % 2}"])
    return folder / name


def read(path, emotions):
    (found,) = read_other_corpora(find_other_corpora([str(path)], "iemocap", "/data"), emotions, 16000, {})
    return found


def test_clips_with_emotions_that_both_have_are_kept_and_the_others_are_said(tmp_path):
    path = write_csv(tmp_path, ["sad", "ang", "bored", "sad", "bored", "calm"])
    found = read(path, ["ang", "hap", "sad"])
    assert found.emotions == ["ang", "sad"]  # in the run's order
    assert sorted(found.manifest) == ["u0", "u1", "u3"]
    assert found.manifest["u3"]["wav"] == str(tmp_path / "3.wav")
    assert (found.name, found.title, found.place) == ("mine", "mine.csv", "across/mine")
    assert found.describe() == (
        "Tested on mine.csv too: 3 clips of ang, sad. Left out, because this run does not know them: bored 2, calm 1. "
        "Never decided, because mine.csv does not have them: hap."
    )


def test_each_way_of_naming_a_corpus_becomes_an_absolute_path(tmp_path, monkeypatch):
    path = write_csv(tmp_path, ["sad", "ang"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEMO_ROOT", str(tmp_path))
    found = find_other_corpora(["mine.csv", "nemo", "emodb=."], "iemocap", "/data")
    assert found == [f"csv={path}", f"nemo={tmp_path}", f"emodb={tmp_path}"]
    assert find_other_corpora(found, "iemocap", "/data") == found  # as a saved file has them
    assert find_other_corpora("mine.csv", "csv", "/another.csv") == [f"csv={path}"]
    assert find_other_corpora(None, "iemocap", "/data") is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"nemo": "there"},
            r"test_corpus must be a list of corpora, got .*Write \[nemo=/path/to/nEMO, my_c",
        ),
        (["nimo=."], "corpus must be one of .*, got 'nimo=.'"),
        (["nemo"], "test_corpus names nemo, and not where it is: write nemo=PATH, or set NEMO_ROOT"),
        (["nemo=nowhere"], "the data folder .*nowhere does not exist"),
        (["csv=nowhere.csv"], "test_corpus names csv=nowhere.csv, and .*nowhere.csv is no file"),
        (["emodb=."], "test_corpus names emodb=., which is trained on: its test fold is tested anyway"),
        (["mine.csv"], "test_corpus names mine.csv, which is trained on"),
        (["nemo=.", "nemo=."], "test_corpus must name different corpora, got nemo=., nemo=."),
    ],
)
def test_what_names_no_other_corpus_is_refused(tmp_path, monkeypatch, value, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NEMO_ROOT", raising=False)
    path = write_csv(tmp_path, ["sad", "ang"])
    own, source = ("csv", str(path)) if value == ["mine.csv"] else ("emodb", "/data")
    with pytest.raises(InputError, match=message):
        find_other_corpora(value, own, source)


def test_corpus_without_two_of_the_emotions_is_refused(tmp_path):
    path = write_csv(tmp_path, ["sad", "angry", "bored"])
    with pytest.raises(
        InputError, match="mine.csv has the labels angry, bored, sad, and this run knows ang, sad: at least two must be"
    ):
        read(path, ["ang", "sad"])


def test_two_corpora_of_one_name_are_refused(tmp_path):
    items = [f"csv={write_csv(tmp_path / name, ['sad', 'ang'])}" for name in "ab"]
    with pytest.raises(InputError, match="test_corpus names two corpora called mine: test on one at a time"):
        read_other_corpora(items, ["ang", "sad"], 16000, {})
