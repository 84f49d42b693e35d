"""The words of `run`: its own options, train.py's beside them, and what is refused before anything starts."""

import subprocess
import sys

import pytest

from speechbrain_ext.commands.main import run_command
from speechbrain_ext.launch import plan


@pytest.fixture
def refusal(root, demo_corpus, monkeypatch, tmp_path, capsys):
    """Return a function that gives the command words that it refuses, and returns the sentence."""
    for name in ("IEMOCAP_ROOT", "SYNTHETIC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(plan, "run_jobs", None)
    monkeypatch.chdir(tmp_path)

    def give(*options, hparams_file=root / "hparams/demo.yaml", train=root / "recipes/IEMOCAP/train.py"):
        words = [str(hparams_file), f"--data_folder={demo_corpus}", *options]
        assert run_command("run", words, "run_loso.py", [str(train)]) == 1
        assert not list(tmp_path.iterdir())
        return capsys.readouterr().err.strip()

    return give


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fold=1"], "--fold=1 is set for each run: use --folds=1."),
        (["-fold=1"], "-fold=1 is set for each run: use --folds=1."),
        (["fold=1"], "fold=1 is set for each run: use --folds=1."),
        (["--fold", "1"], "--fold is set for each run: use --folds."),
        (["--seed=1"], "--seed=1 is set for each run: use --seeds=1."),
        (["--output_folder=x"], "--output_folder=x is set for each run: use --results_folder=x."),
        (["lr=0.5"], "'lr=0.5' belongs to no option. Did you mean --lr=0.5?"),
        (["-jobs=2"], "'-jobs=2' belongs to no option. Did you mean --jobs=2?"),
        (["--job=2"], "--job is unknown. Did you mean --jobs?"),
        (["--result_folder=x"], "--result_folder is unknown. Did you mean --results_folder?"),
        (["--lamda_c=1"], "Did you mean --lambda_c?"),
        (["--lr", "0.5"], "'0.5' belongs to no option: write --lr=0.5."),
        (["more.yaml"], "'more.yaml' belongs to no option: write --key=value."),
        (["--lr=-1"], "lr must be a number between 0 and inf, got -1."),
        (["--folds=1-6"], "fold must be a whole number from 1 to 5"),
        (["--folds=0"], "fold must be a whole number from 1"),
        (["--folds=5-1"], "--folds must be whole numbers such as 1-5 or 1,3, got '5-1'."),
        (["--seeds=1,1"], "--seeds names a number twice: '1,1'."),
        (["--jobs=0"], "--jobs must be a whole number from 1, got 0."),
        (["--cpus_per_run=0"], "--cpus_per_run must be a whole number from 1, got 0."),
        (["--ray", "--jobs=2"], "--jobs is for this machine; Ray runs as many at a time as it has room for."),
        (["--gpus_per_run=1"], "--gpus_per_run is for Ray; on this machine --jobs says how many"),
        (["--results_folder=a<b"], "must be a text without '<', '>' and line breaks, got"),
        (["--data_folder=/nowhere"], "/nowhere does not exist"),
    ],
)
def test_wrong_words_are_refused_before_anything_starts(refusal, options, message):
    assert message in refusal(*options)


def test_an_own_options_value_may_look_like_an_option(refusal):
    assert "--folds must be whole numbers such as 1-5 or 1,3, got 'a=b'" in refusal("--folds", "a=b")


def test_a_training_script_is_asked_for(refusal, root):
    for train in (root / "hparams/loso.yaml", root / "missing.py"):
        assert refusal(train=train).startswith("run_loso.py: TRAIN.py must be a training script")


@pytest.mark.parametrize("option", ["--job=2", "--lamda_c=1", "--lr=-1", "-fold=1"])
def test_a_typo_is_answered_at_once_without_a_traceback(root, tmp_path, option):
    script = root / "recipes/IEMOCAP/run_loso.py"
    line = [sys.executable, "-X", "importtime", script, root / "hparams/demo.yaml", "--data_folder=x", option]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("run_loso.py: ")
    assert not {"torch", "speechbrain"} & {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not list(tmp_path.iterdir())
