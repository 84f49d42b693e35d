#!/usr/bin/env python3
"""Train and test one LOSO fold of speech emotion recognition with label-adaptive mixup and center loss.

    python train.py hparams/loso.yaml --data_folder=/path/to/IEMOCAP_full_release --fold=1
    python train.py hparams/demo.yaml                          # the synthetic demo corpus, on the CPU
    python train.py results/loso/seed1/fold1/hyperparams.yaml  # go on with a fold that was interrupted
    torchrun --standalone --nproc_per_node=4 train.py hparams/loso.yaml --batch_size=4 ...  # 4 GPUs share batches of 16

Kang, Zhang and Jiang, "Learning Robust Self-Attention Features for Speech Emotion Recognition with Label-Adaptive
Mixup", ICASSP 2023.
"""

import contextlib
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout runs without being installed
from speechbrain_ext.openmp import wait_briefly  # noqa: E402

wait_briefly()

import speechbrain as sb  # noqa: E402
import torch  # noqa: E402
from hyperpyyaml import load_hyperpyyaml  # noqa: E402
from speechbrain.dataio.dataloader import make_dataloader  # noqa: E402
from speechbrain.utils.distributed import (  # noqa: E402
    ddp_all_reduce,
    ddp_broadcast,
    infer_device,
    is_distributed_initialized,
    run_on_main,
)

from speechbrain_ext.dataio.dataset import PairedDataset, collate_pairs  # noqa: E402
from speechbrain_ext.dataio.manifest import read_manifest, write_manifest  # noqa: E402
from speechbrain_ext.dataio.sampler import PairedBatchSampler, share_whole_batches  # noqa: E402
from speechbrain_ext.dataio.waveform_scale import pad_with_mean, scale_waveforms  # noqa: E402
from speechbrain_ext.errors import InputError  # noqa: E402
from speechbrain_ext.results.fold_results import (  # noqa: E402
    check_epochs,
    note_processes,
    processes_of,
    read_epochs,
    write_epochs,
    write_results,
)
from speechbrain_ext.results.metrics import EmotionMetrics, mean_batch_loss  # noqa: E402
from speechbrain_ext.seeding import derive_seed  # noqa: E402
from speechbrain_ext.training.distributed import (  # noqa: E402
    gather,
    join_processes,
    on_main,
    report_once_per_node,
    world_size_and_rank,
)
from speechbrain_ext.training.run_folder import claim_run_folder  # noqa: E402
from speechbrain_ext.training.run_lock import hold_run_folder  # noqa: E402
from speechbrain_ext.training.settings import (  # noqa: E402
    RESUMABLE_KEYS,
    complete_settings,
    data_root,
    describe_corpus,
    fold_of,
    identity_of,
)
from speechbrain_ext.training.wait_meter import WaitMeter  # noqa: E402

logger = logging.getLogger(__name__)


