"""Lists in anyone's format become records with common names."""

import json

import pytest

from speechbrain_ext.corpora.utterance_lists import part_of_word, read_list
from speechbrain_ext.errors import InputError

RECORD = {"id": "u1", "wav": "a/u1.wav", "emo": "sad", "speaker": "anna"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "ID,path,label,spk_id\nu1,a/u1.wav,sad,anna\n"),
        ("a.tsv", "utt\tfile\temotion\tspeaker\nu1\ta/u1.wav\tsad\tanna\n"),
        ("a.jsonl", '{"key": "u1", "wav": "a/u1.wav", "emo": "sad", "spk": "anna", "channel": [1]}\n'),
        ("a.json", '{"u1": {"wav": "a/u1.wav", "emo": "sad", "spk_id": "anna"}}'),  # as SpeechBrain writes it
        ("a.json", '[{"utt_id": "u1", "audio": "a/u1.wav", "class": "sad", "actor": "anna"}]'),
    ],
)
def test_tables_and_json_have_common_names(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_list(tmp_path / name) == [RECORD]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "id,emo:sad,emo:Ang\nu1,1,2\nu2,3,\n"),
        ("a.jsonl", '{"id": "u1", "emo": {"sad": 1, "Ang": 2}}\n{"id": "u2", "emo": {"sad": 3}}\n'),
        ("a.json", '{"u1": {"emo": {"sad": 1, "Ang": 2}}, "u2": {"emo": {"sad": 3}}}'),
    ],
)
def test_the_largest_share_is_the_label(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    shares = {"sad": 1.0, "Ang": 2.0}
    assert read_list(tmp_path / name) == [{"id": "u1", "emo": "Ang", "labels": shares}, {"id": "u2", "emo": "sad"}]


def test_nan_is_no_label(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": "u1", "emo": NaN}\n')
    assert read_list(tmp_path / "a.jsonl") == [{"id": "u1"}]


def test_json_may_have_an_object_for_each_part(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"train": ["u1"], "Dev": {"u2": {"emo": "sad"}}, "test": []}))
    assert read_list(tmp_path / "a.json") == [{"id": "u1", "part": "train"}, {"id": "u2", "emo": "sad", "part": "Dev"}]


@pytest.mark.parametrize(
    ("name", "text", "records"),
    [
        ("test.txt", "u1\n# a comment\n\nu2\n", [{"id": "u1"}, {"id": "u2"}]),
        ("test.lst", "a/u1.wav\n", [{"id": "a/u1.wav", "wav": "a/u1.wav"}]),
        ("test.txt", "u1 sad\nu2 very sad\n", [{"id": "u1", "emo": "sad"}, {"id": "u2", "emo": "very sad"}]),
        ("test.scp", "u1 a/u1.wav\n", [{"id": "u1", "wav": "a/u1.wav"}]),
        ("wav.scp", "u1 flac -d -c a/u1.flac |\n", [{"id": "u1", "wav": "a/u1.flac"}]),
        ("test_utt2spk.txt", "u1 anna\n", [{"id": "u1", "speaker": "anna"}]),
    ],
)
def test_lists_of_lines_are_read(tmp_path, name, text, records):
    (tmp_path / name).write_text(text)
    assert read_list(tmp_path / name) == records


def test_a_folder_of_kaldi_is_read_with_its_segments(tmp_path):
    files = {
        "wav.scp": "rec1 sph2pipe -f wav x/rec1.sph |\n", "segments": "u1 rec1 1.5 3\nu2 rec1 4 5.25\n",
        "utt2spk": "u1 anna\nu2 ben\n", "utt2emo": "u1 sad\n", "spk2gender": "anna f\n", "text": "u2 so what\n",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert read_list(tmp_path) == [
        {"id": "u1", "wav": "x/rec1.sph", "start": "1.5", "end": "3", "speaker": "anna", "emo": "sad", "gender": "f"},
        {"id": "u2", "wav": "x/rec1.sph", "start": "4", "end": "5.25", "speaker": "ben", "text": "so what"},
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "id,emo\nu1\n", "row 2"),
        ("a.csv", "emo,speaker\nsad,anna\n", "record 1 has neither an id nor a wav, but emo, speaker"),
        ("a.json", "{", "a.json cannot be read as JSON"),
        ("a.json", "3.5", "a.json holds 3.5: an object or a list of utterances is needed"),
        ("a.jsonl", '{"id": ' + "9" * 5000 + "}", "line 1: no JSON: Exceeds the limit"),
        (
            "a.json",
            '{"u1": {"emo": "sad"}, "u1": {"emo": "ang"}}',
            "a.json cannot be read as JSON: 'u1' stands twice. Correct it",
        ),
        ("a.json", '{"u1": {"emo": NaN}}', "NaN is no number of JSON"),
        ("a.csv", "id,emo\nu1\nu2\n", "^[^,]*a.csv, row 2: 1 fields .* 1 further records cannot be read"),
        ("a.json", '{"u1": 3}', "a.json, u1: 3 must be an object that says what is known"),
        (
            "a.json",
            '[{"id": "u1"}, {"id": "u2", "spk_id": {"a": 1}}]',
            "item 2: the field 'spk_id' is an object. Write",
        ),
        ("a.json", '{"u1": {"label": ["sad"]}}', "a.json, u1: the field 'label' is a list. Write a text"),
        ("a.jsonl", '{"id": "u1", "emo": true}', "a.jsonl, line 1: the field 'emo' is true. Write a text"),
        (
            "a.csv",
            "id,emo,emo:sad,emo:ang\nu1,sad,1,2\n",
            "row 2: emo is 'sad', and the largest share is that of 'ang'",
        ),
        ("a.csv", "id,emo:sad,emo:ang\nu1,many,2\n", "row 2: the share of 'sad' must be a number from 0, got 'many'"),
        ("utt2spk", "u1 anna\nu2\n", "utt2spk: u2 stands alone, and its speaker is needed. Complete the line"),
        ("utt2spk", "u1 anna\nu1 ben\n", "utt2spk: u1 stands twice, with anna and ben. Leave one of them out"),
        ("a.txt", b"\xff\xfe\x00", "a.txt cannot be read as text in UTF-8"),
    ],
)
def test_lists_that_say_nothing_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=message):
        read_list(tmp_path / name)


@pytest.mark.parametrize(("name", "text"), [("a.csv", ""), ("a.csv", "id\n"), ("a.json", ""), ("a.txt", "\n")])
def test_empty_lists_have_no_record(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_list(tmp_path / name) == []


@pytest.mark.parametrize(
    ("word", "part"),
    [("TRAIN", "train"), ("dev", "valid"), ("val2", "valid"), ("eval", "test"), ("test1", "test"), ("all", "")],
)
def test_words_for_parts(word, part):
    assert part_of_word(word) == part
