"""Reading JSON: what is read, and the sentence for each file that cannot be."""

import json
import re

import pytest

from speechbrain_ext.errors import InputError
from speechbrain_ext.json_reader import checksum, read_json, read_object, with_checksum
from speechbrain_ext.rules import ANY_TEXT, whole

CURE = "Write it again."


@pytest.mark.parametrize(
    "text", ['{"a": [1, 2.5, null, "ä", "\\u00e4 \\ud83d\\ude00"]}', '{"a": ' + 18 * "[" + 18 * "]" + "}"]
)
def test_whole_files_are_read(tmp_path, text):
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    assert list(read_json(tmp_path / "x.json", CURE)) == ["a"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is no JSON: Expecting value: line 1 .*"),
        (b'{"a": 1', "is no JSON: .*line 1.*"),
        (b'{"a": "\xff"}', "is no JSON: .*utf-8.*"),
        (b'{"a": 1, "b": 2, "a": 1}', "is no JSON: 'a' stands twice"),
        (b'{"a": "\\ud800"}', "is no JSON: .*surrogates not allowed"),
        (b'{"a": 1' + 5000 * b"0" + b"}", "is no JSON: .*digits.*"),
        (b'{"a": ' + 20 * b"[" + 20 * b"]" + b"}", "is nested too deeply"),
        (100_000 * b"[", "is nested too deeply"),
        (b"[1]", r"holds \[1\], not an object"),
        (b"null", "holds None, not an object"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_other_files_are_refused_in_a_sentence_with_the_cure(tmp_path, content, fault):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_json(path, CURE)
    assert re.fullmatch(rf"{re.escape(str(path))} {fault}\. {CURE}", str(error.value), re.S)


def test_a_folder_and_an_object_for_a_list_are_refused(tmp_path):
    with pytest.raises(InputError, match="is no regular file"):
        read_json(tmp_path, CURE)
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(InputError, match="holds {}, not a list"):
        read_json(tmp_path / "x.json", CURE, list)


@pytest.mark.parametrize("change", [{"n": 2}, {"sha256": ""}, {"sha256": None}, {"sha256": ...}, {"sealed": ...}])
def test_what_was_written_with_a_checksum_needs_it(tmp_path, change):
    path, written = tmp_path / "x.json", with_checksum({"n": 1})
    path.write_text(json.dumps(written))
    assert read_json(path, CURE) == written == {"n": 1, "sealed": True, "sha256": checksum(written)}
    path.write_text(json.dumps({key: value for key, value in {**written, **change}.items() if value is not ...}))
    with pytest.raises(InputError, match="is not as it was written: its sha256 differs. Write it again"):
        read_json(path, CURE)
    path.write_text('{"n": 1}')  # by an earlier version
    assert read_json(path, CURE) == {"n": 1}


def test_values_are_checked_by_their_rules(tmp_path):
    path, rules = tmp_path / "x.json", {"name": ANY_TEXT, "n": whole(1, 9)}
    path.write_text('{"name": "a", "n": 1, "more": []}')
    assert read_object(path, CURE, rules) == {"name": "a", "n": 1, "more": []}
    for text, fault in (
        ('{"name": "a"}', "n is missing."),
        ('{"name": "a", "n": true}', "n must be a whole number from 1 to 9, got True."),
        ('{"name": 1, "n": 1}', "name must be a text, got 1."),
    ):
        path.write_text(text)
        with pytest.raises(InputError) as error:
            read_object(path, CURE, rules)
        assert str(error.value) == f"{path}: {fault} {CURE}"
    path.write_text('{"n": 2}')
    assert read_object(path, CURE, rules, needed=()) == {"n": 2}
