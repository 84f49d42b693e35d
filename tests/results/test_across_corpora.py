"""Tests on other corpora: decisions between the common emotions, and what a report says of many runs."""

import csv
import json
from types import SimpleNamespace

import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from speechbrain_ext.errors import InputError
from speechbrain_ext.json_reader import with_checksum
from speechbrain_ext.results.across_corpora import lacks_cross_results, summarise_across, write_cross_results
from speechbrain_ext.results.report import write_report
from speechbrain_ext.results.result_set import read_result_set
from speechbrain_ext.training.other_corpora import OtherCorpus
from tests.results.run_files import write_run

LABELS = ["ang", "hap", "sad"]
# The largest posterior of u1 is that of hap, which the other corpus does not have: decided is sad.
POSTERIORS = {"u0": [0.6, 0.3, 0.1], "u1": [0.1, 0.7, 0.2], "u2": [0.5, 0.1, 0.4], "u3": [0.2, 0.2, 0.6]}
TRUE = {"u0": "ang", "u1": "sad", "u2": "sad", "u3": "sad"}
DECIDED = ["ang", "sad", "ang", "sad"]


def other_corpus(fingerprint="b" * 64):
    entries = {utt_id: {"emo": emo, "speaker": f"x{utt_id[1] in '12'}"} for utt_id, emo in TRUE.items()}
    return OtherCorpus("nemo", "nEMO", ["ang", "sad"], entries, fingerprint, [], {"fea": 7}, ["hap"])


def write_across(folder, other=None, debug=False):
    """Write what `train.py` leaves of a test on the other corpus."""
    predictions = {key: (LABELS.index(TRUE[key]), 0, found) for key, found in POSTERIORS.items()}
    brain = SimpleNamespace(predictions=predictions, debug=debug)
    other = other or other_corpus()
    write_cross_results(brain, SimpleNamespace(folder=folder, others=(other,)), other)


@pytest.fixture
def runs(tmp_path):
    """Write two folds of one system, each with a test on the other corpus."""
    folder = tmp_path / "emodb"
    for fold in (1, 2):
        write_run(folder / f"fold{fold}", fold=fold, labels=LABELS, true=[0, 1, 2], predicted=[0, 1, 1], n_folds=2)
        write_across(folder / f"fold{fold}")
    return folder


def test_files_hold_decisions_between_the_common_emotions(runs, capsys):
    folder = runs / "fold1" / "across" / "nemo"
    with open(folder / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["predicted"] for row in rows] == DECIDED
    assert [float(rows[1]["ang"]), float(rows[1]["sad"])] == pytest.approx([1 / 3, 2 / 3])  # .1 and .2 of .3
    metrics = json.loads((folder / "cross_metrics.json").read_text())
    assert metrics["WA"] == accuracy_score(list(TRUE.values()), DECIDED) == 0.75
    assert metrics["UA"] == pytest.approx(balanced_accuracy_score(list(TRUE.values()), DECIDED))
    assert metrics["confusion"] == [[1, 0], [1, 2]]
    assert (metrics["left_out"], metrics["not_there"], metrics["n"]) == ({"fea": 7}, ["hap"], 4)


def test_runs_on_another_corpus_are_no_runs_of_the_own(runs):
    assert len(read_result_set(runs).runs) == 2


def test_summary_pools_the_runs_and_compares_at_home_between_the_same_emotions(runs):
    (found,) = summarise_across(read_result_set(runs))
    assert (found["title"], found["emotions"], found["n_runs"]) == ("nEMO", ["ang", "sad"], 2)
    assert (found["n_utterances"], found["n_speakers"]) == (4, 2)
    assert (found["WA"], found["UA"]) == (0.75, pytest.approx(5 / 6))
    assert found["mean_of_runs"]["UA"] == {"mean": pytest.approx(5 / 6), "std": pytest.approx(0)}
    # Own clips of ang and sad; all posteriors are equal in these files, and the first of equals decides: ang.
    assert (found["at_home"]["n_utterances"], found["at_home"]["UA"]) == (4, 0.5)


def test_report_has_a_section_on_other_corpora(runs):
    text = write_report([runs]).text
    assert "## On other corpora" in text
    assert "| nEMO | ang, sad | 4 | 2 | 75.00 [" in text
    assert "nEMO: Left out: 7 clips of fea. Never decided, because it does not have them: hap." in text
    assert "Trained on (rows)" not in text


