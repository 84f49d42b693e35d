"""Weights as TruncatedHuBERT reads them: of every kind, whole or broken."""

import json
import os

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from speechbrain_ext.errors import InputError
from speechbrain_ext.lobes import pretrained_weights
from speechbrain_ext.lobes.pretrained_weights import WEIGHTS
from speechbrain_ext.lobes.truncated_encoder import TruncatedEncoder, TruncatedHuBERT
from tests.tiny_encoders import ENCODERS, save_checkpoint

POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1\nsize 12\n"
)


def test_fine_tuned_checkpoint_loads_its_encoder(tmp_path, small_config):
    model = transformers.HubertForSequenceClassification(transformers.HubertConfig(**small_config))
    model.save_pretrained(tmp_path)
    encoder = TruncatedHuBERT(tmp_path, num_layers=2)
    expected = model.hubert.encoder.layers[1].attention.q_proj.weight
    assert torch.equal(encoder.model.encoder.layers[1].attention.q_proj.weight, expected)


def test_pickled_checkpoint_is_read(tmp_path, small_config):
    model = transformers.HubertModel(transformers.HubertConfig(**small_config))
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    encoder = TruncatedHuBERT(tmp_path, num_layers=2)
    assert torch.equal(encoder.model.feature_projection.projection.weight, model.feature_projection.projection.weight)


def test_incomplete_weights_are_refused(tmp_path, small_config):
    model = transformers.HubertModel(transformers.HubertConfig(**{**small_config, "num_hidden_layers": 2}))
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))
    assert TruncatedHuBERT(tmp_path, num_layers=2).num_layers == 2
    with pytest.raises(
        InputError, match=r"16 \(encoder.layers.2.*, ...\) missing, 0 of another shape. Give the config.json"
    ):
        TruncatedHuBERT(tmp_path, num_layers=3)


def test_weights_of_another_width_are_named(tmp_path, small_config):
    transformers.HubertModel(transformers.HubertConfig(**small_config)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    with pytest.raises(InputError, match=r"do not fit its config.json: .* of another shape. Give the config.json that"):
        TruncatedHuBERT(tmp_path, num_layers=1)


def test_folder_without_weights_is_refused(tmp_path, small_config):
    transformers.HubertConfig(**small_config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="holds no weights: model.safetensors or pytorch_model.bin is missing"):
        TruncatedHuBERT(tmp_path, num_layers=2)


class Attack:
    """Unpickled, it leaves a file or a folder."""

    def __init__(self, path, function):
        self.path, self.function = path, function

    def __reduce__(self):
        return self.function, (str(self.path), "w") if self.function is open else (str(self.path),)


@pytest.fixture
def checkpoint(tmp_path, small_config):
    """Return a function that saves a checkpoint in a folder and returns (the folder, its file of weights)."""

    def save(name, **kwargs):
        torch.manual_seed(0)
        folder = tmp_path / "hubert"
        model = transformers.HubertModel(transformers.HubertConfig(**small_config))
        if name == "pytorch_model.bin":
            model.config.save_pretrained(folder)
            torch.save(model.state_dict(), folder / name, **kwargs)
        else:
            model.save_pretrained(folder, **kwargs)
        return folder, folder / name

    return save


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda content: b"", "{path} is empty. Download {name} again"),
        (lambda content: POINTER, "{path} is a git-LFS pointer, not the weights. Run `git lfs pull`"),
        (
            lambda content: content[: len(content) // 2],
            r"{path} is damaged or cut short \(\d+ bytes\). Download {name}",
        ),
        (lambda content: content[:5], r"{path} is damaged or cut short \(5 bytes\). Download {name} again"),
        (lambda content: b"<!doctype html><title>504</title>", r"{path} is damaged or cut short \(33 bytes\)"),
    ],
    ids=["empty", "LFS pointer", "half", "five bytes", "error page"],
)
def test_weights_that_cannot_be_read_are_refused(checkpoint, name, break_it, message):
    folder, path = checkpoint(name)
    path.write_bytes(break_it(path.read_bytes()))
    with pytest.raises(InputError, match=message.format(path=path, name=name)):
        TruncatedHuBERT(folder, num_layers=2)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_in_either_format_is_read_and_a_half_one_refused(checkpoint, zipped):
    folder, path = checkpoint("pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    assert TruncatedHuBERT(folder, num_layers=2).embedding_dim == 32
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match=rf"{path} is damaged or cut short"):
        TruncatedHuBERT(folder, num_layers=2)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("function", [open, os.mkdir])  # of os, PyTorch says it in other words
