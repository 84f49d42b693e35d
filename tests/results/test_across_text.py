"""The sections of a report on other corpora, of summaries written by hand."""

import pytest

from speechbrain_ext.results.across_text import across_sections, matrix_sections, trained_apart


def pooled(UA):
    return {"WA": 0.5, "UA": UA, "over_speakers": {"WA": (0.25, 0.75), "UA": (UA - 0.125, UA + 0.125)}}


def system(corpus="emodb", title="EmoDB", tested="nEMO", **changes):
    across = {
        "title": tested, "emotions": ["ang", "sad"], "n_utterances": 8, "n_speakers": 2, "n_runs": 1, **pooled(0.625),
        "mean_of_runs": {"UA": {"mean": 0.75, "std": None}}, "at_home": {**pooled(0.5), "over_speakers": None},
        "left_out": {"fea": 7}, "not_there": ["hap"], "faults": ["nEMO lacks 3."], **changes,
    }  # fmt: skip
    return {
        "name": corpus, "corpus": [corpus], "corpus_titles": [title], "emotions": ["ang", "hap", "sad"],
        "runs": [{}, {}], "pooled": pooled(0.25), "across": [across],
    }  # fmt: skip


def test_a_row_has_pooled_numbers_with_intervals_the_mean_of_runs_and_the_number_at_home():
    _, _, table, said = across_sections(system())
    assert table.splitlines()[2] == (
        "| nEMO | ang, sad | 8 | 2 | 50.00 [25.00 to 75.00] | 62.50 [50.00 to 75.00] | 75.00 | 50.00 [-] |"
    )
    assert said == (
        "nEMO: 1 of 2 runs were tested on it. Left out: 7 clips of fea. Never decided, because it does not have them: "
        "hap. nEMO lacks 3."
    )
    plain = system(n_runs=2, left_out={}, not_there=[], faults=[], mean_of_runs={"UA": {"mean": 0.75, "std": 0.03}})
    assert len(across_sections(plain)) == 3 and "| 75.00 ± 3.00 |" in across_sections(plain)[2]
    assert across_sections({**system(), "across": []}) == []


def test_the_matrix_has_the_own_corpus_in_bold_and_a_dash_where_nothing_was_tested():
    systems = [system(), system("nemo", "nEMO", "RAVDESS")]
    heading, UA, WA, _ = matrix_sections(systems)
    assert heading == "## Trained on (rows), tested on (columns)" and WA.startswith("| WA (%) | EmoDB |")
    assert UA.splitlines() == [
        "| UA (%) | EmoDB | nEMO | RAVDESS |",
        "| --- | --- | --- | --- |",
        "| EmoDB (emodb) | **25.00 [12.50 to 37.50], 3 emotions** | 62.50 [50.00 to 75.00], 2 emotions | - |",
        "| nEMO (nemo) | - | **25.00 [12.50 to 37.50], 3 emotions** | 62.50 [50.00 to 75.00], 2 emotions |",
    ]


@pytest.mark.parametrize(
    ("systems", "is_matrix"),
    [
        ([system(), system("nemo", "nEMO", "EmoDB")], True),
        ([system(), system()], False),
        ([system(), {**system("nemo", "nEMO", "EmoDB"), "across": []}], False),
    ],
    ids=["two corpora", "one corpus", "not tested elsewhere"],
)
def test_a_matrix_is_of_systems_trained_on_different_corpora_and_tested_on_others(systems, is_matrix):
    assert trained_apart(systems) is is_matrix
