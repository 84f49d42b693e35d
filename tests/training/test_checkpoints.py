"""A checkpoint whose writing was interrupted is never loaded; one written in the background is no other."""

import concurrent.futures
import signal
import subprocess
import sys
import threading

import pytest
import torch
from speechbrain.utils.checkpoints import mark_as_loader, mark_as_saver, register_checkpoint_hooks

from speechbrain_ext.storage import describe_fault
from speechbrain_ext.training.checkpoints import AtomicCheckpointer


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


class Writing:
    """Stands for `torch.save`: waits until it is let go, or fails, and tells that it was reached."""

    def __init__(self, monkeypatch, error=None):
        self.reached, self.go = threading.Event(), threading.Event()
        self.error, self.save = error, torch.save
        monkeypatch.setattr(torch, "save", self)

    def __call__(self, state, path):
        self.reached.set()
        assert self.go.wait(600)
        if self.error:
            raise self.error
        self.save(state, path)


def trained(seed):
    """Make a model, its Adam and a schedule, all with states of their own."""
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)
    return {"model": model, "optimizer": optimizer, "scheduler": scheduler}


def train(parts):
    """Make a step."""
    parts["optimizer"].zero_grad()
    parts["model"](torch.randn(4, 3)).square().sum().backward()
    parts["optimizer"].step()
    parts["scheduler"].step()


def numbers(parts):
    """Take all tensors and numbers of the states, as text."""
    return {name: repr(part.state_dict()) for name, part in parts.items()}


def test_background_checkpoint_holds_the_state_of_the_call(tmp_path, monkeypatch):
    parts = trained(0)
    checkpointer = AtomicCheckpointer(tmp_path, parts, in_background=True)
    for epoch in (1, 2):  # the second one is copied into the memory of the first
        train(parts)
        then = numbers(parts)
        writing = Writing(monkeypatch)
        checkpointer.save_and_keep_only(meta={"epoch": epoch})
        assert writing.reached.wait(600)
        train(parts)
        assert numbers(parts) != then
        assert len(list(tmp_path.glob("CKPT*"))) == epoch - 1
        writing.go.set()
        checkpointer.wait()
        monkeypatch.undo()
    assert [c.meta["epoch"] for c in checkpointer.list_checkpoints()] == [2]
    other = trained(1)
    assert AtomicCheckpointer(tmp_path, other).recover_if_possible().meta["epoch"] == 2
    assert numbers(other) == then


def test_background_files_are_those_of_a_plain_save(tmp_path):
    files = []
    for in_background in (False, True):
        parts = trained(0)
        train(parts)
        folder = tmp_path / str(in_background)
        checkpointer = AtomicCheckpointer(folder, parts, in_background=in_background)
        checkpointer.save_and_keep_only(name="one")
        checkpointer.wait()
        files.append({path.name: path for path in (folder / "CKPT+one").glob("*.ckpt")})
    assert set(files[0]) == set(files[1]) == {"model.ckpt", "optimizer.ckpt", "scheduler.ckpt"}
    for name, path in files[0].items():
        assert files[1][name].read_bytes() == path.read_bytes()


def test_background_does_without_page_locked_memory(tmp_path, monkeypatch):
    empty_like, refused = torch.empty_like, []

    def without_pages(value, **options):
        if "pin_memory" in options:
            refused.append(value)
            raise RuntimeError("CUDA error: out of memory")
        return empty_like(value, **options)

    monkeypatch.setattr(torch, "empty_like", without_pages)
    parts, other = trained(0), trained(1)
    checkpointer = AtomicCheckpointer(tmp_path, parts, in_background=True)
    checkpointer.save_and_keep_only()
    checkpointer.wait()
    assert refused and AtomicCheckpointer(tmp_path, other).recover_if_possible()
    assert numbers(other) == numbers(parts)


@pytest.mark.parametrize("in_background", [False, True])
@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, {4}),
        ({"max_keys": ["score"]}, {2, 4}),
        ({"min_keys": ["score"]}, {3, 4}),
        ({"importance_keys": [lambda checkpoint: -abs(checkpoint.meta["epoch"] - 2)]}, {2, 4}),
        ({"num_to_keep": 2}, {3, 4}),
        ({"keep_recent": False, "max_keys": ["score"]}, {2}),
        ({"keep_recent": False}, {1, 2, 3, 4}),
        ({"ckpt_predicate": lambda checkpoint: checkpoint.meta["epoch"] > 2}, {1, 2, 4}),
        ({"end_of_epoch": False}, {4}),
        ({"name": "one"}, {4}),
    ],
)
def test_what_is_kept(tmp_path, in_background, options, kept):
    own = Dying()  # a recoverable with a saver of its own
    checkpointer = AtomicCheckpointer(
        tmp_path,
        {"own": own, "custom": torch.nn.Linear(1, 1), **trained(0)},
        custom_save_hooks={"custom": lambda module, path: path.write_text("mine")},
        in_background=in_background,
    )
    for epoch, score in ((1, 0.3), (2, 0.5), (3, 0.1), (4, 0.4)):
        checkpointer.save_and_keep_only(meta={"epoch": epoch, "score": score}, **options)
    found = checkpointer.list_checkpoints()
    assert {c.meta["epoch"] for c in found} == kept
    for c in found:
        assert c.meta["end-of-epoch"] == options.get("end_of_epoch", True)
        assert c.paramfiles["own"].read_text() == "half" and c.paramfiles["custom"].read_text() == "mine"
        assert torch.load(c.paramfiles["scheduler"])["last_epoch"] == 0


