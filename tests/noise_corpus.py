"""A corpus of noise in a CSV, small enough to train on in a second, and what trains on it."""

import csv
from pathlib import Path

import numpy as np
import soundfile

from recipes.IEMOCAP import train
from tests.recipes.fold_reading import TINY

ROOT = Path(__file__).resolve().parents[1]
EMOTIONS = ("ang", "sad")
OPTIONS = [TINY, "--num_layers=2", "--max_train_s=0.5", "--number_of_epochs=2", "--batch_size=4", "--noprogressbar"]


class Corpus:
    """Recordings of noise by four speakers in a CSV; fold 1 tests on the first."""

    def __init__(self, folder, first_seed=0):
        self.folder, self.path = folder, folder / "corpus.csv"
        folder.mkdir()
        self.rows = []
        for k in range(24):
            self.record(f"{k:02}.wav", seed=first_seed + k)
            speaker = f"s{k // 6}"
            self.rows.append({"wav": f"{k:02}.wav", "emo": EMOTIONS[k % 2], "speaker": speaker, "group": speaker})
        self.save()

    def record(self, name, seed):
        noise = np.random.default_rng(seed).uniform(-0.5, 0.5, 5000 + 100 * (seed % 24))
        soundfile.write(self.folder / name, noise, 16000)

    def save(self):
        with open(self.path, "w", newline="") as file:
            writer = csv.DictWriter(file, sorted(set().union(*self.rows)), restval="")
            writer.writeheader()
            writer.writerows(self.rows)

    def of_speaker(self, speaker):
        return [row for row in self.rows if row["speaker"] == speaker]


def train_fold(folder, corpus, *options, yaml="demo.yaml", small=OPTIONS):
    """Train a fold of a corpus; return its folder."""
    given = [f"--corpus_csv={corpus.path}", "--corpus=csv", "--data_folder=null", f"--output_folder={folder}"]
    train.main([str(ROOT / "hparams" / yaml), *given, *small, *options])
    return folder
