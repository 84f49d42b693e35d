"""The ONNX file against PyTorch, clip by clip, and against the preparation of the clips written out."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from speechbrain_ext.errors import InputError
from speechbrain_ext.inference import onnx as onnx_export
from speechbrain_ext.inference.bundle_settings import BundleSettings
from speechbrain_ext.inference.bundle_writer import write_bundle
from speechbrain_ext.inference.classifier import load_classifier
from speechbrain_ext.inference.onnx import write_onnx
from speechbrain_ext.lobes.truncated_encoder import TruncatedHuBERT
from speechbrain_ext.nnet.projection import EmotionClassifier, EmotionEmbedding
from tests.bundle_making import save_parts
from tests.tiny_encoders import ENCODERS
from tests.tiny_hubert import SMALL

EMOTIONS = ["ang", "hap", "sad", "neu"]
SHORT = {"num_hidden_layers": 1, "conv_dim": [8] * 3, "conv_kernel": [40, 4, 2], "conv_stride": [20, 4, 4]}
GROUP_NORM = {"model_type": "wav2vec2", "feat_extract_norm": "group", "do_stable_layer_norm": False}
# Each way of preparing a clip and of reducing its frames is in one of them: (encoder, settings). Tracing takes seconds.
KINDS = {
    "first": ({}, {"feature_reduction": "first", "waveform_scale": "peak"}),
    "mean": ({**SHORT, **GROUP_NORM}, {"feature_reduction": "mean", "waveform_scale": "layer", "max_s": 3.0}),
    "fixed": (
        SHORT,
        {"feature_reduction": "mean", "waveform_scale": "peak", "fixed_length_s": 1.2, "mask_padding": False},
    ),
    "unmasked": (
        {**SHORT, **GROUP_NORM},
        {"feature_reduction": "first", "waveform_scale": None, "mask_padding": False, "max_s": 1.5},
    ),
}
LOG_MEL = ("wav2vec2-bert", "whisper")


def make_classifier(folder, config, **settings):
    """Write a bundle with random weights that matter, biases and LayerNorms as well, and load it."""
    torch.manual_seed(0)
    n_layers = 1 if config.get("model_type") in LOG_MEL else config.get("num_hidden_layers", 2)
    config = {**({} if config.get("model_type") in LOG_MEL else SMALL), "num_hidden_layers": n_layers, **config}
    encoder = TruncatedHuBERT(config=config, num_layers=n_layers, feature_reduction=settings["feature_reduction"])
    parts = {"encoder": encoder, "f_0": EmotionEmbedding(encoder.embedding_dim, 8), "f_1": EmotionClassifier(8, 4)}
    for part in parts.values():
        for parameter in part.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
    bundle_settings = BundleSettings(EMOTIONS, 8, encoder.architecture(), **settings)
    write_bundle(folder / "bundle", save_parts(folder / "weights", parts), bundle_settings, card="# random")
    return load_classifier(folder / "bundle", {"device": "cpu"})


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return a function from a kind to (classifier, its ONNX file), which makes each once."""
    made = {}

    def get(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            config, settings = KINDS[kind]
            classifier = make_classifier(folder, config, **settings)
            write_onnx(classifier, folder / "onnx" / "model.onnx")
            made[kind] = classifier, folder / "onnx" / "model.onnx"
        return made[kind]

    return get


def make_clips(durations_s):
    """Make clips of various levels, with a constant part, in one batch whose padding is no silence."""
    generator = torch.Generator().manual_seed(1)
    lengths = [round(16000 * duration_s) for duration_s in durations_s]
    clips = [
        0.02 * (i + 1) * (torch.randn(n, generator=generator) + 1) - 0.01 * torch.linspace(0, 1, n)
        for i, n in enumerate(lengths)
    ]
    wavs = torch.full((len(clips), max(lengths)), 0.9)
    for row, clip in zip(wavs, clips):
        row[: len(clip)] = clip
    return clips, wavs, torch.tensor(lengths) / max(lengths)


def run(path, wavs, wav_lens):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["log_posteriors", "embeddings"], {"wavs": wavs.numpy(), "wav_lens": wav_lens.numpy()})


