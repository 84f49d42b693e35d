"""Several processes under torchrun, on the CPU: the numbers of one process whose batches are as large."""

import json
import os
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.errors import InputError
from speechbrain_ext.training import run
from speechbrain_ext.training.run_folder import processes_of
from tests.recipes.fold_reading import SMALL, assert_same_weights, history, last_checkpoint, posteriors, results

ON_CPU = ["--device=cpu", "--distributed_backend=gloo"]
# No two layouts of a batch can drop out alike; all else is as random as it gets.
OPTIONS = [
    *SMALL,
    "--number_of_epochs=2",
    "--projection_dropout=0.0",
    "--mixup_prob=0.5",
    "--augment_prob=0.8",
    "--eval_batch_size=5",
]

# train.py with a look into each process after training.
SPY = """
import sys
import torch
from recipes.IEMOCAP import train

draws = []
on_fit_batch_end, on_evaluate_start = train.EmotionBrain.on_fit_batch_end, train.EmotionBrain.on_evaluate_start

def spy_on_step(brain, batch, outputs, loss, should_step):
    draws.append((batch.id, torch.rand(1).item()))  # the next step has a seed of its own
    on_fit_batch_end(brain, batch, outputs, loss, should_step)

def spy_on_weights(brain, **kwargs):
    wrapped = {name: m for name, m in brain.modules.items() if isinstance(m, torch.nn.parallel.DistributedDataParallel)}
    seen = {
        "weights": brain.modules.state_dict(),
        "draws": draws,
        "find_unused": {name: module.find_unused_parameters for name, module in wrapped.items()},
        "stopper": brain.hparams.epoch_counter.best_score,
        "lr": brain.schedulers["network"].get_last_lr(),
    }
    torch.save(seen, f"{brain.hparams.output_folder}/rank{brain.rank}.pt")
    on_evaluate_start(brain, **kwargs)

train.EmotionBrain.on_fit_batch_end, train.EmotionBrain.on_evaluate_start = spy_on_step, spy_on_weights
train.main(sys.argv[1:])
"""

# train.py that is killed with its torchrun, as by a machine that is switched off.
KILLED = """
import os, signal, sys, time
from recipes.IEMOCAP import train

torchrun, fit_batch, n_steps = os.getppid(), train.EmotionBrain.fit_batch, 0

def fit_or_die(brain, batch):
    global n_steps
    n_steps += 1
    if n_steps == 7:  # in the second epoch of four batches
        if brain.rank == 0:
            os.kill(torchrun, signal.SIGKILL)
        while os.getppid() == torchrun:  # which would end them in its own way if it saw one of them dead
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return fit_batch(brain, batch)

train.EmotionBrain.fit_batch = fit_or_die
train.main(sys.argv[1:])
"""


