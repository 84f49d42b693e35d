"""A step of training is SpeechBrain's own, without what changes nothing."""

import copy

import pytest
import speechbrain as sb
import torch

from speechbrain_ext.training.brain import FoldBrain


@pytest.mark.parametrize("max_grad_norm", [float("inf"), 0.01])
@pytest.mark.parametrize("unused", [False, True])  # a module without gradients, as the centers of a center loss of 0
def test_step_is_that_of_speechbrain(max_grad_norm, unused):
    def step(brain_class):
        modules = {"a": torch.nn.Linear(3, 2), "b": torch.nn.Linear(3, 2)}
        for module in modules.values():
            torch.nn.init.constant_(module.weight, 0.5)
            torch.nn.init.constant_(module.bias, -1.0)
        brain = brain_class(modules, run_opts={"device": "cpu", "max_grad_norm": max_grad_norm})
        brain.optimizers_dict = {name: torch.optim.Adam(one.parameters(), lr=0.1) for name, one in modules.items()}
        for _ in range(3):
            loss = sum(module(torch.ones(1, 3)).square().sum() for module in list(modules.values())[: 2 - unused])
            loss.backward()
            brain.optimizers_step()
        assert brain.optimizer_step == 3 and all(p.grad is None for m in modules.values() for p in m.parameters())
        return copy.deepcopy(brain.modules.state_dict())

    torch.testing.assert_close(step(FoldBrain), step(sb.Brain), rtol=0, atol=0)
