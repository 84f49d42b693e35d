"""Our side of the training benchmarks: `train.py`'s own Brain under `hparams/loso.yaml`, on noise of IEMOCAP's lengths.

Nothing of the recipe is written a second time here, so what makes it faster shows, and what slows it down as well.
"""

import tempfile
from pathlib import Path

from benchmarks import timing  # first: it says how OpenMP's threads wait

# isort: split
import ruamel.yaml
import torch
from hyperpyyaml import load_hyperpyyaml

from recipes.IEMOCAP import train
from speechbrain_ext.dataio.dataset import collate_pairs
from speechbrain_ext.device import resolve_precision
from speechbrain_ext.errors import InputError
from speechbrain_ext.training.hparams_file import read_settings
from speechbrain_ext.training.run import fold_of

ROOT = Path(__file__).resolve().parents[1]

LOSO = ROOT / "hparams" / "loso.yaml"
EMOTIONS = ("ang", "hap", "sad", "neu")
# Changes to loso.yaml: (encoder_config, num_layers). The small one has HuBERT-Large's depth and proportions, the
# shallow one its width.
SIZES = {
    "large": ({}, 22),
    "shallow": ({"num_hidden_layers": 4}, 4),
    "small": (
        {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 512, "conv_dim": [64] * 7},
        22,
    ),
    "tiny": (
        {
            "hidden_size": 32,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "conv_dim": [16] * 7,
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 4,
        },
        3,
    ),
}


def sizes(size, **changes):
    """Return (encoder_config, num_layers) of a size: HuBERT-Large's from loso.yaml, with what the size changes."""
    if size not in SIZES:
        raise InputError(f"--size must be one of {', '.join(SIZES)}, got {size!r}.")
    settings, _ = read_settings(LOSO, {})
    config = {key: list(v) if isinstance(v, list) else v for key, v in settings["encoder_config"].items()}
    smaller, n_layers = SIZES[size]
    return {**config, **smaller, **changes}, n_layers


def parse_overrides(texts):
    """Read KEY=VALUE, with values as YAML has them, into a dict."""
    for text in texts:
        if "=" not in text:
            raise InputError(f"--loso takes KEY=VALUE, got {text!r}.")
    yaml = ruamel.yaml.YAML(typ="safe", pure=True)
    return {key: yaml.load(value) for key, value in (text.split("=", 1) for text in texts)}


def iemocap_manifest():
    """Describe a corpus with the lengths of IEMOCAP's utterances and their sessions; labels and paths are made up."""
    return {
        f"Ses{session:02}_{i:04}": {
            "wav": f"{i}.wav",
            "duration": n_samples / timing.SAMPLE_RATE_HZ,
            "emo": EMOTIONS[i % 4],
            "speaker": f"Ses{session:02}_{'FM'[i % 2]}",
            "group": f"Session{session}",
        }
        for i, (session, n_samples) in enumerate(timing.iemocap_lengths())
    }


class Noise:
    """Clips of noise of any length, each its own window of one stretch."""

    def __init__(self, longest):
        generator = torch.Generator().manual_seed(0)
        self.noise = 0.1 * torch.randn(longest + timing.SAMPLE_RATE_HZ, generator=generator)

    def __call__(self, n_samples, seed=0):
        """Return a clip, [T]."""
        start = seed % timing.SAMPLE_RATE_HZ
        return self.noise[start : start + n_samples]


