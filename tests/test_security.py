"""What SECURITY.md says of each input: nothing that it holds is run; or, where it says so, that what it names is run.

Each attack makes the folder `marker`, and is shown to do so by what it is made for.
"""

import contextlib
import os
import pickle
import re
import shutil
import signal

import numpy as np
import pytest
import soundfile as sf
import torch
import transformers
import yaml
from hyperpyyaml import load_hyperpyyaml
from speechbrain.inference.classifiers import EncoderClassifier

from recipes.IEMOCAP import train
from speechbrain_ext.commands.main import main
from speechbrain_ext.dataio.feature_cache import FeatureCache
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.bundle_writer import seal_bundle
from speechbrain_ext.lobes.truncated_encoder import TruncatedHuBERT
from speechbrain_ext.training.checkpoint_files import SUMS_FILE, seal_checkpoint
from tests.babble import make_babble
from tests.bundle_making import edit_config, edit_json, make_bundle, write_yaml
from tests.recipes.fold_reading import SMALL
from tests.tiny_hubert import TINY

MODULE = "import os\nos.mkdir('marker')\n"
FORMULA = "=cmd|' /C mkdir marker'!A0"
# Names of files that a shell, FFmpeg or Kaldi's tools would take for a command or an address.
NAMES = [
    "$(mkdir marker).wav",
    "`mkdir marker`.wav",
    ";mkdir marker;.wav",
    "|mkdir marker|.wav",
    "-version.wav",
    "a:b.wav",
]


class Bomb:
    """Makes the folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("marker",)


@pytest.fixture(autouse=True)
def marker(tmp_path, monkeypatch):
    """Work in a folder of the test's own; return the one that every attack makes there."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "marker"
    assert not (tmp_path / "marker").exists()


def runs(marker, attack, *arguments):
    """Check that an attack is one: it runs where it is trusted."""
    with contextlib.suppress(Exception, SystemExit):
        attack(*arguments)
    marker.rmdir()


def pickled(marker, path):
    """Write a pickle that runs a command, as torch writes it."""
    torch.save({"weight": Bomb()}, path)
    runs(marker, lambda: torch.load(path, weights_only=False))


def seal(checkpoint):
    """Write the sums anew: an attacker can."""
    (checkpoint / SUMS_FILE).unlink()
    seal_checkpoint(checkpoint)


def test_security_md_has_these_inputs_and_no_others(root):
    table = re.findall(r"^\| (.*?) \| (.*?) \| (.*?) \|$", (root / "SECURITY.md").read_text(), re.MULTILINE)[1:]
    inputs = {re.split(r" \(|, also", given)[0] for given, _, _ in table[1:]}
    assert inputs == {
        "a bundle",
        "a run's folder",
        "a checkpoint",
        "a corpus",
        "split files, predictions",
        "a recording",
        "cached features",
        "an encoder",
        "a YAML file of hyperparameters",
        "an option for a key of the YAML file",
        "a file of grids",
        "a `train.py`",
    }


# ==== A run's folder, its checkpoints, and cached features


def test_a_runs_folder_is_read_and_train_py_alone_runs_what_its_yaml_names(fit, tmp_path, marker, capsys):
    fold = fit("results/seed1/fold1", "--number_of_epochs=1")
    attack = "x: !apply:os.makedirs [marker]"
    runs(marker, load_hyperpyyaml, attack)
    text = (fold / "hyperparams.yaml").read_text(encoding="utf-8").partition("\n")[2]  # an attacker needs no checksum
    (fold / "hyperparams.yaml").write_text(f"{text}\n{attack}\n", encoding="utf-8")
    for name in ("train.py", "custom.py", "sitecustomize.py", "speechbrain_ext.py", "conftest.py"):
        (fold / name).write_text(MODULE)
    results = str(tmp_path / "results")
    assert main(["report", results, "--allow=incomplete"]) == 0
    assert main(["audit", f"--predictions={results}"]) == 0
    assert main(["export", str(fold), "bundle"]) == 0
    assert main(["predict", "bundle", str(fold), "--device=cpu"]) == 1
    assert "holds no recordings" in capsys.readouterr().err
    assert not marker.exists()
    runs(marker, train.main, [str(fold / "hyperparams.yaml")])


