"""The file of predictions: three formats, no row lost to a kill, nothing foreign overwritten."""

import csv
import hashlib
import json
import os
import re

import pytest

from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.prediction_file import PredictionFile, format_predictions
from speechbrain_ext.inference.recordings import Prediction

EMOTIONS = ["ang", "neu"]


@pytest.fixture
def paths(tmp_path):
    """Three recordings that were written long ago."""
    paths = [str(tmp_path / name) for name in ("b.wav", "a.wav", "c, d.wav")]
    for path in paths:
        with open(path, "w"):
            pass
        os.utime(path, (1_000_000_000, 1_000_000_000))
    return paths


def predictions_of(paths):
    return [
        Prediction(paths[0], 1.25, "ang", (0.75, 0.25)),
        Prediction(paths[1], error='it is "broken",\nsadly'),
        Prediction(paths[2], 2.0, None, (0.125, 0.875), speech=0.0),
    ]


def read(path):
    if path.suffix == ".csv":
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.split("\n") if line]


@pytest.mark.parametrize("ending", [".csv", ".json", ".jsonl"])
def test_rows_come_in_the_recordings_order_in_each_format(tmp_path, paths, ending):
    out = PredictionFile(tmp_path / f"out{ending}", paths, EMOTIONS, "m1")
    with out:
        for prediction in reversed(predictions_of(paths)):
            out.add(prediction)
        out.write()
    rows = read(tmp_path / f"out{ending}")
    none = "" if ending == ".csv" else None
    assert [row["path"] for row in rows] == paths
    assert [row["predicted"] for row in rows] == ["ang", none, none]
    assert [row["ang"] and float(row["ang"]) for row in rows] == [0.75, none, 0.125]
    assert [row["neu"] and float(row["neu"]) for row in rows] == [0.25, none, 0.875]
    assert [row["duration_s"] and float(row["duration_s"]) for row in rows] == [1.25, none, 2.0]
    assert [row["error"] for row in rows] == [none, 'it is "broken",\nsadly', none]
    assert {row["model"] for row in rows} == {"m1"}
    assert list(tmp_path.glob("*.partial")) == []


@pytest.mark.parametrize("ending", [".csv", ".json", ".jsonl"])
def test_a_finished_file_is_gone_on_with_except_for_errors(tmp_path, paths, ending):
    with PredictionFile(tmp_path / f"out{ending}", paths, EMOTIONS, "m1") as out:
        for prediction in predictions_of(paths):
            out.add(prediction)
        out.write()
    again = PredictionFile(tmp_path / f"out{ending}", [*paths, "new.wav"], EMOTIONS, "m1")
    assert again.predictions == {p.path: p for p in predictions_of(paths) if p.error is None}


def test_a_killed_run_leaves_its_rows_and_no_half_file(tmp_path, paths):
    out = PredictionFile(tmp_path / "out.csv", paths, EMOTIONS, "m1")
    out.__enter__()
    out.add(predictions_of(paths)[0])
    out.add(predictions_of(paths)[2])
    with open(tmp_path / "out.csv.partial", "a") as file:  # killed in the middle of a line
        file.write('{"path": "')
    assert not (tmp_path / "out.csv").exists()
    with pytest.raises(InputError, match="out.csv is being written by another process"):
        PredictionFile(tmp_path / "out.csv", paths, EMOTIONS, "m1").__enter__()
    out._lock.release()  # as the system does for a process that has died
    again = PredictionFile(tmp_path / "out.csv", paths, EMOTIONS, "m1")
    assert list(again.predictions) == [paths[0], paths[2]]
    with again:
        again.add(predictions_of(paths)[1])
    # It is killed once more: what the first run had done is not lost.
    third = PredictionFile(tmp_path / "out.csv", paths, EMOTIONS, "m1")
    assert list(third.predictions) == [paths[0], paths[2]]


def test_a_run_that_is_killed_before_its_first_answer_loses_nothing(tmp_path, paths):
    first = PredictionFile(tmp_path / "out.csv", paths, EMOTIONS, "m1")
    with first:
        first.add(predictions_of(paths)[0])
    again = PredictionFile(tmp_path / "out.csv", paths, EMOTIONS, "m1")
    again.__enter__()  # its process is killed while it reads headers: nothing is flushed, nothing closed
    held = (tmp_path / "out.csv.partial").read_text().splitlines()
    assert [json.loads(line)["path"] for line in held] == paths[:1]
    again._lock.release()


def test_a_row_of_a_recording_that_was_written_since_does_not_come_back(tmp_path, paths):
    first = PredictionFile(tmp_path / "out.csv", paths, EMOTIONS, "m1")
    with first:
        first.add(predictions_of(paths)[0])
    later = (tmp_path / "out.csv.partial").stat().st_mtime
    os.utime(tmp_path / "out.csv.partial", (later - 60, later - 60))
    os.utime(paths[0], (later - 30, later - 30))
    again = PredictionFile(tmp_path / "out.csv", paths, EMOTIONS, "m1")
    with again:
        again.add(predictions_of(paths)[2])
    assert list(PredictionFile(tmp_path / "out.csv", paths, EMOTIONS, "m1").predictions) == [paths[2]]


