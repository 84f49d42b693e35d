"""Sets of tested runs: what is refused and in which words, and what is noted where it is accepted."""

import json
import re
import shutil

import pytest

from speechbrain_ext.errors import InputError
from speechbrain_ext.results.result_set import ALLOWANCES, read_result_set
from tests.results.run_files import write_run, write_runs


def begin_run(folder, text):
    """Leave what a run leaves that was started and not tested."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(text if isinstance(text, str) else json.dumps(text))


def refusal(*args, **kwargs):
    """Return the message with which a set is refused."""
    with pytest.raises(InputError) as error:
        read_result_set(*args, **kwargs)
    return str(error.value)


def test_set_is_found_at_any_depth_and_sorted_by_seed_and_fold_as_numbers(tmp_path):
    write_runs(tmp_path / "deep" / "er", (10, 1), (9, 10), (9, 9), (9, 2), n_folds=10)
    found = read_result_set(str(tmp_path), ["incomplete"])
    assert [(run.seed, run.fold) for run in found.runs] == [(9, 2), (9, 9), (9, 10), (10, 1)]
    assert (found.folder, found.emotions, found.seeds, found.folds) == (
        tmp_path,
        ("ang", "sad"),
        (9, 10),
        (1, 2, 9, 10),
    )


def test_set_may_be_the_folder_of_one_run(tmp_path):
    found = read_result_set(write_run(tmp_path / "x", n_folds=1))
    assert (len(found.runs), found.notes, found.subset) == (1, (), "")


def test_set_refuses_a_folder_that_does_not_exist_or_holds_no_tested_run(tmp_path):
    assert refusal(tmp_path / "x").startswith(f"the folder {tmp_path}/x does not exist. Give ")
    begin_run(tmp_path / "begun", {"fold": 1, "seed": 1})
    message = refusal(tmp_path)
    assert message.startswith(f"no run below {tmp_path} has been tested: ") and "Run train.py for each fold" in message


@pytest.mark.parametrize("allow", [("mixed", "all"), "mixed"])
def test_set_refuses_an_unknown_allowance(tmp_path, allow):
    word = "all" if isinstance(allow, tuple) else "m"
    assert refusal(tmp_path, allow) == f"allow must be among incomplete, mixed, duplicates, got {word!r}."


def test_set_refuses_other_emotions_and_another_order(tmp_path):
    write_run(tmp_path / "a", fold=1)
    write_run(tmp_path / "b", fold=2, labels=["sad", "ang"])
    assert refusal(tmp_path, ALLOWANCES) == (
        f"the emotions, or their order, differ: ['ang', 'sad'] in {tmp_path}/a, ['sad', 'ang'] in {tmp_path}/b. "
        "Give the folders apart."
    )


def test_set_passes_over_runs_of_a_few_batches(tmp_path):
    """They are no results: they neither stand for a fold nor hinder the report on the real one."""
    write_run(tmp_path / "fold1" / "debug", debug=True, n_folds=1)
    message = refusal(tmp_path)
    assert message.startswith(f"no run below {tmp_path} has been tested: ") and "with --debug" in message
    begin_run(tmp_path / "run", {"fold": 1, "seed": 1})
    write_run(tmp_path / "fold1" / "real", n_folds=2)
    assert "seed 1 lacks fold 2. Run" in refusal(tmp_path)
    (run,) = read_result_set(tmp_path, ["incomplete"]).runs
    assert run.folder == tmp_path / "fold1" / "real"


MIXTURES = {
    "corpus": ("csv", "synthetic", "2 corpora (csv, synthetic)"),
    "manifest": ("a" * 64, "b" * 64, "2 versions of the corpus (manifests aaaaaaaa, bbbbbbbb)"),
    "settings": ("c" * 64, "d" * 64, "2 different settings (cccccccc, dddddddd)"),
    "validation": ("group", "random", "2 kinds of validation (group, random)"),
}


@pytest.mark.parametrize("key", MIXTURES)
def test_set_mixed_is_refused_unless_allowed(tmp_path, key):
    first, second, note = MIXTURES[key]
    for name, fold, value in (("a", 1, second), ("b", 2, first), ("c", 3, second)):
        write_run(tmp_path / name, fold=fold, n_folds=3, **{key: value})
    names = (first, second) if key in ("corpus", "validation") else (first[:8], second[:8])
    assert refusal(tmp_path, ("incomplete", "duplicates")) == (
        f"the runs below {tmp_path} differ: {key} {names[0]} in {tmp_path}/b; {key} {names[1]} in {tmp_path}/a, "
        f"{tmp_path}/c. Give their folders apart, or set --allow=mixed to take them together."
    )
    found = read_result_set(tmp_path, ["mixed"])
    assert found.notes == (f"mixed: {note}",)
    assert len(found.runs) == 3


def test_set_mixed_names_everything_that_differs_and_compares_whole_fingerprints(tmp_path):
    write_run(tmp_path / "a", fold=1, n_folds=2, settings="c" * 63 + "0")
    write_run(tmp_path / "b", fold=2, n_folds=2, settings="c" * 63 + "1", validation="none")
    message = refusal(tmp_path)
    assert re.search("settings cccccccc in .*; settings cccccccc in .*; validation none in .*; validation ra", message)
    assert [note[:8] for note in read_result_set(tmp_path, ["mixed"]).notes] == ["mixed: 2", "mixed: 2"]


def test_set_duplicates_are_refused_unless_allowed(tmp_path):
    for name in ("b", "a", "c"):
        write_run(tmp_path / name / "run", seed=7, n_folds=1)
    assert refusal(tmp_path, ("incomplete", "mixed")) == (
        f"seed 7 fold 1 is there twice, in {tmp_path}/a/run and in {tmp_path}/b/run. Delete one of them, give their "
        "folders apart, or set --allow=duplicates to take the first."
    )
    found = read_result_set(tmp_path, ["duplicates"])
    assert [run.folder for run in found.runs] == [tmp_path / "a" / "run"]
    assert found.notes == (
        "duplicates: seed 7 fold 1 from a/run and not from b/run, seed 7 fold 1 from a/run and not from c/run",
    )


def test_set_two_experiments_below_one_folder_are_called_mixed_first(tmp_path):
    """Both are refused; that the settings differ says more. What is dropped as a duplicate is no longer mixed."""
    write_run(tmp_path / "a", settings="c" * 64, n_folds=1)
    write_run(tmp_path / "b", settings="d" * 64, n_folds=1)
    assert "settings cccccccc in" in refusal(tmp_path)
    assert "settings cccccccc in" in refusal(tmp_path, ["duplicates"])
    assert "is there twice" in refusal(tmp_path, ["mixed"])
    notes = read_result_set(tmp_path, ["duplicates", "mixed"]).notes
    assert notes == ("duplicates: seed 1 fold 1 from a and not from b",)


def test_set_refuses_an_utterance_in_two_folds_of_one_seed_and_one_corpus(tmp_path):
    ids = [f"u{i}" for i in range(4)]
    first = write_run(tmp_path / "a", fold=1, n_folds=2, ids=ids)
    write_run(tmp_path / "b", fold=2, n_folds=2, ids=ids)
    message = refusal(tmp_path, ALLOWANCES)
    assert message.startswith(f"u0 is tested twice with seed 1, in fold 1 ({first}) and in fold 2 ({tmp_path}/b): ")
    assert message.endswith("Run one of them again.")
    for change in ({"manifest": "b" * 64}, {"seed": 2}):
        shutil.rmtree(tmp_path / "b")
        write_run(tmp_path / "b", fold=2, n_folds=2, ids=ids, **change)
        assert len(read_result_set(tmp_path, ["mixed", "incomplete"]).runs) == 2


def test_set_incomplete_is_refused_unless_allowed(tmp_path):
    write_runs(tmp_path, (1, 1), (1, 2), (1, 3), (2, 1), (2, 2), n_folds=3)
    assert refusal(tmp_path, ("mixed", "duplicates")) == (
        f"the runs below {tmp_path} are incomplete: seed 2 lacks fold 3. Run what is missing, or set "
        "--allow=incomplete to do without."
    )
    found = read_result_set(tmp_path, ["incomplete"])
    assert found.notes == ("incomplete: seed 2 lacks fold 3",)
    assert len(found.runs) == 5


def test_set_incomplete_names_five_and_counts_the_others_of_the_largest_number_of_folds(tmp_path):
    write_run(tmp_path / "a", fold=1, n_folds=1, manifest="b" * 64)
    write_run(tmp_path / "b", fold=8, n_folds=8)
    five = ", ".join(f"seed 1 lacks fold {fold}" for fold in range(2, 7))
    assert f": {five} and 1 more. Run" in refusal(tmp_path, ["mixed"])
    assert read_result_set(tmp_path, ["mixed", "incomplete"]).notes[1] == f"incomplete: {five} and 1 more"


def test_set_incomplete_says_what_was_begun_also_of_a_seed_that_has_nothing_else(tmp_path):
    write_runs(tmp_path, (1, 1), (1, 2), n_folds=4)
    begin_run(tmp_path / "anywhere", {"fold": 3, "seed": 1, "manifest": "a" * 64})
    for name, text in (("broken", '{"fold": 4, "seed"'), ("odd", "[4]"), ("short", {"fold": 4}), ("deep", 9**5 * "[")):
        begin_run(tmp_path / name, text)
    message = refusal(tmp_path)
    assert "incomplete: seed 1 lacks fold 3 (begun, not finished), seed 1 lacks fold 4. Run" in message
    assert read_result_set(tmp_path, ["incomplete"]).notes == ("incomplete: seed 1 lacks fold 3, seed 1 lacks fold 4",)
    begin_run(tmp_path / "seed2", {"fold": 2, "seed": 2})
    assert "seed 2 lacks fold 1, seed 2 lacks fold 2 (begun, not finished)" in refusal(tmp_path)
    assert read_result_set(tmp_path, ["incomplete"]).seeds == (1,)


def test_set_of_some_folds_says_which_and_needs_no_allowance(tmp_path):
    write_runs(tmp_path, (1, 1), (1, 2), (1, 4), (2, 1), (2, 2))
    found = read_result_set(tmp_path, folds=[2, 1])
    assert [(run.seed, run.fold) for run in found.runs] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert (found.subset, found.notes) == ("folds 1 and 2 of 5", ())
    assert "seed 2 lacks fold 4. Run" in refusal(tmp_path, folds=[1, 2, 4])
    found = read_result_set(tmp_path, ["incomplete"], folds=[1, 2, 4])
    assert (found.subset, found.notes) == ("folds 1, 2 and 4 of 5", ("incomplete: seed 2 lacks fold 4",))
    assert refusal(tmp_path, folds=[3]) == f"no run of fold 3 of 5 below {tmp_path} has been tested."


def test_set_of_some_folds_ignores_what_was_begun_or_mixed_elsewhere(tmp_path):
    write_runs(tmp_path, (1, 1), (1, 2))
    write_run(tmp_path / "other", seed=1, fold=3, settings="d" * 64)
    begin_run(tmp_path / "begun", {"fold": 3, "seed": 2})
    assert read_result_set(tmp_path, folds=[1, 2]).notes == ()
    begin_run(tmp_path / "begun too", {"fold": 2, "seed": 2})
    assert "seed 2 lacks fold 1, seed 2 lacks fold 2 (begun, not finished). Run" in refusal(tmp_path, folds=[1, 2])


def test_set_of_all_folds_is_no_subset(tmp_path):
    write_runs(tmp_path, (1, 1), (1, 2), n_folds=2)
    assert read_result_set(tmp_path, folds=[1, 2]).subset == ""
    for folds, message in (([0], "from 1 to 2, as many as the corpus has, got 0"), ([1, 3], "got 3"), ([], "at least")):
        assert message in refusal(tmp_path, folds=folds)


def test_set_notes_everything_that_was_accepted(tmp_path):
    write_run(tmp_path / "a", fold=1, n_folds=3)
    write_run(tmp_path / "b", fold=1, n_folds=3)
    write_run(tmp_path / "c", fold=2, n_folds=3, validation="none")
    notes = read_result_set(tmp_path, ALLOWANCES).notes
    assert [note.split(":")[0] for note in notes] == ["mixed", "duplicates", "incomplete"]
