"""A classifier: what loads, that it answers as SpeechBrain's own does, and where a bundle is found."""

import json
import os
import shutil
import socket
import warnings
from concurrent.futures import ThreadPoolExecutor

import huggingface_hub
import numpy as np
import pytest
import soundfile
import torch
from speechbrain.inference.classifiers import EncoderClassifier

from speechbrain_ext import device
from speechbrain_ext.dataio.audio import read_audio
from speechbrain_ext.dataio.waveform_scale import scale_waveforms
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.bundle import BUNDLE_FILE, YAML_FILE
from speechbrain_ext.inference.bundle_settings import BundleSettings
from speechbrain_ext.inference.bundle_writer import write_bundle
from speechbrain_ext.inference.classifier import find_bundle, load_classifier
from speechbrain_ext.lobes import TruncatedHuBERT
from speechbrain_ext.nnet.projection import EmotionClassifier, EmotionEmbedding
from tests.bundle_making import EMOTIONS, make_bundle, make_parts, save_parts, write_yaml
from tests.tiny_encoders import ENCODERS
from tests.tiny_hubert import TINY

CPU = {"device": "cpu"}


@pytest.fixture(scope="module")
def classifier(good_bundle):
    return load_classifier(good_bundle, CPU)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **options):
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"feature_reduction": "mean", "waveform_scale": "layer", "max_s": 0.5},
        {"fixed_length_s": 0.7, "mask_padding": False, "waveform_scale": None},
        {"emotions": ["neu", "ang", "sad"], "sample_rate": 8000, "max_s": 1},
    ],
    ids=["plain", "mean", "fixed", "labels"],
)
def test_classifier_equals_plain_from_hparams(tmp_path, clips, options):
    bundle = make_bundle(tmp_path / "bundle", **options)
    ours, plain = load_classifier(bundle, CPU), EncoderClassifier.from_hparams(source=str(bundle), run_opts=CPU)
    wavs, wav_lens, _ = clips
    found, expected = ours.classify_batch(wavs, wav_lens), plain.classify_batch(wavs, wav_lens)
    for one, other in zip(found[:3], expected[:3]):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    assert found[3] == expected[3]
    torch.testing.assert_close(ours.encode_batch(wavs, wav_lens), plain.encode_batch(wavs, wav_lens))
    assert ours.audio_normalizer.sample_rate == plain.audio_normalizer.sample_rate == options.get("sample_rate", 16000)
    for key, value in vars(ours.hparams).items():
        if key not in ("label_encoder", "audio_normalizer"):
            assert getattr(plain.hparams, key) == value, key


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_classifier_answers_the_same_to_several_threads(tmp_path, precision):
    classifier = load_classifier(make_bundle(tmp_path / "bundle"), {"device": "cpu", "precision": precision})
    clips = [torch.randn(1, 4000 + 777 * i) for i in range(12)]

    def classify(wavs):
        with torch.inference_mode():
            return classifier.classify_batch(wavs)[0]

    alone = [classify(wavs) for wavs in clips]
    with ThreadPoolExecutor(4) as pool:
        for found in (list(pool.map(classify, clips)) for _ in range(4)):
            assert all(torch.equal(one, other) for one, other in zip(found, alone))


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "wav2vec2", "feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False},
        {"conv_pos_batch_norm": True},
        {"feat_proj_layer_norm": False, "hidden_act": "relu", "feat_extract_activation": "quick_gelu"},
    ],
    ids=["wav2vec2", "batch_norm", "activations"],
)
def test_each_architecture_loads_as_it_was_saved(tmp_path, clips, config):
    torch.manual_seed(0)
    parts = {**make_parts(), "encoder": TruncatedHuBERT(config={**TINY, **config}, num_layers=2).eval()}
    settings = BundleSettings(list(EMOTIONS), 64, parts["encoder"].architecture())
    write_bundle(tmp_path / "bundle", save_parts(tmp_path / "weights", parts), settings, "# A test")
    wavs, wav_lens, _ = clips
    expected = parts["f_1"](parts["f_0"](parts["encoder"](wavs, wav_lens)))
    found = load_classifier(tmp_path / "bundle", CPU).classify_batch(wavs, wav_lens)[0]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert {name for name, _ in parts["encoder"].named_buffers()} <= {*parts["encoder"].state_dict()}


