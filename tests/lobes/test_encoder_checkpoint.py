"""Checkpoints of encoders: what they leave out, and that they fit the source they were trained on alone."""

import pytest
import torch
import transformers

from speechbrain_ext.errors import InputError
from speechbrain_ext.lobes.encoder_checkpoint import BASE_KEY
from speechbrain_ext.lobes.truncated_encoder import TruncatedHuBERT
from speechbrain_ext.training.checkpoints import AtomicCheckpointer


@pytest.fixture
def source(tmp_path, small_config):
    """Save a checkpoint as the Hub has it, and return its folder."""
    return save_source(tmp_path / "source", small_config)


def save_source(folder, config, seed=0):
    torch.manual_seed(seed)
    transformers.HubertModel(transformers.HubertConfig(**config)).save_pretrained(folder)
    return folder


def make(source, **options):
    return TruncatedHuBERT(source, num_layers=2, projection_dropout=0.0, **options)


def change(encoder):
    """Change what is trained."""
    for parameter in encoder.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    return encoder


@pytest.mark.parametrize("in_background", [False, True])
def test_checkpoint_holds_adapters_alone_and_loads_to_the_same_bits(source, clips, tmp_path, in_background):
    encoder = change(make(source, lora_rank=2))
    AtomicCheckpointer(tmp_path / "save", {"encoder": encoder}, in_background=in_background).save_and_keep_only()
    again = make(source, lora_rank=2)
    checkpoint = AtomicCheckpointer(tmp_path / "save", {"encoder": again}).recover_if_possible()
    assert torch.equal(again(*clips[:2]), encoder(*clips[:2]))
    held = torch.load(checkpoint.paramfiles["encoder"])
    assert {name for name in held if "adapter_" not in name} == {BASE_KEY}
    assert len(held) == 1 + 2 * 2 * 2  # two layers, two projections, two matrices


def test_checkpoint_of_a_frozen_encoder_holds_no_weights(source, clips, tmp_path):
    encoder = make(source, freeze=True)
    AtomicCheckpointer(tmp_path / "save", {"encoder": encoder}).save_checkpoint()
    again = make(source, freeze=True)
    checkpoint = AtomicCheckpointer(tmp_path / "save", {"encoder": again}).recover_if_possible()
    assert list(torch.load(checkpoint.paramfiles["encoder"])) == [BASE_KEY]
    assert torch.equal(again(*clips[:2]), encoder(*clips[:2]))


def test_statistics_that_change_in_training_are_saved(tmp_path, small_config):
    """A batch norm in place of the weight norm of the positional convolution has running statistics."""
    source = save_source(tmp_path / "source", {**small_config, "conv_pos_batch_norm": True})
    encoder = make(source, lora_rank=2)
    encoder.train()(torch.randn(2, 8000))
    encoder.save_checkpoint(tmp_path / "encoder.ckpt")
    again = make(source, lora_rank=2)
    name = "model.encoder.pos_conv_embed.batch_norm.running_mean"
    assert not torch.equal(again.state_dict()[name], encoder.state_dict()[name])
    again.load_checkpoint(tmp_path / "encoder.ckpt", True)
    assert torch.equal(again.state_dict()[name], encoder.state_dict()[name])


@pytest.mark.parametrize("options", [{}, {"freeze_feature_extractor": False}])
def test_checkpoint_of_an_encoder_that_is_trained_is_its_state_dict(source, tmp_path, options):
    encoder = make(source, **options)
    encoder.save_checkpoint(tmp_path / "encoder.ckpt")
    assert torch.load(tmp_path / "encoder.ckpt").keys() == encoder.state_dict().keys()


@pytest.mark.parametrize("options", [{"lora_rank": 2}, {"freeze": True}])
def test_random_weights_are_saved_whole(small_config, clips, tmp_path, options):
    encoder = change(TruncatedHuBERT(config=small_config, num_layers=2, projection_dropout=0.0, **options))
    encoder.save_checkpoint(tmp_path / "encoder.ckpt")
    torch.manual_seed(1)
    again = TruncatedHuBERT(config=small_config, num_layers=2, projection_dropout=0.0, **options)
    again.load_checkpoint(tmp_path / "encoder.ckpt", True)
    assert torch.equal(again(*clips[:2]), encoder(*clips[:2]))


def test_whole_checkpoint_of_a_frozen_encoder_is_loaded(source, tmp_path):
    """As run folders of earlier versions hold it."""
    encoder = make(source, freeze=True)
    state = {name: value + 1 for name, value in encoder.state_dict().items()}
    torch.save(state, tmp_path / "encoder.ckpt")
    encoder.load_checkpoint(tmp_path / "encoder.ckpt", True)
    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize("options", [{"lora_rank": 2}, {"freeze": True}])
def test_another_source_of_the_same_name_is_refused(source, small_config, tmp_path, options):
    make(source, **options).save_checkpoint(tmp_path / "encoder.ckpt")
    save_source(source, small_config, seed=1)
    message = (
        rf"encoder.ckpt was trained on other weights than those of {source}: it holds only what was trained .* Give "
        "the encoder_source with which the run began, or choose another --output_folder."
    )
    with pytest.raises(InputError, match=message):
        make(source, **options).load_checkpoint(tmp_path / "encoder.ckpt", True)
