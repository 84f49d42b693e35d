"""Where checkpoints are found, and their configurations: whole, broken, on the Hub."""

import json
import socket
import threading

import huggingface_hub
import pytest
import torch
import transformers

from speechbrain_ext.errors import InputError
from speechbrain_ext.lobes import pretrained
from speechbrain_ext.lobes.truncated_encoder import TruncatedHuBERT
from tests.hub_stub import HubStub


def test_layers_above_are_not_allocated(small_config):
    encoder = TruncatedHuBERT(config=small_config, num_layers=2)
    assert len(encoder.model.encoder.layers) == encoder.num_layers == 2
    assert encoder.embedding_dim == 32


def test_loading_is_quiet_and_leaves_logging_as_it_was(tmp_path, small_config, capfd):
    transformers.HubertModel(transformers.HubertConfig(**small_config)).save_pretrained(tmp_path)
    log = transformers.utils.logging
    before = log.get_verbosity(), log.is_progress_bar_enabled()
    capfd.readouterr()
    TruncatedHuBERT(tmp_path, num_layers=2)
    assert capfd.readouterr() == ("", "")
    assert (log.get_verbosity(), log.is_progress_bar_enabled()) == before


def test_whole_saved_config_is_taken(tmp_path, small_config):
    transformers.HubertModel(transformers.HubertConfig(**small_config)).save_pretrained(tmp_path)
    for config in (
        transformers.HubertConfig(**small_config).to_dict(),
        json.loads((tmp_path / "config.json").read_text()),
    ):
        assert TruncatedHuBERT(config=config, num_layers=3).embedding_dim == 32


def test_feature_encoder_of_uneven_lists_is_refused(small_config):
    with pytest.raises(InputError, match="3 values in conv_dim, but 7 in conv_kernel"):
        TruncatedHuBERT(config={**small_config, "conv_dim": [16] * 3}, num_layers=1)


def test_more_layers_than_the_checkpoint_has_are_refused(tmp_path, small_config):
    transformers.HubertModel(transformers.HubertConfig(**small_config)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=f"num_layers is 22, but '{tmp_path}' has 4 layers: choose 1 to 4"):
        TruncatedHuBERT(tmp_path)


def test_folder_without_config_is_refused(tmp_path):
    with pytest.raises(InputError, match=f"'{tmp_path}' holds no checkpoint that can be read: config.json is missing"):
        TruncatedHuBERT(tmp_path, num_layers=2)


def test_other_architecture_is_refused(tmp_path):
    transformers.BertConfig().save_pretrained(tmp_path)
    with pytest.raises(
        InputError, match=r"config.json is of a 'bert' model; known are data2vec-audio, hubert, .*whisper"
    ):
        TruncatedHuBERT(tmp_path)


POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1\nsize 12\n"
)
AGAIN = "Download config.json again, or copy it again from where it is whole."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", rf"config.json is not a JSON object. {AGAIN}"),
        (POINTER, rf"config.json is not a JSON object. {AGAIN}"),
        (b'{"model_type": "hub', rf"config.json is not a JSON object. {AGAIN}"),
        (b"[]", rf"config.json is not a JSON object. {AGAIN}"),
        (b"\xff\xfe", rf"config.json is not a JSON object. {AGAIN}"),
        (b"{}", r"config.json names no model_type; known are data2vec-audio, hubert, .*whisper"),
        (
            b'{"model_type": "hubert", "hidden_size": "wide"}',
            "config.json: hidden_size must be a whole number .*, got 'wide'",
        ),
        (
            b'{"model_type": "hubert", "hidden_size": 32, "num_attention_heads": 5}',
            "config.json: hidden_size must be a multiple of num_attention_heads, got 32 and 5",
        ),
        (b'{"model_type": "whisper", "d_model": 33, "encoder_attention_heads": 3}', "d_model must be even"),
        (
            b'{"model_type": "hubert", "quantization_config": {"load_in_8bit": true}}',
            "config.json says that the weights are quantized. Give the checkpoint that they were made from",
        ),
    ],
)
def test_config_that_cannot_be_read_is_refused(tmp_path, content, message):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        TruncatedHuBERT(tmp_path)


def test_tilde_is_the_home_folder(small_config, tmp_path, monkeypatch):
    transformers.HubertModel(transformers.HubertConfig(**small_config)).save_pretrained(tmp_path / "hubert")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert TruncatedHuBERT("~/hubert", num_layers=2).num_layers == 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/nowhere/hubert", "source '/nowhere/hubert': there is no such folder. Give a folder .*, or a Hub id such as"),
        ("a/b/c", "source 'a/b/c': there is no such folder"),
        ("./hubert", "there is no such folder"),
        ("ann/hubert..large", "there is no such folder"),
        (__file__, "is a file: give the folder that holds config.json and the weights"),
    ],
)
def test_source_that_is_neither_folder_nor_hub_id_is_refused(source, message):
    with pytest.raises(InputError, match=message):
        TruncatedHuBERT(source)


