import importlib
import json
import os
import re
import stat

import pytest
import torch
from speechbrain.inference.classifiers import EncoderClassifier

import speechbrain_ext.inference.bundle_writer
from speechbrain_ext.checksums import sha256_of
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.bundle import BUNDLE_FILE, CARD_FILE, YAML_FILE, check_bundle
from speechbrain_ext.inference.bundle_settings import BundleSettings
from speechbrain_ext.inference.bundle_writer import seal_bundle, write_bundle
from speechbrain_ext.inference.classifier import load_classifier
from speechbrain_ext.lobes.filterbank_encoder import FilterbankEncoder
from speechbrain_ext.nnet.projection import EmotionClassifier, EmotionEmbedding
from tests.bundle_making import EMOTIONS, make_bundle, make_parts, save_parts

FILTERBANKS = {
    "n_mels": 16, "window_ms": 32, "hop_ms": 20, "channels": 8, "dilations": [2], "res2net_scale": 2,
    "squeezed_channels": 4, "pooled_channels": 8, "attention_channels": 4, "embedding_dim": 6,
}  # fmt: skip
ENCODER = {"encoder_config": make_parts()["encoder"].architecture()}


def write(out, weights, facts=None, card="# Grüße\n", **options):
    write_bundle(out, weights, BundleSettings(list(EMOTIONS), 64, **{**ENCODER, **options}), card, facts)


@pytest.fixture
def weights(tmp_path):
    return save_parts(tmp_path / "weights", make_parts())


def test_bundle_holds_what_it_says(tmp_path, weights):
    write(tmp_path / "new" / "bundle", weights, facts={"result": {"UA": 0.5}, "corpus": "iemocap"})
    bundle = tmp_path / "new" / "bundle"
    parts = ["encoder.ckpt", "f_0.ckpt", "f_1.ckpt"]
    assert sorted(os.listdir(bundle)) == [CARD_FILE, BUNDLE_FILE, *parts, YAML_FILE]
    assert (bundle / CARD_FILE).read_text(encoding="utf-8") == "# Grüße\n"
    about = json.loads((bundle / BUNDLE_FILE).read_text())
    assert about["format"] == 1
    assert about["emotions"] == ["ang", "hap", "sad", "neu"]
    assert about["sample_rate"] == 16000
    assert about["encoder_config"] == ENCODER["encoder_config"]
    assert about["corpus"] == "iemocap"
    assert about["versions"]["torch"] == torch.__version__.split("+")[0]
    assert about["result"] == {"UA": 0.5}
    assert about["files"] == {name: sha256_of(bundle / name) for name in [CARD_FILE, *parts, YAML_FILE]}
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o755
    for name in parts:
        assert (bundle / name).read_bytes() == weights[name.removesuffix(".ckpt")].read_bytes()


def test_two_exports_are_the_same(tmp_path):
    first, second = make_bundle(tmp_path / "first"), make_bundle(tmp_path / "second")
    assert sorted(os.listdir(first)) == sorted(os.listdir(second))
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_empty_folder_is_filled(tmp_path, weights):
    (tmp_path / "bundle").mkdir()
    write(tmp_path / "bundle", weights)
    check_bundle(tmp_path / "bundle")


def test_folder_that_holds_something_is_left_alone(tmp_path, weights):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("bundle", "file"):
        with pytest.raises(
            InputError, match=f"{name} is there and holds something else. Choose another folder, or delete that"
        ):
            write(tmp_path / name, weights)
    assert os.listdir(tmp_path / "bundle") == ["thesis.txt"]
    assert sorted(os.listdir(tmp_path)) == ["bundle", "file", "weights"]


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"files": {}}', "\\udcff"])
def test_broken_bundle_json_of_the_same_model_is_written_anew(tmp_path, text):
    bundle = make_bundle(tmp_path / "bundle")
    whole = (bundle / BUNDLE_FILE).read_bytes()
    (bundle / BUNDLE_FILE).write_text(text, errors="surrogateescape")
    make_bundle(bundle)
    assert (bundle / BUNDLE_FILE).read_bytes() == whole


@pytest.mark.parametrize("fault", ["other weights", "no weights", "hostile weights", "interrupted"])
def test_failure_leaves_nothing_behind(tmp_path, weights, monkeypatch, fault):
    expected = InputError
    if fault == "other weights":
        weights["f_0"] = weights["f_1"]
    elif fault == "no weights":
        weights["f_0"].unlink()
        expected = OSError
    elif fault == "hostile weights":
        torch.save({"weight": os.system}, weights["f_0"])
    else:
        expected = KeyboardInterrupt

        def interrupt(*args):
            raise KeyboardInterrupt

        monkeypatch.setattr(speechbrain_ext.inference.bundle_writer, "load_classifier", interrupt)
    with pytest.raises(expected):
        write(tmp_path / "bundle", weights)
    assert os.listdir(tmp_path) == ["weights"]


