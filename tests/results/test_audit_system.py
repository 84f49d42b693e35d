"""What is said of a system's predictions, held against cases that were counted by hand."""

import numpy as np
import pytest

from speechbrain_ext.errors import InputError
from speechbrain_ext.results.audit_system import audit_system, compare_systems, coverage, keep_tested
from speechbrain_ext.results.significance import bootstrap_intervals
from speechbrain_ext.results.system_predictions import System

LABELS = ["ang", "sad"]


def make_system(true, predicted, name="a.csv", posteriors=None, ids=None):
    ids = ids or [f"u{i}" for i in range(len(true))]
    posteriors = None if posteriors is None else np.array(posteriors)
    return System(name, LABELS, ids, np.array(true), np.array(predicted), posteriors)


def who(**fields):
    """Return {id: {field: value}} from a text for each field, a letter for each utterance."""
    n = len(next(iter(fields.values())))
    return {f"u{i}": {name: values[i] for name, values in fields.items() if values[i] != "-"} for i in range(n)}


def test_metrics_have_intervals_over_utterances_and_speakers():
    system = make_system([0, 0, 0, 1], [0, 1, 1, 1])
    found = audit_system(system, who(speaker="xxyy"))
    assert (found["n_utterances"], found["n_speakers"]) == (4, 2)
    values = {name: one["value"] for name, one in found["metrics"].items()}
    # F1 of ang: 2 * 1 / (3 + 1); of sad: 2 * 1 / (1 + 3).
    expected = {"WA": 0.5, "UA": (1 / 3 + 1) / 2, "macro_F1": 0.5, "recall ang": 1 / 3, "recall sad": 1.0}
    assert values == pytest.approx(expected)
    by_speaker = bootstrap_intervals([[1, 0], [0, 1]], [[2, 0], [1, 1]])
    assert found["metrics"]["WA"]["over_speakers"] == by_speaker["WA"]
    assert found["metrics"]["WA"]["over_utterances"] != by_speaker["WA"]


def test_no_interval_over_speakers_who_are_not_all_known():
    found = audit_system(make_system([0, 1], [0, 1]), who(speaker="x-"))
    assert (found["n_speakers"], found["metrics"]["UA"]["over_speakers"]) == (None, None)
    assert found["metrics"]["UA"]["over_utterances"] == (1.0, 1.0)


def test_a_label_that_does_not_occur_has_no_recall():
    found = audit_system(make_system([0, 0], [0, 1]), {})
    assert found["metrics"]["recall sad"] == {"value": None, "over_utterances": None, "over_speakers": None}
    assert found["metrics"]["UA"]["value"] == 0.5


def test_gaps_between_groups_of_different_speakers():
    # Of the women's four clips all are right, of the men's four none.
    system = make_system([0, 1] * 4, [0, 1] * 2 + [1, 0] * 2)
    groups = audit_system(system, who(speaker="aabbccdd", gender="ffffmmmm"))["groups"]["gender"]
    assert [(one["value"], one["n_utterances"], one["WA"], one["UA"]) for one in groups] == [
        ("f", 4, 1.0, 1.0),
        ("m", 4, 0.0, 0.0),
    ]
    for kind in ("over_utterances", "over_speakers"):
        assert groups[0]["gap"][kind]["UA"] == {"difference": 1.0, "interval": (1.0, 1.0)}
        assert groups[1]["gap"][kind]["UA"]["difference"] == -1.0


def test_gaps_of_two_groups_are_each_other_mirrored():
    system = make_system([0, 1] * 8, [0, 1, 1, 0, 0, 0, 0, 1] * 2)
    women, men = audit_system(system, who(speaker="aabbccddeeffgghh", gender="ffffffmmmmmmmmmm"))["groups"]["gender"]
    for kind in ("over_utterances", "over_speakers"):
        for metric in ("WA", "UA"):
            low, high = women["gap"][kind][metric]["interval"]
            assert low < high
            assert men["gap"][kind][metric]["interval"] == (-high, -low)
            assert men["gap"][kind][metric]["difference"] == -women["gap"][kind][metric]["difference"]


