"""A checkpoint that was being written when the process died is never loaded."""

import pytest
import torch
from speechbrain.utils.checkpoints import mark_as_loader, mark_as_saver, register_checkpoint_hooks

from speechbrain_ext.atomic_checkpointer import AtomicCheckpointer


@register_checkpoint_hooks
class Dying:
    """A recoverable whose saving stops half-way when asked."""

    def __init__(self):
        self.dies = False

    @mark_as_saver
    def save(self, path):
        path.write_text("half")
        if self.dies:
            raise KeyboardInterrupt

    @mark_as_loader
    def load(self, path, end_of_epoch):
        assert path.read_text() == "half"


def test_interrupted_save_leaves_the_last_whole_checkpoint(tmp_path):
    model, dying = torch.nn.Linear(1, 1), Dying()
    checkpointer = AtomicCheckpointer(tmp_path, {"dying": dying, "model": model})
    model.weight.data.fill_(1.0)
    checkpointer.save_checkpoint(meta={"epoch": 1})
    model.weight.data.fill_(2.0)
    dying.dies = True
    with pytest.raises(KeyboardInterrupt):
        checkpointer.save_checkpoint(meta={"epoch": 2})
    assert checkpointer.checkpoints_dir == tmp_path

    dying.dies = False
    again = AtomicCheckpointer(tmp_path, {"dying": dying, "model": model})
    assert again.recover_if_possible().meta["epoch"] == 1
    assert model.weight.item() == 1.0
    model.weight.data.fill_(3.0)
    again.save_and_keep_only(meta={"epoch": 2}, importance_keys=[])
    assert [checkpoint.meta["epoch"] for checkpoint in again.list_checkpoints()] == [2]
    model.weight.data.zero_()
    again.recover_if_possible()
    assert model.weight.item() == 3.0


def test_returned_checkpoint_is_where_it_says(tmp_path):
    checkpointer = AtomicCheckpointer(tmp_path, {"model": torch.nn.Linear(1, 1)})
    saved = [checkpointer.save_checkpoint(), checkpointer.save_checkpoint(), checkpointer.save_checkpoint(name="mine")]
    assert len({checkpoint.path for checkpoint in saved}) == 3
    assert saved[2].path == tmp_path / "CKPT+mine"
    assert all(checkpoint.paramfiles["model"].is_file() for checkpoint in saved)
    assert {checkpoint.path for checkpoint in checkpointer.list_checkpoints()} == {c.path for c in saved}
