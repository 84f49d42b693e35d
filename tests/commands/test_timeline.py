"""speechbrain-ext timeline: its files and its table, and what is refused before a model is loaded."""

import argparse
import json
import sys

import numpy as np
import pytest
import soundfile as sf

from speechbrain_ext.commands.main import main
from speechbrain_ext.commands.timeline import add_arguments, format_segments, run
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.classifier import load_classifier
from speechbrain_ext.inference.timeline import Segment, Timeline
from tests.babble import make_babble
from tests.bundle_making import EMOTIONS


@pytest.fixture
def talk(tmp_path):
    """Write 2.5 s of babble in stereo at 22,050 Hz."""
    wav = make_babble(2.5, 22050)
    sf.write(tmp_path / "talk.flac", np.stack([wav, 0.5 * wav], axis=1), 22050)
    return tmp_path / "talk.flac"


def parse(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def test_timeline_writes_all_files_and_prints_the_segments(tmp_path, monkeypatch, capsys, good_bundle, talk):
    monkeypatch.chdir(tmp_path)
    assert (
        main(["timeline", str(good_bundle), str(talk), "--window_s", "1", "--hop_s", "0.5", "--batch_size", "2"]) == 0
    )
    out, err = capsys.readouterr()
    folder = tmp_path / "talk_timeline"
    assert sorted(path.name for path in folder.iterdir()) == [
        "labels.txt",
        "timeline.csv",
        "timeline.json",
        "timeline.png",
    ]
    data = json.loads((folder / "timeline.json").read_text(encoding="utf-8"))
    assert data["emotions"] == list(EMOTIONS) and data["duration_s"] == 2.5
    assert [window["start_s"] for window in data["windows"]] == [0, 0.5, 1, 1.5]
    # The windows as EncoderClassifier hears them, the file as soxr resamples it.
    classifier = load_classifier(good_bundle, {"device": "cpu"})
    wav = classifier.load_audio(str(talk), savedir=str(tmp_path))
    expected = classifier.classify_batch(wav[8000:24000].unsqueeze(0))[0].exp()
    np.testing.assert_allclose(data["windows"][1]["posteriors"], expected[0], atol=1e-4)
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["start", "end", "emotion", "probability"]
    labels = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert [row[2] for row in rows[1 : len(labels) + 1]] == [label.split("\t")[2] for label in labels]
    assert rows[1][0] == "00:00.0" and rows[len(labels)][1] == "00:02.5"
    assert out.endswith(f"png: {talk.stem}_timeline/timeline.png\n")
    assert (folder / "timeline.csv").read_text(encoding="utf-8").count("\n") == 5
    assert (folder / "timeline.png").read_bytes().startswith(b"\x89PNG")
    assert "%|" not in err  # no terminal, no bar


def test_timeline_of_silence_says_so(tmp_path, capsys, good_bundle):
    sf.write(tmp_path / "night.wav", np.zeros(80000), 16000)
    assert run(parse(good_bundle, tmp_path / "night.wav", "--out", tmp_path / "out")) == 0
    out, err = capsys.readouterr()
    assert err == "No speech found.\n" and out.splitlines()[1].split() == ["00:00.0", "00:05.0", "no", "speech"]
    assert (tmp_path / "out" / "labels.txt").read_text() == "0.000000\t5.000000\tno speech\n"


def test_timeline_writes_the_formats_asked_for_where_asked(tmp_path, capsys, good_bundle, talk):
    options = parse(good_bundle, talk, "--out", tmp_path / "a" / "b", "--formats", "csv,audacity", "--device", "cpu")
    assert run(options) == 0
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == ["labels.txt", "timeline.csv"]
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"csv: {tmp_path / 'a' / 'b' / 'timeline.csv'}",
        f"audacity: {tmp_path / 'a' / 'b' / 'labels.txt'}",
    ]


