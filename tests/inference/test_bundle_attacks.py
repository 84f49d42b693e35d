"""Attacks by hyperparams.yaml: each runs by SpeechBrain's own way of loading, and nothing of it by ours."""

import builtins
import contextlib
import subprocess
import sys

import pytest
import torch
from hyperpyyaml import load_hyperpyyaml

from speechbrain_ext.inference.bundle import YAML_FILE
from speechbrain_ext.inference.classifier import load_classifier
from speechbrain_ext.lobes import truncated_encoder
from tests.bundle_making import write_yaml

MODULE = "import os\nos.mkdir('marker')\nraise ValueError"
# What is added to hyperparams.yaml: it makes the folder `marker`.
RUNNING = {
    "apply": "x: !apply:os.mkdir [marker]",
    "apply system": "x: !apply:os.system [mkdir 'marker']",
    "new": "x: !new:subprocess.Popen [[mkdir, marker]]",
    "applyref": "x: !applyref:os.mkdir [marker]",
    "python tag": "x: !!python/object/apply:os.mkdir [marker]",
    "verbatim tag": "x: !<!apply:os.mkdir> [marker]",
    "escaped tag": "x: !apply:os%2Emkdir [marker]",
    "anchor": "x: &x !apply:os.mkdir [marker]",
    "nested": "x: {y: [{z: !apply:os.mkdir [marker]}]}",
    "argument": "x: !new:torch.nn.Identity {y: !apply:os.mkdir [marker]}",
    "layer": "x: !new:speechbrain.nnet.containers.LengthsCapableSequential [!apply:os.mkdir [marker]]",
    "hidden key": "__x: !apply:os.mkdir [marker]",
    "merge key": "x:\n    <<: {y: !apply:os.mkdir [marker]}",
    "tuple as a key": "x:\n    ? (!!python/object/apply:os.mkdir [marker])\n    : 1",
    "tuple": "x: (!!python/object/apply:os.mkdir [marker])",
    "tagged tuple": "x: !tuple \"(!!python/object/apply:os.mkdir ['marker'])\"",
    "included file": "x: !include:more.yaml",
    "module": "x: !module:bundle_evil",
    "name in a module": "x: !name:bundle_evil.f",
    "class in a module": "x: !new:bundle_evil.f",
}
# HyperPyYAML runs these in the first file that a process loads, which teaches it what a tuple is; it quotes later ones.
RUNNING_FIRST = {
    "quoted tuple": "x: \"(!!python/object/apply:os.mkdir ['marker'])\"",
    "tuple by reference": "y: \"!!python/object/apply:os.mkdir ['marker']\"\nx: !ref (<y>)",
    "tuple after nothing": "y: ''\nx: !ref <y>(!!python/object/apply:os.mkdir ['marker'])",
}
# What is put in place of a line.
EDITS = {
    "in the encoder's config": ("    hidden_act: gelu", "    hidden_act: !apply:os.mkdir [marker]"),
    "in place of the encoder": ("encoder: !new:", "encoder: !apply:os.mkdir [marker]\nx: !new:"),
    "in place of the labels": ("    labels: !ref <emotions>", "    labels: !apply:os.mkdir [marker]"),
    "renamed tag": ("# A trained", "%TAG !x! !apply:os.\n---\nx: !x!mkdir [marker]\n# A trained"),
}
TEXTS = [
    "",
    "a: [1",
    "\x07",
    "- " * 5_000,
    "x: !new:os.system [ls]",
    "precision: fp16\ndevice: meta\n",
    "emotions: [x]",
]


@pytest.fixture
def bundle(bundle, monkeypatch):
    monkeypatch.chdir(bundle.parent)
    return bundle


def assert_runs_nothing(bundle, monkeypatch):
    """Load a bundle in our way: there is no marker, and hyperparams.yaml is not even opened as text."""
    opened = builtins.open

    def open_but_no_yaml(file, mode="r", *args, **options):
        assert not str(file).endswith(".yaml") or mode == "rb", file  # for the hash
        return opened(file, mode, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", open_but_no_yaml)
        classifier = load_classifier(bundle, {"device": "cpu"})
    assert not bundle.with_name("marker").exists()
    assert classifier.classify_batch(torch.ones(1, 16000))[0].shape == (1, 4)
    assert (classifier.hparams.emotions, classifier.precision) == (["ang", "hap", "sad", "neu"], "fp32")


def assert_runs_by_from_hparams_alone(bundle, monkeypatch):
    try:  # as from_hparams does
        with open(bundle / YAML_FILE, encoding="utf-8") as file:
            loaded = load_hyperpyyaml(file)
        if isinstance(loaded.get("x"), subprocess.Popen):
            loaded["x"].wait()
    except Exception:  # what it has run by then, it has run
        pass
    bundle.with_name("marker").rmdir()  # it is there: that was an attack
    assert_runs_nothing(bundle, monkeypatch)


@pytest.mark.parametrize("name", RUNNING)
def test_attack_runs_nothing(bundle, tmp_path, monkeypatch, name):
    (tmp_path / "bundle_evil.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    (bundle / "more.yaml").write_text("y: !apply:os.mkdir [marker]")
    write_yaml(bundle, (bundle / YAML_FILE).read_text() + f"\n{RUNNING[name]}\n")
    assert_runs_by_from_hparams_alone(bundle, monkeypatch)


@pytest.mark.parametrize("name", EDITS)
def test_attack_in_place_of_a_line_runs_nothing(bundle, monkeypatch, name):
    old, new = EDITS[name]
    text = (bundle / YAML_FILE).read_text()
    assert text.count(f"\n{old}") == 1 or text.startswith(old)
    write_yaml(bundle, f"\n{text}".replace(f"\n{old}", f"\n{new}").lstrip("\n"))
    assert_runs_by_from_hparams_alone(bundle, monkeypatch)


@pytest.mark.parametrize("name", RUNNING_FIRST)
def test_attack_on_a_fresh_process_runs_nothing(bundle, tmp_path, monkeypatch, name):
    load = "import sys, hyperpyyaml; hyperpyyaml.load_hyperpyyaml(sys.argv[1])"
    subprocess.run([sys.executable, "-c", load, RUNNING_FIRST[name]], capture_output=True)
    (tmp_path / "marker").rmdir()  # it is there: that was an attack
    write_yaml(bundle, (bundle / YAML_FILE).read_text() + f"\n{RUNNING_FIRST[name]}\n")
    assert_runs_nothing(bundle, monkeypatch)


@pytest.mark.parametrize("arguments", ["[evil/hub]", "{source: evil/hub}", "{source: evil/hub, save_path: here}"])
def test_encoder_from_the_hub_is_not_asked_for(bundle, monkeypatch, arguments):
    asked = []
    monkeypatch.setattr(truncated_encoder, "find_checkpoint", lambda source, save_path: asked.append(source))
    attack = f"x: !new:speechbrain_ext.lobes.TruncatedHuBERT {arguments}"
    with contextlib.suppress(Exception):  # there is no model there
        load_hyperpyyaml(attack)
    assert asked == ["evil/hub"]
    write_yaml(bundle, (bundle / YAML_FILE).read_text() + f"\n{attack}\n")
    assert_runs_nothing(bundle, monkeypatch)
    assert asked == ["evil/hub"]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_what_the_yaml_says_makes_no_difference(bundle, monkeypatch, text):
    write_yaml(bundle, text)
    assert_runs_nothing(bundle, monkeypatch)
