"""What the tests of a run's files share: a small hyperparameter file, and claiming a folder as a recipe does."""

import pytest
from hyperpyyaml import load_hyperpyyaml

from speechbrain_ext.training.command_line import read_command_line
from speechbrain_ext.training.hparams_file import hparams_text, read_settings
from speechbrain_ext.training.run_folder import claim_run_folder

HPARAMS = """\
# python train.py small.yaml

# ---- The run ----
seed: 1
fold: 1                 # 1 to 5
data_folder: null
note: null
output_folder: !ref results/seed<seed>/fold<fold>
number_of_epochs: 100
lr: 0.0001
betas: (0.9, 0.98)
emotions: [ang, sad]
augmentations:          # in this order
    - !new:collections.Counter {gain: 1}

# ==== How it is put together ====
schedule: !new:collections.Counter
    lr: !ref <lr>
    limit: !ref <number_of_epochs>
reader: !new:collections.Counter
    folder: !ref <data_folder>/wav
    epochs: !ref <number_of_epochs>
corpus: !ref <data_folder>
log: !ref <output_folder>/log.txt
"""
IDENTITY = {"fold": 1, "seed": 1, "manifest": "abc"}
RESUMABLE_KEYS = ("data_folder", "output_folder", "number_of_epochs", "tensorboard")


def options(hparams_file, text):
    """Read options as the command line gives them, a line each: "key: value"."""
    pairs = (line.partition(": ") for line in text.splitlines())
    return read_command_line([str(hparams_file), *(f"--{key}={value}" for key, _, value in pairs)]).overrides


@pytest.fixture
def hparams_file(tmp_path):
    """Write the YAML file."""
    path = tmp_path / "small.yaml"
    path.write_text(HPARAMS, encoding="utf-8")
    return path


@pytest.fixture
def claim(tmp_path, hparams_file):
    """Return a function that claims the run's folder with an identity and options, as a recipe does."""

    def claim_with(overrides="", file=hparams_file, folder=tmp_path / "run", **identity):
        overrides = read_settings(file, options(file, overrides))[1]
        claim_run_folder(folder, {**IDENTITY, **identity}, hparams_text(file, overrides), RESUMABLE_KEYS)
        (folder / "save" / "CKPT+1").mkdir(parents=True, exist_ok=True)
        return folder

    return claim_with


def contents(folder):
    """Return every file's bytes and time of change by its name."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def load(path, overrides=None):
    """Read a saved file as a recipe does."""
    with open(path, encoding="utf-8") as file:
        return load_hyperpyyaml(file, overrides)
