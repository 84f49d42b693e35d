"""The recipe, really run on a small demo corpus with a small encoder."""

import csv
import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import speechbrain as sb
import torch
import yaml
from hyperpyyaml import load_hyperpyyaml
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from recipes.IEMOCAP import train
from speechbrain_ext.augment.mixup import ConventionalMixup, LengthAdaptiveMixup
from speechbrain_ext.errors import InputError
from speechbrain_ext.seeding import derive_seed
from speechbrain_ext.training import brain
from speechbrain_ext.training.hparams_file import hparams_text
from tests.recipes.fold_reading import (
    assert_same_weights,
    history,
    last_checkpoint,
    newest_checkpoint,
    posteriors,
    results,
)


def test_fold_folder_is_complete_and_consistent(fit, capsys):
    folder = fit("fold2", "--fold=2")
    for name in ("hyperparams.yaml", "train.py", "env.log", "log.txt", "train_log.txt", "run.json", "manifest.json"):
        assert (folder / name).stat().st_size > 0, name
    for name in ("confusion.png", "curves.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG"), name

    metrics, rows = results(folder)
    true, predicted = [row["true"] for row in rows], [row["predicted"] for row in rows]
    assert len(rows) == metrics["n"] == 16  # one session: 2 speakers, 4 emotions, 2 sentences
    assert all(row["id"].startswith("Ses02") for row in rows)
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert metrics["WA"] == pytest.approx(accuracy_score(true, predicted))
    assert metrics["UA"] == pytest.approx(balanced_accuracy_score(true, predicted))
    assert metrics["confusion"] == confusion_matrix(true, predicted, labels=metrics["emotions"]).tolist()
    np.testing.assert_allclose(posteriors(folder).sum(axis=1), 1, atol=1e-6)
    assert [metrics["emotions"][i] for i in posteriors(folder).argmax(axis=1)] == predicted
    assert metrics["fold"] == 2
    assert metrics["seed"] == 1
    assert metrics["test_group"] == "Session2"
    assert metrics["versions"]["torch"] == torch.__version__.split("+")[0]
    assert json.loads((folder / "run.json").read_text())["manifest"] == metrics["manifest"]
    assert metrics["n_folds"] == 5
    assert metrics["epochs"] == history(folder) == json.loads((folder / "epochs.json").read_text())
    assert [entry["epoch"] for entry in metrics["epochs"]] == [1, 2, 3]
    assert not any("test_WA" in entry for entry in metrics["epochs"])  # unless it is asked for
    assert metrics["speakers"] == {row["id"]: f"Ses02_{row['id'].split('_')[-1][0]}" for row in rows}

    said = capsys.readouterr().out
    assert f"WA {100 * metrics['WA']:.2f}%   UA {100 * metrics['UA']:.2f}%   (16 utterances)" in said
    assert f"Written to {folder}: test_metrics.json" in said


