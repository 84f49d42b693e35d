"""What the tests share: small encoders, a demo corpus, and what the benchmarks run."""

import contextlib
import copy
import itertools
import signal
import sys
from pathlib import Path

import hypothesis
import pytest
import speechbrain  # noqa: F401
import torch
from speechbrain.utils.importutils import LazyModule

from tests import tiny_hubert

ROOT = Path(__file__).resolve().parents[1]

# hypothesis asks every imported module for its file, and SpeechBrain's lazy modules answer that with an ImportError.
for name, module in list(sys.modules.items()):
    if isinstance(module, LazyModule):
        del sys.modules[name]

# Nothing is written into the checkout, a busy machine fails no test, and every run has the same examples.
too_slow = [hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile(
    "checkout", database=None, deadline=None, derandomize=True, suppress_health_check=too_slow
)
hypothesis.settings.load_profile("checkout")
# A shell's background jobs ignore SIGINT, and so would all processes that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Small models are no faster on more threads, and far slower where another process wants the cores.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded():
    """Give every test the same random weights and waveforms; pytest-randomly seeds all generators but torch's."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def root():
    """Return the checkout's folder."""
    return ROOT


@pytest.fixture
def small_config():
    """HuBERT-Large's architecture, made small: feature encoder with LayerNorm, pre-LN layers."""
    return copy.deepcopy(tiny_hubert.SMALL)


@pytest.fixture
def clips():
    """Three clips of 1.0, 0.6 and 0.3 s in one padded batch: (wavs [3, 16000], wav_lens [3], lengths in samples)."""
    lengths = [16000, 9600, 4800]
    generator = torch.Generator().manual_seed(0)
    wavs = torch.zeros(3, 16000)
    for row, length in zip(wavs, lengths):
        row[:length] = 0.3 * torch.randn(length, generator=generator)
    return wavs, torch.tensor(lengths) / 16000, lengths


@pytest.fixture(scope="session")
def demo_corpus(tmp_path_factory):
    """Make a demo corpus with two sentences for each speaker and emotion."""
    from speechbrain_ext.corpora.synthetic import make_demo_corpus

    folder = tmp_path_factory.mktemp("corpus") / "demo"
    make_demo_corpus(folder, sentences=2)
    return folder


@pytest.fixture(scope="session")
def tiny():
    """Return the (config, number of layers) of the benchmarks' tiny size."""
    from benchmarks import ours

    return ours.sizes("tiny")


@pytest.fixture(scope="module")
def recipe(tiny):
    """Return the recipe as the benchmarks run it, ready to train a tiny model."""
    from benchmarks import ours

    return ours.Recipe(*tiny)


@pytest.fixture(scope="session")
def noise():
    """Return clips of noise of any length."""
    from benchmarks import ours

    return ours.Noise(200_000)


@pytest.fixture
def fit(root, demo_corpus, tmp_path, monkeypatch):
    """Return a function that trains one fold and returns its folder."""
    from recipes.IEMOCAP import train
    from tests.recipes.fold_reading import SMALL

    monkeypatch.delenv("IEMOCAP_ROOT", raising=False)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the experiment folder sets its own

    def run(name, *options, yaml="hparams/demo.yaml", data_folder=demo_corpus):
        folder = tmp_path / name
        corpus = [f"--data_folder={data_folder}"] if data_folder else []
        train.main([str(root / yaml), *corpus, f"--output_folder={folder}", *SMALL, *options])
        return folder

    return run


@pytest.fixture
def interrupted(monkeypatch):
    """Return a context in which training is interrupted at the step for which a function of brain and count holds."""
    from recipes.IEMOCAP.train import EmotionBrain

    @contextlib.contextmanager
    def interrupt(when):
        fit_batch, n_steps = EmotionBrain.fit_batch, itertools.count(1)

        def fit_or_stop(brain, batch):
            if when(brain, next(n_steps)):
                raise KeyboardInterrupt
            return fit_batch(brain, batch)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(EmotionBrain, "fit_batch", fit_or_stop)
            yield

    return interrupt


@pytest.fixture
def noise_corpus(tmp_path):
    """Make a corpus of noise in a CSV."""
    from tests.noise_corpus import Corpus

    return Corpus(tmp_path / "corpus")


@pytest.fixture
def fit_noise(noise_corpus, tmp_path, monkeypatch):
    """Return a function that trains a fold of the corpus of noise and returns its folder."""
    from tests.noise_corpus import train_fold

    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the experiment folder sets its own
    return lambda name, *args, **kwargs: train_fold(tmp_path / name, noise_corpus, *args, **kwargs)


@pytest.fixture(scope="session")
def good_bundle(tmp_path_factory):
    """Write a bundle of a small random model; who changes it changes a copy."""
    from tests.bundle_making import make_bundle

    return make_bundle(tmp_path_factory.mktemp("good") / "bundle")


@pytest.fixture
def drawn(monkeypatch):
    """Collect the figures that are saved."""
    from matplotlib.figure import Figure

    figures = []
    save = Figure.savefig

    def collect(figure, *args, **kwargs):
        figures.append(figure)
        save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", collect)
    return figures