class EmotionBrain(sb.Brain):
    """The paper's model: mixup, truncated HuBERT, projection, recognition and center loss."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.wait_meter = WaitMeter()

    def compute_forward(self, batch, stage):
        """Compute log-posteriors [B, C], embeddings [B, D] and (mixed) targets [B, C]."""
        batch = batch.to(self.device, non_blocking=True)
        wavs, wav_lens, targets = clips(batch)
        if stage == sb.Stage.TRAIN:
            wavs, wav_lens, targets = self.mixup(wavs, wav_lens, targets, clips(batch, "partner_"), share_of(batch))
        feats = self.modules.encoder(wavs, wav_lens if self.hparams.mask_padding else None)
        emb = self.modules.f_0(feats)
        log_posteriors = self.modules.f_1(emb)
        return log_posteriors, emb, targets

    def compute_objectives(self, predictions, batch, stage):
        """Compute the joint loss (eq. 6), and count decisions outside training."""
        log_posteriors, emb, targets = predictions
        recognition_loss = self.hparams.recognition_loss(log_posteriors, targets)
        loss = recognition_loss + self.hparams.lambda_c * self.modules.center_loss(emb, targets)
        if stage == sb.Stage.TRAIN and share_of(batch):
            loss = loss * share_of(batch).weight
        if stage != sb.Stage.TRAIN:
            self.losses.append(loss.item())
            decisions = self.metrics.update(log_posteriors, targets.argmax(dim=1))
        if stage == sb.Stage.TEST:
            rows = zip(targets.argmax(dim=1).tolist(), decisions.tolist(), log_posteriors.exp().tolist())
            self.predictions.update(zip(batch.id, rows))
        return loss

    def mixup(self, wavs, wav_lens, targets, partner, share):
        """Mix clips with their partners; of several processes, each with what one would draw for its share."""
        mixup = self.modules.mixup
        if share is None:
            return mixup(wavs, wav_lens, targets, partner)
        chosen = torch.rand(share.n_clips, device=self.device) < mixup.prob
        lam = mixup.sample_lam(share.n_clips, self.device)
        own = slice(share.start, share.start + len(wavs))
        torch.manual_seed(self.step_seed("rank", torch.distributed.get_rank()))  # no two processes drop out alike
        return mixup.mix(wavs, wav_lens, targets, partner, chosen[own], lam[own])

    def fit_batch(self, batch):
        """Make a step; return the mean loss over all processes, so that they log and save the same."""
        self.wait_meter.begin_batch()
        loss = super().fit_batch(batch)  # on the CPU: the device has done all of its work then
        n_processes, _ = world_size_and_rank()
        if n_processes > 1:
            loss = ddp_all_reduce(loss.to(self.device), torch.distributed.ReduceOp.SUM).cpu() / n_processes
        self.wait_meter.end_batch()
        return loss

    def init_optimizers(self):
        """Make one Adam for the network and one for the centers (Sec. 3.2), each with the same schedule."""
        centers = list(self.modules.center_loss.parameters())
        network = [p for name, module in self.modules.items() if name != "center_loss" for p in module.parameters()]
        self.optimizers_dict = {
            "network": self.hparams.opt_class([p for p in network if p.requires_grad]),
            "centers": self.hparams.center_opt_class(centers),
        }
        self.schedulers = {}
        for name, optimizer in self.optimizers_dict.items():
            self.schedulers[name] = torch.optim.lr_scheduler.LambdaLR(optimizer, self.hparams.lr_schedule)
            self.checkpointer.add_recoverable(f"optimizer_{name}", optimizer)
            self.checkpointer.add_recoverable(f"scheduler_{name}", self.schedulers[name])

    def on_fit_batch_start(self, batch, should_step):
        """Seed each step by itself, so that a resumed run draws the numbers of one that was never interrupted."""
        torch.manual_seed(self.step_seed())

    def step_seed(self, *parts):
        """Derive a seed for what is drawn in this step."""
        return derive_seed("step", self.hparams.seed, self.hparams.epoch_counter.current, self.step, *parts)

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
                self.close_epoch(epoch, {}, {})
        elif stage == sb.Stage.VALID:
            found = self.metrics.compute()
            stats = {"valid_loss": mean_batch_loss(self.losses), "valid_WA": found["WA"], "valid_UA": found["UA"]}
            # A plain number: the checkpointer cannot list meta data that holds tensors.
            self.close_epoch(epoch, stats, {"error": 1.0 - found["WA"]})
        else:
            self.test_metrics, self.test_loss = self.metrics.compute(), mean_batch_loss(self.losses)
            self.predictions = {key: value for part in gather(self.predictions) for key, value in part.items()}

    def close_epoch(self, epoch, valid_stats, meta):
        """Log, step the schedules, decide about stopping, and save: the best epoch and the last one are kept."""
        lr = self.schedulers["network"].get_last_lr()[0]
        test_stats = self.track_test() if self.hparams.track_test else {}
        self.hparams.history.add(epoch=epoch, lr=lr, train_loss=self.train_loss, **valid_stats, **test_stats)
        for train_logger in self.hparams.train_loggers:
            train_logger.log_stats(
                stats_meta={"epoch": epoch, "lr": lr},
                train_stats={"loss": self.train_loss},
                valid_stats={key.replace("valid_", ""): value for key, value in valid_stats.items()},
                test_stats={key.replace("test_", ""): value for key, value in test_stats.items()},
            )
        for scheduler in self.schedulers.values():
            scheduler.step()
        if "error" in meta:
            self.hparams.epoch_counter.update_metric(meta["error"])
        epochs = list(self.hparams.history.epochs)
        self.checkpointer.save_and_keep_only(
            meta={"epoch": epoch, **meta},
            importance_keys=[first_best] if "error" in meta else [],
            when_saved=lambda: write_epochs(self.hparams.output_folder, epochs),  # never ahead of the checkpoints
        )

    def track_test(self):
        """Measure what choosing the epoch on the test fold would give; nothing in the run depends on it."""
        self.on_stage_start(sb.Stage.TEST)
        self.modules.eval()
        for batch in self.tracked_test:
            self.evaluate_batch(batch, sb.Stage.TEST)
        found = self.metrics.compute()
        return {"test_WA": found["WA"], "test_UA": found["UA"]}

    def on_evaluate_start(self, max_key=None, min_key=None):
        """Load the weights that the protocol tests: those of the first best epoch, or of the last."""
        checkpoint = self.checkpointer.recover_if_possible(
            importance_key=tested_weights_key(self.hparams),
            ckpt_predicate=lambda checkpoint: "epoch" in checkpoint.meta,  # not one from within an epoch
        )
        if checkpoint is None:
            raise InputError(f"{self.hparams.output_folder} holds no finished epoch to test. Run without --test_only.")
        self.tested_epoch = checkpoint.meta["epoch"]


def first_best(checkpoint):
    """Rank a checkpoint by its validation error; of equals the earliest epoch is best."""
    return -checkpoint.meta.get("error", float("inf")), -checkpoint.meta.get("epoch", 0)


def tested_weights_key(hparams):
    """Return the checkpointer's key for the weights to test; None stands for the last."""
    return first_best if hparams.tested_weights == "best" and hparams.validation != "none" else None


