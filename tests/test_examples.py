"""The examples run as their first lines say, on the demo corpus, and stay short."""

import importlib
import os
import re
import subprocess
import sys

import pytest

from speechbrain_ext.errors import InputError
from tests.tiny_encoders import save_checkpoint

EXAMPLES = ("speaker_embeddings", "mixup_ecapa", "frames")
SHORT = ["--number_of_epochs=1", "--noprogressbar", "--debug"]  # two batches of each part


@pytest.fixture
def run(root, demo_corpus, tmp_path, monkeypatch, capsys):
    """Run an example in an empty folder, with options; return what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(root / "examples"))

    def run(name, *options, of=None):
        yaml = root / "examples" / f"{of or name}.yaml"
        importlib.import_module(name).main([str(yaml), f"--data_folder={demo_corpus}", *SHORT, *options])
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("name", EXAMPLES)
def test_scripts_are_short_and_say_how_they_are_run(name, root):
    script = (root / "examples" / f"{name}.py").read_text(encoding="utf-8")
    yaml = (root / "examples" / f"{name}.yaml").read_text(encoding="utf-8")
    command = f"python examples/{name}.py examples/{name}.yaml --data_folder=demo_corpus\n"
    shared = (root / "examples/shared.py").read_text(encoding="utf-8")
    assert len(script.splitlines()) < 80 and len(shared.splitlines()) < 80
    assert script.splitlines()[3] + "\n" == command and yaml.startswith(f"# {command}")
    for page in ("README.md", "docs/reuse.md"):
        assert f"examples/{name}.py" in (root / page).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--test_grup=3"], "--test_grup is unknown: .*frames.yaml has no such key. Did you mean --test_group"),
        (["--lr=fast"], r"lr must be a number \(in the file it is 0.01\), got 'fast'"),
        (["lr=0.1"], "'lr=0.1', which belongs to no option. Did you mean --lr=0.1"),
        (["--n_classes=3"], "n_classes must be 4, for ang, hap, neu, sad, got 3"),
        (["--test_group=Session9"], "test_group must be one of Session1, .*Session5, got 'Session9'"),
        (["--num_layers=9"], "num_layers is 9, but .* has 4 layers"),
    ],
)
def test_what_a_recipe_cannot_use_is_refused(run, options, message):
    with pytest.raises(InputError, match=message):
        run("frames", *options)


def test_another_examples_file_is_refused(run):
    with pytest.raises(InputError, match="frames.yaml lacks emb_dim, .*: give mixup_ecapa.yaml, or a copy of it"):
        run("mixup_ecapa", of="frames")


def test_an_encoder_of_features_is_refused_where_its_peer_takes_waveforms(run, tmp_path):
    source = save_checkpoint("whisper", tmp_path / "whisper")
    with pytest.raises(InputError, match="encoder_source must take waveforms, as WeightedSSLModel does: HuBERT"):
        run("frames", f"--encoder_source={source}", "--num_layers=1")


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("words", [["--help"], ["-h", "--lr=0.1"]])
def test_help_lists_an_examples_own_options(name, words, root, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(root / "examples"))
    with pytest.raises(SystemExit) as end:
        importlib.import_module(name).main(words)
    out = capsys.readouterr().out
    script = importlib.import_module(name)
    assert not end.value.code and script.__doc__ in out
    for key in ("data_folder: ", "number_of_epochs: ", "lr: 0.0"):
        assert f"\n{key}" in out
    assert "opt_class" not in out  # what the objects are is no option that anyone types


def test_a_recipe_without_a_corpus_ends_in_a_sentence(root):
    words = [sys.executable, root / "examples/frames.py"]  # the YAML file beside it, if none is given
    ended = subprocess.run(words, capture_output=True, text=True, timeout=1200, env={**os.environ, "PYTHONPATH": root})
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert "frames.py: data_folder must be a corpus's folder" in ended.stderr


def test_speaker_embeddings_trains_and_verifies(run):
    out = run("speaker_embeddings", "--lr=0.01")
    assert 0 < float(re.search(r"TRAIN, epoch 1: loss ([\d.]+)", out)[1]) < 30
    assert 0 <= float(re.search(r"EER ([\d.]+)", out)[1]) <= 1


def test_mixup_ecapa_trains_and_counts(run):
    out = run("mixup_ecapa", "--emb_dim=16")
    assert 0 < float(re.search(r"TRAIN, epoch 1: loss ([\d.]+)", out)[1]) < 3
    assert 0 <= float(re.search(r"UA ([\d.]+)", out)[1]) <= 1


def test_frames_agree_with_weighted_ssl_model_but_for_padding(run):
    out = run("frames")
    ours = re.search(r"ours: (\S+) from WeightedSSLModel on one clip, (\S+) beside", out)
    assert float(ours[1]) < 1e-5 and float(ours[2]) < 1e-5
    theirs = re.search(r"WeightedSSLModel: (\S+) from WeightedSSLModel on one clip, (\S+) beside", out)
    assert float(theirs[1]) == 0 and float(theirs[2]) > 1e-3
    assert out.count("TEST, epoch None: loss") == 2
