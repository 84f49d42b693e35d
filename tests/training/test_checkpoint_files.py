"""What is wrong with a checkpoint's files is found before they are loaded."""

import os
import subprocess

import pytest
import torch
from speechbrain.utils.epoch_loop import EpochCounter

from speechbrain_ext.errors import InputError
from speechbrain_ext.training.checkpoint_files import SUMS_FILE, find_damage
from speechbrain_ext.training.checkpoints import DAMAGED, AtomicCheckpointer


@pytest.fixture
def checkpointer(tmp_path):
    return AtomicCheckpointer(tmp_path / "save", {"model": torch.nn.Linear(3, 3)})


def save(checkpointer, value, **meta):
    checkpointer.recoverables["model"].weight.data.fill_(value)
    return checkpointer.save_checkpoint(meta=meta).path


def flip_a_bit(path, place):
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1
    path.write_bytes(data)


def test_sums_are_those_that_sha256sum_checks(checkpointer):
    folder = save(checkpointer, 1.0)
    assert find_damage(folder) is None
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", SUMS_FILE], cwd=folder, capture_output=True, text=True
    )
    assert checked.stdout == "CKPT.yaml: OK\nmodel.ckpt: OK\n"


def test_every_flipped_bit_is_found_and_not_loaded(checkpointer):
    folder = save(checkpointer, 1.0)
    whole = (folder / "model.ckpt").read_bytes()
    for place in range(0, len(whole), len(whole) // 50):
        (folder / "model.ckpt").write_bytes(whole)
        flip_a_bit(folder / "model.ckpt", place)
        assert find_damage(folder) == "model.ckpt is not as it was written (its SHA-256 differs)"
    with pytest.raises(InputError, match=r"CKPT\S+ is damaged: model.ckpt is not as it was written .* Copy the run"):
        checkpointer.recover_if_possible()


def cut(path):
    path.write_bytes(path.read_bytes()[:-10])


def fill(data):
    return lambda path: path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "harm", "said"),
    [
        ("model.ckpt", cut, "model.ckpt is not as it was written"),
        ("model.ckpt", fill(b"\0" * 1000), "model.ckpt is not as it was written"),
        ("model.ckpt", lambda path: path.unlink(), "model.ckpt is missing"),
        ("CKPT.yaml", fill(b""), "CKPT.yaml cannot be read"),
        ("CKPT.yaml", fill(b"[1, 2]"), "CKPT.yaml cannot be read"),
        ("CKPT.yaml", fill(b"[" * 10_000), "CKPT.yaml cannot be read"),
        ("CKPT.yaml", fill(b"\xff\xfe\x80"), "CKPT.yaml cannot be read"),
        ("CKPT.yaml", lambda path: path.unlink(), "CKPT.yaml cannot be read"),
        ("CKPT.yaml", fill(b"[unixtime, end-of-epoch]"), "CKPT.yaml cannot be read"),
        ("CKPT.yaml", fill(b"{unixtime: 1, end-of-epoch: true, epoch: [1]}"), "CKPT.yaml cannot be read"),
        ("CKPT.yaml", fill(b"{unixtime: 1, end-of-epoch: true, best_epoch: [1]}"), "CKPT.yaml cannot be read"),
        ("CKPT.yaml", lambda path: (path.unlink(), os.mkfifo(path)), "CKPT.yaml cannot be read"),
        (SUMS_FILE, lambda path: path.unlink(), "SHA256SUMS is missing"),
        (
            SUMS_FILE,
            lambda path: path.write_text(path.read_text().splitlines()[0] + "\n"),
            "SHA256SUMS lacks model.ckpt",
        ),
        (SUMS_FILE, lambda path: (path.unlink(), os.mkfifo(path)), "SHA256SUMS cannot be read"),
        (SUMS_FILE, fill(b""), "SHA256SUMS cannot be read"),
        (SUMS_FILE, fill(b"\xff\xfe\x80"), "SHA256SUMS cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_is_loaded(checkpointer, caplog, name, harm, said):
    checkpointer.owner = {"fold": 1}
    before, newest = save(checkpointer, 1.0, epoch=1), save(checkpointer, 2.0, epoch=2)
    harm(newest / name)
    checkpointer.set_aside_damaged()
    assert f"{newest} cannot be used: {said}" in caplog.text
    assert checkpointer.recover_if_possible().path == before
    assert checkpointer.recoverables["model"].weight[0, 0] == 1.0
    assert newest.with_name(DAMAGED + newest.name).is_dir() and not newest.exists()


def test_a_checkpoint_whose_best_epoch_is_damaged_is_set_aside_with_it(checkpointer, caplog):
    save(checkpointer, 1.0, epoch=1, best_epoch=1)
    best = save(checkpointer, 2.0, epoch=2, best_epoch=2)
    save(checkpointer, 3.0, epoch=3, best_epoch=2)
    flip_a_bit(best / "model.ckpt", 700)
    checkpointer.set_aside_damaged()
    assert "the checkpoint of epoch 2, the best until then, is missing or damaged" in caplog.text
    assert [checkpoint.meta["epoch"] for checkpoint in checkpointer.list_checkpoints()] == [1]


def test_a_checkpoint_of_an_earlier_version_has_no_sums_and_is_loaded(checkpointer):
    folder = save(checkpointer, 1.0)
    (folder / SUMS_FILE).unlink()
    checkpointer.set_aside_damaged()
    assert checkpointer.recover_if_possible().path == folder


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("model.ckpt", lambda path: path.unlink()),
        ("model.ckpt", fill(b"x")),
        ("model.ckpt", lambda path: torch.save(Exception, path)),
        ("model.ckpt", lambda path: torch.save({"weight": torch.zeros(2)}, path)),
        ("counter.ckpt", fill(b"x")),
    ],
)
def test_what_cannot_be_loaded_is_said_also_where_no_sum_tells_it(tmp_path, name, harm):
    parts = {"model": torch.nn.Linear(3, 3), "counter": EpochCounter(3)}
    checkpointer = AtomicCheckpointer(tmp_path / "save", parts)
    folder = checkpointer.save_checkpoint().path
    (folder / SUMS_FILE).unlink()
    harm(folder / name)
    with pytest.raises(InputError, match=r"CKPT\S+ is damaged: it cannot be loaded \(.*\). Copy the run"):
        checkpointer.recover_if_possible()
