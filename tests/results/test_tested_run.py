"""One tested run: what is read of it, and the sentence for each file that cannot be a run's."""

import json
import os
import re

import pytest

from speechbrain_ext.errors import InputError
from speechbrain_ext.results.tested_run import ADDED, RULES, path_text, read_metrics, read_tested_run
from tests.results.run_files import METRICS, PREDICTED, TRUE, write_predictions, write_run

AGAIN = "Test that run again (--test_only), or delete its folder."


def read(folder):
    """Read a run's two files."""
    path = folder / "test_metrics.json"
    return read_tested_run(path, read_metrics(path))


def refusal(folder):
    """Return the message with which a run is refused, which ends in what to do."""
    with pytest.raises(InputError) as error:
        read(folder)
    assert str(error.value).endswith(f" {AGAIN}")
    return str(error.value).removesuffix(f" {AGAIN}")


def test_run_is_read_from_its_two_files_alone(tmp_path):
    run = read(write_run(tmp_path / "x", seed=7, fold=2))
    assert (run.folder, run.fold, run.seed) == (tmp_path / "x", 2, 7)
    assert run.ids == ("f2_0", "f2_1", "f2_2", "f2_3") and run.speakers == ("s2f", "s2m", "s2f", "s2m")
    assert (run.true.tolist(), run.predicted.tolist()) == (TRUE, PREDICTED)
    assert run.true.dtype == run.predicted.dtype == int
    assert {key: run.metrics[key] for key in METRICS} == METRICS


def test_metrics_of_an_earlier_version_have_no_cautions(tmp_path):
    write_run(tmp_path / "x", without=["fold_cautions"])
    assert read_metrics(tmp_path / "x" / "test_metrics.json")["fold_cautions"] == []


@pytest.mark.parametrize("key", [key for key in RULES if key not in ADDED])
def test_metrics_without_a_key_are_refused(tmp_path, key):
    write_run(tmp_path / "x", without=[key])
    assert refusal(tmp_path / "x") == f"{tmp_path}/x/test_metrics.json: {key} is missing."


@pytest.mark.parametrize("key", RULES)
def test_metrics_of_any_other_type_are_refused_in_a_sentence(tmp_path, key):
    """Whatever the value is: it is refused by its key, or its type is right and the predictions do not give it."""
    what, fits = RULES[key]
    for i, value in enumerate([None, True, "1", {"a": {}}, [[1]], [None], -1, 1.5, 10**400, float("nan")]):
        folder = write_run(tmp_path / str(i), **{key: value})
        if not fits(value):
            assert refusal(folder).startswith(f"{folder}/test_metrics.json: {key} must be {what}, got ")
        elif key in ("WA", "UA", "n", "confusion"):
            assert refusal(folder).startswith(f"{folder}/predictions.csv does not give the numbers of ")
        elif key not in ("fold", "n_folds", "speakers"):
            read(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "one"}, f"seed must be {RULES['seed'].text}, got 'one'."),
        ({"UA": float("inf")}, "UA must be a number from 0 to 1, got inf."),
        ({"fold": 6, "n_folds": 5}, "'fold' must be from 1 to 5, got 6."),
        ({"n_folds": 3_000_000}, "n_folds must be a whole number from 1 to 100000, got 3000000."),
        ({"emotions": ["ang", "ang"]}, "emotions must be a list of different texts, got ['ang', 'ang']."),
        ({"emotions": ["ang", ["sad"]]}, "emotions must be a list of different texts, got ['ang', ['sad']]."),
        ({"speakers": {"f1_0": ["f"]}}, "speakers must be an object of texts, got {'f1_0': ['f']}."),
        ({"speakers": {"f1_0": "f"}}, "'speakers' lacks f1_1, which predictions.csv has."),
        ({"epochs": [{"test_WA": "0.5"}]}, f"epochs must be {RULES['epochs'].text}, got [{{'test_WA': '0.5'}}]."),
        ({"epochs": [{"test_UA": 1e999}]}, f"epochs must be {RULES['epochs'].text}, got [{{'test_UA': inf}}]."),
        ({"debug": "no"}, "debug must be one of (True, False), got 'no'."),
    ],
)
def test_metrics_that_cannot_be_say_key_rule_and_value(tmp_path, change, message):
    write_run(tmp_path / "x", **change)
    assert refusal(tmp_path / "x") == f"{tmp_path}/x/test_metrics.json: {message}"