class Recipe:
    """The recipe, ready to train: its Brain, and batches for it that are in memory already.

    Arguments
    ---------
    config, num_layers
        As `sizes` returns them.
    device : str
        Such as "cpu" or "cuda".
    precision : str
        As in loso.yaml.
    overrides : dict, optional
        Further keys of loso.yaml.
    """

    def __init__(self, config, num_layers, device="cpu", precision="auto", overrides=None):
        self.folder = tempfile.TemporaryDirectory(prefix="benchmark_")
        overrides = {
            "encoder_source": None,
            "encoder_config": config,
            "num_layers": num_layers,
            "output_folder": self.folder.name,
            "precision": resolve_precision(precision, device),
            **(overrides or {}),
        }
        overrides = read_settings(LOSO, overrides)[1]
        with open(LOSO, encoding="utf-8") as file:
            self.hparams = load_hyperpyyaml(file, overrides)
        self.device, self.precision = device, self.hparams["precision"]
        run_opts = {"device": device, "precision": self.precision, "eval_precision": self.hparams["eval_precision"]}
        self.brain = train.EmotionBrain(
            self.hparams["modules"], hparams=self.hparams, run_opts=run_opts, checkpointer=self.hparams["checkpointer"]
        )
        self.brain.on_fit_start()
        self.begin_training()

    def begin_training(self):
        """Go back to training after a validation."""
        self.brain.modules.train()
        self.brain.on_stage_start(train.sb.Stage.TRAIN, 1)

    def plan(self, manifest):
        """Plan the first epoch of a fold.

        Returns
        -------
        tuple
            (training batches, validation batches): lists of lists of (n_samples, n_samples of the partner or 0).
        """
        fold = fold_of(self.hparams, manifest)
        lengths = [self._n_samples(manifest[utt_id], "max_train_s") for utt_id in fold.train]
        batches = [
            [(lengths[draw.index], 0 if draw.partner is None else lengths[draw.partner]) for draw in batch]
            for batch in train.plan_batches(self.hparams, manifest, fold)
        ]
        valid = sorted((self._n_samples(manifest[utt_id], "max_eval_s") for utt_id in fold.valid), reverse=True)
        size = self.hparams["eval_batch_size"]
        return batches, [[(n, 0) for n in valid[i : i + size]] for i in range(0, len(valid), size)]

    def _n_samples(self, entry, key):
        return round(min(entry["duration"], self.hparams[key] or float("inf")) * self.hparams["sample_rate"])

    def batch(self, pairs, noise):
        """Make a batch of noise on the device, [(n_samples, n_samples of the partner or 0)] as `plan` returns it."""
        clips = []
        for i, (n_samples, n_partner) in enumerate(pairs):
            target = torch.nn.functional.one_hot(torch.tensor(i % len(EMOTIONS)), len(EMOTIONS)).float()
            clips.append(
                {
                    "id": str(i),
                    "sig": noise(n_samples, 1000 * i),
                    "n_samples": torch.tensor([n_samples]),
                    "target": target,
                    "truth": i % len(EMOTIONS),
                    "partner_sig": noise(n_partner, 1000 * i + 500),
                    "partner_n_samples": torch.tensor([n_partner]),
                    "partner_target": target.roll(1),
                }
            )
        return collate_pairs(clips).to(self.device)

    def step(self, batch):
        """Do what an epoch does with a batch: forward, loss, check, backward, both optimizers."""
        self.brain.step += 1
        return float(self.brain.fit_batch(batch))

    def validate(self, batches):
        """Do what an epoch does after its training batches."""
        self.brain.on_stage_start(train.sb.Stage.VALID, 1)
        self.brain.modules.eval()
        with torch.no_grad():
            losses = [float(self.brain.evaluate_batch(batch, train.sb.Stage.VALID)) for batch in batches]
        self.begin_training()
        return losses

    def save(self):
        """Save what an epoch saves."""
        self.brain.checkpointer.save_and_keep_only(meta={"epoch": 1})

    @property
    def reads_first_frame(self):
        """Whether the last layer is asked for its first frame alone."""
        return self.hparams["feature_reduction"] == "first"

    @property
    def trains_feature_encoder(self):
        """Whether the convolutional feature encoder learns."""
        return not self.hparams["freeze_feature_extractor"]

    def describe(self):
        """Say what is run and what is trained."""
        last = ", the last for frame 0" if self.reads_first_frame else ""
        feature_encoder = "everything" if self.trains_feature_encoder else "all but the feature encoder"
        return f"{self.hparams['num_layers']} layers{last}; {self.precision}; trains {feature_encoder}"
