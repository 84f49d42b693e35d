"""What the page says: probabilities and means checked by hand, and each error as a sentence without a folder's name."""

import base64
import contextlib
import csv
import io
import re
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile as sf
import torch

from speechbrain_ext.inference.speech_detector import SpeechDetector
from speechbrain_ext.web.answer import NOTHING, STOPPED, Stopped, answer
from tests.babble import make_babble
from tests.dataio.audio_files import without_length

RATE_HZ = 16000


def make_classifier(emotions=("ang", "sad"), **hparams):
    """Make a stand-in whose first posterior is the share of loud samples in the clip."""

    def classify_batch(wavs, wav_lens):
        loud = (wavs.abs() > 0.1).float().mean(dim=1)
        posteriors = torch.stack([loud, 1 - loud], dim=1)
        labels = [emotions[i] for i in posteriors.argmax(dim=1)]
        return posteriors.log(), None, None, labels

    model = SimpleNamespace(min_samples=1, longest_samples=None, encoder=SimpleNamespace(values_a_sample=1.0))
    return SimpleNamespace(
        hparams=SimpleNamespace(sample_rate=RATE_HZ, emotions=emotions, **hparams),
        mods=SimpleNamespace(embedding_model=model),
        bundle=SimpleNamespace(about={}),
        device="cpu",
        inference_ctx=contextlib.nullcontext(),
        classify_batch=classify_batch,
    )


def write_clip(path, quiet_s, loud_s):
    sf.write(path, np.repeat([0.0, 0.5], [round(quiet_s * RATE_HZ), round(loud_s * RATE_HZ)]), RATE_HZ)
    return str(path)


def cells(html, table):
    """Return the texts of a table's cells, row by row."""
    body = re.search(rf'<table class="{table}">.*?<tbody>(.*?)</tbody>', html)[1]
    return [re.findall(r">([^<>]+)</t[hd]>", row) for row in body.split("</tr>")[:-1]]


def saved(html):
    """Return the name and the rows of the CSV that the page offers."""
    name, data = re.search(r'<a download="([^"]+)" href="data:text/csv;charset=utf-8;base64,([^"]+)"', html).groups()
    return name, list(csv.DictReader(io.StringIO(base64.b64decode(data).decode())))


@pytest.mark.parametrize("duration_s", [3, 12])
def test_answer_on_silence_is_that_there_is_no_speech(tmp_path, duration_s):
    path = write_clip(tmp_path / "night.wav", quiet_s=duration_s, loud_s=0)
    html = answer(make_classifier(), path, detector=SpeechDetector())
    assert html.startswith("<h2>No speech found</h2><p>night.wav, ")
    assert not any(word in html for word in ("sad", "%", "<img", "csv", "alert"))


def test_answer_on_speech_with_pauses_means_the_speech(tmp_path):
    wav = np.concatenate([make_babble(5), np.zeros(6 * RATE_HZ)])
    sf.write(tmp_path / "talk.wav", wav, RATE_HZ)
    html = answer(make_classifier(), str(tmp_path / "talk.wav"), detector=SpeechDetector())
    assert "mean over its speech</h2>" in html
    segments = cells(html, "segments")
    assert segments[-1] == ["00:05.0", "00:11.0", "no speech"]


def test_answer_on_a_short_clip_has_words_numbers_and_bars(tmp_path):
    html = answer(make_classifier(), write_clip(tmp_path / "clip.wav", quiet_s=0.6, loud_s=1.4), model="my model")
    assert "<h2>Anger (ang): 70.0%</h2>" in html
    assert cells(html, "bars") == [["anger (ang)", "70.0%"], ["sadness (sad)", "30.0%"]]
    assert re.findall(r"width:([\d.]+)%", html) == ["70.0", "30.0"]
    assert "clip.wav, 2.0 s, classified as a whole." in html
    assert "<img" not in html and "alert" not in html
    name, (row,) = saved(html)
    assert (name, row["path"], row["predicted"], row["model"]) == ("clip.csv", "clip.wav", "ang", "my model")
    assert (float(row["ang"]), float(row["duration_s"])) == (pytest.approx(0.7), 2.0)


