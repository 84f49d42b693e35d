"""Ways in which what is tested could reach what is trained: each is refused in a sentence, or changes nothing."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import torch

from speechbrain_ext.commands.main import main as command
from speechbrain_ext.corpora import prepare_corpus
from speechbrain_ext.dataio.folds import make_fold
from speechbrain_ext.errors import InputError
from speechbrain_ext.training.run import Run
from tests.noise_corpus import OPTIONS, Corpus
from tests.recipes.fold_reading import assert_same_weights, newest_checkpoint, save_source

BALANCES = ["--class_weights=balanced", "--logit_adjustment=1", "--balanced_sampling=True", "--mixup_prob=1"]


def weights(folder):
    """Load all that training leaves: weights, centers, running statistics, optimizers, and the numbers of epochs."""
    newest = newest_checkpoint(folder)
    names = [path.stem for path in newest.glob("*.ckpt") if path.stem not in ("history", "brain", "dataloader-TRAIN")]
    loaded = {
        name: torch.load(newest / f"{name}.ckpt", weights_only=False) for name in names if name != "epoch_counter"
    }
    return {
        **{name: flat(state) for name, state in loaded.items()},
        "history": {"": (newest / "history.ckpt").read_text()},
    }


def flat(state, prefix=""):
    """Write nested states as one dict of tensors and plain values."""
    if not isinstance(state, dict):
        return {prefix: state}
    return {key: value for name, inner in state.items() for key, value in flat(inner, f"{prefix}.{name}").items()}


def test_a_speaker_of_the_test_part_in_training_is_refused(noise_corpus):
    noise_corpus.rows[0]["group"] = "s1"  # one utterance of the first speaker
    noise_corpus.save()
    prepared = prepare_corpus("csv", str(noise_corpus.path), None)
    for fold in (1, 2):
        with pytest.raises(
            InputError, match="speaker 's0' of .* in the test part is also in training or validation .* "
        ):
            make_fold(prepared.manifest, fold)


@pytest.mark.parametrize("ending", [".wav", ".flac"])
def test_a_recording_of_the_test_part_under_another_name_is_refused(noise_corpus, ending):
    samples, rate_hz = soundfile.read(noise_corpus.folder / "00.wav", dtype="int16")
    soundfile.write(noise_corpus.folder / f"renamed{ending}", samples, rate_hz)
    noise_corpus.rows.append({"wav": f"renamed{ending}", "emo": "ang", "speaker": "s3", "group": "s3"})
    noise_corpus.save()
    with pytest.raises(
        InputError, match="a recording is in two groups.*\n.*00 and renamed are one recording .* s0 and s3"
    ):
        prepare_corpus("csv", str(noise_corpus.path), None)


def test_a_stretch_of_a_test_recording_in_training_is_refused(noise_corpus):
    noise_corpus.rows[0] |= {"start": "0", "end": "0.2"}
    other = {"wav": "00.wav", "emo": "ang", "speaker": "s3", "group": "s3", "start": "0.1", "end": "0.3"}
    noise_corpus.rows.append(other)
    noise_corpus.save()
    with pytest.raises(
        InputError, match="clips of two groups overlap.*\n.*group s0.* and .*group s3.* overlap in 00.wav"
    ):
        prepare_corpus("csv", str(noise_corpus.path), None)


@pytest.mark.parametrize(
    ("yaml", "options"),
    [("demo.yaml", BALANCES), ("scratch.yaml", []), ("frozen.yaml", [])],
    ids=["mixup and balances", "filterbanks with running statistics", "cached features"],
)
def test_sounds_and_labels_of_the_test_part_change_no_weight(noise_corpus, fit_noise, tmp_path, yaml, options):
    """Not through partners, weights of classes, batches, running statistics, the choice of an epoch, or a cache."""
    small = ["--number_of_epochs=2", "--batch_size=4", "--noprogressbar"] if yaml == "scratch.yaml" else OPTIONS
    if yaml == "frozen.yaml":
        options = [save_source(tmp_path / "source"), f"--feature_cache={tmp_path / 'features'}", "--max_train_s=null"]
    one = fit_noise("one", *options, yaml=yaml, small=small)
    for row in noise_corpus.of_speaker("s0"):
        noise_corpus.record(row["wav"], seed=24 + int(row["wav"][:2]))
        row["emo"] = "sad"
    noise_corpus.save()
    two = fit_noise("two", *options, yaml=yaml, small=small)
    assert_same_weights(weights(one), weights(two))
    assert (one / "predictions.csv").read_bytes() != (two / "predictions.csv").read_bytes()


def test_another_order_of_labels_is_another_run(fit_noise):
    folder = fit_noise("fold", "--emotions=[ang, sad]")
    for option in ([], ["--test_only"]):
        with pytest.raises(
            InputError, match=r"fold holds a run with other settings: emotions is \['ang', 'sad'\] there"
        ):
            fit_noise("fold", "--emotions=[sad, ang]", *option)
    metrics = json.loads((folder / "test_metrics.json").read_text())
    del metrics["sha256"], metrics["sealed"]
    (folder / "test_metrics.json").write_text(json.dumps({**metrics, "emotions": ["sad", "ang"]}))
    assert command(["report", str(folder), "--allow=incomplete"]) == 1  # its counts are those of the other order


def test_folder_and_checkpoints_of_another_fold_are_refused(fit_noise, tmp_path, capsys):
    one, two = fit_noise("one"), fit_noise("two", "--fold=2")
    with pytest.raises(
        InputError, match="one holds another run: fold is 1 there, 2 now. Choose another --output_folder"
    ):
        fit_noise("one", "--fold=2")
    shutil.rmtree(two / "save")
    shutil.copytree(one / "save", two / "save")  # weights that know the speaker whom fold 2 tests
    for options in ([], ["--test_only"], ["--number_of_epochs=3"]):
        with pytest.raises(
            InputError, match="is another run's: fold is 1 there, 2 here. Its weights may know what is te"
        ):
            fit_noise("two", "--fold=2", *options)
    assert command(["export", str(two), str(tmp_path / "bundle")]) == 1
    assert "is another run's: fold is 1 there, 2 here" in capsys.readouterr().err
    shutil.copytree(one, tmp_path / "results" / "fold1")
    shutil.copytree(one, tmp_path / "results" / "fold2")
    assert command(["report", str(tmp_path / "results"), "--allow=incomplete"]) == 1
    assert "seed 1 fold 1 is there twice" in capsys.readouterr().err


def test_validation_by_group_or_speaker_shares_no_speaker_with_training_and_never_with_the_test(noise_corpus):
    manifest = prepare_corpus("csv", str(noise_corpus.path), None).manifest
    for validation in ("random", "group", "speaker"):
        for fold in range(1, 5):
            parts = make_fold(manifest, fold, validation, valid_fraction=0.3)
            speakers = [
                {manifest[utt_id]["speaker"] for utt_id in part} for part in (parts.train, parts.valid, parts.test)
            ]
            assert speakers[2].isdisjoint(speakers[0] | speakers[1])
            assert validation == "random" or speakers[0].isdisjoint(speakers[1])


def test_a_corpus_that_is_trained_on_is_no_other_corpus_to_test_on(noise_corpus, root, tmp_path):
    def read(other):
        own = {"corpus_csv": str(noise_corpus.path), "corpus": "csv", "data_folder": None}
        return Run.read(root / "hparams/demo.yaml", {**own, "test_corpus": [str(other)]})

    with pytest.raises(InputError, match="which is trained on: its test fold is tested anyway"):
        read(noise_corpus.path)
    other = Corpus(tmp_path / "other", first_seed=22)  # two recordings of the corpus under other names
    with pytest.raises(
        InputError, match=r"2 of 24 recordings of corpus.csv are in .* trained on \(00 is 22, 01 is 23\)"
    ):
        read(other.path)
    for one in (noise_corpus, other):
        soundfile.write(one.folder / "00.wav", np.zeros(4000), 16000)  # silence is no recording of its own
    other.record("01.wav", seed=99)
    assert len(read(other.path).others[0].manifest) == 24