def torchrun(root, script, arguments, launch, log):
    """Start torchrun, with threads that leave the processors to the other processes; what it says goes into a file."""
    environment = {key: value for key, value in os.environ.items() if key != "IEMOCAP_ROOT"}
    path = os.pathsep.join(map(str, (root, root / "recipes" / "IEMOCAP")))
    command = [sys.executable, "-m", "torch.distributed.run", *launch, script, root / "hparams/demo.yaml", *arguments]
    with open(log, "w") as file:
        return subprocess.Popen(
            list(map(str, command)),
            env={**environment, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
            stdout=file,
            stderr=subprocess.STDOUT,
        )


@pytest.fixture(scope="module")
def launch(root, demo_corpus, tmp_path_factory):
    """Return a function that trains a fold under torchrun and returns (folder, exit status, what was said)."""
    scratch = tmp_path_factory.mktemp("distributed")

    def run(name, n_processes, *options, script=None):
        path = root / "recipes" / "IEMOCAP" / "train.py"
        if script:
            path = scratch / f"{name}.py"
            path.write_text(script)
        folder, log = scratch / name, scratch / f"{name}.log"
        arguments = [f"--data_folder={demo_corpus}", f"--output_folder={folder}", *ON_CPU, *OPTIONS, *options]
        process = torchrun(root, path, arguments, ["--standalone", f"--nproc_per_node={n_processes}"], log)
        return folder, process.wait(timeout=1200), log.read_text()

    return run


@pytest.fixture(scope="module")
def two(launch):
    """Train a fold with two processes of eight clips each."""
    folder, status, said = launch("two", 2, "--batch_size=8")
    assert status == 0, said
    return folder, said


def assert_same_training(one, other):
    """Compare what two runs have learnt and found, up to the order in which floats are added."""
    weights, others = last_checkpoint(one), last_checkpoint(other)
    for name, tensors in weights.items():
        for key, tensor in tensors.items():
            torch.testing.assert_close(tensor, others[name][key], atol=1e-4, rtol=0, msg=f"{name}: {key}")
    np.testing.assert_allclose(posteriors(one), posteriors(other), atol=1e-4)
    for entry, its_other in zip(history(one), history(other)):
        assert entry == pytest.approx(its_other, abs=1e-4)
    found, its_other = results(one)[0], results(other)[0]
    for key in ("WA", "UA", "recall", "n", "confusion", "tested_epoch", "n_epochs", "settings"):
        assert found[key] == its_other[key], key
    assert found["test_loss"] == pytest.approx(its_other["test_loss"], abs=1e-4)
    assert [row["id"] for row in results(one)[1]] == [row["id"] for row in results(other)[1]]


def test_two_processes_learn_what_one_does_with_twice_the_batch(two, fit):
    folder, said = two
    assert_same_training(folder, fit("one", *OPTIONS, "--batch_size=16"))
    metrics = results(folder)[0]
    assert metrics["n"] == 16
    assert metrics["n_processes"] == 2
    assert said.count("(16 utterances)") == said.count("Beginning experiment!") == 1
    assert (folder / "train_log.txt").read_text().count("epoch: 1,") == 1


def test_unequal_and_empty_shares_weigh_as_their_clips_do(launch, fit):
    """56 clips: six batches of nine, then two clips for three processes; 8 validate and 16 test, in fives."""
    options = ["--mixup_method=conventional", "--grad_accumulation_factor=2", "--max_grad_norm=0.1"]
    folder, status, said = launch("three", 3, *options, "--batch_size=3", script=SPY)
    assert status == 0, said
    assert_same_training(folder, fit("one", *OPTIONS, *options, "--batch_size=9"))

    ranks = [torch.load(folder / f"rank{rank}.pt") for rank in range(3)]
    for rank in ranks[1:]:
        assert rank["weights"].keys() == ranks[0]["weights"].keys()
        assert any("center_loss" in key for key in rank["weights"])
        for key, weights in rank["weights"].items():
            assert torch.equal(weights, ranks[0]["weights"][key]), key
        assert rank["stopper"] == ranks[0]["stopper"]
        assert rank["lr"] == ranks[0]["lr"]
    for rank in ranks:
        assert rank["find_unused"] == dict.fromkeys(("encoder", "f_0", "f_1", "center_loss"), False)
    for (ids, draw), (_, other), (last_ids, third) in zip(*(rank["draws"] for rank in ranks)):
        assert len({draw, other, third}) == 3  # so that no two drop out alike
        assert len(ids) in (1, 3)
        assert (ids == last_ids) is (len(ids) == 1)  # the third computes the first's clip where it has none


def test_killed_with_its_torchrun_and_resumed_ends_with_the_same_bytes(launch, two):
    whole, _ = two
    options = ["--batch_size=8", "--ckpt_interval_steps=2"]
    folder, status, _ = launch("killed", 2, *options, script=KILLED)
    assert status == -signal.SIGKILL
    assert len(history(folder)) == 1
    assert not (folder / "test_metrics.json").exists()
    folder, status, said = launch("killed", 2, *options)
    assert status == 0, said
    assert_same_weights(last_checkpoint(folder), last_checkpoint(whole))
    for name in ("predictions.csv", "epochs.json", "run.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name


def is_free(port):
    """Tell whether nobody listens at a port; below 32768 the system gives it to nobody by itself."""
    with socket.socket() as probe:
        return probe.connect_ex(("localhost", port)) != 0


def test_two_machines_give_the_same_bytes_as_one(root, demo_corpus, tmp_path, two):
    """Two torchruns that know one another by an address alone, each with one process."""
    port = next(filter(is_free, range(20_000 + os.getpid() % 10_000, 32_000)))
    meet = ["--nnodes=2", "--nproc_per_node=1", "--rdzv_backend=c10d", f"--rdzv_endpoint=localhost:{port}"]
    arguments = [f"--data_folder={demo_corpus}", f"--output_folder={tmp_path / 'fold'}", *ON_CPU, *OPTIONS]
    logs = [tmp_path / "one.log", tmp_path / "other.log"]
    script = root / "recipes" / "IEMOCAP" / "train.py"
    nodes = [torchrun(root, script, [*arguments, "--batch_size=8"], meet, log) for log in logs]
    said = [log.read_text() for node, log in zip(nodes, logs) if node.wait(timeout=1200) == 0]
    assert len(said) == 2, logs[0].read_text() + logs[1].read_text()
    for name in ("predictions.csv", "epochs.json"):
        assert (tmp_path / "fold" / name).read_bytes() == (two[0] / name).read_bytes(), name
    assert sum(text.count("(16 utterances)") for text in said) == 1


def test_what_the_main_process_refuses_ends_all_and_is_said_once(launch):
    folder, status, said = launch("wrong", 2, "--fold=6")
    assert status > 0
    assert said.count("train.py: fold must be") == 1, said
    assert not folder.exists()


def test_what_all_processes_refuse_is_said_by_the_first_of_a_machine(fit, monkeypatch):
    for local_rank in ("0", "1", "3"):
        monkeypatch.setenv("LOCAL_RANK", local_rank)
        with pytest.raises(InputError if local_rank == "0" else SystemExit) as ended:
            fit("fold", "--bach_size=4")
        # An error would let torchrun stop the first before it has said a word.
        assert local_rank == "0" or ended.value.code == 0


def test_another_number_of_processes_is_refused(tmp_path):
    assert processes_of(tmp_path, 2) == 2  # nothing has begun
    write_json({"n_processes": 2}, tmp_path / "run.json")
    assert processes_of(tmp_path, 1) == 1  # without a checkpoint the settings may still be corrected
    (tmp_path / "save" / "CKPT+1").mkdir(parents=True)
    assert processes_of(tmp_path, 2) == 2
    assert processes_of(tmp_path, 1, test_only=True) == 2
    with pytest.raises(InputError, match=r"trained by 2 processes, .* run of 1. Start 2, or choose another --output"):
        processes_of(tmp_path, 1)


def test_fold_of_one_process_is_not_taken_up_by_two(fit, monkeypatch):
    folder = fit("fold", "--number_of_epochs=1")
    assert json.loads((folder / "run.json").read_text())["n_processes"] == 1
    monkeypatch.setattr(run, "world_size_and_rank", lambda: (2, 0))
    with pytest.raises(InputError, match="trained by 1 process, .* and this is a run of 2. Start 1, or choose"):
        fit("fold")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], r"torchrun has started 2 processes, each for a GPU .* has 0. Choose --nproc_per_node. On the CPU, give"),
        (["--device=cpu"], "leave out --device=cpu. On the CPU, give --device=cpu --distributed_backend=gloo"),
    ],
)
def test_processes_without_gpus_are_refused(fit, monkeypatch, options, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for key, value in (("LOCAL_RANK", "0"), ("RANK", "0"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(key, value)
    with pytest.raises(InputError, match=message):
        fit("fold", *options)


def test_epoch_that_nothing_validates_is_resumed_with_the_same_bytes(fit):
    folder = fit("fold", "--validation=none", "--number_of_epochs=1")
    whole = fit("whole", "--validation=none")
    folder = fit("fold", "--validation=none")
    for name in ("predictions.csv", "epochs.json"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes(), name