def test_answer_on_a_long_clip_is_the_mean_over_time(tmp_path):
    shown = []
    path = write_clip(tmp_path / "talk.wav", quiet_s=4, loud_s=8)
    html = answer(make_classifier(), path, lambda *seconds: shown.append(seconds))
    # Windows of 4 s, one every second: loud by 0, 1/4, 2/4, 3/4, 1, 1, 1, 1, 1. Each second is the mean of the windows
    # over it: 0, 1/8, 1/4, 3/8, 5/8, 13/16, 15/16, and 1 five times. The mean of those twelve is 65 / 96.
    assert "<h2>Anger (ang): 67.7%, mean over the recording</h2>" in html
    assert cells(html, "bars") == [["anger (ang)", "67.7%"], ["sadness (sad)", "32.3%"]]
    segments = cells(html, "segments")
    assert [row[:3] for row in segments] == [
        ["00:00.0", "00:04.0", "sadness (sad)"],
        ["00:04.0", "00:12.0", "anger (ang)"],
    ]
    assert segments[1][3] == "92.2%"  # 7.375 / 8
    assert 'src="data:image/png;base64,iVBORw0KGgo' in html  # PNG's first bytes
    assert shown[-1] == (12, 12)
    assert re.findall(r'<img class="(light|dark)"', html) == ["light", "dark"]
    name, rows = saved(html)
    assert name == "talk_timeline.csv"
    assert [float(row["ang"]) for row in rows] == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    assert [row["emotion"] for row in rows] == ["sad", "sad", "ang", *["ang"] * 6]


def test_answer_follows_by_what_the_model_hears_of_a_clip(tmp_path):
    path = write_clip(tmp_path / "clip.wav", quiet_s=0, loud_s=5)
    assert "classified as a whole" in answer(make_classifier(max_s=None, fixed_length_s=None), path)
    assert "windows of 3 s" in answer(make_classifier(max_s=6, fixed_length_s=3), path)


@pytest.mark.parametrize("chosen", [None, ""])
def test_answer_to_nothing_says_what_to_do(chosen):
    assert answer(make_classifier(), chosen) == f'<p role="alert" class="error">{NOTHING}</p>'


def write_truncated(path):
    write_clip(path, 0, 1)
    path.write_bytes(path.read_bytes()[:-1000])


def write_nan(path):
    sf.write(path, np.full(1600, np.nan, np.float32), RATE_HZ, subtype="FLOAT")


@pytest.mark.parametrize(
    "write, message",
    [
        (lambda path: path.write_text("words " * 100), "cannot be read as audio"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: write_clip(path, 0, 0.02), "is 0.0200 s long; at least 0.025 s are needed"),
        (write_truncated, "is truncated"),
        (write_nan, "NaN or infinite"),
        (lambda path: None, "cannot be opened"),
    ],
    ids=["text", "empty", "short", "truncated", "nan", "missing"],
)
def test_answer_to_an_unusable_file_is_a_sentence_without_its_folder(tmp_path, write, message):
    write(tmp_path / "clip.wav")
    html = answer(make_classifier(), str(tmp_path / "clip.wav"))
    assert html.startswith('<p role="alert" class="error">clip.wav') and message in html
    assert tmp_path.name not in html and "clip.wav: clip.wav" not in html


def test_answer_refuses_what_lasts_longer_than_half_an_hour(tmp_path):
    sf.write(tmp_path / "night.wav", np.zeros(31 * 60 * 100, np.int16), 100)
    html = answer(None, str(tmp_path / "night.wav"))
    assert "night.wav is longer than 30 minutes" in html and "speechbrain-ext timeline" in html


def test_answer_can_be_stopped_while_a_recording_without_a_length_is_measured(tmp_path):
    pytest.importorskip("av")
    path = tmp_path / "a.flac"
    sf.write(path, np.zeros(RATE_HZ, np.int16), RATE_HZ)

    def progress(done_s, duration_s):
        assert done_s / duration_s == 0
        raise Stopped

    assert answer(make_classifier(), str(without_length(path)), progress) == STOPPED


def test_answer_escapes_names_and_labels(tmp_path):
    path = tmp_path / "<img src=x onerror=alert(1)>.wav"
    html = answer(make_classifier(emotions=("<i>a</i>", "b & c")), write_clip(path, 0, 1))
    assert "&lt;img src=x" in html and "<img" not in html
    assert "&lt;i&gt;a" in html and "<i>" not in html and "b &amp; c" in html
    path.write_bytes(b"")
    assert "<img" not in answer(make_classifier(), str(path))


def test_answer_survives_a_failing_model_and_leaves_the_details_to_the_terminal(tmp_path, caplog):
    def fail(*_):
        raise RuntimeError("out of memory in /secret/place")

    classifier = make_classifier()
    classifier.classify_batch = fail
    html = answer(classifier, write_clip(tmp_path / "clip.wav", 0, 1))
    assert "clip.wav was not classified: RuntimeError." in html and "secret" not in html
    assert "/secret/place" in caplog.text