def test_gaps_between_styles_of_the_same_speakers_are_paired():
    # Each speaker is right in one style and wrong in the other: paired, every resample says the same.
    system = make_system([0] * 8, [0, 1] * 4)
    groups = audit_system(system, who(speaker="aabbccdd", style="isisisis"))["groups"]["style"]
    assert groups[0]["gap"]["over_speakers"]["WA"] == {"difference": 1.0, "interval": (1.0, 1.0)}
    partly = audit_system(system, who(speaker="aabbccde", style="isisisis"))["groups"]["style"]
    assert partly[0]["gap"]["over_speakers"] is None


def test_groups_need_two_values():
    assert audit_system(make_system([0, 1], [0, 1]), who(gender="f-"))["groups"] == {}


def test_calibration_error_by_hand():
    # Two bins: of the two decisions at 0.9 one is right, both at 0.6 are: (2 |0.9 - 0.5| + 2 |0.6 - 1|) / 4 = 0.4.
    posteriors = [[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]]
    found = audit_system(make_system([0, 1, 0, 0], [0, 0, 0, 0], posteriors=posteriors), {})["calibration"]
    assert found == pytest.approx({"ECE": 0.4, "confidence": 0.75, "WA": 0.75})


def test_two_systems_are_compared_on_what_both_have():
    a = make_system([0, 1, 0, 1], [0, 1, 0, 0], "a.csv")
    b = make_system([1, 0, 1, 0], [0, 1, 1, 0], "b.csv", ids=["u3", "u2", "u1", "u9"])
    found = compare_systems(a, b, who(speaker="xxyy"))  # u1 both right, u2 a alone, u3 neither
    assert (found["a"], found["b"], found["n_utterances"]) == ("a.csv", "b.csv", 3)
    assert found["mcnemar"] == {"only_a": 1, "only_b": 0, "p": 1.0}
    assert found["over_utterances"]["WA"]["difference"] == pytest.approx(1 / 3)
    assert found["over_speakers"]["WA"]["interval"] == (0.0, 0.5)  # x: 0 of 1; y: 1 of 2
    assert compare_systems(a, b, {})["over_speakers"] is None


@pytest.mark.parametrize(
    ("ids", "true", "message"),
    [
        (["v0", "v1"], [0, 1], "have no utterance in common"),
        (["u0", "u1"], [0, 0], "u1 is sad in a.csv and ang in b.csv"),
    ],
)
def test_systems_that_cannot_be_compared_are_refused(ids, true, message):
    with pytest.raises(InputError, match=message):
        compare_systems(make_system([0, 1], [0, 1]), make_system(true, [0, 1], "b.csv", ids=ids), {})


def test_coverage_says_what_is_missing_and_what_is_no_test_utterance():
    folds = [
        {"train": ["t"], "valid": [], "test": ["u0", "x", "y"]},
        {"train": ["t"], "valid": [], "test": ["z"]},  # of this fold nothing is predicted: it is not missing
    ]
    system = make_system([0, 0, 0], [0, 0, 0], ids=["u0", "t", "nobody"])
    assert coverage(system, folds) == {
        "not_listed": {"n": 1, "first": "nobody"},
        "not_tested": {"n": 1, "first": "t"},
        "missing": {"n": 2, "first": "x"},
        "other_label": {"n": 0, "first": None},
    }
    lists = {"u0": {"emo": system.labels[0]}, "t": {"emo": system.labels[1]}, "nobody": {}}
    assert coverage(system, folds, lists)["other_label"] == {"n": 1, "first": "t"}
    assert keep_tested(system, folds).ids == ["u0"]
    with pytest.raises(InputError, match=r"none of its 1 utterances \(the first is t\) is in a test part .* is u0\)"):
        keep_tested(make_system([0], [0], ids=["t"]), folds[:1])
