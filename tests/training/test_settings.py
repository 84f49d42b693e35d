"""What the recipe's settings may be, and how it refuses the others."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from recipes.IEMOCAP import train
from speechbrain_ext.errors import InputError
from speechbrain_ext.training.hparams_file import read_settings
from speechbrain_ext.training.run import corpus_name
from speechbrain_ext.training.settings import check_settings, complete_settings
from tests.recipes.fold_reading import assert_same_weights, last_checkpoint, results


def test_options_of_speechbrain_are_saved_and_compared(fit):
    options = ["--max_grad_norm=0.01", "--precision=bf16", "--grad_accumulation_factor=2"]
    whole = fit("whole", *options)
    folder = fit("fold", *options, "--number_of_epochs=1")
    train.main([str(folder / "hyperparams.yaml"), "--noprogressbar", "--number_of_epochs=3"])
    assert_same_weights(last_checkpoint(folder), last_checkpoint(whole))
    with pytest.raises(InputError, match="max_grad_norm is 0.01 there, inf now"):
        fit("fold", *options[1:])


def test_paths_are_made_absolute_and_hub_ids_are_kept(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hub").mkdir()
    (tmp_path / "tree").mkdir()
    options = {"data_folder": "tree", "output_folder": "~/out"}
    yaml_file = root / "hparams/demo.yaml"
    settings, overrides = complete_settings(yaml_file, {**options, "encoder_source": "hub"})
    assert settings["data_folder"] == overrides["data_folder"] == str(tmp_path / "tree")
    assert settings["output_folder"] == str(Path("~/out").expanduser().resolve())
    assert settings["encoder_source"] == str(tmp_path / "hub")
    settings, _ = complete_settings(yaml_file, {**options, "encoder_source": "facebook/hubert-large-ll60k"})
    assert settings["encoder_source"] == "facebook/hubert-large-ll60k"


def test_another_corpus_comes_as_csv(fit, tmp_path):
    rng = np.random.default_rng(0)
    with open(tmp_path / "corpus.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "wav", "emo", "speaker", "group"])
        for i in range(24):
            soundfile.write(tmp_path / f"{i}.wav", 0.1 * rng.standard_normal((4000, 1 + i % 2)), 8000)
            writer.writerow([f"utt{i:02d}", f"{i}.wav", ("joy", "rage")[i % 2], f"s{i % 6}", f"g{i % 3}"])
    folder = fit(
        "fold", "--emotions=[joy, rage]", f"--corpus_csv={tmp_path / 'corpus.csv'}", "--fold=3", "--valid_fraction=0.2",
        "--data_folder=null", data_folder=None,
    )  # fmt: skip
    metrics, rows = results(folder)
    assert metrics["test_group"] == "g2"
    assert metrics["emotions"] == ["joy", "rage"]
    assert len(rows) == 8


@pytest.mark.parametrize(("yaml", "variable"), [("demo", "SYNTHETIC_ROOT"), ("loso", "IEMOCAP_ROOT")])
def test_corpus_root_comes_from_the_environment(root, monkeypatch, tmp_path, yaml, variable):
    monkeypatch.setenv(variable, str(tmp_path))
    settings, _ = complete_settings(root / f"hparams/{yaml}.yaml", {"data_folder": None})
    assert settings["data_folder"] == str(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fold=0"], "fold must be a whole number from 1, got 0"),
        (["--fold=6"], r"fold must be a whole number from 1 to 5 \(.*Session1, .*Session5\), got 6"),
        (["--fold=a"], "fold must be a whole number from 1, got 'a'"),
        (["--max_grad_norm=-1"], "max_grad_norm must be a positive number, got -1; .inf does not clip"),
        (["--freeze_encoder=no"], "freeze_encoder must be True or False, got 'no'"),
        (["--lr=fast"], r"lr must be a number \(in the file it is 0.002\), got 'fast'"),
        (["--lr=-1"], "lr must be a number between 0 and inf, got -1"),
        (["--number_of_epochs=0"], "number_of_epochs must be a whole number from 1, got 0"),
        (["--mixup_prob=2"], "mixup_prob must be a number from 0 to 1, got 2"),
        (["--max_train_s=0"], "max_train_s must be a number from 0.025 to 3600.0, got 0"),
        (["--fixed_length_s=400"], "fixed_length_s must be a number from 0.025 to 360.0, got 400"),
        (["--waveform_scale=rms"], "waveform_scale must be one of .*got 'rms'"),
        (["--emotions=[ang, ang, hap, sad, neu]"], "emotions must be a list of at least two different labels"),
        (["--emotions=ang"], "emotions must be a list of at least two different labels, got ang"),
        (["--output_folder="], "output_folder must name a folder, got None"),
        (["--seed=-1"], "seed must be a whole number from 0, got -1"),
        (["--mixup_method=adaptive"], "mixup_method must be one of label_adaptive, conventional, got 'adaptive'"),
        (["--batch_size=1.5"], "batch_size must be a whole number from 1, got 1.5"),
        (["--track_test=yes"], "track_test must be True or False, got 'yes'"),
        (["--validation=loso"], "validation must be one of random, group, speaker, none, got 'loso'"),
        (["--tested_weights=first"], "tested_weights must be one of best, last, got 'first'"),
        (["--lamda_c=0.1"], r"--lamda_c is unknown: .*demo.yaml has no such key. Did you mean --lambda_c"),
        (["--data_folder=/nowhere"], "the data folder /nowhere does not exist. Give the folder that holds"),
        (["--emotions=[ang, happy]"], "'happy'.* Did you mean hap"),
        (["--augmentations=pitch"], r"augmentations must be a list, such as \[gain, pitch_shift\], got 'pitch'"),
        (["--corpus=iemocab"], "corpus must be one of .*iemocap.*, got 'iemocab'. Did you mean iemocap"),
        (["--max_grad_norm=[1]"], r"max_grad_norm must be a positive number, got \[1\]"),
        (["--adam_betas=3"], r"adam_betas must be two numbers below 1, such as \(0.9, 0.98\), got 3"),
        (["--sample_rate=1000000000"], "sample_rate must be a whole number from 1000 to 384000, got 1000000000"),
        (["--num_layers=100000"], "num_layers must be a whole number from 1 to 200, got 100000"),
        (["--sample_rate=0"], "sample_rate must be a whole number from 1000 to 384000, got 0"),
        (["--precision=half"], "precision must be one of auto, fp32, fp16, bf16, got 'half'"),
        (["--device=gpu"], "device must be such as cpu, cuda or cuda:0, got 'gpu'. Did you mean cuda"),
        (["--augmentations=[gain, pich_shift]"], "augmentation 'pich_shift' is unknown; .*Did you mean pitch_shift"),
        (["--augmentations={{gain: 1}}"], "augmentations must be a list"),
        (["--n_augmentations=[3, 1]"], r"n_augmentations must be two whole numbers, such as \[1, 3\], or null"),
        (["--encoder_source=./nowhere"], "encoder_source ./nowhere does not exist: give the folder of a checkpoint"),
        (["--encoder_source={tmp_path}/file"], "encoder_source .*file is a file: give the folder of a checkpoint"),
        (["--output_folder={tmp_path}/file"], "output_folder .*file cannot be written: it is a file"),
        (["--device=cuda:7"], "device 'cuda:7' cannot be used: .*Devices here: cpu"),
        (["--data_parallel_backend"], "data_parallel_backend is not supported: use torchrun"),
        (["--output_folder={tmp_path}/file/run"], "output_folder .*file/run cannot be written: .*file is a file"),
        (["--encoder_source={tmp_path}"], "holds no checkpoint that can be read"),
        (["--test_only"], "holds no finished epoch to test. Run without --test_only"),
        (["--lora_rank=2", "--freeze_encoder=True"], "lora_rank is 2, and freeze_encoder: True trains no part"),
        (["--lora_projections=q_proj"], r"lora_projections must be a list of names, such as \[q_proj, v_proj\]"),
        (
            ["--lora_rank=2", "--lora_projections=[query]"],
            r"got \['query'\]. This encoder has interm",
        ),
        (["--class_weights=rare"], "class_weights must be null, balanced, or a list of positive numbers, got 'rare'"),
        (["--class_weights=[1, 2]"], r"one number for each of the 4 emotions, in their order, got 2: \[1, 2\]"),
        (["--focal_gamma=-1"], "focal_gamma must be a number from 0 to inf, got -1"),
        (["--logit_adjustment=-1"], "logit_adjustment must be a number from 0 to inf, got -1"),
        (["--num_layers=3"], "num_layers is 3, but the config has 2 layers: choose 1 to 2"),
    ],
)
def test_wrong_options_are_refused(fit, tmp_path, options, message):
    (tmp_path / "file").write_text("a file where a folder is asked for")
    with pytest.raises(InputError, match=message):
        fit("fold", *(option.format(tmp_path=tmp_path) for option in options))


def test_missing_corpus_says_where_to_get_it(root, monkeypatch):
    monkeypatch.delenv("IEMOCAP_ROOT", raising=False)
    with pytest.raises(InputError, match=r"--data_folder=.*IEMOCAP_ROOT.*sail.usc.edu/iemocap.*make demo"):
        complete_settings(root / "hparams/loso.yaml")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--fold=2", "holds another run: fold is 1 there, 2 now. Choose another --output_folder"),
        ("--seed=5", "holds another run: seed is 1 there, 5 now"),
        ("--lr=0.5", "holds a run with other settings: lr is 0.002 there, 0.5 now"),
    ],
)
def test_stale_folder_is_refused_and_kept(fit, option, message):
    folder = fit("fold", "--number_of_epochs=1")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=message):
        fit("fold", option)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_folder_of_another_corpus_is_refused(fit, demo_corpus, tmp_path):
    fit("fold", "--number_of_epochs=1")
    copy = shutil.copytree(demo_corpus, tmp_path / "copy")
    path = next(copy.glob("Session3/sentences/wav/*/[!.]*.wav"))
    soundfile.write(path, np.zeros(9999), 16000)
    with pytest.raises(InputError, match="holds another run: the corpus has changed: .*1 "):
        fit("fold", data_folder=copy)


def test_wrong_option_prints_a_sentence_without_a_traceback(root, demo_corpus, tmp_path):
    run = subprocess.run(
        [sys.executable, root / "train.py", root / "hparams/demo.yaml", f"--data_folder={demo_corpus}", "--fold=9"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("train.py: fold must be a whole number from 1 to 5")
    assert "Traceback" not in run.stderr
    assert not list(tmp_path.iterdir())


def test_encoder_source_may_be_corrected_after_a_refusal(fit, tmp_path):
    with pytest.raises(InputError, match="holds no checkpoint that can be read"):
        fit("fold", f"--encoder_source={tmp_path}", "--number_of_epochs=1")
    assert results(fit("fold", "--number_of_epochs=1"))[0]["n"] == 16


@pytest.fixture
def derived(root, tmp_path):
    """Return a function that writes a YAML file on top of another."""

    def write(text, base="loso.yaml"):
        path = tmp_path / "my.yaml"
        path.write_text(f"base: {root / 'hparams' / base}\n{text}")
        return path

    return write


@pytest.mark.parametrize(
    ("text", "options", "corpus", "emotions"),
    [
        ("corpus_csv: my.csv\n", {}, "csv", None),
        ("corpus: csv\ncorpus_csv: my.csv\n", {}, "csv", None),
        ("corpus_csv: my.csv\nemotions: [joy, rage]\n", {}, "csv", ["joy", "rage"]),
        ("lr: 0.5\n", {"corpus_csv": "my.csv"}, "csv", None),
        ("emotions: [ang, sad]\n", {"corpus_csv": "my.csv"}, "csv", None),
        ("lr: 0.5\n", {"corpus_csv": "my.csv", "emotions": ["a", "b"]}, "csv", ["a", "b"]),
        ("emotions: [ang, sad]\n", {"data_folder": "x"}, "iemocap", ["ang", "sad"]),
        ("emotions: [ang, sad]\n", {"data_folder": "x", "corpus": "iemocap"}, "iemocap", ["ang", "sad"]),
        ("lr: 0.5\n", {"data_folder": "x", "corpus": "synthetic"}, "synthetic", ["ang", "hap", "sad", "neu"]),
        ("lr: 0.5\n", {"data_folder": "x", "emotions": None}, "iemocap", None),
    ],
)
def test_the_corpus_and_its_emotions_come_from_whoever_names_them(
    derived, monkeypatch, text, options, corpus, emotions
):
    monkeypatch.setenv("IEMOCAP_ROOT", "elsewhere")
    monkeypatch.setattr("speechbrain_ext.training.settings.check_data_folder", lambda *_: None)
    settings, _ = complete_settings(derived(text), options)
    assert (settings["corpus"], settings["emotions"]) == (corpus, emotions)
    assert Path(settings["corpus_csv"] or settings["data_folder"]).name == ("my.csv" if corpus == "csv" else "x")


@pytest.mark.parametrize(
    ("text", "options", "folder"),
    [
        ("lr: 0.5\n", {"corpus": "emobox:new/emodb"}, "new/emodb"),
        ("corpus: emobox:new/emodb\n", {}, "new/emodb"),
        ("corpus: emobox:emodb\ncorpus_metadata: /old/emodb\n", {}, "/old/emodb"),  # as a run saves it
        ("corpus: emobox:emodb\ncorpus_metadata: /old/emodb\n", {"corpus": "emobox:new/emodb"}, "new/emodb"),
        ("lr: 0.5\n", {"corpus": "emobox:new/emodb", "corpus_metadata": "/old/emodb"}, "/old/emodb"),  # as a plan does
    ],
)
def test_a_corpus_that_a_folder_describes_is_saved_as_a_name_and_a_path(
    derived, monkeypatch, tmp_path, text, options, folder
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMOBOX_ROOT", "root")
    monkeypatch.setattr("speechbrain_ext.training.settings.check_data_folder", lambda *_: None)
    settings, _ = complete_settings(derived(text), options)
    assert settings["corpus"] == "emobox:emodb"
    assert settings["corpus_metadata"] == str(tmp_path / folder)
    assert corpus_name(settings) == f"emobox:{tmp_path / folder}"
    assert settings["data_folder"] == str(tmp_path / "root")


def test_other_corpora_have_no_folder_of_metadata(derived, monkeypatch):
    monkeypatch.setattr("speechbrain_ext.training.settings.check_data_folder", lambda *_: None)
    for text in ("", "corpus: emobox:emodb\ncorpus_metadata: /old/emodb\n"):
        settings, _ = complete_settings(derived(text), {"corpus": "iemocap", "data_folder": "x"})
        assert (settings["corpus_metadata"], corpus_name(settings)) == (None, "iemocap")


def test_a_csv_beside_another_corpus_is_refused(derived):
    with pytest.raises(InputError, match="corpus is iemocap, and corpus_csv is my.csv: leave one of them out"):
        complete_settings(derived(""), {"corpus": "iemocap", "corpus_csv": "my.csv", "data_folder": "x"})
    with pytest.raises(InputError, match="no corpus was given. Set --corpus_csv=PATH for "):
        complete_settings(derived(""), {"corpus": "csv", "data_folder": "my.csv"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("encoder_source", "facebook/hubert-base-ls960"),
        ("lora_rank", 8),
        ("layer_weights", "learned"),
        ("freeze_encoder", True),
        ("num_layers", 12),
        ("feature_reduction", "mean"),
        ("cache_features", True),
        ("compile_layers", True),
    ],
)
def test_what_filterbanks_have_no_use_for_is_refused(root, key, value):
    settings, _ = read_settings(root / "hparams/scratch.yaml")
    check_settings(settings)
    with pytest.raises(InputError, match=f"{key} is for pretrained encoders.*leave {key} out.*Got {value!r}"):
        check_settings({**settings, key: value})
