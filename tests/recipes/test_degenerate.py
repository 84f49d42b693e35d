"""Numbers that go wrong, and data with hardly anything in it: what happens then is defined."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from recipes.IEMOCAP import train
from speechbrain_ext.corpora import prepare_corpus
from speechbrain_ext.dataio.folds import make_fold
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.bundle_settings import BundleSettings
from speechbrain_ext.inference.bundle_writer import write_bundle
from speechbrain_ext.inference.classifier import load_classifier
from speechbrain_ext.results.metrics import EmotionMetrics
from speechbrain_ext.training.brain import FoldBrain
from tests.bundle_making import EMOTIONS, make_parts, save_parts
from tests.recipes.fold_reading import last_checkpoint, posteriors, results


def small_of(yaml):
    """Return the options that make a recipe small; the encoder of filterbanks is as it is."""
    scratch = ["--number_of_epochs=2", "--batch_size=4", "--noprogressbar"]
    return {"small": scratch} if yaml == "scratch.yaml" else {}


@pytest.fixture
def break_step(monkeypatch):
    """Return a function after which the third step is not finite in its loss or gradients; it returns their brains."""

    def begin(what, value):
        objectives, brains = train.EmotionBrain.compute_objectives, []

        def broken(brain, predictions, batch, stage):
            loss = objectives(brain, predictions, batch, stage)
            brains.extend([brain] * (stage.name == "TRAIN"))
            if stage.name != "TRAIN" or len(brains) != 3:
                return loss
            if what == "loss":
                return loss * value
            weight = next(brain.modules.f_1.parameters())
            return loss + (weight.flatten()[0] * 0).sqrt()  # 0, with a derivative of infinity times 0

        monkeypatch.setattr(train.EmotionBrain, "compute_objectives", broken)
        return brains

    return begin


@pytest.mark.parametrize(
    ("what", "value", "precision"), [("loss", np.nan, "fp32"), ("loss", np.inf, "bf16"), ("gradient", 0, "bf16")]
)
def test_what_is_not_finite_stops_the_run_before_the_weights_and_names_the_clips(
    fit_noise, tmp_path, break_step, what, value, precision
):
    brains = break_step(what, value)
    expected = f"the {what} of epoch 1, step 3 is not finite .* with the clips [0-9, ]*, ...: .*json lists all. "
    with pytest.raises(InputError, match=expected):
        fit_noise("fold", f"--precision={precision}")
    assert len(brains) == 3 and all(weight.isfinite().all() for weight in brains[0].modules.parameters())
    told = json.loads((tmp_path / "fold" / "nonfinite_batch.json").read_text())
    assert (told["epoch"], told["step"], told["what"], len(told["ids"])) == (1, 3, what, 4)
    assert set(told["ids"]) <= set(json.loads((tmp_path / "fold" / "manifest.json").read_text()))


def test_a_loss_with_patience_left_makes_no_step(fit_noise, break_step):
    break_step("loss", np.nan)
    folder = fit_noise("fold", "--nonfinite_patience=1")
    assert np.isfinite(posteriors(folder)).all()
    assert all(weight.isfinite().all() for part in last_checkpoint(folder).values() for weight in part.values())


def make_brain(scale):
    """Make a brain of one weight, 1, whose loss is the weight times the batch's factor."""

    class Brain(FoldBrain):
        def compute_forward(self, batch, stage):
            return self.modules.net.weight.sum() * batch.factor

        def compute_objectives(self, predictions, batch, stage):
            return predictions

    net = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(net.weight)
    counter = SimpleNamespace(current=1)
    brain = Brain({"net": net}, hparams={"seed": 1, "epoch_counter": counter, "output_folder": "/nonexistent"})
    brain.optimizers_dict = {"net": torch.optim.SGD(net.parameters(), lr=0.5)}
    brain.scaler = torch.GradScaler("cpu", enabled=scale is not None, init_scale=scale or 1.0)
    brain.nonfinite_count = brain.nonfinite_patience = 0
    return brain


