"""Training on cached features, really run: each clip is encoded once, and the result is the frozen encoder's."""

import os
import shutil

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.classifier import load_classifier
from speechbrain_ext.training import feature_extraction, frozen_features
from tests.commands.test_export import answers
from tests.commands.test_export import main as export
from tests.recipes.fold_reading import assert_same_weights, last_checkpoint, posteriors, results, save_source

OPTIONS = ["--max_train_s=null", "--num_layers=2", "--number_of_epochs=2"]
CUT = "--max_train_s=1.5"


@pytest.fixture
def source(tmp_path):
    return save_source(tmp_path / "source")


@pytest.fixture
def train(fit, demo_corpus, source, tmp_path):
    """Return a function that trains a fold on cached features, with one cache for all."""
    cache = f"--feature_cache={tmp_path / 'features'}"
    corpus = ["--corpus=synthetic", "--emotions=[ang, hap, sad, neu]"]

    def run(name, *options, data_folder=demo_corpus):
        return fit(
            name, *corpus, source, cache, *OPTIONS, *options, yaml="hparams/frozen.yaml", data_folder=data_folder
        )

    return run


@pytest.fixture
def encoded(monkeypatch):
    """Count the clips that are encoded."""
    counts = []
    compute = feature_extraction.FeatureExtractor.__call__
    monkeypatch.setattr(
        feature_extraction.FeatureExtractor,
        "__call__",
        lambda self, wavs: counts.append(len(wavs)) or compute(self, wavs),
    )
    return lambda: [sum(counts), counts.clear()][0]


@pytest.fixture
def no_audio(monkeypatch):
    """Return a function after which no recording can be read."""

    def refuse(*_):
        raise AssertionError("a recording was read")

    return lambda: monkeypatch.setattr(frozen_features, "_read", refuse)


def age(corpus):
    """Let recordings look older than the moment: what was just written is not remembered."""
    for path in corpus.rglob("*.wav"):
        os.utime(path, (1e9, 1e9))


def test_folds_seeds_heads_and_layers_share_one_extraction(train, demo_corpus, encoded, no_audio):
    age(demo_corpus)
    train("one")
    assert encoded() == 80
    no_audio()
    for options in (["--fold=2"], ["--seed=2"], ["--emb_dim=8", "--lr=0.01"], ["--num_layers=1"]):
        assert results(train("-".join(options).replace("=", ""), *options))[0]["n"] == 16
    assert encoded() == 0


def test_clips_that_are_cut_are_other_clips(train, encoded):
    train("whole")
    assert encoded() == 80
    train("cut", CUT)
    assert 0 < encoded() < 48  # those of the training part that are longer


def test_same_sounds_elsewhere_hit_and_changed_ones_miss(train, demo_corpus, encoded, tmp_path):
    utt_id = results(train("one"))[1][0]["id"]
    encoded()
    copy = shutil.copytree(demo_corpus, tmp_path / "copy")
    train("copy", data_folder=copy)
    assert encoded() == 0
    path = next(copy.rglob(f"{utt_id}.wav"))
    wav, rate = soundfile.read(path)
    soundfile.write(path, wav[::-1], rate)
    train("changed", data_folder=copy)
    assert encoded() == 1


def test_other_content_of_the_same_size_and_time_is_encoded_anew(train, demo_corpus, encoded, tmp_path):
    copy = shutil.copytree(demo_corpus, tmp_path / "copy")
    age(copy)
    rows = results(train("one", data_folder=copy))[1]
    encoded()
    path = next(copy.rglob(f"{rows[0]['id']}.wav"))
    wav, rate = soundfile.read(path)
    soundfile.write(path, wav[::-1], rate)
    age(copy)
    train("changed", data_folder=copy)
    assert encoded() == 1


def test_other_weights_are_another_cache(train, encoded, tmp_path):
    before = posteriors(train("one"))
    assert encoded() == 80
    save_source(tmp_path / "source", seed=1)
    assert not np.allclose(posteriors(train("two")), before, atol=1e-3)
    assert encoded() == 80
    assert len(list((tmp_path / "features").glob("hubert-*"))) == 2
    with pytest.raises(
        InputError, match="encoder.ckpt was trained on features of other weights than those of .*source"
    ):
        train("one")


def test_random_encoder_is_that_of_the_seed(fit, encoded):
    random = [
        "--corpus=synthetic",
        "--emotions=[ang, hap, sad, neu]",
        "--encoder_source=null",
        "--layer_weights=null",
        *OPTIONS,
    ]
    one = fit("seed1/fold1", *random, yaml="hparams/frozen.yaml")
    assert encoded() == 80
    fit("seed1/fold2", *random, "--fold=2", yaml="hparams/frozen.yaml")
    assert encoded() == 0  # beside the results of all folds
    fit("seed2/fold1", *random, "--seed=2", yaml="hparams/frozen.yaml")
    assert encoded() == 80
    saved = last_checkpoint(one)["encoder.ckpt"]
    without = fit("without", *random, "--cache_features=False", "--number_of_epochs=1", yaml="hparams/frozen.yaml")
    assert_same_weights({"encoder.ckpt": saved}, {"encoder.ckpt": last_checkpoint(without)["encoder.ckpt"]})


