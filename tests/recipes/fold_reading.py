"""A small model's options, and what the tests read out of a fold's folder."""

import csv
import json

import numpy as np
import torch
import transformers
import yaml

from tests import tiny_hubert

# Half the frames of the others: training takes half the time.
TINY_CONFIG = {**tiny_hubert.TINY, "conv_stride": [160, 4]}
TINY = f"--encoder_config={json.dumps(TINY_CONFIG)}"
SMALL = [TINY, "--num_layers=2", "--max_train_s=1.5", "--num_workers=0", "--number_of_epochs=3", "--noprogressbar"]


def save_source(folder, seed=0):
    """Save a small random encoder as the Hub has it; return the option that names it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformers.HubertModel(transformers.HubertConfig(**TINY_CONFIG)).save_pretrained(folder)
    return f"--encoder_source={folder}"


def results(folder):
    """Read a fold's numbers and predictions."""
    metrics = json.loads((folder / "test_metrics.json").read_text())
    with open(folder / "predictions.csv", newline="") as file:
        return metrics, list(csv.DictReader(file))


def posteriors(folder):
    """Read a fold's posteriors, [N, C]."""
    metrics, rows = results(folder)
    return np.array([[float(row[emo]) for emo in metrics["emotions"]] for row in rows])


def newest_checkpoint(folder):
    """Find the checkpoint that was saved last; names tell it to the second only."""
    times = {path: yaml.safe_load((path / "CKPT.yaml").read_text())["unixtime"] for path in folder.glob("save/CKPT*")}
    return max(times, key=times.get)


def last_checkpoint(folder):
    """Load the weights of the newest checkpoint."""
    newest = newest_checkpoint(folder)
    return {
        path.name: torch.load(path) for path in sorted(newest.glob("*.ckpt")) if path.name[:3] in ("enc", "f_0", "cen")
    }


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for name, weights in one.items():
        for key, value in weights.items():
            same = torch.equal(value, other[name][key]) if torch.is_tensor(value) else value == other[name][key]
            assert same, f"{name}: {key}"


def history(folder):
    """Read the numbers of every epoch out of the newest checkpoint."""
    return json.loads((newest_checkpoint(folder) / "history.ckpt").read_text())