def test_number_of_workers_changes_nothing(fit):
    none, two = fit("none"), fit("two", "--num_workers=2")
    assert_same_weights(last_checkpoint(none), last_checkpoint(two))
    assert results(none) == results(two)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_may_be_started_in_any_way(fit, monkeypatch, method):
    """Spawn is the default on macOS and Windows, forkserver on Linux from Python 3.14."""
    made = {}
    monkeypatch.setattr(train, "make_dataloader", lambda data, **kwargs: made.update(data=data, **kwargs) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit("fold", "--augment_prob=1.0")
    first = []
    for workers in ({"num_workers": 0}, {"num_workers": 1, "multiprocessing_context": method}):
        made["batch_sampler"].set_epoch(1)
        loader = torch.utils.data.DataLoader(
            made["data"], batch_sampler=made["batch_sampler"], collate_fn=made["collate_fn"], **workers
        )
        first.append(next(iter(loader)))
    assert first[0].id == first[1].id
    torch.testing.assert_close(first[0].sig.data, first[1].sig.data, rtol=0, atol=0)


def test_waiting_for_batches_is_measured_and_told(fit, monkeypatch, capfd):
    meters = []

    class Meter(brain.WaitMeter):
        def __init__(self):
            self.calls = []
            meters.append(self)
            super().__init__()

        def begin_epoch(self):
            self.calls.append("epoch")
            super().begin_epoch()

        def begin_batch(self):
            self.calls.append("batch")
            super().begin_batch()
            self.waited_s += 1e6  # a very slow disk

        def end_batch(self):
            self.calls[-1] += " done"
            super().end_batch()

    monkeypatch.setattr(brain, "WaitMeter", Meter)
    fit("cpu", "--number_of_epochs=2")
    (meter,) = meters
    assert meter.calls[0] == "epoch" and meter.calls.count("epoch") == 3  # also when it is made
    assert set(meter.calls) == {"epoch", "batch done"}
    steps = meter.calls[2 : meter.calls.index("epoch", 2)]
    assert len(steps) > 1 and len(meter.calls) == 3 + 2 * len(steps)
    assert "waited for batches" not in "".join(capfd.readouterr())  # a CPU that reads as well cannot wait for itself
    fit("device", "--number_of_epochs=2", "--device=cpu:0")
    assert "".join(capfd.readouterr()).count("the device waited for batches") == 1


def test_seed_changes_the_run(fit):
    assert not np.allclose(posteriors(fit("one")), posteriors(fit("two", "--seed=2")), atol=1e-4)


def test_posteriors_do_not_depend_on_batch_mates(fit):
    folder = fit("fold", "--eval_batch_size=16")
    batched = posteriors(folder)
    before = results(folder)[0]
    fit("fold", "--eval_batch_size=1", "--test_only")
    np.testing.assert_allclose(posteriors(folder), batched, atol=1e-5)
    after = results(folder)[0]
    assert after["n_epochs"] == before["n_epochs"] == 3 and after["epochs"] == before["epochs"]
    fit("fold", "--eval_batch_size=5", "--test_only")
    np.testing.assert_allclose(posteriors(folder), batched, atol=1e-5)


def test_a_corpus_in_memory_gives_the_same_bits(fit):
    from_disk = fit("disk")
    in_memory = fit("memory", "--corpus_in_memory=True")
    assert (in_memory / "predictions.csv").read_bytes() == (from_disk / "predictions.csv").read_bytes()
    assert_same_weights(last_checkpoint(in_memory), last_checkpoint(from_disk))
    assert "GB of waveforms are held in memory" in (in_memory / "log.txt").read_text()


def test_test_session_reaches_nothing_but_the_final_numbers(fit, demo_corpus, tmp_path):
    """Other sounds in the test session change its predictions and nothing of the training."""
    copy = shutil.copytree(demo_corpus, tmp_path / "copy")
    rng = np.random.default_rng(0)
    for path in sorted(copy.glob("Session1/sentences/wav/*/[!.]*.wav")):
        n_samples = soundfile.info(path).frames
        soundfile.write(path, 0.1 * rng.standard_normal(n_samples), 16000)
    one, two = fit("one"), fit("two", data_folder=copy)
    assert_same_weights(last_checkpoint(one), last_checkpoint(two))
    assert history(one) == history(two)
    assert not np.allclose(posteriors(one), posteriors(two))


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


def test_each_trainable_weight_is_optimised_and_saved_once(fit, monkeypatch):
    brains = []
    evaluate = train.EmotionBrain.evaluate
    monkeypatch.setattr(
        train.EmotionBrain, "evaluate", lambda brain, *a, **k: brains.append(brain) or evaluate(brain, *a, **k)
    )
    folder = fit("fold", "--number_of_epochs=1")
    brain = brains[0]
    groups = {name: [p for g in o.param_groups for p in g["params"]] for name, o in brain.optimizers_dict.items()}
    assert groups["centers"] == [brain.modules.center_loss.centers]
    optimised = [id(p) for parameters in groups.values() for p in parameters]
    assert sorted(optimised) == sorted(id(p) for p in brain.modules.parameters() if p.requires_grad)
    saved = torch.load(next((folder / "save").glob("CKPT*")) / "center_loss.ckpt")
    assert torch.equal(saved["centers"], brain.modules.center_loss.centers)
    assert brain.max_grad_norm == float("inf")
    assert brain.train_sampler.partner_prob == 0.3


def test_gradients_are_clipped_when_asked(fit, monkeypatch):
    seen = []
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda parameters, norm: seen.append(norm))
    fit("fold", "--max_grad_norm=0.5", "--number_of_epochs=1")
    assert set(seen) == {0.5}