DEEP = 100_000 * "[" + 100_000 * "]"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"WA": 0.5', r"is no JSON: .*line 1.*\."),
        (b'{"WA": "\xff"}', r"is no JSON: .*utf-8.*\."),
        (DEEP.encode(), r"is nested too deeply\."),
        (b'{"n": 1' + 5000 * b"0" + b"}", r"is no JSON: .*digits.*\."),
    ],
)
def test_metrics_that_are_no_json_are_refused(tmp_path, content, message):
    (write_run(tmp_path / "x") / "test_metrics.json").write_bytes(content)
    assert re.fullmatch(rf"{tmp_path}/x/test_metrics\.json {message}", refusal(tmp_path / "x"), re.S)


@pytest.mark.parametrize("key", ["versions", "hyperparameters", "of_another_version"])
def test_metrics_that_are_no_object_or_deep_below_a_key_are_refused(tmp_path, key):
    path = write_run(tmp_path / "x") / "test_metrics.json"
    metrics = json.loads(path.read_text())
    path.write_text("[]")
    assert refusal(tmp_path / "x") == f"{path} holds [], not an object."
    path.write_text(json.dumps({**metrics, key: "DEEP"}).replace('"DEEP"', 400 * "[" + 400 * "]"))
    assert refusal(tmp_path / "x") == f"{path} is nested too deeply."


def test_predictions_missing_or_unreadable_are_refused(tmp_path):
    predictions = write_run(tmp_path / "x") / "predictions.csv"
    predictions.write_bytes(predictions.read_bytes() + b"\xff")
    assert re.match(rf"{predictions} is no CSV: .*utf-8", refusal(tmp_path / "x"))
    predictions.unlink()
    assert re.match(rf"{predictions} cannot be read: .*No such file", refusal(tmp_path / "x"))


@pytest.mark.parametrize("column", ["id", "true", "predicted", "sad"])
def test_predictions_without_a_column_are_refused(tmp_path, column):
    columns = [name.replace(column, "x") for name in ("id", "true", "predicted", "ang", "sad")]
    write_predictions(write_run(tmp_path / "x"), [], columns)
    assert refusal(tmp_path / "x") == f"{tmp_path}/x/predictions.csv: the columns ['{column}'] are missing."


def test_predictions_of_nothing_are_refused(tmp_path):
    folder = write_run(tmp_path / "x", n=0, WA=0, UA=0, confusion=[[0, 0], [0, 0]])
    write_predictions(folder, [])
    assert refusal(folder) == f"{folder}/predictions.csv holds no utterance."
    (folder / "predictions.csv").write_text("")
    assert "the columns ['id', 'true', 'predicted', 'ang', 'sad'] are missing" in refusal(folder)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("f1_1", "ang", "ang", 1, 0), "f1_1 occurs twice."),
        (("new", "joy", "ang", 1, 0), "the label 'joy' of new is unknown; the emotions are ang, sad."),
        (("new", "ang", "", 1, 0), "the label '' of new is unknown; the emotions are ang, sad."),
        (("new", "ang"), "the label None of new is unknown; the emotions are ang, sad."),
    ],
)
def test_predictions_that_cannot_be_are_refused(tmp_path, row, message):
    folder = write_run(tmp_path / "x")
    with open(folder / "predictions.csv", "a") as file:
        file.write(",".join(map(str, row)) + "\n")
    assert refusal(folder) == f"{folder}/predictions.csv: {message}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 5}, "n is 4, there 5."),
        ({"confusion": [[1, 0], [2, 1]]}, "confusion is [[1, 2], [0, 1]], there [[1, 0], [2, 1]]."),
        ({"WA": 0.500001}, "WA is 0.5, there 0.500001."),
        ({"UA": 0.5}, "UA is 0.6666666666666666, there 0.5."),
    ],
)
def test_metrics_that_are_not_those_of_the_predictions_are_refused(tmp_path, change, message):
    folder = write_run(tmp_path / "x", **change)
    expected = f"{folder}/predictions.csv does not give the numbers of {folder}/test_metrics.json: {message}"
    assert refusal(folder) == expected


def test_metrics_that_are_rounded_otherwise_are_read(tmp_path):
    read(write_run(tmp_path / "x", UA=2 / 3 + 1e-15))


def test_paths_that_are_no_utf_8_become_text_that_can_be_saved():
    assert path_text("a/ü") == "a/ü"
    assert path_text(os.fsdecode(b"a/\xff")) == "a/\\xff"