HUB_ID = "ann/hubert"


@pytest.fixture
def hub(tmp_path, small_config, monkeypatch):
    """Serve a checkpoint, beside files that are not needed, from a Hub on this machine."""
    folder, model = tmp_path / "hubert", transformers.HubertModel(transformers.HubertConfig(**small_config))
    model.save_pretrained(folder, max_shard_size="50KB")
    with HubStub() as stub:
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        files |= {"preprocessor_config.json": b"{}", "pytorch_model.bin": b"", "tf_model.h5": b"", "README.md": b""}
        stub.repos[HUB_ID] = {"private": False, "files": files}
        template = huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE
        template = template.replace(huggingface_hub.constants.ENDPOINT, stub.url)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", stub.url)
        yield stub


def test_model_on_the_hub_is_downloaded_once(hub, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    first = TruncatedHuBERT(HUB_ID, save_path=cache, num_layers=2)
    got = {path.rsplit("/", 1)[1] for method, path in hub.requests if method == "GET" and "resolve" in path}
    assert got == {name for name in hub.repos[HUB_ID]["files"] if name.startswith("model")} | {
        "config.json",
        "preprocessor_config.json",
    }
    hub.requests.clear()
    again = TruncatedHuBERT(HUB_ID, save_path=cache, num_layers=2)
    assert hub.requests == []
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(first.parameters(), again.parameters()))

    offline(monkeypatch, fail)
    assert TruncatedHuBERT(HUB_ID, save_path=cache, num_layers=2).num_layers == 2


def test_interrupted_download_is_completed(hub, tmp_path):
    cache = tmp_path / "cache"
    TruncatedHuBERT(HUB_ID, save_path=cache, num_layers=2)
    shard = next(cache.glob("**/snapshots/*/model-00001-*"))
    shard.resolve().unlink()
    assert TruncatedHuBERT(HUB_ID, save_path=cache, num_layers=2).num_layers == 2
    assert shard.is_file()


def test_model_that_the_hub_has_not_is_refused(hub, tmp_path):
    with pytest.raises(InputError, match="'ann/huber' is neither a folder here nor a model on the Hub .*hf auth login"):
        TruncatedHuBERT("ann/huber", save_path=tmp_path)
    hub.repos[HUB_ID]["files"] = {"config.json": b"{}"}
    with pytest.raises(InputError, match="'ann/hubert' has no config.json with model.safetensors"):
        TruncatedHuBERT(HUB_ID, save_path=tmp_path)


def fail(*args, **kwargs):
    raise socket.gaierror(-3, "Temporary failure in name resolution")


def hang(*args, **kwargs):
    threading.Event().wait(60)
    fail()


def offline(monkeypatch, resolve):
    """Let every look-up of a host's address fail at once, or after a minute."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "https://hub.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.parametrize(
    ("resolve", "timeout_s", "reason"),
    [(fail, 600, ".*Temporary failure in name resolution"), (hang, 0.3, "no answer in 0.3 s")],
)
def test_hub_that_cannot_be_reached_is_said_at_once_with_the_ways_around(
    tmp_path, monkeypatch, resolve, timeout_s, reason
):
    assert pretrained.HUB_TIMEOUT_S < 5
    monkeypatch.setattr(pretrained, "HUB_TIMEOUT_S", timeout_s)
    offline(monkeypatch, resolve)
    said = f"the Hugging Face Hub .https://hub.invalid. cannot be reached: {reason}"
    with pytest.raises(InputError, match=said) as refusal:
        TruncatedHuBERT("facebook/hubert-large-ll60k", save_path=tmp_path)
    for way in (
        "hf download facebook/hubert-large-ll60k --local-dir hubert-large-ll60k",
        "--encoder_source=/path/to/hubert-large-ll60k",
        "HF_HOME",
        "HF_HUB_OFFLINE=1",
    ):
        assert way in str(refusal.value)


def test_offline_mode_forbids_to_ask(tmp_path, monkeypatch):
    offline(monkeypatch, hang)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="is not in the cache, and HF_HUB_OFFLINE forbids a download. .*hf download"):
        TruncatedHuBERT("facebook/hubert-large-ll60k", save_path=tmp_path)