def test_systems_trained_on_different_corpora_stand_in_a_matrix(runs, tmp_path):
    folder = tmp_path / "nemo"
    for fold in (1, 2):
        write_run(folder / f"fold{fold}", fold=fold, labels=LABELS, n_folds=2, corpus="nemo", manifest="b" * 64)
        emodb = OtherCorpus("csv", "your own recordings", ["ang", "sad"], other_corpus().manifest, "a" * 64)
        write_across(folder / f"fold{fold}", emodb)
    report = write_report([runs, folder])
    matrix = report.text.partition("## Trained on (rows), tested on (columns)")[2].partition("Pooled decisions")[0]
    rows = [line for line in matrix.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 * (2 + 2)  # UA and WA: header, line, two systems
    assert "83.33 [" in rows[2] and "2 emotions" in rows[2] and "**" in rows[2] and "3 emotions**" in rows[2]
    assert json.loads((report.page.parent / "report.json").read_text())["comparisons"] == []


def test_tests_on_different_versions_of_a_corpus_are_refused(runs):
    write_across(runs / "fold2", other_corpus("d" * 64))
    with pytest.raises(InputError, match=r"tested on different versions of nEMO \(manifest\). Test them again"):
        write_report([runs])


def test_what_an_earlier_run_has_left_is_refused(runs):
    path = runs / "fold2" / "across" / "nemo" / "cross_metrics.json"
    metrics = {**json.loads(path.read_text()), "settings": "e" * 64}
    path.write_text(json.dumps(metrics))
    with pytest.raises(InputError, match="cross_metrics.json is not as it was written: its sha256 differs. Test that"):
        write_report([runs])
    path.write_text(json.dumps(with_checksum(metrics)))
    with pytest.raises(InputError, match="cross_metrics.json is of another run: settings is eee"):
        write_report([runs])
    path.write_text(json.dumps({"title": 3}))
    with pytest.raises(InputError, match="cross_metrics.json: corpus is missing"):
        write_report([runs])


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("emotions", ["ang", "bored"], "the run knows no emotion 'bored'"),
        ("emotions", ["ang"], "the label 'sad' of u1 is unknown"),
        ("WA", 0.5, "WA is 0.75, there 0.5"),
        ("UA", 0.5, "UA is 0.83"),
        ("n", 5, "n is 4, there 5"),
        ("confusion", [[1, 0], [2, 1]], "does not give the numbers of .*: confusion is"),
        ("speakers", {"u0": "x"}, "'speakers' lacks u1"),
    ],
)
def test_numbers_that_its_predictions_do_not_give_are_refused(runs, key, value, fault):
    path = runs / "fold2" / "across" / "nemo" / "cross_metrics.json"
    path.write_text(json.dumps(with_checksum({**json.loads(path.read_text()), key: value})))
    with pytest.raises(InputError, match=fault):
        write_report([runs])


def test_runs_that_were_not_tested_there_are_said_and_debugged_ones_do_not_count(runs):
    write_across(runs / "fold2", debug=True)
    assert "nEMO: 1 of 2 runs were tested on it." in write_report([runs]).text
    write_across(runs / "fold1", debug=True)
    assert "On other corpora" not in write_report([runs]).text


def test_run_lacks_results_until_all_other_corpora_are_tested(tmp_path):
    run = SimpleNamespace(folder=tmp_path, others=(other_corpus(),))
    assert lacks_cross_results(run)
    write_run(tmp_path / "x", labels=LABELS)
    write_across(tmp_path / "x")
    assert not lacks_cross_results(SimpleNamespace(folder=tmp_path / "x", others=(other_corpus(),)))
    assert not lacks_cross_results(SimpleNamespace(folder=tmp_path, others=()))


@pytest.mark.parametrize("name", ["cross_metrics.json", "predictions.csv"])
def test_damaged_results_on_another_corpus_are_tested_again(runs, name):
    run = SimpleNamespace(folder=runs / "fold1", others=(other_corpus(),))
    assert not lacks_cross_results(run)
    path = run.folder / "across" / "nemo" / name
    path.write_bytes(path.read_bytes()[:-20])
    assert lacks_cross_results(run)
