"""Ways in which what is tested could reach what is trained: each is refused in a sentence, or changes nothing."""

import json
import shutil
import sys

import numpy as np
import pytest
import soundfile
import torch

from speechbrain_ext.commands.main import main as command
from speechbrain_ext.corpora import prepare_corpus
from speechbrain_ext.dataio.folds import make_fold
from speechbrain_ext.errors import InputError
from speechbrain_ext.training.run import Run
from tests.noise_corpus import OPTIONS, Corpus, train_fold
from tests.recipes.fold_reading import assert_same_weights, newest_checkpoint, save_source

BALANCES = ["--class_weights=balanced", "--logit_adjustment=1", "--balanced_sampling=True", "--mixup_prob=1"]


@pytest.fixture
def corpus(tmp_path):
    return Corpus(tmp_path / "corpus")


@pytest.fixture
def fit(tmp_path, monkeypatch):
    """Return a function that trains a fold of a corpus and returns its folder."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # the experiment folder sets its own
    return lambda name, *args, **kwargs: train_fold(tmp_path / name, *args, **kwargs)


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


def test_a_speaker_of_the_test_part_in_training_is_refused(corpus):
    corpus.rows[0]["group"] = "s1"  # one utterance of the first speaker
    corpus.save()
    prepared = prepare_corpus("csv", str(corpus.path), None)
    for fold in (1, 2):
        with pytest.raises(
            InputError, match="speaker 's0' of .* in the test part is also in training or validation .* "
        ):
            make_fold(prepared.manifest, fold)


@pytest.mark.parametrize("ending", [".wav", ".flac"])
def test_a_recording_of_the_test_part_under_another_name_is_refused(corpus, ending):
    samples, rate_hz = soundfile.read(corpus.folder / "00.wav", dtype="int16")
    soundfile.write(corpus.folder / f"renamed{ending}", samples, rate_hz)
    corpus.rows.append({"wav": f"renamed{ending}", "emo": "ang", "speaker": "s3", "group": "s3"})
    corpus.save()
    with pytest.raises(
        InputError, match="a recording is in two groups.*\n.*00 and renamed are one recording .* s0 and s3"
    ):
        prepare_corpus("csv", str(corpus.path), None)


def test_a_stretch_of_a_test_recording_in_training_is_refused(corpus):
    corpus.rows[0] |= {"start": "0", "end": "0.2"}
    corpus.rows.append({"wav": "00.wav", "emo": "ang", "speaker": "s3", "group": "s3", "start": "0.1", "end": "0.3"})
    corpus.save()
    with pytest.raises(
        InputError, match="clips of two groups overlap.*\n.*group s0.* and .*group s3.* overlap in 00.wav"
    ):
        prepare_corpus("csv", str(corpus.path), None)


@pytest.mark.parametrize(
    ("yaml", "options"),
    [("demo.yaml", BALANCES), ("scratch.yaml", []), ("frozen.yaml", [])],
    ids=["mixup and balances", "filterbanks with running statistics", "cached features"],
)
def test_sounds_and_labels_of_the_test_part_change_no_weight(corpus, fit, tmp_path, yaml, options):
    """Not through partners, weights of classes, batches, running statistics, the choice of an epoch, or a cache."""
    small = ["--number_of_epochs=2", "--batch_size=4", "--noprogressbar"] if yaml == "scratch.yaml" else OPTIONS
    if yaml == "frozen.yaml":
        options = [save_source(tmp_path / "source"), f"--feature_cache={tmp_path / 'features'}", "--max_train_s=null"]
    one = fit("one", corpus, *options, yaml=yaml, small=small)
    for row in corpus.of_speaker("s0"):
        corpus.record(row["wav"], seed=24 + int(row["wav"][:2]))
        row["emo"] = "sad"
    corpus.save()
    two = fit("two", corpus, *options, yaml=yaml, small=small)
    assert_same_weights(weights(one), weights(two))
    assert (one / "predictions.csv").read_bytes() != (two / "predictions.csv").read_bytes()


def test_another_order_of_labels_is_another_run(corpus, fit):
    folder = fit("fold", corpus, "--emotions=[ang, sad]")
    for option in ([], ["--test_only"]):
        with pytest.raises(
            InputError, match=r"fold holds a run with other settings: emotions is \['ang', 'sad'\] there"
        ):
            fit("fold", corpus, "--emotions=[sad, ang]", *option)
    metrics = json.loads((folder / "test_metrics.json").read_text())
    del metrics["sha256"], metrics["sealed"]
    (folder / "test_metrics.json").write_text(json.dumps({**metrics, "emotions": ["sad", "ang"]}))
    assert command(["report", str(folder), "--allow=incomplete"]) == 1  # its counts are those of the other order


def test_folder_and_checkpoints_of_another_fold_are_refused(corpus, fit, tmp_path, capsys):
    one, two = fit("one", corpus), fit("two", corpus, "--fold=2")
    with pytest.raises(
        InputError, match="one holds another run: fold is 1 there, 2 now. Choose another --output_folder"
    ):
        fit("one", corpus, "--fold=2")
    shutil.rmtree(two / "save")
    shutil.copytree(one / "save", two / "save")  # weights that know the speaker whom fold 2 tests
    for options in ([], ["--test_only"], ["--number_of_epochs=3"]):
        with pytest.raises(
            InputError, match="is another run's: fold is 1 there, 2 here. Its weights may know what is te"
        ):
            fit("two", corpus, "--fold=2", *options)
    assert command(["export", str(two), str(tmp_path / "bundle")]) == 1
    assert "is another run's: fold is 1 there, 2 here" in capsys.readouterr().err
    shutil.copytree(one, tmp_path / "results" / "fold1")
    shutil.copytree(one, tmp_path / "results" / "fold2")
    assert command(["report", str(tmp_path / "results"), "--allow=incomplete"]) == 1
    assert "seed 1 fold 1 is there twice" in capsys.readouterr().err


def test_validation_by_group_or_speaker_shares_no_speaker_with_training_and_never_with_the_test(corpus):
    manifest = prepare_corpus("csv", str(corpus.path), None).manifest
    for validation in ("random", "group", "speaker"):
        for fold in range(1, 5):
            parts = make_fold(manifest, fold, validation, valid_fraction=0.3)
            speakers = [
                {manifest[utt_id]["speaker"] for utt_id in part} for part in (parts.train, parts.valid, parts.test)
            ]
            assert speakers[2].isdisjoint(speakers[0] | speakers[1])
            assert validation == "random" or speakers[0].isdisjoint(speakers[1])


def test_a_corpus_that_is_trained_on_is_no_other_corpus_to_test_on(corpus, root, tmp_path):
    def read(other):
        settings = {"corpus_csv": str(corpus.path), "corpus": "csv", "data_folder": None, "test_corpus": [str(other)]}
        return Run.read(root / "hparams/demo.yaml", settings)

    with pytest.raises(InputError, match="which is trained on: its test fold is tested anyway"):
        read(corpus.path)
    other = Corpus(tmp_path / "other", first_seed=22)  # two recordings of the corpus under other names
    with pytest.raises(
        InputError, match=r"2 of 24 recordings of corpus.csv are in .* trained on \(00 is 22, 01 is 23\)"
    ):
        read(other.path)
    for one in (corpus, other):
        soundfile.write(one.folder / "00.wav", np.zeros(4000), 16000)  # silence is no recording of its own
    other.record("01.wav", seed=99)
    assert len(read(other.path).others[0].manifest) == 24
