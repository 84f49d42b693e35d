"""TruncatedHuBERT: weights that change, in whatever way, are used at once; copies share none."""

import copy
import threading

import pytest
import torch
from torch import nn

from speechbrain_ext.lobes.truncated_encoder import TruncatedHuBERT


def by_data(encoder):
    """Change weights as an EMA or a mean teacher may: their versions stay as they are."""
    for parameter in encoder.parameters():
        parameter.data.mul_(1.5)


def by_new_data(encoder):
    for parameter in encoder.parameters():
        parameter.data = 1.5 * parameter.data


def by_copy(encoder):
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.copy_(1.5 * parameter)


def by_average(encoder):
    average = torch.optim.swa_utils.AveragedModel(encoder, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5))
    average.update_parameters(encoder)
    by_copy(encoder)
    average.update_parameters(encoder)
    encoder.load_state_dict(average.module.state_dict())


def by_fused_step(encoder):
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.1, fused=True)
    for parameter in encoder.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def by_load(encoder):
    encoder.load_state_dict({key: 1.5 * value for key, value in encoder.state_dict().items()})


def by_vector(encoder):
    parameters = list(encoder.parameters())
    nn.utils.vector_to_parameters(1.5 * nn.utils.parameters_to_vector(parameters), parameters)


def by_another_thread(encoder):
    thread = threading.Thread(target=by_data, args=[encoder])
    thread.start()
    thread.join()


def position_kernel(encoder):
    """Compute the weight norm longhand: direction over its norm for each tap, times a length."""
    state = encoder.state_dict()
    prefix = "model.encoder.pos_conv_embed.conv.parametrizations.weight.original"
    length, direction = state[prefix + "0"], state[prefix + "1"]  # [1, 1, K], [D, D / groups, K]
    return length * direction / direction.square().sum(dim=(0, 1), keepdim=True).sqrt()


def run_with_kernel(encoder, *batch):
    """Compute the encoder with a convolution that is given the longhand kernel."""
    plain = copy.deepcopy(encoder)
    conv = plain.model.encoder.pos_conv_embed.conv
    nn.utils.parametrize.remove_parametrizations(conv, "weight")
    conv.weight.data = position_kernel(encoder)
    return plain(*batch)


CHANGES = [by_data, by_new_data, by_copy, by_average, by_fused_step, by_load, by_vector, by_another_thread]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_are_used_at_once(small_config, clips, change, guard, training):
    """Between two forward passes without gradients, whatever changes the weights, and in whatever way."""
    torch.manual_seed(0)
    encoder = TruncatedHuBERT(config=small_config, num_layers=2, projection_dropout=0.0).train(training)
    with guard():
        before = encoder(*clips[:2])
    change(encoder)
    with guard():
        after = encoder(*clips[:2])
        expected = run_with_kernel(encoder, *clips[:2])
    assert (after - before).abs().max() > 1e-2
    torch.testing.assert_close(after, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_encoder_built_in_inference_mode_follows_its_weights(small_config, clips, guard):
    torch.manual_seed(0)
    with torch.inference_mode():
        encoder = TruncatedHuBERT(config=small_config, num_layers=2).eval()
        before = encoder(*clips[:2])
        for parameter in encoder.parameters():
            parameter.mul_(1.5)
    with guard():
        after, copied = encoder(*clips[:2]), copy.deepcopy(encoder)(*clips[:2])
        expected = run_with_kernel(encoder, *clips[:2])
    assert (after - before).abs().max() > 1e-2
    torch.testing.assert_close(after, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(copied, after)


def test_copies_share_no_state(small_config, clips):
    torch.manual_seed(0)
    encoder = TruncatedHuBERT(config=small_config, num_layers=2).eval()
    with torch.no_grad():
        before = encoder(*clips[:2])
        other = copy.deepcopy(encoder)
        by_data(encoder)
        assert torch.equal(other(*clips[:2]), before)