def test_timeline_passes_every_setting_on(tmp_path, monkeypatch, good_bundle, talk):
    settings = []

    def make(classifier, path, *args, progress, detector):
        settings.append((path, *args))
        raise InputError("enough")

    monkeypatch.setattr("speechbrain_ext.inference.timeline.make_timeline", make)
    words = ["--window_s", "3", "--hop_s", "0.25", "--batch_size", "5", "--min_segment_s", "2"]
    with pytest.raises(InputError, match="enough"):
        run(parse(good_bundle, talk, *words))
    assert settings == [(str(talk), 3.0, 0.25, 5, 2.0)]


def test_timeline_shows_a_bar_with_the_time_left_on_a_terminal(tmp_path, monkeypatch, capsys, good_bundle, talk):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    words = ["--window_s", "1", "--batch_size", "1"]
    run(parse(good_bundle, talk, "--out", tmp_path / "out", "--formats", "csv", *words))
    out, err = capsys.readouterr()
    assert "100%|" in err and "2/2 s of speech [" in err
    assert "%|" not in out


REFUSED = {
    "window": (["--window_s", "0"], "window_s must be a number from 0.025 to 300.0, got 0.0."),
    "not_a_number": (["--window_s", "nan"], "window_s must be a number from 0.025 to 300.0, got nan."),
    "hop": (["--hop_s", "5"], "hop_s must be at most window_s (4), got 5: speech between windows would not be heard."),
    "segment": (["--min_segment_s", "-1"], "min_segment_s must be a number from 0 to inf, got -1.0."),
    "batch": (["--batch_size", "0"], "batch_size must be a whole number from 1, got 0."),
    "format": (
        ["--formats", "csv,wav"],
        "--formats must be some of csv,json,audacity,png, with commas alone, got 'csv,wav'.",
    ),
    "no_format": (["--formats", ""], "--formats must be some of csv,json,audacity,png, with commas alone, got ''."),
}


@pytest.mark.parametrize(("words", "message"), REFUSED.values(), ids=REFUSED)
def test_timeline_refuses_settings_before_the_model_is_loaded(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.setattr("speechbrain_ext.inference.classifier.load_classifier", None)
    assert main(["timeline", "no bundle", str(tmp_path / "no.wav"), *words]) == 1
    assert capsys.readouterr().err == f"speechbrain-ext timeline: {message}\n"


def test_timeline_refuses_a_recording_before_the_model_is_loaded(tmp_path, monkeypatch, talk):
    monkeypatch.setattr("speechbrain_ext.inference.classifier.load_classifier", None)
    (tmp_path / "empty.wav").touch()
    with pytest.raises(InputError, match=r"empty\.wav is empty"):
        run(parse("no bundle", tmp_path / "empty.wav"))
    with pytest.raises(InputError, match=r"--out must be a folder, and .*talk\.flac is a file"):
        run(parse("no bundle", talk, "--out", talk))


@pytest.mark.parametrize("words", [["--device", "cuda:0"], ["--device", "cuda"], []])
def test_timeline_takes_the_device_asked_for(monkeypatch, talk, words):
    asked = []

    def load(source, run_opts):
        asked.append((source, run_opts))
        raise InputError("enough")

    monkeypatch.setattr("speechbrain_ext.inference.classifier.load_classifier", load)
    with pytest.raises(InputError, match="enough"):
        run(parse("exported", talk, *words))
    assert asked == [("exported", {"device": words[1] if words else None, "precision": "fp32"})]


def test_format_segments_is_a_table_that_ends_in_time():
    segments = [Segment(60.0 * i, 60.0 * (i + 1), "ang" if i % 2 else "surprised", 0.125 * i) for i in range(5)]
    none = np.zeros(0)
    timeline = Timeline(("ang", "surprised"), 300.0, 4.0, 1.0, none, none, none, segments, none)
    assert format_segments(timeline, most_rows=2).splitlines() == [
        "    start        end  emotion    probability",
        "  00:00.0    01:00.0  surprised         0.0%",
        "  01:00.0    02:00.0  ang              12.5%",
        "and 3 more segments",
    ]
    assert len(format_segments(timeline, most_rows=5).splitlines()) == 6
