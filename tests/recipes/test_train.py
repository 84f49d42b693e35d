"""The recipe, really run on a small demo corpus with a small encoder."""

import json

import numpy as np
import pytest
import soundfile
import speechbrain as sb
import torch
from hyperpyyaml import load_hyperpyyaml

from recipes.IEMOCAP import train
from speechbrain_ext.augment.mixup import ConventionalMixup, LengthAdaptiveMixup
from speechbrain_ext.training import brain
from speechbrain_ext.training.hparams_file import hparams_text
from tests.recipes.fold_reading import assert_same_weights, last_checkpoint, posteriors, results


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


def test_centers_without_a_center_loss_have_no_optimizer(fit):
    """They have no gradient, and GradScaler refuses the step of an optimizer without one."""
    folder = fit("fold", "--lambda_c=0", "--number_of_epochs=1")
    assert {path.name for path in folder.glob("save/*/optimizer_*")} == {"optimizer_network.ckpt"}


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


def test_augmentation_may_be_switched_off(fit):
    assert results(fit("fold", "--augmentations=[]", "--number_of_epochs=1"))[0]["n"] == 16


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
