"""Runs that stop and go on: where they go on from, with which numbers, and what they refuse."""

import functools
import shutil

import filelock
import pytest

from recipes.IEMOCAP import train
from speechbrain_ext.errors import InputError
from speechbrain_ext.training import checkpoints as atomic_checkpointer
from speechbrain_ext.training import run
from speechbrain_ext.training.checkpoint_files import read_meta
from speechbrain_ext.training.history import read_epochs
from speechbrain_ext.training.run_lock import hold_run_folder
from tests.recipes.fold_reading import assert_same_weights, history, last_checkpoint, posteriors, results, save_source


def test_saved_hyperparams_go_on_with_the_fold(fit):
    folder = fit("fold1", "--number_of_epochs=1", "--seed=3")
    assert len(history(folder)) == 1
    train.main([str(folder / "hyperparams.yaml"), "--noprogressbar", "--number_of_epochs=3"])
    whole = fit("whole", "--seed=3")
    assert history(folder) == history(whole)
    assert_same_weights(last_checkpoint(folder), last_checkpoint(whole))
    before = results(folder)
    train.main([str(folder / "hyperparams.yaml"), "--noprogressbar"])  # nothing is left to train
    assert results(folder) == before
    assert len(history(folder)) == 3


def test_moved_folder_goes_on_in_its_new_place(fit, tmp_path):
    folder = fit("here", "--number_of_epochs=1")
    before = results(folder)
    shutil.move(folder, tmp_path / "there")
    train.main([str(tmp_path / "there" / "hyperparams.yaml"), "--noprogressbar"])
    assert not folder.exists()
    assert results(tmp_path / "there") == before


@pytest.mark.parametrize(
    ("interval", "more"),
    [
        ("--ckpt_interval_steps=2", ["--balanced_sampling=True", "--logit_adjustment=1", "--class_weights=balanced"]),
        ("--ckpt_interval_steps=0", ["--lora_rank=2", "--freeze_feature_extractor=True"]),
    ],
    ids=["within_epochs_balanced", "between_epochs_with_lora"],
)
def test_killed_and_resumed_run_ends_with_the_same_bits(fit, interrupted, tmp_path, interval, more):
    options = ["--mixup_prob=0.5", "--augment_prob=0.8", "--projection_dropout=0.3", *more]
    lora = "--lora_rank=2" in more
    options += [save_source(tmp_path / "source")] if lora else []
    whole = fit("whole", *options)
    with interrupted(lambda brain, n_steps: n_steps == 7):  # in the second epoch of four batches
        fit("killed", *options, interval)
    assert not (whole.parent / "killed" / "test_metrics.json").exists()
    resumed = fit("killed", *options, interval)
    assert_same_weights(last_checkpoint(resumed), last_checkpoint(whole))
    assert history(resumed) == history(whole)
    assert results(resumed) == results(whole)
    if lora:
        save_source(tmp_path / "source", seed=1)
        with pytest.raises(InputError, match="encoder.ckpt was trained on other weights than those of .*source"):
            fit("killed", *options)


def test_fewer_epochs_than_trained_are_refused(fit):
    fit("fold")
    with pytest.raises(
        InputError, match=r"trained for 3 epochs, more than number_of_epochs \(2\). Raise it, or choose"
    ):
        fit("fold", "--number_of_epochs=2")


