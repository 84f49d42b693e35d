"""Weights and sizes that a classifier refuses, before memory is taken and without running anything of them."""

import os
import pickle
import zipfile

import pytest
import torch
from speechbrain.inference.classifiers import EncoderClassifier

from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.bundle_writer import seal_bundle
from speechbrain_ext.inference.classifier import load_classifier
from tests.bundle_making import edit_config, edit_json, make_parts

CPU = {"device": "cpu"}


class MakeFolder:
    """What a pickle bomb holds: reading it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def swap_weights(bundle, weights, name="f_0", **options):
    torch.save(weights, bundle / f"{name}.ckpt", **options)
    seal_bundle(bundle)


def refused(bundle, *words):
    with pytest.raises(InputError) as caught:
        load_classifier(bundle, CPU)
    for word in words:
        assert word in str(caught.value)


def test_wrong_layer_count_is_an_error(bundle):
    wrong = {"encoder_config": {"num_hidden_layers": 1}}
    with pytest.raises(RuntimeError, match="Unexpected key.*layers.1"):
        EncoderClassifier.from_hparams(source=str(bundle), overrides=wrong, run_opts=CPU)
    edit_config(bundle, num_hidden_layers=1)
    refused(bundle, "encoder.ckpt are refused", "Unexpected key", "layers.1")
    edit_config(bundle, num_hidden_layers=3)
    refused(bundle, "encoder.ckpt are refused", "Missing key", "layers.2")


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 16384, "num_hidden_layers": 200, "intermediate_size": 65536},  # 640 billion values
        {"intermediate_size": 65536},
        {"conv_dim": [4096, 4096], "conv_kernel": [4096, 4096]},
    ],
)
def test_absurd_sizes_are_refused_before_memory_is_taken(bundle, changes, monkeypatch):
    monkeypatch.setattr(torch, "load", None)
    monkeypatch.setattr(torch.nn.Module, "to_empty", None)
    edit_config(bundle, **changes)
    refused(bundle, "encoder.ckpt are refused: bundle.json describes", "values, and the file has", "bytes")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_attention_heads": 3}, "no model can be built: "),
        ({"num_conv_pos_embedding_groups": 3}, "no model can be built: "),
        ({"hidden_size": 32}, "encoder.ckpt are refused"),
        ({"feat_extract_norm": "group"}, "encoder.ckpt are refused"),
    ],
)
def test_encoder_that_does_not_fit_is_refused(bundle, changes, words):
    edit_config(bundle, **changes)
    refused(bundle, words, "Export it again")


@pytest.mark.parametrize("name", ["encoder", "f_0", "f_1"])
def test_pickle_bomb_is_refused_and_runs_nothing(bundle, tmp_path, name):
    bomb = {"weight": MakeFolder(tmp_path / "marker")}
    torch.save(bomb, bundle / f"{name}.ckpt")
    torch.load(bundle / f"{name}.ckpt", weights_only=False)
    (tmp_path / "marker").rmdir()  # it is there: that was a bomb
    refused(bundle, f"{name}.ckpt is not the file that bundle.json lists")
    seal_bundle(bundle)
    refused(bundle, f"the weights in {bundle / name}.ckpt are refused", "Nothing of it was run")
    assert not (tmp_path / "marker").exists()


def test_pickle_bomb_is_refused_whatever_the_environment_says(bundle, tmp_path, monkeypatch):
    swap_weights(bundle, {"weight": MakeFolder(tmp_path / "marker")})
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.warns(UserWarning, match="TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        torch.load(bundle / "f_0.ckpt")
    (tmp_path / "marker").rmdir()
    refused(bundle, "f_0.ckpt are refused")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_bare_pickle_is_refused_and_runs_nothing(bundle, tmp_path, protocol):
    data = pickle.dumps({"weight": MakeFolder(tmp_path / "marker")}, protocol)
    pickle.loads(data)
    (tmp_path / "marker").rmdir()
    (bundle / "f_0.ckpt").write_bytes(data)
    seal_bundle(bundle)
    refused(bundle, "f_0.ckpt are refused", "not a zip file")
    assert not (tmp_path / "marker").exists()


@pytest.mark.filterwarnings("ignore")
def test_torchscript_archive_is_refused(bundle):
    class Noted(torch.nn.Module):
        def forward(self, feats):
            return feats

    torch.jit.script(Noted()).save(str(bundle / "f_0.ckpt"))
    seal_bundle(bundle)
    refused(bundle, "f_0.ckpt are refused", "TorchScript")


def test_weights_in_the_old_format_are_refused(bundle):
    swap_weights(bundle, make_parts()["f_0"].state_dict(), _use_new_zipfile_serialization=False)
    refused(bundle, "f_0.ckpt are refused", "not a zip file")


def test_zip_bomb_is_refused(bundle):
    with zipfile.ZipFile(bundle / "f_0.ckpt") as archive:
        members = {member: archive.read(member) for member in archive.infolist()}
    with zipfile.ZipFile(bundle / "f_0.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member.filename, data)
        archive.writestr("archive/data/zeros", bytes(1 << 20))
    seal_bundle(bundle)
    refused(bundle, "f_0.ckpt are refused", "it would unpack to")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: {}, "Missing key(s)"),
        (lambda weights: {"weight": weights["weight"]}, 'Missing key(s) in state_dict: "bias"'),
        (lambda weights: {**weights, "more": torch.zeros(1)}, 'Unexpected key(s) in state_dict: "more"'),
        (lambda weights: {**weights, "bias": torch.zeros(65)}, "size mismatch for bias"),
        (lambda weights: {**weights, "weight": weights["weight"].T}, "size mismatch for weight"),
        (lambda weights: {**weights, "bias": torch.zeros(1).expand(10**12)}, "size mismatch for bias"),
        (lambda weights: {**weights, "bias": "text"}, "bias"),
        (lambda weights: {**weights, "bias": [0.0] * 64}, "bias"),
        (lambda weights: [weights], "state_dict"),
        (lambda weights: weights["weight"], "state_dict"),
        (lambda weights: None, "state_dict"),
        (lambda weights: {**weights, "bias": torch.full((64,), torch.nan)}, "bias holds values that are NaN"),
        (lambda weights: {**weights, "bias": torch.full((64,), -torch.inf)}, "bias holds values that are NaN"),
        (
            lambda weights: {**weights, "bias": weights["bias"].to(torch.complex64)},
            "bias holds values of the type torch.c",
        ),
        (lambda weights: {**weights, "bias": weights["bias"].to(torch.int64)}, "type torch.int64, not torch.float32"),
        (lambda weights: {**weights, "bias": weights["bias"] > 0}, "type torch.bool, not torch.float32"),
    ],
)
def test_weights_that_do_not_fit_are_refused(bundle, change, words):
    swap_weights(bundle, change(make_parts()["f_0"].state_dict()))
    refused(bundle, f"the weights in {bundle / 'f_0.ckpt'} are refused: ", words, "Export it again")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_load(bundle, dtype):
    weights = {key: value.to(dtype) for key, value in make_parts()["f_1"].state_dict().items()}
    swap_weights(bundle, weights, "f_1")
    loaded = load_classifier(bundle, CPU).mods.classifier.state_dict()
    for key, value in weights.items():
        assert loaded[key].dtype == torch.float32 and torch.equal(loaded[key], value.float())


def test_truncated_weights_are_refused(bundle):
    data = (bundle / "f_0.ckpt").read_bytes()
    (bundle / "f_0.ckpt").write_bytes(data[: len(data) // 2])
    seal_bundle(bundle)
    refused(bundle, "f_0.ckpt are refused")


@pytest.mark.parametrize(("key", "value"), [("emotions", ["ang", "hap", "sad"]), ("emb_dim", 63)])
def test_settings_that_do_not_fit_the_weights_are_refused(bundle, key, value):
    edit_json(bundle, **{key: value})
    refused(bundle, "are refused: Error(s) in loading state_dict", "size mismatch", "Export it again")


def test_hostile_bundle_is_not_built_at_all(bundle, monkeypatch):
    built = []
    monkeypatch.setattr(torch.nn.Module, "__init__", lambda *args, **options: built.append(args))
    edit_config(bundle, auto_map={"AutoModel": "evil.Model"})
    refused(bundle, "encoder_config.auto_map is unknown")
    assert built == []