def checkpoint(epoch, error=None):
    meta = {"epoch": epoch} if error is None else {"epoch": epoch, "error": error}
    return SimpleNamespace(meta=meta)


def test_loss_that_is_not_finite_stops_before_the_weights(fit, monkeypatch, tmp_path):
    compute_objectives = train.EmotionBrain.compute_objectives
    brains = []

    def broken(brain, predictions, batch, stage):
        brains.append(brain)
        loss = compute_objectives(brain, predictions, batch, stage)
        return loss * float("nan") if len(brains) == 3 else loss

    monkeypatch.setattr(train.EmotionBrain, "compute_objectives", broken)
    with pytest.raises(InputError, match=r"the loss of epoch 1, step 3 is not finite \(nan\), with the clips Ses"):
        fit("fold")
    assert len(brains) == 3
    assert all(torch.isfinite(p).all() for p in brains[0].modules.parameters())


def test_clips_reach_the_model_as_the_protocol_says(fit, demo_corpus, monkeypatch):
    """Test clips whole and as they are; training clips cut, augmented and mixed with partners of the plan."""
    seen = {stage: [] for stage in sb.Stage}
    partners, losses = [], []
    compute_forward, kl = train.EmotionBrain.compute_forward, train.EmotionBrain.compute_objectives
    forward = LengthAdaptiveMixup.forward

    def spy_forward(brain, batch, stage):
        for utt_id, wav, n_samples in zip(batch.id, batch.sig.data, batch.n_samples.data.squeeze(1).tolist()):
            seen[stage].append((utt_id, wav[:n_samples].clone(), n_samples))
        return compute_forward(brain, batch, stage)

    def spy_mixup(mixup, wavs, wav_lens, targets, partner=None):
        partners.append((len(wavs), partner[1]))
        return forward(mixup, wavs, wav_lens, targets, partner)

    def spy_objectives(brain, predictions, batch, stage):
        loss = kl(brain, predictions, batch, stage)
        log_posteriors, emb, targets = predictions
        if stage == sb.Stage.TRAIN:
            soft = torch.nn.functional.kl_div(log_posteriors, targets, reduction="batchmean")
            center = brain.modules.center_loss(emb, targets)
            losses.append((loss.item(), (soft + brain.hparams.lambda_c * center).item(), targets))
        return loss

    monkeypatch.setattr(train.EmotionBrain, "compute_forward", spy_forward)
    monkeypatch.setattr(train.EmotionBrain, "compute_objectives", spy_objectives)
    monkeypatch.setattr(LengthAdaptiveMixup, "forward", spy_mixup)
    fit("fold", "--number_of_epochs=1", "--mixup_prob=0.5", "--augment_prob=1.0", "--lambda_c=0.5")

    files = {path.stem: path for path in demo_corpus.glob("Session*/sentences/wav/*/[!.]*.wav")}
    for stage in (sb.Stage.VALID, sb.Stage.TEST):
        for utt_id, wav, n_samples in seen[stage]:
            whole, _ = soundfile.read(files[utt_id], dtype="float32")
            assert n_samples == len(whole)
            np.testing.assert_allclose(wav.numpy(), whole / np.abs(whole).max(), atol=1e-6)
    lengths = [soundfile.info(files[utt_id]).frames for utt_id, _, _ in seen[sb.Stage.TRAIN]]
    assert [n for _, _, n in seen[sb.Stage.TRAIN]] == [min(n, 24000) for n in lengths]
    assert max(lengths) > 24000
    same = [torch.equal(wav.abs().max(), torch.tensor(1.0)) for _, wav, _ in seen[sb.Stage.TRAIN]]
    assert not all(same)  # gain has changed some peaks
    with_partner = sum(int((lens > 0).sum()) for _, lens in partners)
    assert 0 < with_partner < sum(n for n, _ in partners)
    assert any(((targets > 0).sum(dim=1) == 2).any() for _, _, targets in losses)  # soft labels reach the loss
    for found, expected, _ in losses:
        assert found == pytest.approx(expected, rel=1e-5)