def test_a_recording_that_was_written_since_is_classified_anew(tmp_path, paths):
    with PredictionFile(tmp_path / "out.csv", paths, EMOTIONS, "m1") as out:
        for prediction in predictions_of(paths):
            out.add(prediction)
        out.write()
    later = (tmp_path / "out.csv").stat().st_mtime + 60
    os.utime(paths[0], (later, later))
    os.unlink(paths[2])
    assert list(PredictionFile(tmp_path / "out.csv", paths, EMOTIONS, "m1").predictions) == []


@pytest.mark.parametrize(
    "content, text",
    [
        ("x,y\n1,2\n", r"other columns \(x, y\)"),
        ("id,wav,emo,speaker,group\n", r"other columns \(id, wav"),
        (
            "path,predicted,ang,neu,speech,duration_s,model,error\nb.wav,ang,0.5,0.5,,1,other,\n",
            "by another model, other",
        ),
        (
            "path,predicted,ang,neu,speech,duration_s,model,error\nz.wav,ang,0.5,0.5,,1,m1,\n",
            "z.wav, which is not asked for",
        ),
        (
            "path,predicted,ang,neu,speech,duration_s,model,error\nb.wav,ang,much,0.5,,1,m1,\n",
            "a row that is no prediction",
        ),
    ],
)
def test_a_file_with_something_else_is_refused_and_stays(tmp_path, content, text):
    (tmp_path / "out.csv").write_text(content)
    with pytest.raises(InputError, match=f"{text}.*Give another --out"):
        PredictionFile(tmp_path / "out.csv", ["b.wav"], EMOTIONS, "m1")
    assert (tmp_path / "out.csv").read_text() == content


@pytest.mark.parametrize("ending", [".csv", ".json", ".jsonl"])
def test_odd_names_survive_and_what_no_file_can_hold_is_escaped(tmp_path, ending):
    names = ["line\nfeed.wav", "next\x85line.wav", "para\u2029graph.wav", 'a "b", c.wav', "bad\udcff.wav", "cr\r.wav"]
    for name in names[:4]:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1_000_000_000, 1_000_000_000))
    paths = [str(tmp_path / name) for name in names]
    with PredictionFile(tmp_path / f"out{ending}", paths, EMOTIONS, "m1") as out:
        for path in paths:
            out.add(Prediction(path, 1.0, "ang", (0.75, 0.25)))
        out.write()
    again = PredictionFile(tmp_path / f"out{ending}", paths, EMOTIONS, "m1")
    assert list(again.predictions) == paths[:4]
    assert [row["path"] for row in read(tmp_path / f"out{ending}")[4:]] == [
        str(tmp_path / "bad\\udcff.wav"),
        str(tmp_path / "cr\\r.wav"),
    ]


@pytest.mark.parametrize("label", ["path", "predicted", "speech", "duration_s", "model", "error", "checksum"])
def test_a_label_that_is_a_column_is_refused(tmp_path, label):
    with pytest.raises(InputError, match=f"the label '{label}' is a column of the file"):
        PredictionFile(tmp_path / "out.csv", [], ["ang", label], "m1")


@pytest.mark.parametrize("name, content", [("out.json", "{"), ("out.jsonl", "{"), ("out.json", "{}")])
def test_json_that_is_none_is_refused(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match="something other than predictions|no list"):
        PredictionFile(tmp_path / name, [], EMOTIONS, "m1")


def test_an_unknown_ending_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"--out must end in .csv, .json, .jsonl, got .*out.xlsx"):
        PredictionFile(tmp_path / "out.xlsx", [], EMOTIONS, "m1")


def test_csv_of_one_prediction_by_hand():
    text = format_predictions(
        [Prediction("a.wav", 1.23456, "neu", (1 / 3, 2 / 3), speech=0.12345)], EMOTIONS, "m1", ".csv"
    )
    cells = (
        '{"ang": 0.33333333, "duration_s": 1.235, "error": null, "model": "m1", "neu": 0.66666667, '
        '"path": "a.wav", "predicted": "neu", "speech": 0.123}'
    )
    assert text == (
        "path,predicted,ang,neu,speech,duration_s,model,error,checksum\n"
        f"a.wav,neu,0.33333333,0.66666667,0.123,1.235,m1,,x{hashlib.sha256(cells.encode()).hexdigest()[:12]}\n"
    )


@pytest.fixture
def finished(tmp_path, paths):
    """Return a function that writes the answers on the first and the last of three recordings: file -> its text."""

    def write(name):
        with PredictionFile(tmp_path / name.removesuffix(".partial"), paths, EMOTIONS, "m1") as out:
            for prediction in predictions_of(paths):
                out.add(prediction)
            if not name.endswith(".partial"):
                out.write()
        return (tmp_path / name).read_text(encoding="utf-8")

    return write