def test_a_checkpoint_runs_nothing(fit, tmp_path, marker, capsys):
    """Not its YAML file, and no part of it, with export and with train.py that resumes."""
    fold = fit("fold1", "--number_of_epochs=1")
    (checkpoint,) = fold.glob("save/CKPT*")
    whole = shutil.copytree(checkpoint, tmp_path / "whole")
    attack = "unixtime: !!python/object/apply:os.mkdir [marker]\n"
    runs(marker, yaml.unsafe_load, attack)
    (checkpoint / "CKPT.yaml").write_text(attack)
    assert main(["export", str(fold), "out"]) == 1
    assert "checkpoint" in capsys.readouterr().err and not marker.exists()
    for name in ("encoder", "optimizer_network", "dataloader-TRAIN"):
        shutil.rmtree(checkpoint)
        shutil.copytree(whole, checkpoint)
        pickled(marker, checkpoint / f"{name}.ckpt")
        seal(checkpoint)
        read = name != "dataloader-TRAIN"  # that of a finished epoch is not
        with pytest.raises(InputError, match="it cannot be loaded") if read else contextlib.nullcontext():
            fit("fold1", "--number_of_epochs=2")
        assert not marker.exists(), name
    pickled(marker, checkpoint / "f_1.ckpt")
    seal(checkpoint)
    assert main(["export", str(fold), "out"]) == 1
    assert "f_1.ckpt are refused: they hold more than tensors" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_cached_features_run_nothing(tmp_path, marker):
    cache = FeatureCache(tmp_path / "cache", {"name": "tiny"})
    with open(cache.folder / "0.safetensors", "wb") as file:
        pickle.dump(Bomb(), file)
    runs(marker, lambda: pickle.loads((cache.folder / "0.safetensors").read_bytes()))
    assert "a" not in FeatureCache(tmp_path / "cache", {"name": "tiny"})
    assert not (cache.folder / "0.safetensors").exists()  # it is damaged, and is computed again


# ==== A bundle, for all that load one


def add_code(bundle, marker):
    attack = "x: !apply:os.mkdir [marker]"
    write_yaml(bundle, (bundle / "hyperparams.yaml").read_text() + f"\n{attack}\n")
    runs(marker, EncoderClassifier.from_hparams, str(bundle))
    return ""


def add_module(bundle, marker):
    for name in ("custom.py", "interface.py", "soundfile.py"):
        (bundle / name).write_text(MODULE)
    seal_bundle(bundle)
    return ""


def add_pickle(bundle, marker):
    pickled(marker, bundle / "f_0.ckpt")
    seal_bundle(bundle)
    return "they hold more than tensors. Nothing of it was run."


def add_auto_map(bundle, marker):
    edit_config(bundle, auto_map={"AutoModel": "custom.Model"})
    return "encoder_config.auto_map is unknown"


def add_path_outside(bundle, marker):
    edit_json(bundle, files={"../outside.ckpt": "0" * 64})
    return "no name of a file in the folder"


def add_link(bundle, marker):
    shutil.move(bundle / "f_0.ckpt", bundle.parent / "f_0.ckpt")
    (bundle / "f_0.ckpt").symlink_to("../f_0.ckpt")
    return "f_0.ckpt"


@pytest.mark.parametrize("attack", [add_code, add_module, add_pickle, add_auto_map, add_path_outside, add_link])
def test_a_bundle_runs_nothing_with_any_command(tmp_path, marker, monkeypatch, capsys, attack):
    bundle = make_bundle(tmp_path / "bundle")
    said = attack(bundle, marker)
    sf.write("a.wav", make_babble(1.0), 16000)
    monkeypatch.setattr("speechbrain_ext.web.server.serve_page", lambda *_: contextlib.nullcontext("http://page/"))
    monkeypatch.setattr("webbrowser.open", lambda url: signal.raise_signal(signal.SIGTERM))
    for words in (["predict", "bundle", "a.wav"], ["timeline", "bundle", "a.wav"], ["web", "bundle", "--open"]):
        assert main([*words, "--device=cpu"]) == (1 if said else 0)
        assert said in capsys.readouterr().err and not marker.exists()


# ==== A corpus, split files, recordings


