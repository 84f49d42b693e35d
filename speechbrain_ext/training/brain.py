"""FoldBrain: what training needs so that a resumed run, or one of several processes, ends as an uninterrupted one."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import speechbrain as sb
import torch
from speechbrain.utils.checkpoints import ckpt_recency
from speechbrain.utils.distributed import ddp_all_reduce, if_main_process
from speechbrain.utils.train_logger import FileTrainLogger

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.errors import InputError, first_few
from speechbrain_ext.seeding import derive_seed
from speechbrain_ext.training.distributed import world_size_and_rank
from speechbrain_ext.training.history import read_epochs, write_epochs
from speechbrain_ext.training.wait_meter import WaitMeter

NONFINITE_FILE = "nonfinite_batch.json"


class FoldBrain(sb.Brain):
    """A Brain that seeds each step, closes each epoch with a checkpoint, and tests the weights that the protocol says.

    Its hyperparameters have seed, epoch_counter, history, train_loggers, number of workers and the protocol's keys;
    `schedulers` (name -> learning-rate scheduler) is filled by the subclass.
    """

    schedulers: dict[str, Any]
    batch_ids: list[str]
    has_finite_loss: bool = True
    train_loss: float
    tested_epoch: int
    epochs: list[dict[str, Any]]

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.wait_meter = WaitMeter()

    def on_fit_start(self) -> None:
        """Load the last checkpoint; what was to follow its saving when the run was killed is made up for."""
        self.checkpointer.set_aside_damaged()
        super().on_fit_start()
        if self.hparams.history.epochs and if_main_process():
            write_epochs(self.hparams.output_folder, self.hparams.history.epochs)
        if self.hparams.history.epochs:
            keys = [] if self.hparams.validation == "none" else [first_best]
            self.checkpointer.delete_checkpoints(num_to_keep=1, importance_keys=[*keys, ckpt_recency])

    def step_seed(self, *parts: Any) -> int:
        """Derive a seed for what is drawn in this step."""
        return derive_seed("step", self.hparams.seed, self.hparams.epoch_counter.current, self.step, *parts)

    def on_fit_batch_start(self, batch: Any, should_step: bool) -> None:
        """Seed each step by itself, so that a resumed run draws the numbers of one that was never interrupted."""
        # Where CUDA has not begun, torch.manual_seed keeps each call, with a traceback, until it does.
        seed = torch.default_generator.manual_seed if self.device == "cpu" else torch.manual_seed
        seed(self.step_seed())

    def fit_batch(self, batch: Any) -> torch.Tensor:
        """Make a step; return the mean loss over all processes, so that they log and save the same."""
        self.wait_meter.begin_batch()
        self.batch_ids = list(batch.id)
        loss = super().fit_batch(batch)  # on the CPU: the device has done all of its work then
        n_processes, _ = world_size_and_rank()
        if n_processes > 1:
            loss = ddp_all_reduce(loss.to(self.device), torch.distributed.ReduceOp.SUM).cpu() / n_processes
        self.wait_meter.end_batch()
        return loss

    def check_loss_isfinite(self, loss: torch.Tensor) -> None:
        """Stop at a loss that is not finite, once `nonfinite_patience` is used up, and say which clips it is of."""
        self.has_finite_loss = bool(loss.isfinite())
        try:
            super().check_loss_isfinite(loss)
        except ValueError as error:
            raise self._refuse_step("loss", loss) from error

    def optimizers_step(self) -> None:
        """Make a step with finite gradients; with fp16, GradScaler leaves out the others itself.

        SpeechBrain's step takes longer: it computes a norm also where nothing is clipped.
        """
        gradients = [p.grad for p in self.modules.parameters() if p.grad is not None]
        if not (self.scaler.is_enabled() or self.skip_nonfinite_grads):
            norm = torch.nn.utils.get_total_norm(gradients)  # takes a tenth of what the largest magnitude does
            if not norm.isfinite():
                if self.has_finite_loss:
                    raise self._refuse_step("gradient", norm)
                self.modules.zero_grad(set_to_none=True)  # the loss had patience left
                return
            if not math.isfinite(self.max_grad_norm):
                for optimizer in self.freeze_optimizers(self.optimizers_dict).values():
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)
                self.optimizer_step += 1
                return
        super().optimizers_step()

    def _refuse_step(self, what: str, value: torch.Tensor) -> InputError:
        """Save the ids of the batch, and word the error."""
        place = {"epoch": self.hparams.epoch_counter.current, "step": self.step}
        path = Path(self.hparams.output_folder) / NONFINITE_FILE
        write_json({**place, "what": what, "value": str(value.item()), "ids": self.batch_ids}, path)
        return InputError(
            f"the {what} of epoch {place['epoch']}, step {self.step} is not finite ({value.item()}), with the clips "
            f"{first_few(self.batch_ids)}: {path} lists all. No weight has got it. Look at these clips; lower lr, and "
            "train anew in another --output_folder; or resume, to see whether it comes again."
        )

    def mix(self, wavs: Any, wav_lens: Any, targets: Any, partner: Any, shard: Any) -> tuple:
        """Mix clips with their partners; of several processes, each uses its slice of the single-process draws."""
        mixup = self.modules.mixup
        if shard is None:
            return mixup(wavs, wav_lens, targets, partner)
        chosen = torch.rand(shard.n_clips, device=self.device) < mixup.prob
        lam = mixup.sample_lam(shard.n_clips, self.device)
        own = slice(shard.start, shard.start + len(wavs))
        torch.manual_seed(self.step_seed("rank", torch.distributed.get_rank()))  # no two processes drop out alike
        return mixup.mix(wavs, wav_lens, targets, partner, chosen[own], lam[own])

    def close_epoch(self, epoch: int, valid_stats: dict[str, float], error: Optional[float] = None) -> None:
        """Log an epoch, step the schedules, decide about stopping, and save: the best epoch and the last one are kept.

        Arguments
        ---------
        epoch : int
            The epoch that has ended.
        valid_stats : dict
            The numbers of its validation; empty where nothing validates.
        error : float, optional
            What the best epoch has least of, a plain number: the checkpointer cannot list meta data with tensors.
        """
        lr = self.schedulers["network"].get_last_lr()[0]
        test_stats = self.track_test() if self.hparams.track_test else {}
        self.hparams.history.add(epoch=epoch, lr=lr, train_loss=self.train_loss, **valid_stats, **test_stats)
        for train_logger in self.hparams.train_loggers:
            shown = as_texts if isinstance(train_logger, FileTrainLogger) else dict  # a board takes numbers only
            train_logger.log_stats(
                stats_meta={"epoch": epoch, "lr": lr},
                train_stats=shown({"loss": self.train_loss}),
                valid_stats=shown({key.replace("valid_", ""): value for key, value in valid_stats.items()}),
                test_stats=shown({key.replace("test_", ""): value for key, value in test_stats.items()}),
            )
        for scheduler in self.schedulers.values():
            scheduler.step()
        meta: dict[str, Any] = {"epoch": epoch}
        if error is not None:
            meta["error"] = error
            self.hparams.epoch_counter.update_metric(error)
            meta["best_epoch"] = self.hparams.epoch_counter.best_limit
        epochs = list(self.hparams.history.epochs)
        self.checkpointer.save_and_keep_only(
            meta=meta,
            importance_keys=[first_best] if error is not None else [],
            when_saved=lambda: write_epochs(self.hparams.output_folder, epochs),  # never ahead of the checkpoints
        )

    def track_test(self) -> dict[str, float]:
        """Measure what choosing the epoch on the test fold would give; nothing in the run depends on it."""
        self.on_stage_start(sb.Stage.TEST)
        self.modules.eval()
        for batch in self.tracked_test:
            self.evaluate_batch(batch, sb.Stage.TEST)
        found = self.metrics.compute()
        return {"test_WA": found["WA"], "test_UA": found["UA"]}

    def on_evaluate_start(self, max_key: Optional[str] = None, min_key: Optional[str] = None) -> None:
        """Load the weights that the protocol tests: those of the first best epoch, or of the last."""

        def has_ended(checkpoint: Any) -> bool:  # not one from within an epoch
            return "epoch" in checkpoint.meta

        key = tested_weights_key(self.hparams)
        last = self.checkpointer.find_checkpoint(ckpt_predicate=has_ended)
        checkpoint = self.checkpointer.recover_if_possible(importance_key=key, ckpt_predicate=has_ended)
        if checkpoint is None:
            raise InputError(f"{self.hparams.output_folder} holds no finished epoch to test. Run without --test_only.")
        best = last.meta.get("best_epoch", checkpoint.meta["epoch"])
        if key and best != checkpoint.meta["epoch"]:
            raise InputError(
                f"{self.hparams.output_folder} has lost the checkpoint of epoch {best}, its best. Copy the folder "
                "again from where it is whole; or run without --test_only, which trains what is lost again."
            )
        self.tested_epoch = checkpoint.meta["epoch"]
        self.epochs = read_epochs(last.paramfiles["history"])  # loading has gone back to those until the tested one


def as_texts(stats: dict[str, float]) -> dict[str, str]:
    """Write WA and UA in percent and losses with four decimals, for a log that people read.

    Example
    -------
    >>> as_texts({"loss": 0.81234, "WA": 0.318})
    {'loss': '0.8123', 'WA': '31.80%'}
    """
    return {key: f"{100 * value:.2f}%" if key in ("WA", "UA") else f"{value:.4f}" for key, value in stats.items()}


def first_best(checkpoint: Any) -> tuple[float, int]:
    """Rank a checkpoint by its validation error; of equals the earliest epoch is best."""
    return -checkpoint.meta.get("error", float("inf")), -checkpoint.meta.get("epoch", 0)


def tested_weights_key(hparams: Any) -> Optional[Callable[[Any], tuple[float, int]]]:
    """Return the checkpointer's key for the weights to test; None stands for the last."""
    return first_best if hparams.tested_weights == "best" and hparams.validation != "none" else None