@pytest.mark.parametrize("reduction", ["first", "attentive"])
@pytest.mark.parametrize("name", ENCODERS)
def test_each_family_becomes_a_bundle_that_both_ways_of_loading_read(tmp_path, clips, name, reduction):
    torch.manual_seed(0)
    layer_weights = "learned" if reduction == "attentive" else None
    options = {"feature_reduction": reduction, "layer_weights": layer_weights, "waveform_scale": None}
    config = {"model_type": ENCODERS[name][0], **ENCODERS[name][1]}
    encoder = TruncatedHuBERT(config=config, num_layers=2, **options).eval()
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    parts = {"encoder": encoder, "f_0": EmotionEmbedding(encoder.embedding_dim, 8), "f_1": EmotionClassifier(8, 4)}
    settings = BundleSettings(list(EMOTIONS), 8, encoder.architecture(), **options)
    write_bundle(tmp_path / "bundle", save_parts(tmp_path / "weights", parts), settings, "# A test")
    wavs, wav_lens, _ = clips
    with torch.no_grad():
        expected = parts["f_1"](parts["f_0"](encoder(wavs, wav_lens)))
    for load in (load_classifier, EncoderClassifier.from_hparams):
        classifier = load(str(tmp_path / "bundle"), run_opts=CPU)
        with torch.no_grad():
            torch.testing.assert_close(classifier.classify_batch(wavs, wav_lens)[0], expected, atol=1e-6, rtol=0)


def test_bundles_of_earlier_versions_load(tmp_path, clips):
    """They say nothing of layer_weights, and their hyperparams.yaml names TruncatedHuBERT."""
    bundle = make_bundle(tmp_path / "bundle")
    expected = load_classifier(bundle, CPU).encode_batch(*clips[:2])
    text = (bundle / YAML_FILE).read_text(encoding="utf-8")
    old = text.replace("lobes.TruncatedEncoder", "lobes.TruncatedHuBERT").replace("layer_weights:\n", "")
    write_yaml(bundle, old.replace("    layer_weights: !ref <layer_weights>\n", ""))
    about = json.loads((bundle / BUNDLE_FILE).read_text(encoding="utf-8"))
    del about["layer_weights"], about["sha256"], about["sealed"]
    (bundle / BUNDLE_FILE).write_text(json.dumps(about), encoding="utf-8")
    assert "layer_weights" not in (bundle / YAML_FILE).read_text(encoding="utf-8")
    for load in (load_classifier, EncoderClassifier.from_hparams):
        torch.testing.assert_close(load(str(bundle), run_opts=CPU).encode_batch(*clips[:2]), expected)


def test_classifier_equals_its_parts(classifier, clips):
    parts = make_parts()
    wavs, wav_lens, _ = clips
    emb = parts["f_0"](parts["encoder"](scale_waveforms(wavs, wav_lens), wav_lens))
    assert emb.shape == (3, 64)
    assert torch.equal(classifier.encode_batch(wavs, wav_lens), emb)
    log_posteriors, score, index, labels = classifier.classify_batch(wavs, wav_lens)
    expected = torch.log_softmax(emb @ parts["f_1"].weight.T + parts["f_1"].bias, dim=1)
    torch.testing.assert_close(log_posteriors, expected)
    assert labels == [EMOTIONS[i] for i in expected.argmax(dim=1)]
    assert torch.equal(score, log_posteriors.max(dim=1).values)


