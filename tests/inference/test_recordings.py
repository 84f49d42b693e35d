"""Many recordings: which are found, that each is answered for, and that company changes no answer."""

import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from speechbrain_ext.dataio.audio import read_audio
from speechbrain_ext.inference.classifier import load_classifier
from speechbrain_ext.inference.recordings import classify_recordings, find_recordings, measure_recordings


@pytest.fixture(scope="module")
def classifier(good_bundle):
    return load_classifier(good_bundle, {"device": "cpu"})


@pytest.fixture
def recordings(tmp_path):
    """Seven recordings of different lengths, rates, channels and formats."""
    rng = np.random.default_rng(0)
    kinds = [
        ("a.wav", 16000, 1.0, 1),
        ("b.flac", 44100, 0.4, 2),
        ("c.ogg", 8000, 0.7, 1),
        ("sub/d.wav", 16000, 2.5, 1),
        ("sub/e.mp3", 22050, 1.5, 2),
        ("f.aiff", 48000, 0.2, 1),
        ("G.WAV", 16000, 1.01, 1),
    ]
    (tmp_path / "sub").mkdir()
    for name, rate_hz, duration_s, n_channels in kinds:
        soundfile.write(tmp_path / name, 0.1 * rng.standard_normal((round(rate_hz * duration_s), n_channels)), rate_hz)
    return tmp_path


def alone(classifier, path):
    """Classify one recording without any of the code under test."""
    wav = torch.from_numpy(read_audio(path, "clip", 16000))
    return classifier.classify_batch(wav.unsqueeze(0))[0].exp()[0].tolist()


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_predictions_are_those_of_each_recording_alone(classifier, recordings, batch_size):
    paths, _ = find_recordings(recordings)
    durations, failed = measure_recordings(paths)
    assert not failed
    predictions = {p.path: p for p in classify_recordings(classifier, durations, batch_size)}
    assert sorted(predictions) == sorted(paths)
    for path, prediction in predictions.items():
        expected = alone(classifier, path)
        assert prediction.posteriors == pytest.approx(expected, abs=1e-5)
        assert prediction.predicted == classifier.hparams.emotions[int(np.argmax(expected))]
        assert prediction.duration_s == pytest.approx(soundfile.info(path).duration)
        assert prediction.error is None


def test_find_recordings_goes_into_folders_and_leaves_out_other_files(recordings):
    for name in ("notes.txt", "._a.wav", ".hidden/x.wav", "model.ckpt"):
        (recordings / name).parent.mkdir(exist_ok=True)
        (recordings / name).write_text("no audio")
    expected = ["G.WAV", "a.wav", "b.flac", "c.ogg", "f.aiff", "sub/d.wav", "sub/e.mp3"]
    found, others = find_recordings(recordings)
    assert found == [str(recordings / name) for name in expected]
    assert others == [str(recordings / name) for name in ("model.ckpt", "notes.txt")]


@pytest.mark.parametrize("name", ["a.m4a", "b.WEBM", "c.amr", "d.3gp", "e.mp4", "f.aac", "g.wma", "h.opus", "i.sph"])
def test_find_recordings_knows_what_phones_and_corpora_write(tmp_path, name):
    (tmp_path / name).touch()
    assert find_recordings(tmp_path) == ([str(tmp_path / name)], [])