class Holder(torch.nn.Module):
    """A module whose state is what it is told."""

    def __init__(self):
        super().__init__()
        self.held = None

    def state_dict(self):
        """Return what is held."""
        return self.held


def test_background_copies_states_of_any_shape(tmp_path, monkeypatch):
    holder = Holder()
    checkpointer = AtomicCheckpointer(tmp_path, {"holder": holder}, in_background=True)
    learning = torch.ones(2, requires_grad=True)
    for state in (
        {"x": torch.zeros(2, 3), "rows": [torch.zeros(1)], "rates": {"lr": 0.1, "betas": (0.9, 0.98)}},
        {
            "x": torch.ones(3, 2),
            "rows": [torch.ones(1), torch.ones(2)],
            "rates": {"lr": 0.2, "names": ["a"], "seen": {1}},
        },
        {"x": torch.full((3, 2), 2, dtype=torch.int64), "rows": (torch.zeros(2),), "late": learning * 2},
        {"x": torch.full((3, 2), 3, dtype=torch.int64), "rows": {"now": "a dict"}, "late": None},
    ):
        expected, holder.held = repr(state), state
        writing = Writing(monkeypatch)
        checkpointer.save_and_keep_only()
        if "names" in state.get("rates", {}):  # changed after the call
            state["rates"]["names"].append("b")
            state["rates"]["seen"].add(2)
        assert writing.reached.wait(600)
        writing.go.set()
        checkpointer.wait()
        monkeypatch.undo()
        (saved,) = checkpointer.list_checkpoints()
        assert repr(torch.load(saved.paramfiles["holder"])) == expected.replace(", grad_fn=<MulBackward0>", "")


def fail(monkeypatch, error):
    """Let the next writing fail, and only that."""
    save = torch.save

    def fail_once(*_):
        monkeypatch.setattr(torch, "save", save)
        raise error

    monkeypatch.setattr(torch, "save", fail_once)


@pytest.mark.parametrize("noticed_by", ["wait", "save_checkpoint", "recover_if_possible"])
def test_failed_writing_is_raised_once_and_loses_nothing(tmp_path, monkeypatch, noticed_by):
    checkpointer = AtomicCheckpointer(tmp_path, trained(0), in_background=True)
    checkpointer.save_and_keep_only(meta={"epoch": 1})
    checkpointer.wait()
    fail(monkeypatch, OSError("No space left on device"))
    checkpointer.save_and_keep_only(meta={"epoch": 2})
    with pytest.raises(OSError, match="No space left"):
        getattr(checkpointer, noticed_by)()
    assert [c.meta["epoch"] for c in checkpointer.list_checkpoints()] == [1]
    checkpointer.save_and_keep_only(meta={"epoch": 3})
    checkpointer.wait()
    assert [c.meta["epoch"] for c in checkpointer.list_checkpoints()] == [3]


@pytest.mark.parametrize("error", [OSError("No space left on device"), RuntimeError("PytorchStreamWriter failed")])
def test_checkpoint_after_a_failed_one_is_written_at_once(tmp_path, monkeypatch, caplog, error):
    checkpointer, in_place = AtomicCheckpointer(tmp_path, trained(0), in_background=True), []
    fail(monkeypatch, error)
    checkpointer.save_and_keep_only(meta={"epoch": 1})
    checkpointer.save_and_keep_only(meta={"epoch": 2}, when_saved=lambda: in_place.append(2))
    assert in_place == [2] and [c.meta["epoch"] for c in checkpointer.list_checkpoints()] == [2]
    assert str(describe_fault(error, tmp_path) or error) in caplog.text
    fail(monkeypatch, error)
    checkpointer.save_and_keep_only(meta={"epoch": 3})
    with pytest.raises(type(error)):
        checkpointer.list_checkpoints()  # waits
        fail(monkeypatch, error)  # and still fails
        checkpointer.save_and_keep_only(meta={"epoch": 4})
    assert [c.meta["epoch"] for c in checkpointer.list_checkpoints()] == [2]


