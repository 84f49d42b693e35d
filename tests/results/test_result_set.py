"""Sets of tested runs: what is read, what is refused and in which words, and what is noted when it is let pass."""

import csv
import json
import re
import shutil

import pytest

from speechbrain_ext.errors import InputError
from speechbrain_ext.results.result_set import ALLOWANCES, read_result_set

EMOTIONS = ["ang", "sad"]
# Of three "ang" one is right, the one "sad" is: WA 2/4, UA (1/3 + 1) / 2.
LABELS = [("ang", "ang"), ("ang", "sad"), ("ang", "sad"), ("sad", "sad")]
METRICS = {
    "WA": 0.5,
    "UA": 2 / 3,
    "recall": {"ang": 1 / 3, "sad": 1.0},
    "absent": [],
    "n": 4,
    "emotions": EMOTIONS,
    "confusion": [[1, 2], [0, 1]],
    "test_loss": 0.7,
    "tested_epoch": 3,
    "n_epochs": 5,
    "test_group": "g1",
    "validation": "random",
    "fold": 1,
    "seed": 1,
    "manifest": "a" * 64,
    "versions": {"python": "3.11"},
}


def write_predictions(folder, rows, columns=("id", "true", "predicted", *EMOTIONS)):
    """Write predictions.csv with these rows."""
    with open(folder / "predictions.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])


def write_run(folder, without=(), **changes):
    """Write a tested run; the ids of its four utterances begin with its fold."""
    metrics = {**METRICS, **changes}
    folder.mkdir(parents=True)
    rows = [(f"f{metrics['fold']}_{i}", *labels, "0.60000000", "0.40000000") for i, labels in enumerate(LABELS)]
    write_predictions(folder, rows)
    kept = {key: value for key, value in metrics.items() if key not in without}
    (folder / "test_metrics.json").write_text(json.dumps(kept), encoding="utf-8")
    return folder


def write_runs(root, *pairs, **changes):
    """Write a tested run for each (seed, fold)."""
    for seed, fold in pairs:
        write_run(root / f"seed{seed}" / f"fold{fold}", seed=seed, fold=fold, **changes)


def begin_run(folder, text):
    """Leave what a run leaves that was started and not tested."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(text if isinstance(text, str) else json.dumps(text))


def refusal(*args, **kwargs):
    """Return the message with which a set is refused."""
    with pytest.raises(InputError) as error:
        read_result_set(*args, **kwargs)
    return str(error.value)


def test_result_set_is_read_from_the_two_files_alone(tmp_path):
    write_run(tmp_path / "deep" / "er" / "x", settings="5e" * 32, n_folds=1, epochs=[{"epoch": 1}], debug=False)
    found = read_result_set(str(tmp_path))
    assert (found.folder, found.emotions, found.notes) == (tmp_path, ("ang", "sad"), ())
    (run,) = found.runs
    assert (run.folder, run.fold, run.seed) == (tmp_path / "deep" / "er" / "x", 1, 1)
    assert run.ids == ("f1_0", "f1_1", "f1_2", "f1_3")
    assert run.true.tolist() == [0, 0, 0, 1] and run.predicted.tolist() == [0, 1, 1, 1]
    assert run.true.dtype == run.predicted.dtype == int
    assert {key: run.metrics[key] for key in METRICS} == METRICS
    assert (run.metrics["settings"], run.metrics["epochs"]) == ("5e" * 32, [{"epoch": 1}])


def test_result_set_takes_the_folder_of_one_run(tmp_path):
    write_run(tmp_path / "x")
    assert len(read_result_set(tmp_path / "x").runs) == 1


def test_result_set_is_sorted_by_seed_and_fold_as_numbers(tmp_path):
    pairs = [(seed, fold) for seed in (10, 8, 1) for fold in (10, 8, 1)]
    write_runs(tmp_path, *pairs)
    found = read_result_set(tmp_path)
    assert [(run.seed, run.fold) for run in found.runs] == sorted(pairs)
    assert found.seeds == found.folds == (1, 8, 10)
    assert isinstance(found.runs, tuple)


def test_result_set_optional_keys_that_lack_are_none(tmp_path):
    write_run(tmp_path / "x")
    (run,) = read_result_set(tmp_path).runs
    assert {run.metrics[key] for key in ("settings", "n_folds", "speakers", "debug")} == {None}
    for key in ("test_group", "tested_epoch", "n_epochs", "validation", "versions", "recall"):
        path = tmp_path / "x" / "test_metrics.json"
        path.write_text(json.dumps({name: value for name, value in METRICS.items() if name != key}))
        assert read_result_set(tmp_path).runs[0].metrics.get(key) is None
    assert run.metrics["epochs"] is None and run.speakers is None


def test_result_set_speakers_come_from_the_run_and_else_from_the_function(tmp_path):
    speakers = {"f1_3": "m", "f1_2": "f", "f1_1": "m", "f1_0": "f", "other": "x"}
    write_run(tmp_path / "a", fold=1, speakers=speakers)
    write_run(tmp_path / "b", fold=2)
    first, second = read_result_set(tmp_path, speaker_of=lambda utt_id: "s" + utt_id[-1]).runs
    assert first.speakers == ("f", "m", "f", "m")
    assert second.speakers == ("s0", "s1", "s2", "s3")
    first, second = read_result_set(tmp_path, speaker_of=lambda utt_id: None if utt_id == "f2_2" else "s").runs
    assert first.speakers == ("f", "m", "f", "m")
    assert second.speakers is None


def test_result_set_refuses_speakers_that_lack_an_utterance(tmp_path):
    write_run(tmp_path / "x", speakers={"f1_0": "f", "f1_1": "m", "f1_3": "m"})
    message = refusal(tmp_path, speaker_of=lambda utt_id: "s")
    assert message.startswith(f"{tmp_path}/x/test_metrics.json: 'speakers' lacks f1_2, which predictions.csv has. ")


def test_result_set_refuses_a_folder_that_is_none_or_holds_no_tested_run(tmp_path):
    assert refusal(tmp_path / "x").startswith(f"the folder {tmp_path}/x does not exist. Give ")
    begin_run(tmp_path / "begun", {"fold": 1, "seed": 1})
    message = refusal(tmp_path)
    assert message.startswith(f"no run below {tmp_path} has been tested: ") and "Run train.py for each fold" in message


@pytest.mark.parametrize("allow", [("mixed", "all"), "mixed"])
def test_result_set_refuses_an_unknown_allowance(tmp_path, allow):
    write_run(tmp_path / "x")
    word = "all" if isinstance(allow, tuple) else "m"
    assert refusal(tmp_path, allow) == f"allow must be among incomplete, mixed, duplicates, got {word!r}."


@pytest.mark.parametrize("key", ["WA", "UA", "n", "emotions", "confusion", "fold", "seed", "manifest"])
def test_result_set_refuses_metrics_without_a_key(tmp_path, key):
    write_run(tmp_path / "x", without=[key])
    assert refusal(tmp_path, ALLOWANCES).startswith(f"{tmp_path}/x/test_metrics.json lacks {key!r}. Test that run ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "one"}, "'seed' must be a whole number, got 'one'"),
        ({"n": True}, "'n' must be a whole number, got True"),
        ({"UA": "0.5"}, "'UA' must be a number, got '0.5'"),
        ({"n_folds": 5.0}, "'n_folds' must be a whole number, got 5.0"),
        ({"speakers": ["f"]}, "'speakers' must be an object, got ['f']"),
        ({"fold": 0}, "'fold' must be from 1 to n_folds, got 0"),
        ({"fold": 6, "n_folds": 5}, "'fold' must be from 1 to 5, got 6"),
        ({"emotions": ["ang", "ang"]}, "'emotions' must be different texts, got ['ang', 'ang']"),
        ({"emotions": ["ang", ["sad"]]}, "'emotions' must be different texts, got ['ang', ['sad']]"),
    ],
)
def test_result_set_refuses_metrics_of_another_kind(tmp_path, change, message):
    write_run(tmp_path / "x", **change)
    assert refusal(tmp_path, ALLOWANCES).startswith(f"{tmp_path}/x/test_metrics.json: {message}. Test that run ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"WA": 0.5', r"^the metrics .*x/test_metrics\.json cannot be read: .*line 1.*\. Test that run again"),
        (b'{"WA": "\xff"}', r"^the metrics .*x/test_metrics\.json cannot be read: .*utf-8"),
        (b"[]", r"x/test_metrics\.json holds a list, not an object"),
    ],
)
def test_result_set_refuses_metrics_that_are_no_json(tmp_path, content, message):
    (write_run(tmp_path / "x") / "test_metrics.json").write_bytes(content)
    assert re.search(message, refusal(tmp_path))


def test_result_set_refuses_a_run_of_a_few_batches(tmp_path):
    write_run(tmp_path / "good", fold=1)
    write_run(tmp_path / "quick", fold=2, debug=True)
    message = refusal(tmp_path, ALLOWANCES)
    assert message.startswith(f"{tmp_path}/quick was run with --debug, on a few batches only: no result.")
    assert message.endswith("Delete the folder and run it again without --debug.")


def test_result_set_refuses_missing_and_unreadable_predictions(tmp_path):
    predictions = write_run(tmp_path / "x") / "predictions.csv"
    predictions.write_bytes(predictions.read_bytes() + b"\xff")
    assert re.match(
        r"the predictions .*x/predictions\.csv cannot be read: .*utf-8.*\. Test that run", refusal(tmp_path)
    )
    predictions.unlink()
    assert re.match(r"the predictions .*x/predictions\.csv cannot be read: .*No such file", refusal(tmp_path))


@pytest.mark.parametrize("column", ["id", "true", "predicted", "sad"])
def test_result_set_refuses_predictions_without_a_column(tmp_path, column):
    columns = [name.replace(column, "x") for name in ("id", "true", "predicted", *EMOTIONS)]
    write_predictions(write_run(tmp_path / "x"), [], columns)
    assert refusal(tmp_path).startswith(f"{tmp_path}/x/predictions.csv: the columns ['{column}'] are missing. ")


def test_result_set_refuses_predictions_of_nothing(tmp_path):
    folder = write_run(tmp_path / "x", n=0, WA=0.0, UA=0.0, confusion=[[0, 0], [0, 0]])
    write_predictions(folder, [])
    assert refusal(tmp_path).startswith(f"{tmp_path}/x/predictions.csv holds no utterance. ")
    (folder / "predictions.csv").write_text("")
    assert "the columns ['id', 'true', 'predicted', 'ang', 'sad'] are missing" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("f1_1", "ang", "ang", 1, 0), "f1_1 stands twice"),
        (("new", "joy", "ang", 1, 0), "the label 'joy' of new is unknown; the emotions are ang, sad"),
        (("new", "ang", "", 1, 0), "the label '' of new is unknown"),
        (("new", "ang"), "the label None of new is unknown"),
    ],
)
def test_result_set_refuses_predictions_that_cannot_be(tmp_path, row, message):
    folder = write_run(tmp_path / "x")
    rows = [(f"f1_{i}", *labels, 1, 0) for i, labels in enumerate(LABELS)]
    write_predictions(folder, [*rows, row])
    assert refusal(tmp_path).startswith(f"{tmp_path}/x/predictions.csv: {message}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 5}, "n is 4, there 5"),
        ({"confusion": [[1, 0], [2, 1]]}, "confusion is [[1, 2], [0, 1]], there [[1, 0], [2, 1]]"),
        ({"WA": 0.500001}, "WA is 0.5, there 0.500001"),
        ({"UA": 0.5}, "UA is 0.6666666666666666, there 0.5"),
    ],
)
def test_result_set_refuses_metrics_that_are_not_those_of_the_predictions(tmp_path, change, message):
    folder = write_run(tmp_path / "x", **change)
    expected = f"{folder}/predictions.csv is not what {folder}/test_metrics.json counts: {message}. Test that run "
    assert refusal(tmp_path, ALLOWANCES).startswith(expected)


def test_result_set_takes_metrics_that_are_rounded_otherwise(tmp_path):
    write_run(tmp_path / "x", UA=2 / 3 + 1e-15)
    assert len(read_result_set(tmp_path).runs) == 1


def test_result_set_refuses_other_emotions_and_another_order(tmp_path):
    write_run(tmp_path / "a", fold=1)
    # The same decisions counted in the other order: right in itself.
    write_run(tmp_path / "b", fold=2, emotions=EMOTIONS[::-1], confusion=[[1, 0], [2, 1]])
    assert refusal(tmp_path, ALLOWANCES) == (
        f"the emotions, or their order, differ: ['ang', 'sad'] in {tmp_path}/a, ['sad', 'ang'] in {tmp_path}/b. "
        "Give the folders apart."
    )


MIXTURES = {
    "manifest": ("a" * 64, "b" * 64, "2 corpora (manifests aaaaaaaa, bbbbbbbb)"),
    "settings": ("c" * 64, "d" * 64, "2 different settings (cccccccc, dddddddd)"),
    "validation": ("group", "random", "2 kinds of validation (group, random)"),
}


@pytest.mark.parametrize("key", MIXTURES)
def test_result_set_mixed_is_refused_unless_allowed(tmp_path, key):
    first, second, note = MIXTURES[key]
    write_run(tmp_path / "a", fold=1, **{key: second})
    write_run(tmp_path / "b", fold=2, **{key: first})
    write_run(tmp_path / "c", fold=3, **{key: second})
    assert refusal(tmp_path, ("incomplete", "duplicates")) == (
        f"the runs below {tmp_path} differ: {key} {first[:8]} in {tmp_path}/b; {key} {second[:8]} in {tmp_path}/a, "
        f"{tmp_path}/c. Give their folders apart, or set --allow=mixed to take them together."
    )
    found = read_result_set(tmp_path, ["mixed"])
    assert found.notes == (f"mixed: {note}",)
    assert len(found.runs) == 3


def test_result_set_mixed_names_everything_that_differs(tmp_path):
    write_run(tmp_path / "a", fold=1, settings="c" * 64)
    write_run(tmp_path / "b", fold=2, settings="d" * 64, validation="none")
    message = refusal(tmp_path)
    assert re.search("settings cccccccc in .*; settings dddddddd in .*; validation none in .*; validation ra", message)
    assert [note[:8] for note in read_result_set(tmp_path, ["mixed"]).notes] == ["mixed: 2", "mixed: 2"]


def test_result_set_mixed_compares_whole_fingerprints(tmp_path):
    write_run(tmp_path / "a", fold=1, manifest="a" * 63 + "0")
    write_run(tmp_path / "b", fold=2, manifest="a" * 63 + "1")
    assert "differ: manifest" in refusal(tmp_path)


def test_result_set_a_run_that_does_not_say_its_settings_mixes_with_any(tmp_path):
    write_run(tmp_path / "a", fold=1, settings="c" * 64)
    write_run(tmp_path / "b", fold=2)
    assert read_result_set(tmp_path).notes == ()


def test_result_set_duplicates_are_refused_unless_allowed(tmp_path):
    for name in ("b", "a", "c"):
        write_run(tmp_path / name / "run", seed=7, fold=2)
    assert refusal(tmp_path, ("incomplete", "mixed")) == (
        f"seed 7 fold 2 stands twice, in {tmp_path}/a/run and in {tmp_path}/b/run. Delete one of them, give their "
        "folders apart, or set --allow=duplicates to take the first."
    )
    found = read_result_set(tmp_path, ["duplicates"])
    assert [run.folder for run in found.runs] == [tmp_path / "a" / "run"]
    assert found.notes == (
        "duplicates: seed 7 fold 2 from a/run and not from b/run, seed 7 fold 2 from a/run and not from c/run",
    )


def test_result_set_two_experiments_below_one_folder_are_called_mixed_first(tmp_path):
    """Both are refused; that the settings differ says more. What is dropped as a duplicate is no longer mixed."""
    write_run(tmp_path / "a", settings="c" * 64)
    write_run(tmp_path / "b", settings="d" * 64)
    assert "settings cccccccc in" in refusal(tmp_path)
    assert "settings cccccccc in" in refusal(tmp_path, ["duplicates"])
    assert "stands twice" in refusal(tmp_path, ["mixed"])
    notes = read_result_set(tmp_path, ["duplicates", "mixed"]).notes
    assert notes == ("duplicates: seed 1 fold 1 from a and not from b",)


def copy_predictions(source, target):
    """Let one run have tested what another did."""
    shutil.copy(source / "predictions.csv", target / "predictions.csv")


def test_result_set_refuses_an_utterance_in_two_folds_of_one_seed(tmp_path):
    write_runs(tmp_path, (1, 1), (1, 2))
    copy_predictions(tmp_path / "seed1" / "fold1", tmp_path / "seed1" / "fold2")
    message = refusal(tmp_path, ALLOWANCES)
    assert message.startswith(f"f1_0 is tested twice with seed 1, in fold 1 ({tmp_path}/seed1/fold1) and in fold 2 (")
    assert message.endswith("Run one of them again.")


def test_result_set_takes_an_utterance_in_two_folds_of_two_corpora_or_seeds(tmp_path):
    write_run(tmp_path / "a", fold=1)
    copy_predictions(tmp_path / "a", write_run(tmp_path / "b", fold=2, manifest="b" * 64))
    assert len(read_result_set(tmp_path, ["mixed"]).runs) == 2
    (tmp_path / "two").mkdir()
    copy_predictions(write_run(tmp_path / "two" / "a", fold=1), write_run(tmp_path / "two" / "b", fold=2, seed=2))
    assert len(read_result_set(tmp_path / "two", ["incomplete"]).runs) == 2


def test_result_set_incomplete_is_refused_unless_allowed(tmp_path):
    write_runs(tmp_path, (1, 1), (1, 2), (1, 3), (2, 1), (2, 2), n_folds=3)
    assert refusal(tmp_path, ("mixed", "duplicates")) == (
        f"the runs below {tmp_path} are incomplete: seed 2 lacks fold 3. Run what is missing, or set "
        "--allow=incomplete to do without."
    )
    found = read_result_set(tmp_path, ["incomplete"])
    assert found.notes == ("incomplete: seed 2 lacks fold 3",)
    assert len(found.runs) == 5
    write_run(tmp_path / "seed2" / "fold3", seed=2, fold=3)  # an older run, which does not say how many there are
    assert read_result_set(tmp_path).notes == ()


def test_result_set_incomplete_knows_the_last_fold_from_the_runs_alone(tmp_path):
    write_runs(tmp_path, (1, 1), (2, 1), n_folds=2)
    assert "seed 1 lacks fold 2, seed 2 lacks fold 2." in refusal(tmp_path)


def test_result_set_incomplete_without_the_number_of_folds_takes_what_some_seed_has(tmp_path):
    write_runs(tmp_path, (8, 8), (8, 1), (1, 2))
    assert ": seed 1 lacks fold 1, seed 1 lacks fold 8, seed 8 lacks fold 2. Run" in refusal(tmp_path)
    write_runs(tmp_path, (1, 1), (1, 8), (8, 2))
    assert read_result_set(tmp_path).notes == ()


def test_result_set_incomplete_of_mixed_corpora_takes_the_larger_number_of_folds(tmp_path):
    write_run(tmp_path / "a", fold=1, n_folds=1)
    write_run(tmp_path / "b", fold=2, n_folds=3, manifest="b" * 64)
    assert ": seed 1 lacks fold 3. Run" in refusal(tmp_path, ["mixed"])


def test_result_set_incomplete_names_five_and_counts_the_others(tmp_path):
    write_runs(tmp_path, (1, 8), n_folds=8)
    five = ", ".join(f"seed 1 lacks fold {fold}" for fold in range(1, 6))
    assert f": {five} and 2 more. Run" in refusal(tmp_path)
    assert read_result_set(tmp_path, ["incomplete"]).notes == (f"incomplete: {five} and 2 more",)
    write_runs(tmp_path, (1, 6), (1, 7))
    assert read_result_set(tmp_path, ["incomplete"]).notes == (f"incomplete: {five}",)


def test_result_set_incomplete_says_what_was_begun(tmp_path):
    write_runs(tmp_path, (1, 1), (1, 2), n_folds=4)
    begin_run(tmp_path / "anywhere", {"fold": 3, "seed": 1, "manifest": "a" * 64})
    begin_run(tmp_path / "broken", '{"fold": 4, "seed"')
    begin_run(tmp_path / "odd", "[4]")
    begin_run(tmp_path / "short", {"fold": 4})
    message = refusal(tmp_path)
    assert "incomplete: seed 1 lacks fold 3 (begun, not finished), seed 1 lacks fold 4. Run" in message
    assert read_result_set(tmp_path, ["incomplete"]).notes == ("incomplete: seed 1 lacks fold 3, seed 1 lacks fold 4",)


def test_result_set_incomplete_misses_a_seed_that_was_begun_only(tmp_path):
    write_runs(tmp_path, (1, 1), (1, 2), n_folds=2)
    begin_run(tmp_path / "seed2", {"fold": 2, "seed": 2, "manifest": "a" * 64})
    assert "incomplete: seed 2 lacks fold 1, seed 2 lacks fold 2 (begun, not finished). Run" in refusal(tmp_path)
    assert read_result_set(tmp_path, ["incomplete"]).seeds == (1,)


def test_result_set_incomplete_takes_no_tested_run_for_begun(tmp_path):
    """The run.json of a run that has been tested stands for no other."""
    folder = write_run(tmp_path / "x", n_folds=2)
    (folder / "run.json").write_text(json.dumps({"fold": 2, "seed": 1}))
    assert "begun" not in refusal(tmp_path)


def test_result_set_notes_everything_that_was_let_pass(tmp_path):
    write_run(tmp_path / "a", fold=1, n_folds=3)
    write_run(tmp_path / "b", fold=1, n_folds=3)
    write_run(tmp_path / "c", fold=2, n_folds=3, validation="none")
    notes = read_result_set(tmp_path, ALLOWANCES).notes
    assert [note.split(":")[0] for note in notes] == ["mixed", "duplicates", "incomplete"]