def assert_agree(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
    assert np.ptp(wanted, axis=0).max() > 0.01  # otherwise any clip's numbers would do for any other


@pytest.mark.parametrize("kind", ["first", "mean", "fixed"])
def test_padded_batch_equals_each_clip_alone_in_pytorch(exported, kind):
    classifier, path = exported(kind)
    clips, wavs, wav_lens = make_clips([2.0, 0.3, 4.1, 0.05, 1.2])
    log_posteriors, embeddings = run(path, wavs, wav_lens)
    with torch.inference_mode():
        alone = [classifier.classify_batch(clip.unsqueeze(0))[0] for clip in clips]
        alone_emb = [classifier.encode_batch(clip.unsqueeze(0)) for clip in clips]
    assert_agree(log_posteriors, torch.cat(alone).numpy())
    assert_agree(embeddings, torch.cat(alone_emb).numpy())


@pytest.mark.parametrize("kind", list(KINDS))
def test_one_clip_equals_pytorch_from_one_frame_to_20_s(exported, kind):
    classifier, path = exported(kind)
    found, wanted = [], []
    for duration_s in (0.025, 0.05, 0.5, 1.2, 1.5, 3.0, 20.0):
        _, wavs, wav_lens = make_clips([duration_s])
        found.append(run(path, wavs, wav_lens)[0])
        with torch.inference_mode():
            wanted.append(classifier.classify_batch(wavs)[0].numpy())
    assert_agree(np.concatenate(found), np.concatenate(wanted))


def test_unmasked_batch_equals_same_batch_in_pytorch(exported):
    classifier, path = exported("unmasked")
    _, wavs, wav_lens = make_clips([1.0, 0.01, 2.1])  # 0.01 s is no frame: its padding is taken for speech
    with torch.inference_mode():
        wanted = classifier.classify_batch(wavs, wav_lens)[0].numpy()
    assert_agree(run(path, wavs, wav_lens)[0], wanted)


def test_fixed_length_equals_padding_by_hand(exported):
    classifier, path = exported("fixed")
    clips, wavs, wav_lens = make_clips([0.7, 2.0, 1.2, 0.4])
    n_fixed, wanted = 19200, []
    for clip in clips:
        own = clip.numpy()[:n_fixed]
        padded = np.concatenate([own, np.full(n_fixed - len(own), own.astype(np.float64).mean(), np.float32)])
        padded = torch.from_numpy(padded / np.abs(padded).max()).unsqueeze(0)
        with torch.inference_mode():
            feats = classifier.mods.embedding_model.encoder(padded)
            wanted.append(classifier.mods.classifier(classifier.mods.embedding_model.f_0(feats)).numpy())
    assert_agree(run(path, wavs, wav_lens)[0], np.concatenate(wanted))


def test_clip_that_pytorch_refuses_is_nan_and_its_mates_are_not(exported):
    classifier, path = exported("first")
    clips, wavs, wav_lens = make_clips([1.0, 0.0249375, 0.025])  # 399 and 400 samples
    for outputs in run(path, wavs, wav_lens):
        assert np.isnan(outputs).all(axis=1).tolist() == [False, True, False]
        assert not np.isnan(outputs[[0, 2]]).any()
    wav_lens[0] = 1.0001
    assert np.isnan(run(path, wavs, wav_lens)[0]).all(axis=1).tolist() == [True, True, False]
    with pytest.raises(InputError, match="399 samples"):
        classifier.classify_batch(clips[1].unsqueeze(0))


def test_file_names_emotions_sample_rate_and_free_sizes(exported):
    _, path = exported("first")
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]  # the weights are in it
    session = onnxruntime.InferenceSession(path)
    assert {(value.name, tuple(value.shape), value.type) for value in session.get_inputs()} == {
        ("wavs", ("batch", "time"), "tensor(float)"),
        ("wav_lens", ("batch",), "tensor(float)"),
    }
    assert [(value.name, value.shape) for value in session.get_outputs()] == [
        ("log_posteriors", ["batch", 4]),
        ("embeddings", ["batch", 8]),
    ]
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata.pop("emotions")) == EMOTIONS
    assert metadata == {"sample_rate": "16000", "min_samples": "400"}
    onnx.checker.check_model(path, full_check=True)


