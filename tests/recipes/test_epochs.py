"""The epochs of a fold: what validates, their learning rates, which one is tested, and what tracking the test tells."""

import re
from types import SimpleNamespace

import pytest
import speechbrain as sb
import torch
import yaml

from recipes.IEMOCAP import train
from speechbrain_ext.seeding import derive_seed
from speechbrain_ext.training import brain
from tests.recipes.fold_reading import assert_same_weights, history, last_checkpoint, newest_checkpoint, results


@pytest.mark.parametrize(("validation", "n_valid"), [("random", 8), ("group", 16), ("none", 0)])
def test_validation_parts(fit, validation, n_valid):
    """64 clips outside the test session: 10% of the 16 of each emotion is 2; a session holds 16."""
    folder = fit("fold", f"--validation={validation}", "--number_of_epochs=2")
    assert (
        f"Fold 1 tests on Session1: {64 - n_valid} clips to train on, {n_valid} to validate, 16 to test."
        in (folder / "log.txt").read_text()
    )
    assert ("valid_WA" in history(folder)[0]) is (n_valid > 0)
    if validation == "none":
        assert results(folder)[0]["tested_epoch"] == 2


def checkpoint(epoch, error=None):
    meta = {"epoch": epoch} if error is None else {"epoch": epoch, "error": error}
    return SimpleNamespace(meta=meta)


def test_first_best_epoch_wins():
    found = max([checkpoint(1, 0.4), checkpoint(2, 0.3), checkpoint(3, 0.3), checkpoint(4, 0.5)], key=brain.first_best)
    assert found.meta["epoch"] == 2


@pytest.mark.parametrize(("weights", "tested"), [("best", 2), ("last", 4)])
def test_tested_weights(fit, monkeypatch, weights, tested):
    """Validation WA of the epochs: .5, .75, .75, .5; the first best is epoch 2, and its checkpoint was kept."""
    scores = iter([0.5, 0.75, 0.75, 0.5])
    compute = train.EmotionMetrics.compute
    with monkeypatch.context() as patch:
        patch.setattr(train.EmotionMetrics, "compute", lambda metrics: {**compute(metrics), "WA": next(scores, 0.0)})
        folder = fit("fold", f"--tested_weights={weights}", "--number_of_epochs=4")
    assert results(folder)[0]["tested_epoch"] == tested
    kept = [yaml.safe_load((path / "CKPT.yaml").read_text())["epoch"] for path in (folder / "save").glob("CKPT*")]
    assert sorted(kept) == [2, 4]


def test_early_stop_waits_for_patience(fit, monkeypatch):
    scores = iter([0.5, 0.6, 0.6, 0.55, 0.6, 0.9])
    compute = train.EmotionMetrics.compute
    with monkeypatch.context() as patch:
        patch.setattr(train.EmotionMetrics, "compute", lambda metrics: {**compute(metrics), "WA": next(scores, 0.0)})
        folder = fit("fold", "--patience=3", "--number_of_epochs=9")
    assert len(history(folder)) == 5  # the best is epoch 2; 3, 4 and 5 are not better


def test_tracking_the_test_fold_changes_nothing(fit):
    options = ["--mixup_prob=0.5", "--augment_prob=0.8", "--projection_dropout=0.3", "--number_of_epochs=4"]
    plain, tracked = fit("plain", *options), fit("tracked", "--track_test=True", *options)
    assert (tracked / "predictions.csv").read_bytes() == (plain / "predictions.csv").read_bytes()
    assert_same_weights(last_checkpoint(tracked), last_checkpoint(plain))
    assert results(tracked)[0]["tested_epoch"] == results(plain)[0]["tested_epoch"]
    log = (tracked / "train_log.txt").read_text()
    assert re.search(r"train loss: \d\.\d{4} - valid loss: \d\.\d{4}, valid WA: \d+\.\d\d%, .* test WA: \d", log)
    without = [{key: value for key, value in entry.items() if "test_" not in key} for entry in history(tracked)]
    assert without == history(plain)


@pytest.mark.parametrize("validation", ["random", "none"])
def test_tracked_numbers_are_those_of_the_test_fold(fit, monkeypatch, validation):
    """Decisions that change with the epoch: the last tracked numbers are the results of testing the last weights."""
    forward = train.EmotionBrain.compute_forward

    def decide(brain, batch, stage):
        log_posteriors, emb, targets = forward(brain, batch, stage)
        if stage == sb.Stage.TEST:
            epoch = brain.hparams.epoch_counter.current
            n_wrong = [derive_seed(utt_id, epoch) % 2 for utt_id in batch.id]
            log_posteriors = torch.stack([10 * row.roll(n) for row, n in zip(targets, n_wrong)]).log_softmax(dim=1)
        return log_posteriors, emb, targets

    monkeypatch.setattr(train.EmotionBrain, "compute_forward", decide)
    folder = fit("fold", "--track_test=True", "--tested_weights=last", f"--validation={validation}")
    metrics, rows = results(folder)
    tracked = metrics["epochs"]
    for entry in tracked:
        right = [derive_seed(row["id"], entry["epoch"]) % 2 == 0 for row in rows]
        assert entry["test_WA"] == pytest.approx(sum(right) / 16)
    assert len({entry["test_WA"] for entry in tracked}) > 1
    assert tracked[-1]["test_WA"] == metrics["WA"]
    assert tracked[-1]["test_UA"] == metrics["UA"]


def test_both_learning_rates_follow_the_schedule(fit):
    """Divided by 1.25 after every epoch until the second: 1, 1/1.25, 1/1.5625, and so on without change."""
    options = ["--lr=0.0001", "--lr_centers=0.001", "--lr_divisor=1.25", "--lr_last_epoch=2", "--number_of_epochs=4"]
    folder = fit("fold", *options, "--validation=none")
    assert [epoch["lr"] for epoch in history(folder)] == pytest.approx([1e-4, 0.8e-4, 0.64e-4, 0.64e-4])
    newest = newest_checkpoint(folder)
    for name, lr in (("network", 1e-4), ("centers", 1e-3)):
        group = torch.load(newest / f"optimizer_{name}.ckpt")["param_groups"][0]
        assert group["lr"] == pytest.approx(0.64 * lr)
        assert (group["betas"], group["eps"]) == ((0.9, 0.98), 1e-9)