def test_killed_extraction_goes_on_where_it_was(train, monkeypatch, encoded):
    monkeypatch.setattr(feature_extraction, "SHARD_CLIPS", 8)
    compute = feature_extraction._compute
    calls = []

    def killed(*args):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return compute(*args)

    with monkeypatch.context() as patch:
        patch.setattr(feature_extraction, "_compute", killed)
        with pytest.raises(KeyboardInterrupt):
            train("fold")
    assert encoded() == 24
    resumed = train("fold")
    assert encoded() == 56
    assert_same_weights(last_checkpoint(resumed), last_checkpoint(train("whole")))
    assert results(resumed) == results(train("whole"))


def test_damaged_shard_is_computed_again(train, encoded, tmp_path):
    before = train("one")
    encoded()
    path = sorted((tmp_path / "features").glob("*/*.safetensors"))[0]
    n_clips = len(load_file(path)["n_frames"])
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    assert results(train("two")) == results(before)
    assert encoded() == n_clips
    assert "its checksum is wrong" in (tmp_path / "two" / "log.txt").read_text()


def test_exported_model_predicts_what_the_fold_did(train, demo_corpus, tmp_path):
    """Up to half precision: a feature is rounded by at most 2^-11 of itself."""
    folder = train("fold", "--num_layers=1", "--lr=0.01")
    assert all(path.stat().st_size < 3000 for path in folder.glob("save/*/encoder.ckpt"))  # no weights of the encoder
    export(folder, tmp_path / "exported")
    assert answers(load_classifier(tmp_path / "exported"), folder, demo_corpus) < 2e-3


def test_padding_to_a_fixed_length_is_behind_the_mask_or_is_heard(train, demo_corpus, encoded, tmp_path):
    options = ["--num_layers=1", "--lr=0.01", "--number_of_epochs=1", "--fixed_length_s=4.0"]
    folders = train("masked", *options), train("heard", *options, "--mask_padding=False")
    assert 80 < encoded() < 2 * 80  # of clips that are longer nothing is padded
    for folder in folders:
        export(folder, tmp_path / f"bundle_{folder.name}")
        assert answers(load_classifier(tmp_path / f"bundle_{folder.name}"), folder, demo_corpus) < 2e-3
    assert not np.allclose(posteriors(folders[0]), posteriors(folders[1]), atol=5e-3)


def test_attentive_pooling_learns_from_all_frames_of_the_cache(train, demo_corpus, encoded, tmp_path):
    options = ["--feature_reduction=attentive", "--num_layers=1", "--lr=0.01", "--number_of_epochs=1"]
    folder = train("fold", *options)
    assert encoded() == 80
    pooling = {key for key in last_checkpoint(folder)["encoder.ckpt"] if key.startswith("pooling.")}
    assert pooling and results(train("again", *options, "--emb_dim=8"))[0]["n"] == 16
    assert encoded() == 0
    export(folder, tmp_path / "exported")
    assert answers(load_classifier(tmp_path / "exported"), folder, demo_corpus) < 2e-3


def test_interrupted_run_ends_as_a_whole_one(train, interrupted):
    whole = train("whole", "--number_of_epochs=3")
    with interrupted(lambda brain, n_steps: n_steps == 4):
        train("killed", "--number_of_epochs=3")
    resumed = train("killed", "--number_of_epochs=3")
    assert results(resumed) == results(whole)
    assert_same_weights(last_checkpoint(resumed), last_checkpoint(whole))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--freeze_encoder=False"],
            "cannot honour freeze_encoder: False: an encoder that learns .*freeze_encoder=True",
        ),
        (["--num_layers=5"], "num_layers is 5, but .* has 2 layers: choose 1 to 2"),
        (
            ["--feature_cache={tmp}/file"],
            "feature_cache .*file cannot be written: it is a file. Choose another --feature",
        ),
        (["--feature_cache={tmp}/file/x"], "feature_cache .*x cannot be written: .*file is a file"),
    ],
)
def test_what_features_cannot_honour_is_refused(train, tmp_path, options, message):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=message):
        train("fold", *(option.format(tmp=tmp_path) for option in options))


def test_what_is_off_may_be_said_in_two_ways(train):
    options = ["--augment_prob=0.5", "--augmentations=null", "--number_of_epochs=1"]
    assert results(train("fold", *options))[0]["n"] == 16
    assert torch.is_tensor(last_checkpoint(train("fold", *options))["f_0.ckpt"]["weight"])
