"""Rows that cannot be used: all of them are named, and the others are kept."""

import pickle

import pytest

from speechbrain_ext.dataio.rows import RowErrors, check_rows, first_lines

ROW = {"id": "a", "wav": "a.wav", "emo": "sad", "speaker": "s1", "group": "g1"}


def errors_of(*rows):
    """Check rows that are refused."""
    with pytest.raises(RowErrors) as error:
        check_rows(rows)
    return error.value


def test_an_id_that_stands_twice_is_named_with_both_places():
    found = errors_of(ROW, {**ROW, "wav": "b.wav"}, {**ROW, "wav": "c.wav", "place": "my.csv, row 4"})
    assert found.faults == [
        "a: the id stands twice (wav a.wav and wav b.wav). Leave one of them out.",
        "a: the id stands twice (wav a.wav and my.csv, row 4). Leave one of them out.",
    ]
    assert (found.rows, found.n_faulty) == ([ROW], 2)


@pytest.mark.parametrize("field", ["wav", "emo", "speaker", "group"])
def test_an_empty_field_is_named(field):
    assert errors_of({**ROW, field: ""}).faults == [f"a: the field '{field}' is empty. Fill it in."]


def test_an_empty_id_is_named_by_its_recording_and_place():
    found = errors_of({**ROW, "id": ""}, {**ROW, "id": "", "place": "my.csv, row 3"})
    assert found.faults[0] == "a.wav: the field 'id' is empty. Fill it in."
    assert found.faults[1] == "my.csv, row 3, a.wav: the field 'id' is empty. Fill it in."
    assert len(found.faults) == found.n_faulty == 2  # two empty ids are not one that stands twice


@pytest.mark.parametrize("field", ROW)
def test_control_characters_are_refused(field):
    assert f"the field '{field}' holds control characters. Rename it." in str(errors_of({**ROW, field: "a\x1b[2J"}))
    assert "holds control characters" in str(errors_of({**ROW, "labels": {"sad": 1.0, "a\u202e": 1.0}}))


def test_the_first_faults_are_shown_and_the_others_counted():
    faults = [f"fault {i}" for i in range(12)]
    assert first_lines(faults, 10) == [*faults[:10], "... and 2 more."]
    assert first_lines(faults[:10]) == faults[:10]
    assert str(RowErrors("my.csv:", faults)).splitlines()[0::11] == ["my.csv:", "... and 2 more."]


def test_errors_are_sent_between_processes_whole():
    error = RowErrors("my.csv cannot be used:", [f"fault {i}" for i in range(30)], [ROW], [7], 40)
    sent = pickle.loads(pickle.dumps(error))
    assert str(sent) == str(error) and vars(sent) == vars(error)
