"""JSON: what is read, and how faulty lines are named; of CSVs, test_csv tells."""

import json

import pytest

from speechbrain_ext.corpora import prepare_corpus
from speechbrain_ext.corpora.csv import read_rows
from tests.corpora.csv_files import refusal

JSON_LINES = """{"wav": "a.wav", "emo": {"ang": 3, "sad": 1}, "speaker": 1, "group": "g1", "text": "S", "x": [], "n": 1}

{"emo": "sad", "wav": "b.wav", "speaker": "s2", "group": "g2", "start": 0.25, "end": null}
"""


def test_json_lines_are_read_as_csv_is(recordings):
    (recordings / "c.jsonl").write_text(JSON_LINES)
    first, second = prepare_corpus("csv", recordings / "c.jsonl", progress=False).manifest.items()
    assert first[1].pop("samples_hash").startswith("16000 samples at 16000 Hz, SHA-256 ")
    assert first == (
        "a", {"wav": "{data_root}/a.wav", "duration": 1.0, "emo": "ang", "speaker": "1", "group": "g1",
              "labels": {"ang": 0.75, "sad": 0.25}, "text": "S", "n": "1"},
    )  # fmt: skip
    assert (second[0], second[1]["start"], second[1]["duration"]) == ("b_0.25-", 0.25, 0.75)
    (recordings / "c.txt").write_text(JSON_LINES)  # whatever it is called
    assert [row["place"] for row in read_rows(recordings / "c.txt")] == ["c.txt, line 1", "c.txt, line 3"]


def test_faulty_json_lines_are_named(tmp_path):
    lines = [
        '{"wav": "a.wav", "emo": "sad", "speaker": "s1"}',
        '{"wav": "b.wav", "speaker": "s1", "emo": "sad"',
        "[1, 2]",
    ]
    lines += [
        '{"wav": "c.wav", "emo": "sad"}',
        '{"wav": "d.wav", "wav": "e.wav"}',
        '{"emo": {"ang": true}, "wav": "f"}',
    ]
    (tmp_path / "c.jsonl").write_text("\n".join(lines))
    assert refusal(tmp_path / "c.jsonl").splitlines() == [
        f"{tmp_path}/c.jsonl: 5 of 6 lines cannot be used:",
        "c.jsonl, line 2: no JSON: Expecting ',' delimiter (column 47). Correct it.",
        "c.jsonl, line 3: no object, but [1, 2]. Write {...}.",
        "c.jsonl, line 4: the field 'speaker' is empty. Fill it in.",
        "c.jsonl, line 5: 'wav' stands twice. Leave one of them out.",
        "c.jsonl, line 6: the field 'speaker' is empty. Fill it in.",
        "c.jsonl, line 6: the share of 'ang' must be a number from 0, got true. Correct it.",
    ]
    (tmp_path / "c.ndjson").write_text('{"wav": "a.wav", "emo": [1], "speaker": {"name": 1}}')
    assert [line.partition(": ")[2] for line in refusal(tmp_path / "c.ndjson").splitlines()[1:]] == [
        "the field 'emo' is a list. Write a text.",
        "the field 'speaker' is an object. Write a text.",
    ]
    (tmp_path / "c.jsonl").write_text('{"path": "a.wav", "emotion": "sad", "speaker": 1}')
    said = refusal(tmp_path / "c.jsonl")
    assert "must have them as keys" in said and "Is 'path' meant for 'wav'? Rename it. Is 'emotion' meant" in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"wav": ["a.wav"], "emo": "sad", "speaker": "s"}', "the field 'wav' is a list. Write a text."),
        ('{"wav": "a.wav", "emo": true, "speaker": "s"}', "the field 'emo' is true. Write a text."),
        ('{"wav": "a.wav", "emo": "sad", "speaker": NaN}', "the field 'speaker' is empty. Fill it in."),
        ('{"wav": "a.wav", "emo": {}, "speaker": "s"}', "the field 'emo' is empty. Fill it in."),
        (
            '{"wav": "a.wav", "emo": "sad", "speaker": "s", "start": [1]}',
            "start must be a number of seconds from 0, got a list. Correct it.",
        ),
        (
            '{"wav": "a.wav", "emo": {"sad": 1, "sad": 3}, "speaker": "s"}',
            "'sad' stands twice. Leave one of them out.",
        ),
        (
            '{"wav": "a.wav", "emo": {"sad": 1}, "emo:sad": 0, "speaker": "s"}',
            "'emo:sad' stands twice. Leave one of them out.",
        ),
        (
            '{"wav": "a.wav", "emo": "sad", "speaker": "s", "text": "\\ud800x"}',
            r"'\ud800' is half of a character, and no text. Correct or remove it.",
        ),
    ],
)
def test_values_of_other_kinds_are_named(tmp_path, line, said):
    (tmp_path / "c.jsonl").write_text('{"wav": "b.wav", "emo": "sad", "speaker": "t"}\n' + line)
    assert refusal(tmp_path / "c.jsonl").splitlines()[1:] == [f"c.jsonl, line 2: {said}"]


@pytest.mark.parametrize("indent", [None, 1])
def test_json_lists_and_objects_by_id_are_read(tmp_path, indent):
    fields = [{"wav": "a.wav", "emo": "sad", "speaker": "s"}, {"wav": "b.wav", "emo": "ang", "speaker": "t"}]
    (tmp_path / "list.json").write_text(json.dumps(fields, indent=indent))
    assert [(row["id"], row["place"]) for row in read_rows(tmp_path / "list.json")] == [
        ("a", "list.json, item 1"), ("b", "list.json, item 2")
    ]  # fmt: skip
    (tmp_path / "ids.json").write_text(json.dumps({"u1": fields[0], "u2": fields[1]}, indent=indent))
    assert [row["id"] for row in read_rows(tmp_path / "ids.json")] == ["u1", "u2"]


def test_json_list_that_is_broken_is_named_with_the_place(tmp_path):
    (tmp_path / "c.json").write_text('[\n{"wav": "a.wav"}\n{"wav": "b.wav"}]')
    assert refusal(tmp_path / "c.json").endswith(
        "c.json holds a JSON list that cannot be read: no JSON: Expecting ',' delimiter (line 3, column 1). Correct it."
    )
    (tmp_path / "c.jsonl").write_text("")
    assert "c.jsonl is empty; needed are wav, emo, speaker" in refusal(tmp_path / "c.jsonl")
