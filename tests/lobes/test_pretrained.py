"""Checkpoints as TruncatedHuBERT reads them: of every kind, whole or broken."""

import json

import pytest
import torch
import transformers

from speechbrain_ext.errors import InputError
from speechbrain_ext.lobes.truncated_encoder import TruncatedHuBERT


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


def test_stem_of_uneven_lists_is_refused(small_config):
    with pytest.raises(InputError, match="3 values in conv_dim, but 7 in conv_kernel"):
        TruncatedHuBERT(config={**small_config, "conv_dim": [16] * 3}, num_layers=1)


def test_more_layers_than_the_checkpoint_has_are_refused(tmp_path, small_config):
    transformers.HubertModel(transformers.HubertConfig(**small_config)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=f"num_layers is 22, but '{tmp_path}' has 4 layers: choose 1 to 4"):
        TruncatedHuBERT(tmp_path)


def test_folder_without_weights_is_refused(tmp_path, small_config):
    transformers.HubertConfig(**small_config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="holds no weights: model.safetensors or pytorch_model.bin is missing"):
        TruncatedHuBERT(tmp_path, num_layers=2)


def test_folder_without_config_is_refused(tmp_path):
    with pytest.raises(InputError, match=f"'{tmp_path}' holds no checkpoint .*config.json"):
        TruncatedHuBERT(tmp_path, num_layers=2)


def test_incomplete_weights_are_refused(tmp_path, small_config):
    model = transformers.HubertModel(transformers.HubertConfig(**{**small_config, "num_hidden_layers": 2}))
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 4}))
    assert TruncatedHuBERT(tmp_path, num_layers=2).num_layers == 2
    with pytest.raises(InputError, match="missing .*encoder.layers.2"):
        TruncatedHuBERT(tmp_path, num_layers=3)


def test_broken_weights_are_refused(tmp_path, small_config):
    transformers.HubertModel(transformers.HubertConfig(**small_config)).save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="the weights in source .* cannot be read"):
        TruncatedHuBERT(tmp_path, num_layers=2)


def test_other_architecture_is_refused(tmp_path):
    transformers.BertConfig().save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"is a 'bert' model; known are \['hubert', 'wav2vec2'\]"):
        TruncatedHuBERT(tmp_path)
