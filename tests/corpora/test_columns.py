"""Columns of other names: attributes, and what may be meant by them."""

import pytest

from speechbrain_ext.corpora import prepare_corpus
from speechbrain_ext.corpora.csv import read_rows
from tests.corpora.csv_files import refusal, write


def test_other_columns_are_attributes_and_their_names_said(recordings, caplog):
    text = "wav,emo,speaker,group,Gender,sex,Room,duration\na.wav,sad,s1,g1,f,,lab 1,9\nb.wav,ang,s2,g2,,f,,9\n"
    entries = prepare_corpus("csv", write(recordings, text), progress=False).manifest
    others = [set(entry.items()) - {("emo", entry["emo"])} for entry in entries.values()]
    assert {("gender", "f"), ("room", "lab 1")} <= others[0] and ("sex", "f") in others[1]
    assert [entry["duration"] for entry in entries.values()] == [1.0, 1.0] and "gender" not in entries["b"]
    assert [record.getMessage() for record in caplog.records][:2] == [
        "c.csv: not read: duration (lengths are measured).",
        "c.csv: kept as attributes of the utterances: sex, room.",
    ]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("speaker_id", "Is 'speaker_id' meant for 'speaker'? Rename it."),
        (
            "speaker,start_time",
            "the column 'start_time' is not read. Did you mean 'start'? Rename it, or leave it out.",
        ),
        ("speaker,begin,end", "the column 'begin' is not read. Did you mean 'start'?"),
        ("speaker,emo_ang", "the column 'emo_ang' is not read. Did you mean 'emo:ang'?"),
    ],
)
def test_near_misses_that_would_change_results_are_refused(tmp_path, columns, said):
    assert said in refusal(write(tmp_path, f"wav,emo,{columns}\na.wav,sad{',1' * (1 + columns.count(','))}\n"))


def test_other_near_misses_are_said(tmp_path, caplog):
    read_rows(write(tmp_path, "wav,emo,speaker,sex,fold\na.wav,sad,s1,f,1\n"))
    said = "c.csv: kept as attributes of the utterances: sex (did you mean gender?), fold (did you mean group?)."
    assert caplog.records[0].getMessage() == said