def test_a_corpus_and_a_recording_run_nothing(tmp_path, marker, capsys):
    folder = tmp_path / "corpus"
    folder.mkdir()
    lines = ["wav,emo,speaker,text"]
    for i, name in enumerate(NAMES):
        sf.write(folder / name, np.random.default_rng(i).normal(size=16000) / 10, 16000)
        lines.append(f'"{name}",{("ang", "!!python/object/apply:os.mkdir [marker]")[i % 2]},s{i % 3},"{FORMULA}"')
    for name in ("custom.py", "corpus.py", "csv.py", "soundfile.py"):
        (folder / name).write_text(MODULE)
    (folder / "list.csv").write_text("\n".join(lines))
    csv_file = str(folder / "list.csv")
    for words in (["check", csv_file], ["prepare", csv_file, "m.json"]):
        assert main(words) == 0, capsys.readouterr().err
    bundle = str(make_bundle(tmp_path / "bundle"))
    assert main(["predict", bundle, str(folder), "--excel", "--out=a.csv", "--device=cpu"]) == 0
    for name in NAMES:
        assert main(["timeline", bundle, str(folder / name), "--formats=csv", "--device=cpu"]) == 0


@pytest.mark.parametrize(
    "text", ["#EXTM3U\n#EXTINF:1,\n{}\n", "ffconcat version 1.0\nfile '{}'\n", '<smil><audio src="{}"/></smil>']
)
def test_a_recording_opens_no_other_file(tmp_path, text, capsys):
    sf.write("secret.wav", make_babble(1.0), 16000)
    for name in ("list.wav", "list.m3u8.mp4"):
        (tmp_path / name).write_text(text.format(tmp_path / "secret.wav"))
        assert main(["predict", str(make_bundle(tmp_path / f"{name} bundle")), name, "--device=cpu"]) == 1
        assert "cannot be read as audio" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["train.csv", "train.json", "train.txt", "train.pkl", "train.pt", "wav.scp"])
def test_split_files_and_predictions_run_nothing(tmp_path, marker, name):
    folder = tmp_path / "lists"
    for part in ("train", "test"):
        (folder / part).mkdir(parents=True)
        (folder / part / "wav.scp").write_text("a mkdir marker |\nb $(mkdir marker)\n")
        (folder / part / "utt2spk").write_text("a s1\nb s2\n")
    for path in (folder / "train" / "wav.scp", folder / name):
        if name != "wav.scp":
            pickled(marker, path)
    for words in (
        [str(folder)],
        [f"--predictions={folder / name}"],
        [f"train={folder / name}", f"test={folder / name}"],
    ):
        assert main(["audit", *words]) in (0, 1, 2)


# ==== An encoder


def test_an_encoder_runs_nothing(tmp_path, marker):
    folder = tmp_path / "encoder"
    transformers.HubertModel(transformers.HubertConfig(**TINY)).save_pretrained(folder)
    (folder / "custom.py").write_text(f"{MODULE}class Model: pass\nclass Config: pass\n")
    config = (folder / "config.json").read_text()
    auto_map = '"auto_map": {"AutoModel": "custom.Model", "AutoConfig": "custom.Config"}, "trust_remote_code": true'
    (folder / "config.json").write_text(config.replace("{", "{" + auto_map + ",", 1))
    runs(marker, lambda: transformers.AutoModel.from_pretrained(folder, trust_remote_code=True))
    with contextlib.suppress(InputError):
        TruncatedHuBERT(folder, num_layers=1)
    assert not marker.exists()
    (folder / "config.json").write_text(config)
    (folder / "model.safetensors").unlink()
    pickled(marker, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="would run code when it is loaded"):
        TruncatedHuBERT(folder, num_layers=1)


# ==== What is trusted


@pytest.mark.parametrize("where", ["option", "file"])
def test_train_py_runs_what_a_yaml_file_or_an_option_names(root, demo_corpus, tmp_path, marker, where):
    words = [
        str(root / "hparams/demo.yaml"),
        f"--data_folder={demo_corpus}",
        f"--output_folder={tmp_path}/fold",
        *SMALL,
    ]
    attack = "!apply:os.mkdir [marker]"
    if where == "file":
        (tmp_path / "mine.yaml").write_text(f"base: {words[0]}\ntrain_logger: {attack}\n")
        words[0] = str(tmp_path / "mine.yaml")
    else:
        words.append(f"--train_logger={attack}")
    runs(marker, train.main, words)


def test_a_file_of_grids_is_read_as_plain_data(root, tmp_path, marker, capsys):
    attack = "grid: !!python/object/apply:os.mkdir [marker]"
    runs(marker, yaml.unsafe_load, attack)
    (tmp_path / "grids.yaml").write_text(attack)
    words = ["ablations", str(root / "train.py"), str(root / "hparams/demo.yaml"), "--grid=grids.yaml"]
    assert main(words) == 1 and "cannot be read" in capsys.readouterr().err
