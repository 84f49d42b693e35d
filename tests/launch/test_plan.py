"""All folds and seeds by one command: skipped, resumed, retried and reported as it says."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import filelock
import pytest
import torch

import speechbrain_ext.launch.plan as run_loso
from speechbrain_ext.errors import InputError
from speechbrain_ext.launch import on_ray as ray_pool
from speechbrain_ext.launch.on_ray import run_jobs_on_ray
from tests.launch.test_on_ray import NODE, cluster, ray_folder  # noqa: F401
from tests.recipes.fold_reading import SMALL, results

# Ends fold 2 with an error, and leaves the others' names in the log.
STUB = """
import sys
fold = next(word for word in sys.argv if word.startswith("--fold="))
print("working on", fold, flush=True)
sys.exit("CUDA is out of memory" if fold == "--fold=2" else 0)
"""


@pytest.fixture
def command(root, demo_corpus, monkeypatch):
    """Return a function that makes run_loso's command line; the runs count on one thread each."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("IEMOCAP_ROOT", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def make(*options):
        return [str(root / "hparams/demo.yaml"), f"--data_folder={demo_corpus}", *SMALL, *options]

    return make


@pytest.fixture
def pool(monkeypatch):
    """Return the list of (jobs, n_parallel, devices, env) that were to be run; nothing is run."""
    started = []

    def run_jobs(jobs, n_parallel, devices=(), env=None):
        started.append((jobs, n_parallel, devices, env))
        yield None

    monkeypatch.setattr(run_loso, "run_jobs", run_jobs)
    return started


def wait_until(condition, process):
    """Wait until something is there; fail when the process that should bring it has ended."""
    while not condition():
        try:
            process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail("the process ended before")