def test_folder_in_use_is_refused_and_kept(fit, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(run, "hold_run_folder", functools.partial(hold_run_folder, timeout_s=0.1))
    (tmp_path / "fold").mkdir()
    with filelock.FileLock(tmp_path / "fold" / ".lock"):
        with pytest.raises(InputError, match="fold is in use by another process. Wait until it has ended, or choose"):
            fit("fold")
    assert [path.name for path in (tmp_path / "fold").iterdir()] == [".lock"]


def test_where_checkpoints_are_written_changes_no_number(fit):
    behind, at_once = fit("behind"), fit("at_once", "--checkpoints_in_background=False")
    assert_same_weights(last_checkpoint(behind), last_checkpoint(at_once))
    assert history(behind) == history(at_once)
    assert (behind / "predictions.csv").read_bytes() == (at_once / "predictions.csv").read_bytes()


@pytest.mark.parametrize("in_background", [True, False])
def test_epochs_are_told_of_what_is_saved_alone(fit, monkeypatch, in_background):
    """An epoch whose checkpoint is lost is no epoch: a test right after would go with another one's weights."""
    option = f"--checkpoints_in_background={in_background}"
    whole = fit("whole", option)
    put_in_place, n_saved = atomic_checkpointer._put_in_place, 0

    def lose_the_second(*args):
        nonlocal n_saved
        n_saved += 1
        if n_saved > 1:
            raise OSError("No space left on device")
        put_in_place(*args)

    with monkeypatch.context() as patch:
        patch.setattr(atomic_checkpointer, "_put_in_place", lose_the_second)
        with pytest.raises(InputError, match="the disk is full.* What was saved stays"):
            fit("full", option)
    full = whole.parent / "full"
    assert len(read_epochs(full / "epochs.json")) == 1 < len(read_epochs(whole / "epochs.json"))
    assert not (full / "test_metrics.json").exists()
    assert results(fit("full", option)) == results(whole)


@pytest.mark.parametrize("weights", ["best", "last"])
def test_early_stopping_remembers_over_every_resume(fit, interrupted, monkeypatch, weights):
    """Validation WA of the epochs: .5, .6, .6, .55: the best is epoch 2, and patience 2 ends after epoch 4."""
    scores = {1: 0.5, 2: 0.6, 3: 0.6, 4: 0.55}
    close_epoch = train.EmotionBrain.close_epoch
    monkeypatch.setattr(
        train.EmotionBrain,
        "close_epoch",
        lambda brain, epoch, stats, error: close_epoch(
            brain, epoch, {**stats, "valid_WA": scores.get(epoch, 0.9)}, 1 - scores.get(epoch, 0.9)
        ),
    )
    options = ["--patience=2", "--number_of_epochs=9", f"--tested_weights={weights}"]
    whole = fit("whole", *options)
    assert len(history(whole)) == 4
    assert results(whole)[0]["tested_epoch"] == {"best": 2, "last": 4}[weights]
    # Killed in the epoch of the best, and in each later one; the weights that are tested change nothing of that.
    for epoch in (2, 3, 4) if weights == "best" else (4,):
        with interrupted(lambda brain, _, epoch=epoch: brain.hparams.epoch_counter.current == epoch):
            fit("killed", *options)
    resumed = fit("killed", *options)
    assert history(resumed) == history(whole)
    assert results(resumed) == results(whole)
    before = results(whole)
    assert results(fit("whole", *options)) == before  # given again after the end, nothing is trained
    assert len(history(whole)) == 4


def test_a_run_killed_right_after_a_checkpoint_makes_up_for_what_was_to_follow(fit, monkeypatch):
    """The last checkpoint is in place; the one before is not deleted yet, and epochs.json does not tell of it."""
    options = ["--patience=1", "--number_of_epochs=2", "--validation=none"]
    whole = fit("whole", *options)
    put_in_place = atomic_checkpointer._put_in_place
    n_saved = 0

    def killed(*args):
        nonlocal n_saved
        put_in_place(*args)
        n_saved += 1
        if n_saved == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(atomic_checkpointer, "_put_in_place", killed)
        with pytest.raises(KeyboardInterrupt):
            fit("fold", *options, "--checkpoints_in_background=False")
    folder = whole.parent / "fold"
    assert len(read_epochs(folder / "epochs.json")) == 1 and len(list(folder.glob("save/CKPT*"))) == 2
    fit("fold", *options, "--checkpoints_in_background=False")
    assert read_epochs(folder / "epochs.json") == read_epochs(whole / "epochs.json")
    assert len(list(folder.glob("save/CKPT*"))) == len(list(whole.glob("save/CKPT*"))) == 1


@pytest.mark.parametrize("damaged", ["newest", "best"])
def test_a_run_with_a_damaged_checkpoint_ends_with_the_same_bits(fit, damaged):
    folder = fit("fold")
    before, weights, epochs = results(folder), last_checkpoint(folder), history(folder)
    tested = before[0]["tested_epoch"]
    meta = {read_meta(path)["epoch"]: path for path in (folder / "save").glob("CKPT+*")}
    broken = meta[max(meta) if damaged == "newest" else tested]
    with open(broken / "encoder.ckpt", "r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))
    if damaged == "best":
        with pytest.raises(
            InputError, match="is damaged: encoder.ckpt is not as it was written .* without --test_only"
        ):
            fit("fold", "--test_only")
    assert fit("fold") == folder
    assert f"{broken} cannot be used: encoder.ckpt is not as it was written" in (folder / "log.txt").read_text()
    assert_same_weights(last_checkpoint(folder), weights)
    assert history(folder) == epochs
    assert results(folder) == before


def test_a_run_that_lost_its_best_checkpoint_is_not_tested_with_another(fit):
    folder = fit("fold")
    tested = results(folder)[0]["tested_epoch"]
    metas = {read_meta(path)["epoch"]: path for path in (folder / "save").glob("CKPT+*")}
    assert tested < max(metas)
    shutil.rmtree(metas[tested])
    with pytest.raises(InputError, match=f"fold has lost the checkpoint of epoch {tested}, its best. Copy the folder"):
        fit("fold", "--test_only")


def test_damaged_epochs_change_no_result_and_are_written_again(fit):
    folder = fit("fold1", "--number_of_epochs=1")
    before, epochs = results(folder), (folder / "epochs.json").read_bytes()
    (folder / "epochs.json").write_text(10_000 * "[")
    fit("fold1", "--number_of_epochs=1", "--test_only")
    assert results(folder) == before
    fit("fold1", "--number_of_epochs=1")
    assert (folder / "epochs.json").read_bytes() == epochs and results(folder) == before


def test_encoder_whose_configuration_has_changed_is_not_tested(fit, tmp_path):
    """Its weights are the same, and its numbers would be others."""
    source = save_source(tmp_path / "source")
    preprocessor, config = (tmp_path / "source" / name for name in ("preprocessor_config.json", "config.json"))
    preprocessor.write_text('{"do_normalize": true, "sampling_rate": 16000}')
    options = [source, "--lora_rank=2", "--waveform_scale=auto", "--number_of_epochs=1"]
    before = posteriors(fit("fold", *options))
    for path, old, new, said in (
        (preprocessor, "true", "false", "another preprocessor_config.json .* waveform_scale was 'layer' and is None"),
        (config, '"hidden_act": "gelu"', '"hidden_act": "relu"', "another config.json .* hidden_act was 'gelu' and is"),
    ):
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(InputError, match=f"{said}.* Put that file back into encoder_source"):
            fit("fold", *options)
        path.write_text(text)
    assert (posteriors(fit("fold", *options)) == before).all()
