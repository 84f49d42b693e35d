#!/usr/bin/env python3
"""Train and test one fold of speech emotion recognition with label-adaptive mixup and center loss.

    python train.py hparams/loso.yaml --data_folder=/path/to/IEMOCAP_full_release --fold=1
    python train.py hparams/demo.yaml                          # the synthetic demo corpus, on the CPU
    python train.py results/loso/seed1/fold1/hyperparams.yaml  # resume a fold that was interrupted
    torchrun --standalone --nproc_per_node=4 train.py hparams/loso.yaml --batch_size=4 ...  # 4 GPUs share batches of 16

Kang, Zhang and Jiang, "Learning Robust Self-Attention Features for Speech Emotion Recognition with Label-Adaptive
Mixup", ICASSP 2023.
"""

import contextlib
import logging
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
if (ROOT / "speechbrain_ext").is_dir():  # a checkout runs without being installed
    sys.path.insert(0, str(ROOT))
from speechbrain_ext.openmp import wait_briefly  # noqa: E402
from speechbrain_ext.training.command_line import answer_early  # noqa: E402

wait_briefly()
if __name__ == "__main__" and "speechbrain" not in sys.modules:
    answer_early(sys.argv[1:], __doc__)  # what follows takes seconds to import

import speechbrain as sb  # noqa: E402
import torch  # noqa: E402
from speechbrain.dataio.dataloader import make_dataloader  # noqa: E402
from speechbrain.utils.distributed import ddp_broadcast, run_on_main  # noqa: E402

from speechbrain_ext.dataio.dataset import PairedDataset, collate_pairs, count_classes, target_item  # noqa: E402
from speechbrain_ext.dataio.feature_dataset import collate_features  # noqa: E402
from speechbrain_ext.dataio.manifest import check_lengths, segment_of  # noqa: E402
from speechbrain_ext.dataio.sampler import PairedBatchSampler, share_whole_batches  # noqa: E402
from speechbrain_ext.dataio.workers import end_with_a_lost_batch  # noqa: E402
from speechbrain_ext.device import resolve_precision  # noqa: E402
from speechbrain_ext.nnet.recognition_loss import RecognitionLoss  # noqa: E402
from speechbrain_ext.results.across_corpora import write_cross_results  # noqa: E402
from speechbrain_ext.results.fold_results import write_results  # noqa: E402
from speechbrain_ext.results.metrics import EmotionMetrics, mean_batch_loss  # noqa: E402
from speechbrain_ext.training.brain import FoldBrain  # noqa: E402
from speechbrain_ext.training.checkpoints import architecture_of  # noqa: E402
from speechbrain_ext.training.distributed import gather, world_size_and_rank  # noqa: E402
from speechbrain_ext.training.frozen_features import feature_datasets, on_cached_features  # noqa: E402
from speechbrain_ext.training.hparams_file import build_hparams  # noqa: E402
from speechbrain_ext.training.run import end_in_a_sentence, run_context  # noqa: E402

logger = logging.getLogger(__name__)