@pytest.mark.parametrize(
    "emotions",
    [
        ["no", "yes", "on", "Off"],
        ["1", "0x1F", "1e3", "-.5"],
        ["true", "NaN", "null", "Null"],
        ["happy/excited", "ärgerlich", "怒り", "خوش\u200cحال"],
        ["a: b", "# c", "- d", "e, f"],
        ["'", '"', "[g]", "{h}"],
        ["!i", "&j", "*k", "%l"],
        [" m", "n ", "", "o p"],
        ["2001-01-01", "12:30", "1_000", "<<"],
        ["=", "?", "|", ">"],
        ["x" * 200, "y " * 100, "@z", "`"],
        ["/x", "a\\b", "a..b", "~"],
        ["<x>", "<emotions>", "a(b)", "!ref <emotions>"],
    ],
)
def test_labels_survive(tmp_path, emotions):
    bundle = make_bundle(tmp_path / "bundle", emotions=emotions)
    plain = EncoderClassifier.from_hparams(source=str(bundle), run_opts={"device": "cpu"})
    for classifier in (load_classifier(bundle, {"device": "cpu"}), plain):
        assert classifier.hparams.emotions == emotions
        assert classifier.hparams.label_encoder.decode_ndim([0, 1, 2, 3]) == emotions


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("(none)", r"the emotion '\(none\)' cannot be exported: HyperPyYAML"),
        ("a\nb", r"emotions must be a list of .* printable text"),
    ],
)
def test_label_that_would_not_survive_is_not_exported(tmp_path, label, words):
    with pytest.raises(InputError, match=words):
        make_bundle(tmp_path / "bundle", emotions=["ang", label])
    assert not (tmp_path / "bundle").exists()


def test_yaml_names_rooms_and_no_files_in_them(tmp_path):
    text = (make_bundle(tmp_path / "bundle") / YAML_FILE).read_text()
    names = re.findall(r"!new:(speechbrain_ext\.\S+)", text)
    assert len(names) == 6
    for name in names:
        _, room, attribute = name.split(".")
        assert attribute in importlib.import_module(f"speechbrain_ext.{room}").__all__


def test_numbers_survive(tmp_path, weights):
    config = make_parts()["encoder"].architecture()
    write(
        tmp_path / "bundle",
        weights,
        encoder_config={**config, "layer_norm_eps": 1e-12},
        max_s=5.5,
        fixed_length_s=1e-1,
        mask_padding=False,
        waveform_scale=None,
    )
    plain = EncoderClassifier.from_hparams(source=str(tmp_path / "bundle"), run_opts={"device": "cpu"})
    for classifier in (load_classifier(tmp_path / "bundle", {"device": "cpu"}), plain):
        hparams = classifier.hparams
        assert repr(hparams.encoder_config) == repr({**config, "layer_norm_eps": 1e-12})
        assert repr(hparams.encoder_config["layer_norm_eps"]) == "1e-12"
        assert (hparams.max_s, hparams.fixed_length_s, hparams.mask_padding) == (5.5, 0.1, False)
        assert hparams.waveform_scale is None
        assert classifier.mods.embedding_model.encoder.model.encoder.layers[0].layer_norm.eps == 1e-12
        assert classifier.mods.embedding_model.max_samples == 88000


def test_seal_lists_the_files_as_they_are_now(tmp_path):
    bundle = make_bundle(tmp_path / "bundle")
    (bundle / CARD_FILE).write_text("another")
    (bundle / "notes.txt").write_text("new")
    (bundle / ".gitattributes").write_text("not ours")
    (bundle / "folder").mkdir()
    before = json.loads((bundle / BUNDLE_FILE).read_text())
    seal_bundle(bundle)
    after = json.loads((bundle / BUNDLE_FILE).read_text())
    assert after.pop("files") == {
        **before.pop("files"),
        CARD_FILE: sha256_of(bundle / CARD_FILE),
        "notes.txt": sha256_of(bundle / "notes.txt"),
    }
    assert {**after, "sha256": before["sha256"]} == before != after
    check_bundle(bundle)


def test_filterbank_bundle_gives_the_posteriors_of_its_parts(tmp_path):
    torch.manual_seed(0)
    encoder = FilterbankEncoder(FILTERBANKS)
    encoder(torch.randn(4, 8000))  # so that BatchNorm has statistics
    parts = {"encoder": encoder.eval(), "f_0": EmotionEmbedding(6, 5), "f_1": EmotionClassifier(5, 2)}
    settings = BundleSettings(["ang", "sad"], 5, encoder.architecture())
    write_bundle(tmp_path / "bundle", save_parts(tmp_path / "weights", parts), settings, "# A test\n")

    wavs, wav_lens = 0.1 * torch.randn(2, 8000), torch.tensor([1.0, 0.5])
    with torch.no_grad():
        peaks = torch.stack([wavs[0].abs().max(), wavs[1, :4000].abs().max()]).unsqueeze(1)
        expected = parts["f_1"](parts["f_0"](encoder(wavs / peaks, wav_lens)))
    stock = EncoderClassifier.from_hparams(
        source=str(tmp_path / "bundle"), savedir=str(tmp_path / "fetched"), run_opts={"device": "cpu"}
    )
    for classifier in (load_classifier(tmp_path / "bundle"), stock):
        found = classifier.classify_batch(wavs, wav_lens)[0]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_what_killed_processes_have_left_is_deleted_an_hour_later(tmp_path):
    old, new, other = (tmp_path / name for name in (".bundle.abcd_123", ".bundle.abcd_124", ".bundle.of mine"))
    for folder in (old, new, other):
        folder.mkdir()
    for folder in (old, other):
        os.utime(folder, (1_000_000_000, 1_000_000_000))
    make_bundle(tmp_path / "bundle")
    assert not old.exists() and new.exists() and other.exists()