def test_clip_alone_equals_clip_in_a_batch(classifier, clips):
    wavs, wav_lens, lengths = clips
    together = classifier.classify_batch(wavs, wav_lens)[0]
    for row, wav, length in zip(together, wavs, lengths):
        alone = classifier.classify_batch(wav[:length].unsqueeze(0))[0]
        torch.testing.assert_close(alone, row.unsqueeze(0), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("rate_hz", "n_channels", "format", "subtype"),
    [
        (16000, 1, "WAV", "PCM_16"),
        (16000, 1, "WAV", "FLOAT"),
        (16000, 1, "FLAC", "PCM_16"),
        (16000, 2, "WAV", "PCM_16"),
        (44100, 2, "WAV", "PCM_16"),
        (8000, 1, "WAV", "PCM_16"),
        (8000, 2, "FLAC", "PCM_24"),
    ],
)
def test_classify_file_equals_read_audio(classifier, tmp_path, rate_hz, n_channels, format, subtype):
    path = tmp_path / f"clip.{format.lower()}"
    wav = np.random.default_rng(0).uniform(-0.5, 0.5, (rate_hz // 2, n_channels))
    soundfile.write(path, wav, rate_hz, format=format, subtype=subtype)
    read = torch.from_numpy(read_audio(path, "clip", 16000))
    assert read.shape == (8000,)
    of_file, expected = classifier.classify_file(str(path)), classifier.classify_batch(read.unsqueeze(0))
    torch.testing.assert_close(of_file[0], expected[0], atol=1e-6, rtol=0)
    assert of_file[3] == expected[3]


def test_bf16_is_close_and_applies_with_and_without_the_context(good_bundle, classifier, clips):
    wavs, wav_lens, _ = clips
    coarse = load_classifier(good_bundle, {"device": "cpu", "precision": "bf16"})
    expected = classifier.classify_batch(wavs, wav_lens)[0]
    log_posteriors = coarse.classify_batch(wavs, wav_lens)[0]
    with coarse.inference_ctx:
        assert torch.equal(coarse.classify_batch(wavs, wav_lens)[0], log_posteriors)
    assert log_posteriors.dtype == torch.float32
    assert not torch.equal(log_posteriors, expected)
    torch.testing.assert_close(log_posteriors.exp(), expected.exp(), atol=0.01, rtol=0)
    assert coarse.encode_batch(wavs, wav_lens).dtype == torch.float32


@pytest.mark.parametrize("has_bf16", [True, False])
def test_auto_takes_what_the_processor_has(good_bundle, has_bf16, monkeypatch):
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: has_bf16)
    encoder = load_classifier(good_bundle, {"device": "cpu", "precision": "auto"}).mods.embedding_model.encoder
    projection = encoder.model.encoder.layers[0].attention.q_proj.weight
    assert projection.dtype == (torch.bfloat16 if has_bf16 else torch.float32)
    assert encoder.model.encoder.layers[0].layer_norm.weight.dtype == torch.float32


def test_classifier_is_frozen_and_in_evaluation_mode(classifier):
    assert not any(module.training for module in classifier.mods.modules())
    assert not any(parameter.requires_grad for parameter in classifier.mods.parameters())


def test_labels_keep_their_order_without_a_warning(tmp_path, caplog, clips):
    emotions = ["neu", "ang", "sad"]
    bundle = make_bundle(tmp_path / "bundle", emotions=emotions)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier = load_classifier(bundle, CPU)
        log_posteriors, _, index, labels = classifier.classify_batch(clips[0], clips[1])
    assert classifier.hparams.emotions == emotions
    assert labels == [emotions[i] for i in log_posteriors.argmax(dim=1)]
    assert "expect_len" not in caplog.text


def test_loading_leaves_the_folder_as_it_is(good_bundle):
    names = sorted(os.listdir(good_bundle))
    load_classifier(str(good_bundle), CPU)
    assert sorted(os.listdir(good_bundle)) == names


def test_too_short_clip_is_an_error(classifier):
    # four frames of the first convolution make one of the second: (4 - 1) * 160 + 400 = 880
    assert classifier.classify_batch(torch.ones(1, 880))[0].shape == (1, 4)
    with pytest.raises(InputError, match="clip 0 of the batch has 879 samples; the encoder needs at least 880"):
        classifier.classify_batch(torch.ones(1, 879))


@pytest.mark.parametrize("scale", ["layer", None])
def test_scale_comes_from_the_bundle(tmp_path, clips, scale):
    wavs, wav_lens, _ = clips
    classifier = load_classifier(make_bundle(tmp_path / "bundle", waveform_scale=scale), CPU)
    parts = make_parts()
    emb = parts["f_0"](parts["encoder"](scale_waveforms(wavs, wav_lens, scale), wav_lens))
    assert torch.equal(classifier.encode_batch(wavs, wav_lens), emb)


def test_path_that_is_no_folder_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    for source in ("results/nothing/there", "nothing", tmp_path / "nothing", "file", "~nobody/x/y", "a\0/b"):
        with pytest.raises(InputError, match="is no folder. Give the folder that `speechbrain-ext"):
            load_classifier(source)


def test_home_is_found(good_bundle, monkeypatch):
    monkeypatch.setenv("HOME", str(good_bundle.parent))
    assert find_bundle("~/bundle") == (good_bundle, None)


def lay_out_as_the_cache(bundle, cache):
    """Lay a bundle out as the Hub's cache does: links into blobs."""
    model = cache / "models--somebody--emotions"
    snapshot = model / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    (model / "blobs").mkdir()
    for path in bundle.iterdir():
        shutil.copyfile(path, model / "blobs" / f"blob of {path.name}")
        (snapshot / path.name).symlink_to(f"../../blobs/blob of {path.name}")
    return snapshot


def test_model_of_the_hub_loads_from_the_cache(good_bundle, classifier, monkeypatch, tmp_path, clips):
    asked = []
    snapshot = lay_out_as_the_cache(good_bundle, tmp_path)

    def download(name, revision, local_files_only, **options):
        asked.append((name, revision, local_files_only))
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    loaded = load_classifier("somebody/emotions", CPU, revision="v1")
    assert asked == [("somebody/emotions", "v1", True)]  # there is no network
    assert torch.equal(loaded.classify_batch(clips[0])[0], classifier.classify_batch(clips[0])[0])


def test_link_out_of_the_cached_model_is_refused(good_bundle, monkeypatch, tmp_path):
    snapshot = lay_out_as_the_cache(good_bundle, tmp_path)
    shutil.copyfile(good_bundle / "f_0.ckpt", tmp_path / "f_0.ckpt")
    (snapshot / "f_0.ckpt").unlink()
    (snapshot / "f_0.ckpt").symlink_to("../../../f_0.ckpt")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **options: str(snapshot))
    with pytest.raises(InputError, match="f_0.ckpt is a link to"):
        load_classifier("somebody/emotions", CPU)