class EmotionBrain(FoldBrain):
    """The paper's model: mixup, truncated HuBERT, projection, recognition and center loss."""

    def compute_forward(self, batch, stage):
        """Compute log-posteriors [B, C], embeddings [B, D] and (mixed) targets [B, C]."""
        batch = batch.to(self.device, non_blocking=True)
        wavs, wav_lens, targets = clips(batch)
        if stage == sb.Stage.TRAIN and not self.hparams.cache_features:  # features are not mixed
            wavs, wav_lens, targets = self.mix(wavs, wav_lens, targets, clips(batch, "partner_"), shard_of(batch))
        feats = self.modules.encoder(wavs, wav_lens if self.hparams.mask_padding else None)
        emb = self.modules.f_0(feats)
        log_posteriors = self.modules.f_1(emb)
        return log_posteriors, emb, targets

    def compute_objectives(self, predictions, batch, stage):
        """Compute the joint loss (eq. 6), and count decisions outside training."""
        log_posteriors, emb, targets = predictions
        loss = self.hparams.recognition_loss(log_posteriors, targets)
        if self.hparams.lambda_c:
            loss = loss + self.hparams.lambda_c * self.modules.center_loss(emb, targets)
        if stage == sb.Stage.TRAIN and shard_of(batch):
            loss = loss * shard_of(batch).weight
        if stage != sb.Stage.TRAIN:
            self.losses.append(loss.item())
            decisions = self.metrics.update(log_posteriors, batch.truth)
        if stage == sb.Stage.TEST:
            rows = zip(batch.truth.tolist(), decisions.tolist(), log_posteriors.exp().tolist())
            self.predictions.update(zip(batch.id, rows))
        return loss

    def init_optimizers(self):
        """Make one Adam for the network and one for the centers (Sec. 3.2), each with the same schedule."""
        network = [p for name, module in self.modules.items() if name != "center_loss" for p in module.parameters()]
        self.optimizers_dict = {"network": self.hparams.opt_class([p for p in network if p.requires_grad])}
        if self.hparams.lambda_c:  # else the centers have no gradient, and GradScaler refuses their step
            self.optimizers_dict["centers"] = self.hparams.center_opt_class(self.modules.center_loss.parameters())
        self.schedulers = {}
        for name, optimizer in self.optimizers_dict.items():
            self.schedulers[name] = torch.optim.lr_scheduler.LambdaLR(optimizer, self.hparams.lr_schedule)
            self.checkpointer.add_recoverable(f"optimizer_{name}", optimizer)
            self.checkpointer.add_recoverable(f"scheduler_{name}", self.schedulers[name])

    def on_stage_start(self, stage, epoch=None):
        """Begin to count decisions."""
        self.metrics = EmotionMetrics(self.hparams.emotions, device=self.device)
        self.predictions, self.losses = {}, []
        if stage == sb.Stage.TRAIN:
            self.wait_meter.begin_epoch()

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Close an epoch after its validation, or after its training where nothing validates."""
        if stage == sb.Stage.TRAIN:
            self.train_loss = float(stage_loss)
            if self.device != "cpu":
                self.wait_meter.warn_once(epoch, self.hparams.num_workers, self.hparams.corpus_in_memory)
            if self.hparams.validation == "none":
                self.step, self.avg_train_loss = 0, 0.0  # saved so, the next epoch begins as after a validation
                self.close_epoch(epoch, {})
        elif stage == sb.Stage.VALID:
            found = self.metrics.compute()
            stats = {"valid_loss": mean_batch_loss(self.losses), "valid_WA": found["WA"], "valid_UA": found["UA"]}
            self.close_epoch(epoch, stats, error=1.0 - found["WA"])
        else:
            self.test_metrics, self.test_loss = self.metrics.compute(), mean_batch_loss(self.losses)
            self.predictions = {key: value for part in gather(self.predictions) for key, value in part.items()}


def clips(batch, prefix=""):
    """Take (wavs [B, T], relative wav_lens [B], targets [B, C]) out of a batch: the clips', or their partners'."""
    wavs, n_samples = batch[prefix + "sig"].data, batch[prefix + "n_samples"].data.squeeze(1)  # [B, 1] -> [B]
    return wavs, n_samples / max(wavs.shape[1], 1), batch[prefix + "target"].data


def shard_of(batch):
    """Return the BatchShard that a training batch is; None where it is whole."""
    return getattr(batch, "shard", [None])[0]


def make_dataset(hparams, manifest, utt_ids, clip_reader):
    """Make a dataset with id, sig [T], n_samples [1], target [C] and its true class for each clip."""

    def clip_of(entry):
        clip = {key: entry.get(key) for key in ("wav", "emo", "labels", "samples_hash")}
        return {**clip, "segment": segment_of(entry)}

    takes = ["id", "wav", "epoch", "partner_of", "segment", "repeat", "samples_hash"]
    read = {"func": clip_reader, "takes": takes, "provides": ["sig", "n_samples"]}
    return PairedDataset(
        {utt_id: clip_of(manifest[utt_id]) for utt_id in utt_ids},
        [read, target_item(hparams["emotions"])],
        ["id", "sig", "n_samples", "target", "truth"],
        paired_keys=("sig", "n_samples", "target"),
    )


def make_test_dataset(hparams, manifest, utt_ids):
    """Make a dataset to validate or test on, by decreasing length: little padding, peak memory in the first batch."""
    longest_first = sorted(utt_ids, key=lambda utt_id: (-manifest[utt_id]["duration"], utt_id))
    return make_dataset(hparams, manifest, longest_first, hparams["eval_clip"])


def dataio_prep(hparams, run):
    """Make the datasets of a fold, and of the other corpora that it is tested on."""
    others = {other.place: make_test_dataset(hparams, other.manifest, other.manifest) for other in run.others}
    return {
        "train": make_dataset(hparams, run.manifest, run.fold.train, hparams["train_clip"]),
        "valid": make_test_dataset(hparams, run.manifest, run.fold.valid) if run.fold.valid else None,
        "test": make_test_dataset(hparams, run.manifest, run.fold.test),
        **others,
    }


def plan_batches(hparams, manifest, fold):
    """Make the sampler that plans the training batches of a fold, and this process's share of each."""
    n_processes, rank = world_size_and_rank()
    durations = [min(manifest[utt_id]["duration"], hparams["max_train_s"] or float("inf")) for utt_id in fold.train]
    return PairedBatchSampler(
        n_samples=[round(duration * hparams["sample_rate"]) for duration in durations],
        batch_size=hparams["batch_size"],
        partner_prob=hparams["mixup_prob"],
        sort_window=hparams["sort_window"],
        seed=hparams["seed"],
        n_processes=n_processes,
        rank=rank,
        labels=[manifest[utt_id]["emo"] for utt_id in fold.train] if hparams["balanced_sampling"] else None,
    )