def test_pickle_with_code_is_refused_and_not_run(checkpoint, tmp_path, zipped, function):
    folder, path = checkpoint("pytorch_model.bin")
    torch.save({"weight": Attack(tmp_path / "run", function)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        InputError, match=rf"{path} would run code when it is loaded \((io.open|posix.mkdir)\), and is not"
    ) as refusal:
        TruncatedHuBERT(folder, num_layers=2)
    assert "weights_only" not in str(refusal.value)
    assert not (tmp_path / "run").exists()


def test_sharded_checkpoint_is_read_and_a_missing_shard_refused(checkpoint):
    folder, index = checkpoint("model.safetensors.index.json", max_shard_size="50KB")
    shards = sorted(folder.glob("*.safetensors"))
    assert index.is_file() and len(shards) > 1
    assert TruncatedHuBERT(folder, num_layers=2).num_layers == 2
    shards[1].unlink()
    with pytest.raises(
        InputError, match=rf"{shards[1]} is missing, which the index beside it names. Download {shards[1].name}"
    ):
        TruncatedHuBERT(folder, num_layers=2)
    index.write_text("{")
    with pytest.raises(InputError, match=rf"{index} is no index of weights"):
        TruncatedHuBERT(folder, num_layers=2)


def save_whole(folder, name, model, dtype):
    """Save a model's weights in a precision, in the form of a file's name: whole or in shards."""
    model.to(dtype).save_pretrained(folder, max_shard_size="40KB" if name.endswith("json") else "1GB")
    if not name.startswith("pytorch_model.bin"):
        return
    for path in folder.glob("*.safetensors"):  # the same shards as pickles
        torch.save(load_file(path), folder / f"pytorch_{path.stem}.bin")
        path.unlink()
    for index in folder.glob("*.json"):
        if index.name == "model.safetensors.index.json":
            text = index.read_text().replace('"model-', '"pytorch_model-').replace(".safetensors", ".bin")
            (folder / "pytorch_model.bin.index.json").write_text(text)
            index.unlink()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", WEIGHTS)
def test_half_precision_is_converted_a_few_tensors_at_a_time(tmp_path, small_config, name, dtype, monkeypatch):
    """Memory holds what is kept in float32, and of the files no more than MAPPED_BYTES and the tensor that is read."""
    model = transformers.HubertForCTC(transformers.HubertConfig(**small_config, vocab_size=20))
    save_whole(tmp_path, name, model, dtype)
    mappings, (map_file, to_float) = [], (pretrained_weights.map_weights, torch.Tensor.float)

    def map_weights(path):
        mappings.append(([], map_file(path)))
        return mappings[-1][1]

    def convert(weight):
        mappings[-1][0].append(weight.nbytes)
        return to_float(weight)

    monkeypatch.setattr(pretrained_weights, "MAPPED_BYTES", 10_000)
    monkeypatch.setattr(pretrained_weights, "map_weights", map_weights)
    monkeypatch.setattr(torch.Tensor, "float", convert)
    encoder = TruncatedHuBERT(tmp_path, num_layers=2)
    monkeypatch.undo()

    reference = model.hubert.float().state_dict()
    kept = encoder.model.state_dict()
    assert kept.keys() < reference.keys() and all(torch.equal(weight, reference[key]) for key, weight in kept.items())
    assert {weight.dtype for weight in kept.values()} == {torch.float32}
    # None is a view of a file, and of what is not kept nothing is converted.
    assert all(weight.untyped_storage().nbytes() == weight.nbytes for weight in kept.values())
    read = [sum(n_bytes) for n_bytes, _ in mappings]
    assert 2 * sum(read) == sum(weight.nbytes for weight in kept.values())
    largest = max(max(n_bytes, default=0) for n_bytes, _ in mappings)
    assert max(read) <= 10_000 + largest


@pytest.mark.parametrize(
    ("name", "changes"), [*((name, {}) for name in ENCODERS), ("hubert", {"conv_pos_batch_norm": True})]
)
def test_each_family_converts_what_it_keeps_and_no_more(tmp_path, name, changes, monkeypatch):
    path = save_checkpoint(name, tmp_path, **changes) / "model.safetensors"
    save_file({key: w.half() if w.is_floating_point() else w for key, w in load_file(path).items()}, path)
    converted, to_float = [], torch.Tensor.float
    monkeypatch.setattr(torch.Tensor, "float", lambda weight: (converted.append(weight.nbytes), to_float(weight))[1])
    encoder = TruncatedEncoder(tmp_path, num_layers=2)
    monkeypatch.undo()
    kept = [weight for weight in encoder.model.state_dict().values() if weight.is_floating_point()]
    assert {weight.dtype for weight in kept} == {torch.float32} and not any(weight.is_meta for weight in kept)
    assert 2 * sum(converted) == sum(weight.nbytes for weight in kept)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_single_precision_stays_in_the_mapped_file(tmp_path, small_config, name, monkeypatch):
    save_whole(tmp_path, name, transformers.HubertModel(transformers.HubertConfig(**small_config)), torch.float32)
    places, map_file = set(), pretrained_weights.map_weights

    def map_weights(path):
        weights = map_file(path)
        places.update(weight.data_ptr() for weight in weights.values())
        return weights

    monkeypatch.setattr(pretrained_weights, "map_weights", map_weights)
    assert {weight.data_ptr() for weight in TruncatedHuBERT(tmp_path, num_layers=2).parameters()} < places


def test_weight_norm_is_read_by_its_names_before_pytorch_2(tmp_path, small_config):
    model = transformers.HubertModel(transformers.HubertConfig(**small_config))
    model.config.save_pretrained(tmp_path)
    norm = "encoder.pos_conv_embed.conv."
    names = {f"{norm}parametrizations.weight.original{i}": f"{norm}weight_{last}" for i, last in enumerate("gv")}
    assert names.keys() < model.state_dict().keys()
    torch.save({names.get(key, key): weight for key, weight in model.state_dict().items()}, tmp_path / WEIGHTS[2])
    assert torch.equal(
        TruncatedHuBERT(tmp_path, num_layers=2).model.encoder.pos_conv_embed.conv.weight,
        model.encoder.pos_conv_embed.conv.weight,
    )


def test_pickle_without_names_is_refused(tmp_path, small_config):
    transformers.HubertConfig(**small_config).save_pretrained(tmp_path)
    torch.save({1: torch.zeros(3)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="do not fit its config.json: .* missing"):
        TruncatedHuBERT(tmp_path, num_layers=2)
    torch.save([torch.zeros(3)], tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="pytorch_model.bin holds no weights by their names"):
        TruncatedHuBERT(tmp_path, num_layers=2)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_quantized_weights_are_refused(tmp_path, small_config, dtype):
    model = transformers.HubertModel(transformers.HubertConfig(**small_config))
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    save_file(
        {key: weight.to(dtype) if "q_proj.weight" in key else weight for key, weight in load_file(path).items()}, path
    )
    with pytest.raises(InputError, match=rf"are quantized: 2 \(.*q_proj.weight\) of type {dtype}. Give the checkpoint"):
        TruncatedHuBERT(tmp_path, num_layers=2)


def test_weights_that_a_config_has_no_use_for_are_said(tmp_path, small_config, caplog):
    """Of WavLM with the config.json of a HuBERT, the same but for positions; heads and layers above are no such."""
    model = transformers.WavLMForCTC(transformers.WavLMConfig(**small_config, vocab_size=20))
    model.save_pretrained(tmp_path)
    TruncatedEncoder(tmp_path, num_layers=2)
    assert not caplog.records
    state = {key.replace("wavlm.", "hubert."): weight for key, weight in model.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    transformers.HubertConfig(**small_config).save_pretrained(tmp_path)
    TruncatedHuBERT(tmp_path, num_layers=2)
    (record,) = caplog.records
    assert "hold 7 (encoder.layers.0.attention.gru_rel_pos_const, " in record.getMessage()
    assert "for which its config.json has no use" in record.getMessage()


def test_a_weight_that_a_pickle_only_names_is_missing(checkpoint):
    folder, path = checkpoint("pytorch_model.bin")
    weights = torch.load(path)
    torch.save({**weights, (name := "encoder.layers.0.attention.k_proj.weight"): weights[name].to("meta")}, path)
    with pytest.raises(InputError, match=rf"do not fit its config.json: 1 \({name}\) missing"):
        TruncatedHuBERT(folder, num_layers=2)


def test_a_weight_that_stands_twice_is_refused(checkpoint):
    folder, path = checkpoint("pytorch_model.bin")
    weights = torch.load(path)
    name = "encoder.layers.0.attention.k_proj.weight"
    torch.save({**weights, f"hubert.{name}": weights[name] + 1}, path)
    with pytest.raises(
        InputError, match=f"{path} holds a second {name}. Give a checkpoint that holds each weight once"
    ):
        TruncatedHuBERT(folder, num_layers=2)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_deep_nesting_is_a_sentence(checkpoint, name):
    folder, path = checkpoint("model.safetensors")
    if name != "config.json":
        path.unlink()
    (folder / name).write_text(100_000 * "[")
    with pytest.raises(InputError, match=f"{folder / name} is no"):
        TruncatedHuBERT(folder, num_layers=2)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_where_they_are_kept(checkpoint, value):
    folder, path = checkpoint("pytorch_model.bin")
    weights = torch.load(path)
    weights["encoder.layers.1.attention.k_proj.bias"][0] = value
    torch.save(weights, path)
    TruncatedHuBERT(folder, num_layers=1)
    with pytest.raises(InputError, match=r"are NaN or infinite: 1 \(encoder.layers.1.attention.k_proj.bias\)"):
        TruncatedHuBERT(folder, num_layers=2)