@pytest.mark.parametrize("in_background", [False, True])
def test_when_saved_is_called_with_the_checkpoint_in_place(tmp_path, monkeypatch, in_background):
    checkpointer = AtomicCheckpointer(tmp_path, trained(0), in_background=in_background)
    seen = []
    for _ in "12":
        checkpointer.save_and_keep_only(when_saved=lambda: seen.append(sorted(tmp_path.glob("CKPT*"))))
    checkpointer.wait()
    assert [len(paths) for paths in seen] == [1, 1] and seen[1] == sorted(tmp_path.glob("CKPT*"))
    fail(monkeypatch, OSError("No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        checkpointer.save_and_keep_only(when_saved=lambda: seen.append(None))
        checkpointer.wait()
    assert None not in seen


def test_interrupted_wait_can_be_called_again(tmp_path, monkeypatch):
    checkpointer = AtomicCheckpointer(tmp_path, trained(0), in_background=True)
    writing = Writing(monkeypatch)
    checkpointer.save_and_keep_only(meta={"epoch": 1})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(concurrent.futures.Future, "exception", lambda *_: signal.raise_signal(signal.SIGINT))
        checkpointer.wait()
    writing.go.set()
    assert checkpointer.recover_if_possible().meta["epoch"] == 1


def test_listing_waits_for_the_writing(tmp_path, monkeypatch):
    checkpointer = AtomicCheckpointer(tmp_path, trained(0), in_background=True)
    writing = Writing(monkeypatch)
    checkpointer.save_and_keep_only(meta={"epoch": 1})
    threading.Thread(target=lambda: writing.reached.wait(600) and writing.go.set()).start()
    assert checkpointer.find_checkpoint().meta["epoch"] == 1


@pytest.mark.parametrize("in_background", [False, True])
def test_log_says_saved_of_what_is_in_place(tmp_path, caplog, monkeypatch, in_background):
    caplog.set_level("INFO")
    checkpointer = AtomicCheckpointer(tmp_path, trained(0), in_background=in_background)
    checkpointer.save_and_keep_only()
    checkpointer.wait()
    (saved,) = checkpointer.list_checkpoints()
    assert caplog.text.count("Saved") == 1 and f"Saved a checkpoint in {saved.path}" in caplog.text
    caplog.clear()
    fail(monkeypatch, OSError("No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        checkpointer.save_and_keep_only()
        checkpointer.wait()
    assert "Saved" not in caplog.text


def test_close_logs_what_nobody_asked_for(tmp_path, monkeypatch, caplog):
    checkpointer = AtomicCheckpointer(tmp_path, trained(0), in_background=True)
    checkpointer.close()
    fail(monkeypatch, OSError("No space left on device"))
    checkpointer.save_and_keep_only()
    checkpointer.close()
    assert "could not be written: " in caplog.text and "the disk is full" in caplog.text


def test_close_waits_for_the_writing(tmp_path, monkeypatch):
    checkpointer = AtomicCheckpointer(tmp_path, trained(0), in_background=True)
    writing = Writing(monkeypatch)
    checkpointer.save_and_keep_only(meta={"epoch": 1})
    threading.Thread(target=lambda: writing.reached.wait(600) and writing.go.set()).start()
    checkpointer.close()
    assert [c.meta["epoch"] for c in checkpointer.list_checkpoints()] == [1]


KILLED = """
import os, signal, sys, torch
from speechbrain_ext.training.checkpoints import AtomicCheckpointer
model = torch.nn.Linear(1, 1)
checkpointer = AtomicCheckpointer(sys.argv[1], {"model": model}, in_background=True)
checkpointer.save_and_keep_only(meta={"epoch": 1})
checkpointer.wait()
save = torch.save
def die(state, path):
    save(state, path)
    os.kill(os.getpid(), signal.SIGKILL)
torch.save = die
checkpointer.save_and_keep_only(meta={"epoch": 2})
checkpointer.wait()
"""


def test_killed_while_writing_resumes_from_the_checkpoint_before(tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], timeout=600)
    assert killed.returncode == -9
    checkpointer = AtomicCheckpointer(tmp_path, {"model": torch.nn.Linear(1, 1)}, in_background=True)
    assert checkpointer.recover_if_possible().meta["epoch"] == 1
    checkpointer.save_and_keep_only(meta={"epoch": 2})
    checkpointer.wait()
    assert [c.meta["epoch"] for c in checkpointer.list_checkpoints()] == [2]
    assert not list((tmp_path / "incomplete").iterdir())