def test_killed_command_given_again_ends_with_the_same_report(root, command, fit, tmp_path, capsys, monkeypatch):
    options = ["--track_test=True", "--number_of_epochs=2", "--mixup_prob=0.5"]
    whole = tmp_path / "whole" / "loso"
    assert run_loso.main(command(*options, f"--results_folder={whole}", "--jobs=2")) == 0
    said = capsys.readouterr().out
    assert "5 of 5 finished" in said
    assert f"Report: {whole}/report.html" in said
    alone = fit("alone", "--fold=3", *options)  # each run is what train.py does
    assert (whole / "seed1/fold3/predictions.csv").read_bytes() == (alone / "predictions.csv").read_bytes()
    assert results(whole / "seed1/fold3")[0]["settings"] == results(alone)[0]["settings"]

    killed = tmp_path / "killed" / "loso"
    line = command(*options, f"--results_folder={killed}", "--jobs=2")
    process = subprocess.Popen(
        [sys.executable, root / "recipes/IEMOCAP/run_loso.py", *line], stdout=subprocess.DEVNULL, cwd=tmp_path
    )
    try:
        wait_until(lambda: any(killed.rglob("test_metrics.json")), process)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    for lock in killed.rglob(".lock"):  # its runs die with it
        with filelock.FileLock(lock, timeout=30):
            pass
    n_finished = len(list(killed.rglob("test_metrics.json")))
    assert 1 <= n_finished < 5
    assert run_loso.main(line) == 0
    assert capsys.readouterr().out.count("finished before") == n_finished
    for name in ("report.md", "report.json", "report.html"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name

    before = {path: path.stat().st_mtime_ns for path in killed.rglob("test_metrics.json")}
    monkeypatch.setattr(run_loso, "TRAIN", tmp_path / "missing.py")  # nothing is left to start
    assert run_loso.main(line) == 0
    assert {path: path.stat().st_mtime_ns for path in killed.rglob("test_metrics.json")} == before


def test_failed_run_is_retried_and_reported_and_the_others_kept(command, tmp_path, capsys, monkeypatch):
    (tmp_path / "stub.py").write_text(STUB)
    monkeypatch.setattr(run_loso, "TRAIN", tmp_path / "stub.py")
    folder = tmp_path / "loso"
    assert run_loso.main(command(f"--results_folder={folder}", "--folds=1-3")) == 1
    said = capsys.readouterr()
    assert "seed 1, fold 2 failed (exit status 1):" in said.err
    assert "CUDA is out of memory" in said.err
    assert "1 of 3 runs failed. The same command tries them again." in said.err
    logs = {path.name: path.read_text() for path in (folder / "logs").iterdir()}
    assert {name: text.count("working on --fold=") for name, text in logs.items()} == {
        "seed1_fold1.log": 1,
        "seed1_fold2.log": 2,
        "seed1_fold3.log": 1,
    }
    assert not (folder / "report.md").exists()


def test_every_seed_and_fold_is_one_run_of_its_own(command, pool, tmp_path, capsys):
    run_loso.main(command(f"--results_folder={tmp_path / 'loso'}", "--seeds=3,1", "--folds=2,4-5", "--lr=0.5"))
    (jobs, n_parallel, _, env) = pool[0]
    assert [job.name for job in jobs] == [f"seed {seed}, fold {fold}" for seed in (3, 1) for fold in (2, 4, 5)]
    assert n_parallel == max(1, torch.cuda.device_count())
    assert env == {}  # the user's own number of threads
    words = jobs[1].command
    assert words[:2] == (sys.executable, str(run_loso.TRAIN))
    for word in ("--seed=3", "--fold=4", "--lr=0.5", f"--output_folder={tmp_path / 'loso/seed3/fold4'}"):
        assert word in words
    assert "No report yet: " in capsys.readouterr().out


def test_folds_are_all_of_the_corpus_unless_named(command, pool, tmp_path):
    run_loso.main(command(f"--results_folder={tmp_path / 'loso'}"))
    assert [job.name for job in pool[0][0]] == [f"seed 1, fold {fold}" for fold in range(1, 6)]


@pytest.mark.parametrize("name", ["loso", "authors_code", "demo"])
def test_folders_are_those_that_train_takes_by_itself(root, demo_corpus, pool, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    run_loso.main([str(root / f"hparams/{name}.yaml"), f"--data_folder={demo_corpus}", "--folds=2", "--seeds=7"])
    run = run_loso.plan_run(
        [str(root / f"hparams/{name}.yaml"), f"--data_folder={demo_corpus}", "--fold=2", "--seed=7"], {}
    )
    assert f"--output_folder={run.folder}" in pool[0][0][0].command


def test_paths_reach_the_runs_absolute(command, pool, demo_corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(demo_corpus.parent)
    run_loso.main(command("--results_folder=loso", f"--data_folder={demo_corpus.name}", "--folds=1"))
    words = pool[0][0][0].command
    last = {word.partition("=")[0]: word.partition("=")[2] for word in words}  # of two equal ones the last counts
    assert last["--data_folder"] == str(demo_corpus)
    assert last["--output_folder"] == str(demo_corpus.parent / "loso/seed1/fold1")


def test_gpus_are_shared_by_visible_device(command, pool, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    line = command(f"--results_folder={tmp_path / 'loso'}", "--folds=1")
    run_loso.main(line)
    run_loso.main([*line, "--jobs=4"])
    run_loso.main([*line, "--device=cpu"])
    assert [call[1:3] for call in pool] == [(2, ("2", "5")), (4, ("2", "5")), (1, ())]
    for visible, devices in (
        ("0,1,", ("0", "1")),
        ("1,-1,2", ("1",)),
        ("", ()),
        ("GPU-ab, GPU-cd", ("GPU-ab", "GPU-cd")),
    ):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert run_loso.cuda_devices() == devices
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    run_loso.main(line)
    assert pool[-1][1:3] == (3, ("0", "1", "2"))


def test_runs_side_by_side_share_the_cores(command, pool, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    line = command(f"--results_folder={tmp_path / 'loso'}", "--folds=1")
    run_loso.main([*line, "--jobs=4"])
    run_loso.main([*line, "--jobs=4", "--cpus_per_run=3"])
    run_loso.main([*line, "--jobs=1", "--cpus_per_run=3"])
    run_loso.main([*line, "--jobs=1"])
    assert [call[3].get("OMP_NUM_THREADS") for call in pool] == ["2", "3", "3", None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fold=1"], "--fold is different in every run: use --folds"),
        (["--seed=1"], "--seed is different in every run: use --seeds"),
        (["--output_folder=x"], "--output_folder is different in every run: use --results_folder"),
        (["--folds=1-6"], "fold must be a whole number from 1 to 5 .*, got 6"),
        (["--folds=0"], "fold must be a whole number from 1 to 5 .*, got 0"),
        (["--folds=5-1"], "--folds must be whole numbers such as 1-5 or 1,3, got '5-1'"),
        (["--folds="], "--folds must be whole numbers such as 1-5 or 1,3, got ''"),
        (["--seeds=1,x"], "--seeds must be whole numbers such as 1-5 or 1,3, got '1,x'"),
        (["--seeds=1,1"], "--seeds names a number twice: '1,1'"),
        (["--jobs=0"], "--jobs must be a whole number from 1, got 0"),
        (["--cpus_per_run=0"], "--cpus_per_run must be a whole number from 1, got 0"),
        (["--ray", "--jobs=2"], "--jobs is for this machine; Ray runs as many at a time as it has room for"),
        (["--gpus_per_run=1"], "--gpus_per_run is for Ray; on this machine --jobs says how many"),
        (["--results_folder=lr=0.01"], "--results_folder must be a path without '=', .*, got '.*lr=0.01'. Rename"),
        (["--results_folder=run #2"], "--results_folder must be a path without '=', .*, got '.*run #2'"),
        (["--lamda_c=1"], "--lamda_c is unknown: .* Did you mean --lambda_c"),
        (["--lr", "0.5"], "'0.5' belongs to no option: write train.py's options as --key=value"),
        (["--data_folder=/nowhere"], "the data folder /nowhere does not exist"),
    ],
)
def test_wrong_options_are_refused_before_anything_starts(command, pool, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        run_loso.main(command(f"--results_folder={tmp_path / 'loso'}", *options))
    assert not pool
    assert not (tmp_path / "loso").exists()


def test_results_folder_may_begin_with_a_tilde_and_have_spaces(command, pool, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run_loso.main(command("--results_folder=~/my results", "--folds=1"))
    assert f"--output_folder={tmp_path}/my results/seed1/fold1" in pool[0][0][0].command
    assert Path(pool[0][0][0].log_file).parent == tmp_path / "my results" / "logs"


def test_fewer_epochs_than_trained_are_refused_before_anything_starts(command, pool, tmp_path, fit):
    fit("loso/seed1/fold2", "--fold=2", "--number_of_epochs=2")
    with pytest.raises(InputError, match="fold2 has been trained for 2 epochs, more than number_of_epochs .1."):
        run_loso.main(command(f"--results_folder={tmp_path / 'loso'}", "--number_of_epochs=1"))
    assert not pool


def test_all_folds_without_a_report_are_no_success(command, pool, tmp_path, capsys):
    """The stand-in for the pool runs nothing, so nothing can be reported."""
    assert run_loso.main(command(f"--results_folder={tmp_path / 'loso'}")) == 1
    assert run_loso.main(command(f"--results_folder={tmp_path / 'loso'}", "--folds=1-2")) == 0
    assert capsys.readouterr().out.count("No report yet: the folder") == 2


def test_folder_of_other_settings_is_refused_before_anything_starts(command, pool, tmp_path, fit):
    fit("loso/seed1/fold2", "--fold=2", "--number_of_epochs=1", "--lr=0.5")
    with pytest.raises(InputError, match="fold2 holds a run with other settings: lr is 0.5 there, 0.002 now"):
        run_loso.main(command(f"--results_folder={tmp_path / 'loso'}"))
    assert not pool


def test_longer_training_is_not_taken_for_finished(command, pool, tmp_path, fit):
    fit("loso/seed1/fold1", "--number_of_epochs=1")
    line = command(f"--results_folder={tmp_path / 'loso'}", "--folds=1")
    run_loso.main([*line, "--number_of_epochs=1"])
    run_loso.main([*line, "--number_of_epochs=2"])
    assert [[job.name for job in call[0]] for call in pool] == [[], ["seed 1, fold 1"]]


def test_wrong_option_prints_a_sentence_without_a_traceback(root, command, tmp_path):
    run = subprocess.run(
        [sys.executable, root / "recipes/IEMOCAP/run_loso.py", *command("--folds=9", "--results_folder=loso")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("run_loso.py: fold must be a whole number from 1 to 5")
    assert "Traceback" not in run.stderr
    assert not list(tmp_path.iterdir())


def test_ray_node_dies_and_no_fold_is_lost_or_counted_twice(command, cluster, tmp_path, capsys, monkeypatch):  # noqa: F811
    """Five folds on two nodes; one node is killed while a fold is trained on it."""
    import ray

    ray.init(address=cluster.address, log_to_driver=False)  # before there is a second node to attach to
    node = cluster.add_node(num_cpus=1, **NODE)
    raylet = node.all_processes["raylet"][0].process.pid
    folder = tmp_path / "loso"
    lost = []

    def fold_there():
        """Find a fold that has begun on the second node: a child of a worker of its raylet."""
        for path in folder.glob("seed1/fold*"):
            for pid in pids_with(f"--output_folder={path}"):
                if parent_of(parent_of(pid)) == raylet and (path / "epochs.json").exists():
                    return path.name

    def run_jobs_and_kill_the_node(*args, **kwargs):
        for event in run_jobs_on_ray(*args, tick_s=0.05, **kwargs):
            if not lost and (name := fold_there()):
                lost.append(name)
                cluster.remove_node(node, allow_graceful=False)
            yield event

    monkeypatch.setattr(ray_pool, "run_jobs_on_ray", run_jobs_and_kill_the_node)
    try:
        cluster.wait_for_nodes()
        assert run_loso.main(command(f"--results_folder={folder}", "--ray", "--number_of_epochs=8")) == 0
    finally:
        ray.shutdown()
    assert len(lost) == 1
    assert "5 of 5 finished" in capsys.readouterr().out
    for fold in range(1, 6):
        attempts = (folder / "logs" / f"seed1_fold{fold}.log").read_text().count("#### attempt 1 of 2")
        assert attempts == (2 if lost == [f"fold{fold}"] else 1)
        assert len(results(folder / f"seed1/fold{fold}")[0]["epochs"]) == 8
    runs = json.loads((folder / "report.json").read_text())["systems"][0]["runs"]
    assert [(run["seed"], run["fold"]) for run in runs] == [(1, fold) for fold in range(1, 6)]


def pids_with(word):
    """Find the processes whose command line holds a word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # gone, or somebody else's
            if word.encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def parent_of(pid):
    """Return a process's parent, or None once it is gone."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