def clips(batch, prefix=""):
    """Take (wavs [B, T], relative wav_lens [B], targets [B, C]) out of a batch: the clips', or their partners'."""
    wavs, n_samples = batch[prefix + "sig"].data, batch[prefix + "n_samples"].data.squeeze(1)  # [B, 1] -> [B]
    return wavs, n_samples / max(wavs.shape[1], 1), batch[prefix + "target"].data


def share_of(batch):
    """Return the BatchShard that a training batch is; None where it is whole."""
    return getattr(batch, "share", [None])[0]


def dataio_prep(hparams, manifest, fold):
    """Make the datasets of a fold.

    Arguments
    ---------
    hparams : dict
        The hyperparameters.
    manifest : dict
        The corpus.
    fold : speechbrain_ext.dataio.folds.Fold
        The ids of each part.

    Returns
    -------
    dict
        "train", "valid", "test": PairedDataset with id, sig [T], n_samples [1] and target [C]. Validation and test
        clips come by decreasing length, so that little is padded and memory is at its peak in the first batch.
    """
    emotions = list(hparams["emotions"])

    def read(utt_id, wav, max_s):
        sig = torch.from_numpy(hparams["waveform_store"].read(wav, utt_id, max_s))
        n_samples = len(sig)
        if hparams["fixed_length_s"] is not None:
            sig = pad_with_mean(sig, round(hparams["fixed_length_s"] * hparams["sample_rate"]))
            n_samples = min(n_samples, len(sig))
        sig = scale_waveforms(sig.unsqueeze(0), scale=hparams["waveform_scale"]).squeeze(0)
        return sig, torch.tensor([n_samples])

    @sb.utils.data_pipeline.takes("id", "wav", "epoch", "partner_of")
    @sb.utils.data_pipeline.provides("sig", "n_samples")
    def train_waveform(utt_id, wav, epoch, partner_of):
        sig, n_samples = read(utt_id, wav, hparams["max_train_s"])
        yield torch.from_numpy(hparams["augment"](sig.numpy(), epoch, utt_id, partner_of))
        yield n_samples

    @sb.utils.data_pipeline.takes("id", "wav")
    @sb.utils.data_pipeline.provides("sig", "n_samples")
    def eval_waveform(utt_id, wav):
        yield from read(utt_id, wav, hparams["max_eval_s"])

    @sb.utils.data_pipeline.takes("emo")
    @sb.utils.data_pipeline.provides("target")
    def target(emo):
        return torch.nn.functional.one_hot(torch.tensor(emotions.index(emo)), len(emotions)).float()

    def dataset(utt_ids, waveform_item):
        return PairedDataset(
            {utt_id: manifest[utt_id] for utt_id in utt_ids},
            [waveform_item, target],
            ["id", "sig", "n_samples", "target"],
            paired_keys=("sig", "n_samples", "target"),
        )

    def longest_first(utt_ids):
        return sorted(utt_ids, key=lambda utt_id: (-manifest[utt_id]["duration"], utt_id))

    return {
        "train": dataset(fold.train, train_waveform),
        "valid": dataset(longest_first(fold.valid), eval_waveform) if fold.valid else None,
        "test": dataset(longest_first(fold.test), eval_waveform),
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
    )