def test_debug_results_say_that_they_are_none(fit):
    folder = fit("fold", "--debug", "--number_of_epochs=1")
    assert [path.name for path in folder.iterdir()] == ["debug"]  # a real run finds nothing of it
    assert results(folder / "debug")[0]["debug"] is True
    assert "debug" not in results(fit("fold", "--number_of_epochs=1"))[0]


def test_augmentation_may_be_switched_off(fit):
    assert results(fit("fold", "--augmentations=[]", "--number_of_epochs=1"))[0]["n"] == 16


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


def test_tensorboard_is_one_key(fit):
    folder = fit("fold", "--tensorboard=True", "--number_of_epochs=1")
    assert list((folder / "tensorboard").glob("events*"))
    assert not (fit("without", "--number_of_epochs=1") / "tensorboard").exists()


def test_authors_code_runs_as_described(fit, monkeypatch):
    seen = []
    compute_forward = train.EmotionBrain.compute_forward

    def spy(brain, batch, stage):
        wavs, wav_lens, _ = train.clips(batch)
        seen.append((stage, wavs.shape[1], wav_lens.max().item()))
        return compute_forward(brain, batch, stage)

    monkeypatch.setattr(train.EmotionBrain, "compute_forward", spy)
    folder = fit(
        "fold", "--encoder_source=null", "--batch_size=16", "--max_train_s=6.25", yaml="hparams/authors_code.yaml"
    )
    assert {n_times for _, n_times, _ in seen} == {100_000}
    assert {stage for stage, _, _ in seen} == set(sb.Stage)
    assert all(longest <= 1 for _, _, longest in seen)
    assert any(longest < 1 for _, _, longest in seen)  # eq. 3 sees the lengths before padding
    assert results(folder)[0]["tested_epoch"] == 3


def test_recording_that_breaks_later_names_its_utterance(fit, demo_corpus, tmp_path, monkeypatch):
    """A file that was fine when it was checked and is not when it is read."""
    copy = shutil.copytree(demo_corpus, tmp_path / "copy")
    path = next(copy.glob("Session3/sentences/wav/*/Ses03*[0-9].wav"))
    plan = train.plan_batches
    monkeypatch.setattr(train, "plan_batches", lambda *a: path.write_bytes(b"") or plan(*a))
    with pytest.raises(InputError, match=f"{path.stem}: .* is empty"):
        fit("fold", "--validation=none", data_folder=copy)


def test_precision_is_bf16_where_the_card_has_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert train.resolve_precision("auto", "cuda:0") == "bf16"
    assert train.resolve_precision("auto", "cpu") == "fp32"
    assert train.resolve_precision("fp32", "cuda") == "fp32"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert train.resolve_precision("auto", "cuda") == "fp32"


def test_bf16_run_keeps_losses_and_posteriors_in_fp32(fit, monkeypatch):
    seen = []
    compute_forward = train.EmotionBrain.compute_forward

    def spy(brain, batch, stage):
        log_posteriors, emb, targets = compute_forward(brain, batch, stage)
        seen.append((stage, log_posteriors.dtype, emb.dtype, targets.dtype))
        return log_posteriors, emb, targets

    monkeypatch.setattr(train.EmotionBrain, "compute_forward", spy)
    folder = fit("fold", "--precision=bf16", "--number_of_epochs=1")
    assert {row[1:] for row in seen if row[0] == sb.Stage.TRAIN} == {(torch.float32, torch.bfloat16, torch.float32)}
    assert {row[1:] for row in seen if row[0] != sb.Stage.TRAIN} == {(torch.float32,) * 3}
    assert np.isfinite(posteriors(folder)).all()


