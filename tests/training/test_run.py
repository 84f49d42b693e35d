"""One run from its command line: refused early, held, described, interrupted in a sentence."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest
import soundfile
from torch.utils.data import DataLoader

from recipes.IEMOCAP import train
from speechbrain_ext.dataio.clip_reader import ClipReader
from speechbrain_ext.dataio.waveform_cache import WaveformStore
from speechbrain_ext.errors import InputError
from speechbrain_ext.training.run import Run, end_in_a_sentence
from tests.corpora.emobox_folder import UTTERANCES, write_emobox
from tests.recipes.fold_reading import SMALL, history, results


def test_many_runs_read_a_corpus_once(root, demo_corpus, tmp_path, monkeypatch):
    corpora = {}
    options = {"data_folder": str(demo_corpus), "output_folder": str(tmp_path)}
    first = Run.read(root / "hparams/demo.yaml", {**options, "fold": 1}, corpora)
    second = Run.read(root / "hparams/demo.yaml", {**options, "fold": 2}, corpora)
    assert len(corpora) == 1 and first.prepared is second.prepared
    assert (first.fold.test_group, second.fold.test_group) == ("Session1", "Session2")
    assert first.fingerprint == second.fingerprint
    assert first.identity == {**second.identity, "fold": 1}


def test_runs_with_published_folds_are_the_same_wherever_these_lie(root, tmp_path, capsys):
    for name, *_ in UTTERANCES:
        path = tmp_path / "downloads" / "emodb" / "wav" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.random.default_rng(len(name)).uniform(-0.1, 0.1, 8000), 16000)
    runs = []
    for place in ("here", "there"):
        folder = write_emobox(tmp_path / place / "emodb")
        options = {"corpus": f"emobox:{folder}", "data_folder": str(tmp_path), "validation": "none"}
        runs.append(
            Run.read(root / "hparams/demo.yaml", {**options, "output_folder": str(tmp_path / "out"), "fold": 2})
        )
    here, there = runs
    assert here.identity == there.identity and here.fingerprint == there.fingerprint
    assert (here.identity["corpus"], here.settings["emotions"]) == ("emobox:emodb", ["Angry", "Neutral"])
    assert here.fold.test == ["emodb-03a01Wa", "emodb-08a01Na"] and len(here.fold.cautions) == 2
    here.claim()
    there.claim()  # the saved run is this one
    again = Run.read(tmp_path / "out" / "hyperparams.yaml")
    assert again.identity == here.identity and again.settings["corpus_metadata"].endswith("emodb")


def test_run_file_says_which_corpus_and_how_many_processes(root, demo_corpus, tmp_path):
    run = Run.read(
        root / "hparams/demo.yaml", {"data_folder": str(demo_corpus), "output_folder": str(tmp_path / "fold")}
    )
    run.claim(n_processes=2)
    assert run.manifest.keys() == run.prepared.manifest.keys()
    found = json.loads((tmp_path / "fold/run.json").read_text())
    assert (found["corpus"], found["corpus_faults"], found["n_processes"]) == ("synthetic", [], 2)


def test_environment_is_that_of_this_interpreter(fit, monkeypatch, tmp_path):
    other = tmp_path / "bin" / "pip"  # the first on the PATH, of another environment
    other.parent.mkdir()
    other.write_text("#!/bin/sh\necho torch==0.0.1\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{other.parent}{os.pathsep}{os.environ['PATH']}")
    text = (fit("fold", "--number_of_epochs=1") / "env.log").read_text()
    assert f"torch=={version('torch')}\n" in text
    assert sys.executable in text and "0.0.1\n" not in text


def used(path, corpus):
    """Tell whether an utterance has one of the four labels."""
    lines = (corpus / "Session3/dialog/EmoEvaluation" / f"{path.parent.name}.txt").read_text(errors="replace")
    return re.search(rf"{path.stem}\s+(ang|hap|exc|sad|neu)", lines)


def test_clips_too_short_for_the_encoder_are_named_before_training(fit, demo_corpus, tmp_path, monkeypatch):
    copy = shutil.copytree(demo_corpus, tmp_path / "copy")
    short = [path for path in sorted(copy.glob("Session3/sentences/wav/*/Ses03*[0-9].wav")) if used(path, copy)][:2]
    for path in short:
        soundfile.write(path, 0.1 * np.ones(500), 16000)  # long enough for HuBERT, not for the encoder below
    config = "--encoder_config={conv_kernel: [800, 4, 2]}"
    monkeypatch.setattr(train, "EmotionBrain", None)  # nothing is trained
    with pytest.raises(InputError, match=f"2 of 80 recordings are shorter .* the encoder needs(.|\n)*{short[0].stem}"):
        fit("fold", config, data_folder=copy)


@pytest.mark.parametrize(("number", "workers"), [(signal.SIGINT, 0), (signal.SIGTERM, 1)])
def test_an_interrupted_run_says_that_the_same_command_resumes_it(root, demo_corpus, tmp_path, number, workers):
    command = [sys.executable, "-u", str(root / "train.py"), str(root / "hparams/demo.yaml")]
    command += [f"--data_folder={demo_corpus}", f"--output_folder={tmp_path / 'fold'}", *SMALL, "--number_of_epochs=99"]
    command += [f"--num_workers={workers}"]
    env = {**os.environ, "PYTHONPATH": str(root)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=env, start_new_session=True, **pipes)
    for line in process.stdout:
        if "Going into epoch 2" in line:
            os.killpg(process.pid, number)  # the workers as well, as a scheduler does
            break
    _, said = process.communicate(timeout=600)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "train.py: interrupted. The same command resumes the run."
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (InputError("fold must be 1."), 1, "train.py: fold must be 1.\n"),
        (OSError(errno.ENOSPC, "No space left on device", "x"), 1, "train.py: x cannot be written: the disk is full. "),
        (OSError(errno.EROFS, "Read-only file system", "x"), 1, "x cannot be written: the file system is read-only. "),
        (RuntimeError("basic_ios::clear: iostream error"), 1, "A file cannot be written to the end: the disk is full"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that x"),
            1,
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that x: there was too little",
        ),
        (KeyboardInterrupt(), 130, "train.py: interrupted. The same command resumes the run.\n"),
    ],
)
def test_a_refusal_a_full_disk_and_an_interrupt_are_sentences(capsys, monkeypatch, error, status, text):
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def main(words):
        raise error

    assert end_in_a_sentence(main, []) == status
    assert text in capsys.readouterr().err


def test_what_a_worker_refuses_is_a_sentence(capsys, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    reader = ClipReader(WaveformStore(16000))
    dataset = Gone([("utt7", "gone.wav")], reader)
    assert end_in_a_sentence(lambda _: next(iter(DataLoader(dataset, num_workers=1))), []) == 1
    said = capsys.readouterr().err
    assert said.startswith("train.py: utt7: the recording cannot be opened: [Errno 2]") and len(said.splitlines()) == 1


class Gone(list):
    """A dataset of recordings."""

    def __init__(self, clips, reader):
        super().__init__(clips)
        self.reader = reader

    def __getitem__(self, index):
        return self.reader(*super().__getitem__(index))


def test_other_faults_keep_their_traceback(monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def main(words):
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        end_in_a_sentence(main, [])


def test_a_fold_survives_that_a_file_within_a_room_is_renamed(fit, root, tmp_path):
    folder = fit("fold", "--number_of_epochs=1")
    checkout = tmp_path / "checkout"
    shutil.copytree(
        root / "speechbrain_ext", checkout / "speechbrain_ext", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(root / "recipes", checkout / "recipes", ignore=shutil.ignore_patterns("__pycache__"))
    rooms = checkout / "speechbrain_ext"
    (rooms / "nnet/schedulers.py").rename(rooms / "nnet/rates.py")
    face = rooms / "nnet/__init__.py"
    face.write_text(face.read_text().replace('"schedulers":', '"rates":'))
    train_file = checkout / "recipes/IEMOCAP/train.py"
    command = [sys.executable, str(train_file), str(folder / "hyperparams.yaml"), "--number_of_epochs=2"]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""}, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert [epoch["epoch"] for epoch in history(folder)] == [1, 2]
    assert results(folder)[0]["n_epochs"] == 2