def resolve_precision(precision, device):
    """Choose bf16 where "auto" meets a CUDA card that has it, else fp32."""
    if precision != "auto":
        return precision
    return "bf16" if device.startswith("cuda") and torch.cuda.is_bf16_supported() else "fp32"


@contextlib.contextmanager
def prepared_folder(settings, hparams_file, overrides, run_opts):
    """Check what can be checked before a model is built; hold the fold's folder, with settings and manifest in it."""
    manifest = describe_corpus(settings)
    fold_of(settings, manifest)
    folder = Path(settings["output_folder"])
    with hold_run_folder(folder):
        check_epochs(settings)
        n_processes = processes_of(folder, world_size_and_rank()[0], run_opts["test_only"])
        claim_run_folder(folder, identity_of(settings, manifest), hparams_file, overrides, RESUMABLE_KEYS)
        note_processes(folder, n_processes)
        write_manifest(manifest, folder / "manifest.json")
        yield


def main(argv):
    """Train and test one fold, as the only process or as one of those that torchrun starts."""
    hparams_file, run_opts, overrides = sb.parse_arguments(argv)
    with contextlib.ExitStack() as stack:
        with report_once_per_node():
            settings, overrides = complete_settings(hparams_file, overrides, run_opts)
            join_processes(run_opts)  # all have read the file before the main process may write it
            on_main(stack.enter_context, prepared_folder(settings, hparams_file, overrides, run_opts))
            if not all(gather((Path(settings["output_folder"]) / "manifest.json").is_file())):
                raise InputError(
                    f"output_folder must be one folder for all machines, on a file system that they share; not all "
                    f"see what was written to {settings['output_folder']}."
                )
        run_fold(settings, hparams_file, run_opts, overrides)
    if is_distributed_initialized():
        torch.distributed.destroy_process_group()


def run_fold(settings, hparams_file, run_opts, overrides):
    """Train one fold in its prepared folder, and test it."""
    sb.create_experiment_directory(settings["output_folder"])
    with open(hparams_file, encoding="utf-8") as file:
        hparams = load_hyperpyyaml(file, overrides)
    device = run_opts["device"] or infer_device()
    hparams["precision"] = resolve_precision(hparams["precision"], device)
    hparams["train_loggers"] = [hparams["train_logger"]]
    if hparams["tensorboard"]:
        tensorboard_folder = Path(hparams["output_folder"]) / "tensorboard"
        hparams["train_loggers"].append(sb.utils.train_logger.TensorboardLogger(str(tensorboard_folder)))

    manifest = read_manifest(Path(hparams["output_folder"]) / "manifest.json", data_root(settings))
    fold = fold_of(settings, manifest)
    datasets = dataio_prep(hparams, manifest, fold)
    logger.info(
        "Fold %d tests on %s: %d clips to train on, %d to validate, %d to test.",
        hparams["fold"],
        fold.test_group,
        *(len(part) for part in (fold.train, fold.valid, fold.test)),
    )

    if hparams["corpus_in_memory"]:
        store = hparams["waveform_store"]
        store.fill(manifest[utt_id]["wav"] for part in (fold.train, fold.valid, fold.test) for utt_id in part)
        logger.info("%.2f GB of waveforms are held in memory.", store.n_bytes / 1e9)

    brain = EmotionBrain(hparams["modules"], hparams=hparams, run_opts=run_opts, checkpointer=hparams["checkpointer"])
    # With --debug each process has a scratch folder of its own, and only the first one's is written to.
    brain.checkpointer.checkpoints_dir = ddp_broadcast(brain.checkpointer.checkpoints_dir)
    brain.checkpointer.in_background = hparams["checkpoints_in_background"]
    brain.train_sampler = plan_batches(hparams, manifest, fold)
    loader_kwargs = {
        "num_workers": hparams["num_workers"],
        "pin_memory": device.startswith("cuda"),
        "collate_fn": collate_pairs,
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
        # Loading the tested weights goes back to their epoch; with --test_only nothing has been loaded yet.
        brain.epochs = list(hparams["history"].epochs) or read_epochs(hparams["output_folder"])
        brain.evaluate(datasets["test"], test_loader_kwargs=eval_kwargs(datasets["test"]))
    run_on_main(write_results, args=[brain, hparams, manifest, fold])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(f"train.py: {error}")