@pytest.mark.parametrize("name", ["out.csv", "out.json", "out.jsonl", "killed.csv.partial"])
def test_no_flipped_bit_changes_an_answer(tmp_path, paths, finished, name):
    whole, found = finished(name).encode(), {p.path: p for p in predictions_of(paths) if p.error is None}
    path, n_refused = tmp_path / name, 0
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :])
        try:
            again = PredictionFile(tmp_path / name.removesuffix(".partial"), paths, EMOTIONS, "m1").predictions
        except InputError as error:
            assert str(error).startswith(str(path))
            n_refused += 1
        else:
            assert again.items() <= found.items(), i
    assert n_refused > 100


@pytest.mark.parametrize(
    "was, now",
    [(",ang,0.75", ",,0.75"), ("1.25", "1.26"), (",0.0,2.0", ",0.5,2.0"), (",ang,0.75,0.25", ",neu,0.25,0.75")],
)
def test_an_edited_row_is_refused_with_what_to_do_and_stays(tmp_path, paths, finished, was, now):
    edited = finished("out.csv").replace(was, now)
    (tmp_path / "out.csv").write_text(edited, encoding="utf-8")
    text = r"out.csv holds a row of .*wav that is not as it was written: its checksum differs. Delete that row .*--out"
    with pytest.raises(InputError, match=text):
        PredictionFile(tmp_path / "out.csv", paths, EMOTIONS, "m1")
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == edited


def test_a_row_that_was_deleted_is_classified_again(tmp_path, paths, finished):
    lines = finished("out.csv").splitlines(keepends=True)
    (tmp_path / "out.csv").write_text("".join(lines[:1] + lines[2:]), encoding="utf-8")
    assert list(PredictionFile(tmp_path / "out.csv", paths, EMOTIONS, "m1").predictions) == paths[2:]


def test_a_file_that_a_spreadsheet_has_saved_again_is_resumed(tmp_path, paths, finished):
    rows = list(csv.reader(finished("out.csv").splitlines(keepends=True)))
    with open(tmp_path / "out.csv", "w", encoding="utf-8", newline="") as file:  # all quoted, other numbers and ends
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerows([cell.replace("2.0", "2").replace("0.75", ".750") for cell in row] for row in rows)
    found = PredictionFile(tmp_path / "out.csv", paths, EMOTIONS, "m1").predictions
    assert found == {p.path: p for p in predictions_of(paths) if p.error is None}


@pytest.mark.parametrize("ending", [".csv", ".json", ".jsonl"])
def test_a_file_of_an_earlier_version_without_checksums_is_resumed(tmp_path, paths, finished, ending):
    text = finished(f"out{ending}")
    of_row = {".csv": r",(checksum|x\w{12})$", ".json": r',\n  "checksum": "\w+"', ".jsonl": r', "checksum": "\w+"'}
    earlier, n = re.subn(of_row[ending], "", text, flags=re.MULTILINE)
    assert n == (4 if ending == ".csv" else 3)
    (tmp_path / f"out{ending}").write_text(earlier, encoding="utf-8")
    again = PredictionFile(tmp_path / f"out{ending}", paths, EMOTIONS, "m1")
    assert again.predictions == {p.path: p for p in predictions_of(paths) if p.error is None}
    with again:
        again.add(predictions_of(paths)[1])
        again.write()
    assert (tmp_path / f"out{ending}").read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    "was, now, why", [("0.75", "0.15", "do not add up to 1"), ("ang,0.", "neu,0.", "is not its most probable emotion")]
)
def test_a_row_without_a_checksum_is_checked_by_its_values(tmp_path, paths, finished, was, now, why):
    text, n = re.subn(r",(checksum|x\w{12})$", "", finished("out.csv"), flags=re.MULTILINE)
    assert n == 4 and was in text
    (tmp_path / "out.csv").write_text(text.replace(was, now, 1), encoding="utf-8")
    with pytest.raises(InputError, match=why):
        PredictionFile(tmp_path / "out.csv", paths, EMOTIONS, "m1")


def test_a_mark_of_utf_8_and_names_like_formulas_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = ["=a.wav", "'=b.wav", "''c.wav"]
    for path in paths:
        (tmp_path / path).touch()
    out = tmp_path / "out.csv"
    found = [Prediction(path, 1.0, "ang", (0.75, 0.25), None, 1.0) for path in paths]
    with PredictionFile(out, paths, EMOTIONS, "m1", excel=True) as file:
        for prediction in found:
            file.add(prediction)
        file.write()
    out.write_bytes("\ufeff".encode() + out.read_bytes())
    assert list(PredictionFile(out, paths, EMOTIONS, "m1", excel=True).predictions.values()) == found
