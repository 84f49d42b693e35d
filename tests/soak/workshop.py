"""What all trials start from: a small corpus of made-up voices, and what the commands make of it when nobody kills."""

import json
import shutil
from pathlib import Path

import soundfile
import torch
import transformers

from tests.babble import make_babble
from tests.recipes.fold_reading import TINY, TINY_CONFIG
from tests.soak import children

ROOT = Path(__file__).resolve().parents[2]
EMOTIONS = ("ang", "sad")
N_SPEAKERS = 3
N_FILES = 80  # that predict reads
FAST = [
    TINY, "--num_layers=2", "--num_workers=0", "--noprogressbar", "--batch_size=4", "--max_train_s=0.5", "--device=cpu"
]  # fmt: skip


class Workshop:
    """A folder with a corpus, and the commands that are tried on it.

    Arguments
    ---------
    folder : pathlib.Path
        A new folder.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.log = self.folder / "log"
        self.corpus = self._make_corpus()
        self.wavs = self.folder / "wavs"
        self.yaml = ROOT / "hparams" / "demo.yaml"
        self.source = self.folder / "encoder"
        with torch.random.fork_rng():
            torch.manual_seed(0)
            config = transformers.HubertConfig(**TINY_CONFIG)
            transformers.HubertModel(config).save_pretrained(self.source)
        self.own = [f"--corpus_csv={self.corpus}", "--corpus=csv", "--data_folder=null", "--validation=group"]

    def _make_corpus(self) -> Path:
        (self.folder / "wavs").mkdir(parents=True)
        lines = ["wav,emo,speaker"]
        for k in range(N_FILES):
            speaker, emo = k // 2 % N_SPEAKERS, EMOTIONS[k % 2]
            wav = make_babble(0.3 + 0.02 * (k % 11), seed=k % 2)[k:] * (0.2 + 0.1 * speaker)
            soundfile.write(self.folder / "wavs" / f"s{speaker}_{k:03}.wav", wav, 16000)
            if k < 30:
                lines.append(f"wavs/s{speaker}_{k:03}.wav,{emo},s{speaker}")
        (self.folder / "corpus.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return self.folder / "corpus.csv"

    def train_words(self, folder, *options):
        """Return the command that trains a fold with early stopping."""
        stopping = ["--patience=3", "--number_of_epochs=9", "--lr=0.01", "--ckpt_interval_steps=2"]
        return ["train", self.yaml, *self.own, *FAST, *stopping, f"--output_folder={folder}", *options]

    def frozen_words(self, folder, cache, *options):
        """Return the command that extracts features and trains a fold on them."""
        yaml = ROOT / "hparams" / "frozen.yaml"
        own = [f"--encoder_source={self.source}", f"--feature_cache={cache}", "--max_train_s=null", "--patience=2"]
        return ["train", yaml, *self.own, *FAST, *own, f"--output_folder={folder}", "--number_of_epochs=4", *options]

    def loso_words(self, folder, cache):
        """Return the command that trains all folds on features, and reports."""
        words = self.frozen_words(folder, cache)
        own = [word for word in words[1:] if "output_folder" not in str(word)]
        return ["run", *own, f"--results_folder={folder}", "--folds=1,2"]

    def predict_words(self, bundle, out, recordings=None):
        """Return the command that classifies many recordings."""
        return ["predict", bundle, recordings or self.wavs, "--out", out, "--batch_size", "4", "--device", "cpu"]

    def make_golden(self, names=None, warm=True) -> None:
        """Run the commands once without a fault, and note how long each takes.

        Arguments
        ---------
        names : list of str, optional
            Which of them; by default all.
        warm : bool
            Whether they are run twice, so that they take as long as the following ones.
        """
        golden = self.folder / "golden"
        self.bundle = golden / "bundle"
        commands = {
            "train": self.train_words(golden / "fold"),
            "export": ["export", golden / "fold", self.bundle],
            "predict": self.predict_words(self.bundle, golden / "answers.csv"),
            "features": self.frozen_words(golden / "frozen", golden / "features"),
            "loso": self.loso_words(golden / "loso", golden / "loso_features"),
        }
        for run in (children.run_and_import, children.run)[: 2 if warm else 1]:
            shutil.rmtree(golden, ignore_errors=True)
            self.seconds = {}
            for name in names or commands:
                ended = run(commands[name], self.log)
                if ended.status:
                    raise RuntimeError(f"{name} failed without a fault:\n{ended.text}")
                self.seconds[name] = ended.seconds


def fold_bytes(folder: Path) -> dict[str, bytes]:
    """Return what a fold has to say in the end: its numbers, predictions, epochs and the weights that were kept."""
    found = {name: (folder / name).read_bytes() for name in ("test_metrics.json", "predictions.csv", "epochs.json")}
    for checkpoint in sorted(folder.glob("save/CKPT*")):
        epoch = json.loads((checkpoint / "history.ckpt").read_text())[-1]["epoch"]
        for part in ("encoder", "f_0", "f_1", "center_loss", "optimizer_*"):
            for path in checkpoint.glob(f"{part}.ckpt"):
                found[f"epoch {epoch}, {path.stem}"] = path.read_bytes()
    return found


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Return the content of all files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def differing(one: dict, other: dict) -> list[str]:
    """Name what two such contents do not share."""
    return sorted(name for name in {**one, **other} if one.get(name) != other.get(name))
