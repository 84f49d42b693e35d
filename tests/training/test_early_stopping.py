"""Early stopping: what decides about it comes back with a checkpoint."""

import pytest
from speechbrain.utils.checkpoints import Checkpointer

from speechbrain_ext.training.early_stopping import EarlyStopping


def counter():
    return EarlyStopping(limit=9, limit_to_stop=2, limit_warmup=0, direction="min")


@pytest.mark.parametrize("n_before", [1, 2, 3])
def test_a_recovered_counter_stops_where_the_uninterrupted_one_does(tmp_path, n_before):
    """Errors .5, .4, .4, .4: the best is epoch 2, and patience 2 ends after epoch 4."""
    errors = {1: 0.5, 2: 0.4, 3: 0.4, 4: 0.4}
    before = counter()
    for epoch in before:
        before.update_metric(errors[epoch])
        if epoch == n_before:
            break
    Checkpointer(tmp_path, {"counter": before}).save_checkpoint()
    after = counter()
    Checkpointer(tmp_path, {"counter": after}).recover_if_possible()
    assert (after.best_score, after.best_limit) == (errors[n_before], min(n_before, 2))
    seen = []
    for epoch in after:
        seen.append(epoch)
        after.update_metric(errors[epoch])
    assert seen == list(range(n_before + 1, 5))


def test_a_counter_that_has_stopped_stays_so(tmp_path):
    before = counter()
    for _ in before:
        before.update_metric(0.5)
    Checkpointer(tmp_path, {"counter": before}).save_checkpoint()
    after = counter()
    Checkpointer(tmp_path, {"counter": after}).recover_if_possible()
    assert after.should_stop and list(after) == []