def test_bad_recordings_have_their_error_and_the_others_their_answer(classifier, recordings):
    whole = (recordings / "sub/d.wav").read_bytes()
    (recordings / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (recordings / "text.wav").write_text("no audio")
    (recordings / "empty.flac").write_bytes(b"")
    soundfile.write(recordings / "short.wav", np.zeros(100), 16000)
    samples = np.full(16000, 0.1, dtype=np.float32)
    samples[7] = np.nan
    soundfile.write(recordings / "nan.wav", samples, 16000, subtype="FLOAT")
    flac = (recordings / "b.flac").read_bytes()
    (recordings / "cut.flac").write_bytes(flac[: len(flac) // 2])
    paths = [*find_recordings(recordings)[0], str(recordings / "missing.wav")]
    durations, failed = measure_recordings(paths)
    predictions = {Path(p.path).name: p for p in [*failed, *classify_recordings(classifier, durations)]}
    expected = {
        "cut.wav": "truncated",
        "text.wav": "cannot be read as audio",
        "empty.flac": "is empty",
        "short.wav": "0.0063 s long",
        "nan.wav": "samples that are NaN or infinite, the first at 0.00 s",
        "cut.flac": "cut.flac",
        "missing.wav": "cannot be opened",
    }
    for name, text in expected.items():
        assert text in predictions[name].error and predictions[name].posteriors is None
        assert predictions[name].predicted is None
    good = set(predictions) - set(expected)
    assert len(good) == 7 and all(predictions[name].posteriors for name in good)


def test_a_clip_that_is_too_short_for_the_encoder_takes_no_other_with_it(classifier, recordings):
    soundfile.write(recordings / "brief.wav", 0.1 * np.ones(800), 16000)  # 50 ms; this encoder needs 1 frame of 880
    (Path(str(recordings) + "/bad\udcff.wav")).write_text("no UTF-8 in the name")
    durations, failed = measure_recordings(find_recordings(recordings)[0])
    predictions = [*failed, *classify_recordings(classifier, durations)]
    errors = {Path(p.path).name: p.error for p in predictions if p.error}
    assert errors["brief.wav"] == "brief.wav is 0.0500 s long; this model needs at least 0.0550 s. Leave it out."
    assert "bad\\udcff.wav' is no UTF-8. Rename the file." in errors["bad\udcff.wav"]
    assert len(errors) == 2 and len(predictions) == 9


def test_a_recording_above_the_limit_is_answered_with_the_cure(recordings):
    durations, failed = measure_recordings(find_recordings(recordings)[0], max_s=2.0)
    assert [Path(p.path).name for p in failed] == ["d.wav"]
    assert "is longer than the 2 s that are classified as one" in failed[0].error and "timeline" in failed[0].error
    assert len(durations) == 6


@pytest.fixture
def shapes(classifier, monkeypatch):
    """Collect the clips and seconds of each batch that is classified."""
    shapes, classify_batch = [], classifier.classify_batch

    def classify(wavs, lens):
        shapes.append((len(wavs), round(wavs.shape[1] / 16000, 1)))
        return classify_batch(wavs, lens)

    monkeypatch.setattr(classifier, "classify_batch", classify)
    return shapes


def test_batches_hold_similar_lengths_and_stay_below_the_limit(classifier, recordings, shapes):
    durations, _ = measure_recordings(find_recordings(recordings)[0])
    list(classify_recordings(classifier, durations, batch_size=3, max_padded_s=3.1))
    # 2.5 alone (two would be 5 s); 1.5 and 1.01 (three would be 4.5 s); 1.0, 0.7 and 0.4; 0.2
    assert shapes == [(1, 2.5), (2, 1.5), (3, 1.0), (1, 0.2)]


def test_batches_count_the_length_to_which_clips_are_padded(classifier, recordings, shapes, monkeypatch):
    monkeypatch.setattr(classifier.hparams, "fixed_length_s", 2.0)
    durations, _ = measure_recordings(find_recordings(recordings)[0])
    list(classify_recordings(classifier, durations, batch_size=3, max_padded_s=4.1))
    assert [n for n, _ in shapes] == [1, 2, 2, 2]  # 2.5 s alone; two of 2 s


def test_batches_on_a_cpu_keep_the_largest_activation_small(classifier, recordings, shapes, monkeypatch):
    # The first layer has 8 channels and a stride of 160: 3200 bytes a second of speech, so 9920 are 3.1 s.
    monkeypatch.setattr("speechbrain_ext.lobes.batch_length.LARGEST_ACTIVATION_BYTES", 9920)
    durations, _ = measure_recordings(find_recordings(recordings)[0])
    list(classify_recordings(classifier, durations, batch_size=3))
    assert shapes == [(1, 2.5), (2, 1.5), (3, 1.0), (1, 0.2)]


def test_recordings_are_read_while_others_are_classified(classifier, recordings, monkeypatch):
    from speechbrain_ext.inference import recordings as predict

    second_read = threading.Event()
    readings = []

    def read(path, name, rate_hz):
        readings.append(path)
        if len(readings) == 2:
            second_read.set()
        return read_audio(path, name, rate_hz)

    classify_batch = classifier.classify_batch

    def classify(wavs, lens):
        assert second_read.wait(600)  # or the second batch is read only when the first is done
        return classify_batch(wavs, lens)

    monkeypatch.setattr(predict, "read_audio", read)
    monkeypatch.setattr(classifier, "classify_batch", classify)
    durations, _ = measure_recordings(find_recordings(recordings)[0][:2])
    assert len(list(classify_recordings(classifier, durations, batch_size=1))) == 2


def test_what_is_answered_already_keeps_its_place_in_the_batches(classifier, recordings):
    """An interrupted run answers the rest with the very bits of a whole one, wherever it was interrupted."""
    durations, _ = measure_recordings(find_recordings(recordings)[0])
    whole = {one.path: one for one in classify_recordings(classifier, durations, batch_size=3)}
    order = list(whole)
    for n_done in range(len(order) + 1):
        answered = {path: round(durations[path], 3) for path in order[:n_done]}  # as a file of answers has them
        rest = {path: durations[path] for path in order[n_done:]}
        assert list(classify_recordings(classifier, rest, batch_size=3, answered=answered)) == [
            whole[path] for path in order[n_done:]
        ]
