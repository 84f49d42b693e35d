"""speechbrain-ext predict as it is typed: rows, exit status, pipes, killed runs, wrong arguments."""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from speechbrain_ext.commands.main import main
from speechbrain_ext.inference import recordings
from tests.babble import make_babble


@pytest.fixture
def bundle(good_bundle):
    return str(good_bundle)


@pytest.fixture
def folder(tmp_path):
    """Five recordings, written long ago."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for i in range(5):
        soundfile.write(folder / f"{i}.wav", make_babble(0.5 + i / 16), 16000)
        os.utime(folder / f"{i}.wav", (1_000_000_000, 1_000_000_000))
    return folder


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_folder_is_printed_as_csv(bundle, folder, capsys):
    assert main(["predict", bundle, str(folder)]) == 0
    captured = capsys.readouterr()
    rows = rows_of(captured.out)
    assert [row["path"] for row in rows] == [str(folder / f"{i}.wav") for i in range(5)]
    for row in rows:
        posteriors = {emo: float(row[emo]) for emo in ("ang", "hap", "sad", "neu")}
        assert sum(posteriors.values()) == pytest.approx(1, abs=1e-6)
        assert row["predicted"] == max(posteriors, key=posteriors.get)
        assert 0.4 < float(row["speech"]) <= 1
    assert captured.err == ""


def test_a_bad_file_has_its_row_and_the_exit_status_says_so(bundle, folder, capsys):
    (folder / "2a.wav").write_text("no audio")
    assert main(["predict", bundle, str(folder)]) == 1
    captured = capsys.readouterr()
    rows = {os.path.basename(row["path"]): row for row in rows_of(captured.out)}
    assert list(rows) == ["0.wav", "1.wav", "2.wav", "2a.wav", "3.wav", "4.wav"]
    assert "cannot be read as audio" in rows.pop("2a.wav")["error"]
    assert all(row["predicted"] and not row["error"] for row in rows.values())
    assert "1 of 6 were not classified; their rows say why." in captured.err


def test_recordings_without_speech_get_no_emotion(bundle, folder, capsys):
    soundfile.write(folder / "silence.wav", np.zeros(16000), 16000)
    soundfile.write(folder / "wind.wav", 0.1 * np.random.default_rng(0).standard_normal(16000), 16000)
    assert main(["predict", bundle, str(folder)]) == 0
    captured = capsys.readouterr()
    rows = {os.path.basename(row["path"]): row for row in rows_of(captured.out)}
    assert [name for name, row in rows.items() if not row["predicted"]] == ["silence.wav", "wind.wav"]
    for name in ("silence.wav", "wind.wav"):
        assert float(rows[name]["speech"]) == 0 and float(rows[name]["ang"]) > 0 and rows[name]["error"] == ""
    assert captured.err == "2 of 7: no speech found. They have no `predicted` emotion.\n"


def test_a_folder_of_phone_recordings_is_classified(bundle, tmp_path, capsys):
    from tests.dataio.audio_files import BY_PYAV

    (tmp_path / "phone").mkdir()
    for name, (write, _, _) in BY_PYAV.items():
        write(tmp_path / "phone" / name)
    assert main(["predict", bundle, str(tmp_path / "phone")]) == 0
    rows = {os.path.basename(row["path"]): row for row in rows_of(capsys.readouterr().out)}
    assert sorted(rows) == sorted(BY_PYAV)
    assert all(abs(float(row["duration_s"]) - 2.005) < 0.15 for row in rows.values())


def test_files_that_are_passed_over_are_counted_and_named(bundle, folder, capsys):
    (folder / "sub").mkdir()
    for name in ("a.txt", "b.docx", "sub/c.csv", "sub/d", ".hidden"):
        (folder / name).touch()
    assert main(["predict", bundle, str(folder)]) == 0
    captured = capsys.readouterr()
    assert len(rows_of(captured.out)) == 5
    assert captured.err == f"{folder}: 4 files passed over by their ending: a.txt, b.docx, sub/c.csv and 1 more.\n"


@pytest.mark.parametrize("piped", ["recording", "paths"])
def test_what_comes_through_a_pipe_is_a_recording_or_paths(bundle, folder, capsys, monkeypatch, piped):
    names = [str(folder / "3.wav"), str(folder / "1.wav")]
    data = (folder / "3.wav").read_bytes() if piped == "recording" else "\n".join([*names, ""]).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert main(["predict", bundle, "-"]) == 0
    rows = rows_of(capsys.readouterr().out)
    assert [row["path"] for row in rows] == (["-"] if piped == "recording" else names)
    assert main(["predict", bundle, names[0]]) == 0
    alone = rows_of(capsys.readouterr().out)[0]
    assert float(rows[0]["ang"]) == pytest.approx(float(alone["ang"]), abs=1e-5)


def test_an_unreadable_recording_through_a_pipe_is_named_as_the_pipe(bundle, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\0no audio")))
    assert main(["predict", bundle, "-"]) == 1
    row = rows_of(capsys.readouterr().out)[0]
    assert row["path"] == "-" and "cannot be read as audio" in row["error"] and "/tmp" not in row["error"]


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl"])
def test_a_killed_run_is_gone_on_with(bundle, folder, tmp_path, capsys, monkeypatch, ending):
    out = tmp_path / f"out.{ending}"
    command = ["predict", bundle, str(folder), "--out", str(out), "--batch_size", "1"]
    classified = []
    classify = recordings.classify_recordings

    def killed_after_two(*args, **kwargs):
        for prediction in classify(*args, **kwargs):
            if len(classified) == 2:
                raise KeyboardInterrupt
            classified.append(prediction.path)
            yield prediction

    def counted(*args, **kwargs):
        for prediction in classify(*args, **kwargs):
            classified.append(prediction.path)
            yield prediction

    monkeypatch.setattr(recordings, "classify_recordings", killed_after_two)
    assert main(command) == 130
    assert not out.exists()
    monkeypatch.setattr(recordings, "classify_recordings", counted)
    assert main(command) == 0
    assert sorted(classified) == [str(folder / f"{i}.wav") for i in range(5)]  # none of them twice
    assert "2 of 5 are in" in capsys.readouterr().err
    gone_on = out.read_text()
    assert main(command) == 0
    assert len(classified) == 5 and out.read_text() == gone_on
    out.unlink()
    assert main(command) == 0
    assert out.read_text() == gone_on


def test_bf16_is_close_and_not_the_same(bundle, folder, capsys):
    found = {}
    for precision in ("fp32", "bf16"):
        assert main(["predict", bundle, str(folder), "--precision", precision]) == 0
        found[precision] = np.array([float(row["ang"]) for row in rows_of(capsys.readouterr().out)])
    assert np.abs(found["fp32"] - found["bf16"]).max() == pytest.approx(0, abs=0.05)
    assert (found["fp32"] != found["bf16"]).any()


@pytest.mark.parametrize(
    "words, text",
    [
        (["nowhere.wav"], "nowhere.wav is neither a file nor a folder."),
        (["EMPTY"], "holds no recordings: no file's name ends as"),
        (["FOLDER", "--out", "x.xlsx"], "--out must end in .csv, .json, .jsonl, got 'x.xlsx'."),
        (["FOLDER", "--batch_size", "0"], "--batch_size must be a whole number from 1, got 0."),
        (["FOLDER", "--max_s", "0"], "--max_s must be a number from 0.025 to 3600.0, got 0.0."),
        (
            ["FOLDER", "--device", "gpu7"],
            "device 'gpu7' cannot be used: Invalid device string: 'gpu7'. Devices here: cpu",
        ),
    ],
)
def test_wrong_arguments_are_told_in_a_sentence(bundle, folder, tmp_path, capsys, words, text):
    (tmp_path / "empty").mkdir()
    words = [{"FOLDER": str(folder), "EMPTY": str(tmp_path / "empty")}.get(word, word) for word in words]
    assert main(["predict", bundle, *words]) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("speechbrain-ext predict: ") and text in captured.err
    assert captured.out == ""


def test_a_folder_that_is_no_bundle_is_told(folder, capsys):
    assert main(["predict", str(folder), str(folder)]) == 1
    assert "is no bundle: it has no bundle.json" in capsys.readouterr().err


def test_the_installed_command_runs(root, bundle, folder):
    done = subprocess.run(
        [sys.executable, "-m", "speechbrain_ext.commands.main", "predict", bundle, str(folder), "--out", "out.json"],
        capture_output=True,
        text=True,
        cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.returncode == 0, done.stderr
    assert [row["path"] for row in json.loads((folder.parent / "out.json").read_text())] == [
        str(folder / f"{i}.wav") for i in range(5)
    ]
    assert "Warning" not in done.stderr and done.stdout == ""