def main(argv):
    """Train and test one fold, as the only process or as one of those that torchrun starts."""
    with run_context(argv) as (run, run_opts):
        sb.create_experiment_directory(str(run.folder), save_env_desc=False)
        cached = run.settings["cache_features"]
        hparams = build_hparams(on_cached_features(run.text) if cached else run.text)
        hparams["precision"] = resolve_precision(hparams["precision"], run_opts["device"])
        hparams["train_loggers"] = [hparams["train_logger"]]
        if hparams["tensorboard"]:
            folder = str(run.folder / "tensorboard")
            hparams["train_loggers"].append(sb.utils.train_logger.TensorboardLogger(folder))

        cuts_s = hparams["max_train_s"], hparams["max_eval_s"], hparams["fixed_length_s"]
        for manifest in (run.manifest, *(other.manifest for other in run.others)):
            check_lengths(manifest, hparams["encoder"], hparams["sample_rate"], *cuts_s)
        datasets = feature_datasets(hparams, run, run_opts) if cached else dataio_prep(hparams, run)
        sizes = [len(part) for part in (run.fold.train, run.fold.valid, run.fold.test)]
        logger.info(
            "Fold %d tests on %s: %d clips to train on, %d to validate, %d to test.",
            hparams["fold"], run.fold.test_group, *sizes,
        )  # fmt: skip
        for caution in run.fold.cautions:
            logger.warning(caution)
        if hparams["corpus_in_memory"]:
            hparams["waveform_store"].fill(run.manifest.values())
            logger.info("%.2f GB of waveforms are held in memory.", hparams["waveform_store"].n_bytes / 1e9)

        if isinstance(hparams["recognition_loss"], RecognitionLoss):
            counts = count_classes((run.manifest[utt_id] for utt_id in run.fold.train), hparams["emotions"])
            hparams["recognition_loss"].count_classes(counts)

        brain = EmotionBrain(
            hparams["modules"], hparams=hparams, run_opts=run_opts, checkpointer=hparams["checkpointer"]
        )
        # With --debug each process has a scratch folder of its own, and only the first one's is written to.
        brain.checkpointer.checkpoints_dir = ddp_broadcast(brain.checkpointer.checkpoints_dir)
        brain.checkpointer.in_background = hparams["checkpoints_in_background"]
        encoder = {"encoder_config": architecture_of(hparams["encoder"])}
        brain.checkpointer.owner = {**run.identity, **encoder, "waveform_scale": hparams["eval_clip"].waveform_scale}
        brain.train_sampler = plan_batches(hparams, run.manifest, run.fold)
        loader_kwargs = {
            "num_workers": 0 if cached else hparams["num_workers"],
            "pin_memory": brain.device.startswith("cuda"),
            "collate_fn": collate_features if cached else collate_pairs,
            "worker_init_fn": end_with_a_lost_batch,
        }

        def eval_kwargs(dataset):
            batches = share_whole_batches(len(dataset), hparams["eval_batch_size"], *world_size_and_rank())
            return {**loader_kwargs, "batch_sampler": batches}

        # Brain's own loader would share out the batches once more.
        train_loader = make_dataloader(datasets["train"], batch_sampler=brain.train_sampler, **loader_kwargs)
        brain.checkpointer.add_recoverable("dataloader-TRAIN", train_loader)
        if hparams["track_test"]:
            brain.tracked_test = make_dataloader(datasets["test"], **eval_kwargs(datasets["test"]))
        with contextlib.closing(brain.checkpointer):  # the folder is not left before the last checkpoint is in it
            brain.fit(
                hparams["epoch_counter"],
                train_loader,
                datasets["valid"],
                valid_loader_kwargs=eval_kwargs(datasets["valid"]) if datasets["valid"] else {},
            )
            brain.evaluate(datasets["test"], test_loader_kwargs=eval_kwargs(datasets["test"]))
        run_on_main(write_results, args=[brain, hparams, run])
        for other in run.others:
            brain.evaluate(datasets[other.place], test_loader_kwargs=eval_kwargs(datasets[other.place]))
            run_on_main(write_cross_results, args=[brain, run, other])


if __name__ == "__main__":
    sys.exit(end_in_a_sentence(main, sys.argv[1:]))