def test_loso_makes_one_step_at_full_size(root, tmp_path):
    """22 layers of HuBERT-Large with random weights learn from a batch of two on the CPU."""
    overrides = {"encoder_source": None, "output_folder": str(tmp_path / "fold"), "seed": 1}
    with open(root / "hparams/loso.yaml") as file:
        hparams = load_hyperpyyaml(file, overrides)
    # 7 * 512 fewer than with a bias in each convolution of the feature encoder.
    assert sum(p.numel() for p in hparams["encoder"].parameters()) == 290_239_616
    hparams["precision"] = "fp32"
    brain = train.EmotionBrain(hparams["modules"], hparams=hparams, checkpointer=hparams["checkpointer"])
    brain.init_optimizers()
    brain.modules.train()
    hparams["epoch_counter"].current, brain.step, brain.nonfinite_count = 1, 1, 0
    pair = {
        "id": "a", "sig": torch.randn(16000), "n_samples": torch.tensor([16000]), "target": torch.eye(4)[0],
        "partner_sig": torch.randn(8000), "partner_n_samples": torch.tensor([8000]), "partner_target": torch.eye(4)[1],
    }  # fmt: skip
    alone = {**pair, "sig": torch.randn(12000), "n_samples": torch.tensor([12000]), "partner_sig": torch.zeros(0)}
    alone["partner_n_samples"] = torch.tensor([0])
    before = {name: p.detach().clone() for name, p in brain.modules.named_parameters() if p.numel() < 2e6}
    loss = brain.fit_batch(train.collate_pairs([pair, alone]))
    assert torch.isfinite(loss)
    frozen = {name for name, p in brain.modules.named_parameters() if not p.requires_grad}
    assert frozen == {name for name, _ in brain.modules.named_parameters() if "feature_extractor" in name}
    for name, old in before.items():
        changed = not torch.equal(old, dict(brain.modules.named_parameters())[name])
        assert changed is (name not in frozen), name


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


def test_mixup_method_is_one_key(root, tmp_path):
    for method, kind in (("label_adaptive", LengthAdaptiveMixup), ("conventional", ConventionalMixup)):
        text = hparams_text(root / "hparams/demo.yaml", {"output_folder": str(tmp_path), "mixup_method": method})
        hparams = load_hyperpyyaml(text)
        assert type(hparams["modules"]["mixup"]) is kind


def test_shares_and_segments_of_json_lines_are_trained_on(fit, demo_corpus, tmp_path, monkeypatch):
    """The same clips as files and as segments of one long recording a speaker: the same run, on the same targets."""
    wavs, lines = {}, {"files": [], "segments": []}
    for path in sorted(demo_corpus.glob("Session*/sentences/wav/*/Ses*.wav")):
        row = {"id": path.stem, "speaker": f"{path.stem[:5]}{path.stem.split('_')[-1][0]}", "wav": str(path)}
        row["emo"] = {"ang": 3, "sad": 1} if "ang" in path.stem or path.stem.endswith("0") else {"sad": 1}
        before = sum(map(len, wavs.setdefault(row["speaker"], [])))
        wavs[row["speaker"]].append(soundfile.read(path, dtype="int16")[0])
        times = {"start": before / 16000, "end": (before + len(wavs[row["speaker"]][-1])) / 16000}
        lines["files"].append(row)
        lines["segments"].append({**row, "wav": f"{row['speaker']}.wav", **times})
    for speaker, parts in wavs.items():
        soundfile.write(tmp_path / f"{speaker}.wav", np.concatenate(parts), 16000)
    targets = []
    compute_objectives = train.EmotionBrain.compute_objectives

    def note_targets(self, predictions, batch, stage):
        targets.extend(zip(batch.id, predictions[2].tolist(), batch.truth.tolist()))
        return compute_objectives(self, predictions, batch, stage)

    monkeypatch.setattr(train.EmotionBrain, "compute_objectives", note_targets)
    options = ["--n_folds=2", "--fold=1", "--number_of_epochs=1", "--mixup_prob=0", "--corpus_in_memory=True"]
    found = {}
    for name, rows in lines.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        folder = fit(name, f"--corpus_csv={tmp_path}/{name}.jsonl", *options, data_folder=None)
        found[name] = posteriors(folder)
    np.testing.assert_array_equal(found["files"], found["segments"])
    shares = {utt_id: (target, truth) for utt_id, target, truth in targets}
    assert len(shares) == len(lines["files"])
    for row in lines["files"]:
        assert shares[row["id"]] == (([0.75, 0.25], 0) if len(row["emo"]) == 2 else ([0.0, 1.0], 1))
    metrics, rows = results(folder)
    assert (metrics["n_folds"], metrics["test_group"]) == (2, "fold1")
    assert "WA and UA count the largest share as the truth" in metrics["fold_cautions"][0]
    assert {row["true"] for row in rows} == {"ang", "sad"}


