"""JSON Lines: what is read, and how faulty lines are named; of CSVs, test_csv tells."""

from speechbrain_ext.corpora import prepare_corpus
from speechbrain_ext.corpora.csv import read_rows
from tests.corpora.csv_files import refusal

JSON_LINES = """{"wav": "a.wav", "emo": {"ang": 3, "sad": 1}, "speaker": 1, "group": "g1", "text": "S", "x": [], "n": 1}

{"emo": "sad", "wav": "b.wav", "speaker": "s2", "group": "g2", "start": 0.25, "end": null}
"""


def test_json_lines_are_read_as_csv_is(recordings):
    (recordings / "c.jsonl").write_text(JSON_LINES)
    first, second = prepare_corpus("csv", recordings / "c.jsonl", progress=False).manifest.items()
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
        "c.jsonl, line 2: no JSON: Expecting ',' delimiter: line 1 column 47 (char 46). Correct the line.",
        "c.jsonl, line 3: no object, but [1, 2]. Write {...}.",
        "c.jsonl, line 4: the field 'speaker' is empty. Fill it in.",
        "c.jsonl, line 5: 'wav' stands twice. Leave one of them out.",
        "c.jsonl, line 6: the field 'speaker' is empty. Fill it in.",
        "c.jsonl, line 6: the share of 'ang' must be a number from 0, got True. Correct it.",
    ]
    (tmp_path / "c.ndjson").write_text('{"wav": "a.wav", "emo": [1], "speaker": {"name": 1}}')
    assert [line.partition(": ")[2] for line in refusal(tmp_path / "c.ndjson").splitlines()[1:]] == [
        "the field 'emo' is a list or an object. Write a text.",
        "the field 'speaker' is a list or an object. Write a text.",
    ]
    (tmp_path / "c.json").write_text('[{"wav": "a.wav"}]')
    assert "c.json holds a JSON list, and JSON Lines are read" in refusal(tmp_path / "c.json")
    (tmp_path / "c.jsonl").write_text('{"path": "a.wav", "emotion": "sad", "speaker": 1}')
    said = refusal(tmp_path / "c.jsonl")
    assert "must have them as keys" in said and "Is 'path' meant for 'wav'? Rename it. Is 'emotion' meant" in said