def test_fp16_leaves_out_steps_whose_scaled_gradients_overflow_and_lowers_the_scale():
    brain = make_brain(scale=2.0**20)
    brain.fit_batch(SimpleNamespace(id=["a"], factor=1.0))
    assert brain.modules.net.weight.item() == 0.5
    brain.modules.net.weight.register_hook(lambda gradient: gradient * float("inf"))
    brain.fit_batch(SimpleNamespace(id=["a"], factor=1.0))
    assert (brain.modules.net.weight.item(), brain.scaler.get_scale()) == (0.5, 2.0**19)


def test_posteriors_that_are_nan_decide_nothing():
    with pytest.raises(InputError, match="log-posteriors are NaN in evaluation. Use --eval_precision=fp32; if it is"):
        EmotionMetrics(["a", "b"]).update(torch.tensor([[0.0, float("nan")]]), torch.tensor([0]))


@pytest.mark.parametrize(("yaml", "options"), [("demo.yaml", ["--mixup_prob=1"]), ("scratch.yaml", [])])
def test_batches_of_one_and_a_last_batch_of_one(fit_noise, yaml, options):
    for batch_size in (1, 17):  # of 18 clips
        options = [*options, "--validation=none", "--number_of_epochs=1", f"--batch_size={batch_size}"]
        assert np.isfinite(posteriors(fit_noise(f"of {batch_size}", *options, yaml=yaml, **small_of(yaml)))).all()


@pytest.mark.parametrize(("yaml", "options"), [("demo.yaml", ["--waveform_scale=layer"]), ("scratch.yaml", [])])
def test_recordings_of_silence_alone_give_finite_numbers(noise_corpus, fit_noise, yaml, options):
    for row in noise_corpus.rows:
        soundfile.write(noise_corpus.folder / row["wav"], np.zeros(4000), 16000)
    folder = fit_noise("fold", *options, yaml=yaml, **small_of(yaml))
    found = posteriors(folder)
    assert np.isfinite(found).all() and np.allclose(found, found[0], atol=1e-5)


def test_a_validation_part_of_one_label_and_a_label_of_one_clip(noise_corpus, fit_noise):
    for row in noise_corpus.of_speaker("s1"):  # the group that validates in fold 1
        row["emo"] = "ang"
    for row in [*noise_corpus.of_speaker("s2"), *noise_corpus.of_speaker("s3")][:-1]:
        row["emo"] = "ang"
    noise_corpus.rows[-1]["emo"] = "sad"
    noise_corpus.save()
    options = ["--class_weights=balanced", "--balanced_sampling=True", "--logit_adjustment=1", "--validation=group"]
    metrics, _ = results(fit_noise("fold", *options))
    assert metrics["epochs"][0]["valid_WA"] == metrics["epochs"][0]["valid_UA"]  # the mean of one recall
    manifest = prepare_corpus("csv", str(noise_corpus.path), None).manifest
    with pytest.raises(InputError, match="no utterance of 'sad' is left to train on in fold 4 .* or take 'sad' out"):
        make_fold(manifest, 4, "group", emotions=["ang", "sad"])  # its only clip is tested; s0 validates


def test_the_first_label_wins_a_tie_wherever_it_is_decided(tmp_path):
    parts = make_parts(len(EMOTIONS))
    for parameter in parts["f_1"].parameters():
        torch.nn.init.zeros_(parameter)
    settings = BundleSettings(list(EMOTIONS), 64, parts["encoder"].architecture())
    write_bundle(tmp_path / "bundle", save_parts(tmp_path / "weights", parts), settings, "# A test\n")
    classifier = load_classifier(tmp_path / "bundle", {"device": "cpu"})
    log_posteriors, _, indices, labels = classifier.classify_batch(torch.randn(3, 4000), torch.ones(3))
    assert torch.equal(log_posteriors, log_posteriors[:, :1].expand(3, 4))
    assert (indices.tolist(), labels) == ([0, 0, 0], ["ang"] * 3)
    assert EmotionMetrics(EMOTIONS).update(log_posteriors, torch.tensor([1, 2, 3])).tolist() == [0, 0, 0]
    assert log_posteriors.numpy().argmax(axis=1).tolist() == [0, 0, 0]  # as of an ONNX model's posteriors