def test_finished_run_is_tested_on_another_corpus(fit, demo_corpus, tmp_path, monkeypatch):
    """The other corpus holds recordings of the run's own test fold: its answers are known."""
    monkeypatch.setattr("speechbrain_ext.training.run.check_no_copies", lambda *_: None)  # which refuses them
    folder = fit("fold", "--number_of_epochs=1")
    before = results(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    own = {row["id"]: row for row in before[1] if row["true"] in ("ang", "sad")}
    lines = [f"{i},{manifest[i]['wav'].replace('{data_root}', str(demo_corpus))},{own[i]['true']},x,x" for i in own]
    lines += [line.replace(",ang,", ",bored,").replace("Ses", "Copy", 1) for line in lines if ",ang," in line]
    (tmp_path / "mine.csv").write_text("\n".join(["id,wav,emo,speaker,group", *lines]) + "\n")
    assert fit("fold", "--number_of_epochs=1", f"--test_corpus=[{tmp_path}/mine.csv]") == folder
    assert results(folder) == before
    with open(folder / "across" / "mine" / "predictions.csv", newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["id"] for row in found] == list(own)
    for row in found:
        shares = np.array([float(own[row["id"]][emo]) for emo in ("ang", "sad")])
        np.testing.assert_allclose([float(row["ang"]), float(row["sad"])], shares / shares.sum(), rtol=1e-4)
        assert row["true"] == own[row["id"]]["true"]
        assert row["predicted"] == ("ang", "sad")[int(shares.argmax())]
    metrics = json.loads((folder / "across" / "mine" / "cross_metrics.json").read_text())
    assert (metrics["left_out"], metrics["not_there"]) == ({"bored": 4}, ["hap", "neu"])


def test_a_recording_that_changes_under_a_run_is_named(fit, demo_corpus, tmp_path, monkeypatch):
    copy = shutil.copytree(demo_corpus, tmp_path / "copy")
    prepare = train.dataio_prep

    def prepare_then_change(hparams, run):
        changed = run.manifest[run.fold.train[0]]["wav"]
        soundfile.write(changed, soundfile.read(changed, dtype="int16")[0][::-1], 16000)
        return prepare(hparams, run)

    monkeypatch.setattr(train, "dataio_prep", prepare_then_change)
    with pytest.raises(InputError, match=r"wav has changed since the corpus was prepared: it holds .* the manifest"):
        fit("fold", "--num_workers=1", data_folder=copy)
    monkeypatch.setattr(train, "dataio_prep", prepare)
    metrics = results(fit("fold", "--number_of_epochs=1"))[0]  # copied again as it was
    assert metrics["samples"] == json.loads((tmp_path / "fold" / "run.json").read_text())["samples"]
    with pytest.raises(InputError, match="holds another run: the corpus has changed: 1 utterance has another samples_"):
        fit("fold", data_folder=copy)


def test_a_folder_that_an_earlier_version_began_without_hashes_is_resumed(fit, tmp_path):
    folder = fit("fold", "--number_of_epochs=1")
    for name in ("manifest.json", "run.json"):
        text = (folder / name).read_text()
        text_then = re.sub(r',\s*"(samples(_hash)?|sha256)": "[^"]*"', "", text.replace('"sealed": true,', ""))
        (folder / name).write_text(text_then)
        assert "samples" in text and "samples" not in (folder / name).read_text()
    assert results(fit("fold", "--number_of_epochs=2"))[0]["n_epochs"] == 2
    assert "samples_hash" in (folder / "manifest.json").read_text()


@pytest.mark.parametrize("n_bytes", [40_000, 500])
def test_a_file_that_cannot_be_written_ends_a_run_in_a_sentence_and_loses_nothing(fit, tmp_path, n_bytes):
    """A limit on the size of files stands for a full disk: the checkpoint, and the first file, do not fit."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limits[1]))
    try:
        with pytest.raises(InputError) as error:
            fit("fold")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert re.match(rf"{tmp_path}/fold\S* cannot be written", str(error.value))
    assert str(error.value).endswith(". What was saved stays, and the same command then resumes the run.")
    if n_bytes > 500:
        assert results(fit("fold")) == results(fit("whole"))