def test_file_holds_no_path_of_this_machine(exported, root):
    _, path = exported("first")
    assert str(root).encode() not in path.read_bytes()
    assert b"stack_trace" not in path.read_bytes()


@pytest.mark.parametrize("model_type", LOG_MEL)
def test_log_mel_of_any_number_of_frames_equals_pytorch_up_to_the_longest(tmp_path, model_type):
    """Whisper takes 1 s here, w2v-BERT any length; the traced example has an even number of frames."""
    config = {"model_type": model_type, **ENCODERS[model_type][1]}
    if model_type == "whisper":
        config["max_source_positions"] = 50
    classifier = make_classifier(tmp_path, config, waveform_scale=None, feature_reduction="attentive")
    write_onnx(classifier, tmp_path / "model.onnx")
    wavs = 0.1 * torch.randn(2, 17000, generator=torch.Generator().manual_seed(0))
    for n_times in (560, 719, 720, 880, 15840, 15999, 16000):  # 2, 2, 3, 4, ... log-mel frames of 25 ms
        found = run(tmp_path / "model.onnx", wavs[:, :n_times], torch.ones(2))
        with torch.inference_mode():
            assert_agree(found[0], classifier.classify_batch(wavs[:, :n_times])[0].numpy())
    longest = {"whisper": "16000"}.get(model_type)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert session.get_modelmeta().custom_metadata_map.get("max_samples") == longest
    found = run(tmp_path / "model.onnx", wavs, torch.tensor([0.5, 1.0]))[0]
    with torch.inference_mode():
        wanted = classifier.classify_batch(wavs, torch.tensor([0.5, 0.9]))[0].numpy()
    np.testing.assert_allclose(found[0], wanted[0], rtol=0, atol=1e-4)
    assert np.isnan(found[1]).all() == (longest is not None)
    assert np.isnan(run(tmp_path / "model.onnx", wavs[:, :16001], torch.ones(2))[0]).all() == (longest is not None)


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
def test_missing_package_is_named(exported, tmp_path, monkeypatch, name):
    classifier, _ = exported("first")
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError) as error:
        write_onnx(classifier, tmp_path / "model.onnx")
    assert str(error.value) == (
        f'{name} is not installed. pip install "speechbrain-ext[onnx]" (or pip install onnx onnxscript onnxruntime).'
    )
    assert not list(tmp_path.iterdir())


@pytest.fixture
def written_program(exported, monkeypatch):
    """Let `write_onnx` take the graph of the file that is there: tracing takes seconds."""
    classifier, path = exported("first")
    program = onnx.load(path)

    class Program:
        def save(self, target, external_data):
            onnx.save(program, target, save_as_external_data=external_data, location=f"{target.name}.data")

    monkeypatch.setattr(onnx_export, "_to_onnx", lambda *_: Program())
    return classifier, program


def test_file_that_disagrees_is_refused_and_leaves_the_old_one(written_program, tmp_path):
    classifier, program = written_program
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    bias = next(tensor for tensor in program.graph.initializer if tensor.name.endswith("classifier.bias"))
    values = onnx.numpy_helper.to_array(bias).copy()
    values[2] += 1e-3
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    with pytest.raises(InputError, match=r"differ by \d\.\de-0[34] in log_posteriors .* at most 0\.0001 is allowed"):
        write_onnx(classifier, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_weights_above_the_limit_stand_beside_the_file(written_program, tmp_path, monkeypatch):
    classifier, _ = written_program
    monkeypatch.setattr(onnx_export, "LARGEST_FILE_BYTES", 1000)
    write_onnx(classifier, tmp_path / "model.onnx")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    _, wavs, wav_lens = make_clips([0.5, 1.0])
    with torch.inference_mode():
        wanted = classifier.classify_batch(wavs, wav_lens)[0].numpy()
    assert_agree(run(tmp_path / "model.onnx", wavs, wav_lens)[0], wanted)


def test_classifier_on_another_device_is_refused(exported, tmp_path):
    classifier, _ = exported("first")

    class Elsewhere:
        hparams = classifier.hparams

        class mods:  # noqa: N801
            embedding_model = torch.nn.Linear(1, 1, device="meta")
            classifier = torch.nn.Identity()

    with pytest.raises(InputError, match="the classifier is on meta"):
        write_onnx(Elsewhere, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_int8_is_close_smaller_and_keeps_the_head_in_float32(written_program, exported, tmp_path):
    classifier, program = written_program
    path = tmp_path / "model_int8.onnx"
    write_onnx(classifier, path, "int8")
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_size < 0.8 * exported("first")[1].stat().st_size  # of so small a model much is no weight
    _, wavs, wav_lens = make_clips([2.0, 0.3, 1.2])
    log_posteriors, embeddings = run(path, wavs, wav_lens)
    with torch.inference_mode():
        wanted = classifier.classify_batch(wavs, wav_lens)[0].exp().numpy()
    assert 0 < np.abs(np.exp(log_posteriors) - wanted).max() < 0.1
    weights, bias = (
        onnx.numpy_helper.to_array(next(t for t in program.graph.initializer if t.name == f"classifier.{name}"))
        for name in ("weight", "bias")
    )
    logits = embeddings.astype(np.float64) @ weights.T + bias
    expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(log_posteriors, expected, atol=1e-5)
    metadata = onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map
    assert json.loads(metadata["emotions"]) == EMOTIONS and metadata["min_samples"] == "400"
    assert str(tmp_path).encode() not in path.read_bytes()


def test_int8_leaves_a_refused_clips_mates_alone(written_program, tmp_path):
    classifier, _ = written_program
    write_onnx(classifier, tmp_path / "model.onnx", "int8")
    _, wavs, wav_lens = make_clips([1.0, 0.0249375, 0.025])  # 399 and 400 samples
    assert np.isnan(run(tmp_path / "model.onnx", wavs, wav_lens)[0]).all(axis=1).tolist() == [False, True, False]


def test_int8_above_the_limit_has_its_weights_beside_it(written_program, tmp_path, monkeypatch):
    classifier, _ = written_program
    monkeypatch.setattr(onnx_export, "LARGEST_FILE_BYTES", 1000)
    write_onnx(classifier, tmp_path / "model.onnx", "int8")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    _, wavs, wav_lens = make_clips([0.5, 1.0])
    assert np.isfinite(run(tmp_path / "model.onnx", wavs, wav_lens)[0]).all()


def test_int8_that_is_far_off_is_refused(written_program, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "INT8_TOLERANCE", -1.0)
    with pytest.raises(InputError, match=r"differ by \d\.\de.\d\d in posteriors .* at most -1 is allowed"):
        write_onnx(written_program[0], tmp_path / "model.onnx", "int8")
    assert not list(tmp_path.iterdir())


def test_half_precision_and_other_precisions_are_refused(exported, tmp_path):
    classifier, path = exported("first")
    with pytest.raises(InputError, match="precision must be one of fp32, int8, got 'int4'"):
        write_onnx(classifier, tmp_path / "model.onnx", "int4")
    half = load_classifier(path.parents[1] / "bundle", {"device": "cpu", "precision": "bf16"})
    with pytest.raises(InputError, match="the classifier is in half precision"):
        write_onnx(half, tmp_path / "model.onnx")
