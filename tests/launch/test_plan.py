"""All folds and seeds by one command: skipped, resumed, retried and reported as it says."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import filelock
import numpy as np
import pytest
import soundfile
import torch

from speechbrain_ext.commands.main import run_command
from speechbrain_ext.errors import InputError
from speechbrain_ext.launch import plan
from speechbrain_ext.launch.display import WatchedRun
from speechbrain_ext.training.command_line import read_command_line
from speechbrain_ext.training.settings import complete_settings
from tests.corpora.emobox_folder import UTTERANCES, write_emobox
from tests.launch.test_local import wait_until
from tests.recipes.fold_reading import SMALL

# Ends fold 2 with an error, and leaves the others' names in the log.
STUB = """
import sys
fold = next(word for word in sys.argv if word.startswith("--fold="))
print("working on", fold, flush=True)
sys.exit("CUDA is out of memory" if fold == "--fold=2" else 0)
"""
TRAIN = "recipes/IEMOCAP/train.py"
# run_loso.py with another training script; and train.py whose second fold kills it in the second epoch of four batches.
RUN = """
import sys
from speechbrain_ext.commands.main import run_command
sys.exit(run_command("run", sys.argv[2:], "run_loso.py", sys.argv[1:2]))
"""
KILLED = """
import os, signal, sys
from recipes.IEMOCAP import train

fit_batch, n_steps = train.EmotionBrain.fit_batch, 0

def fit_or_kill(brain, batch):
    global n_steps
    n_steps += 1
    if "--fold=2" in sys.argv and n_steps == 7:
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()
    return fit_batch(brain, batch)

train.EmotionBrain.fit_batch = fit_or_kill
train.main(sys.argv[1:])
"""


@pytest.fixture
def words(root, demo_corpus, monkeypatch):
    """Return a function that makes the command's words after TRAIN.py; the runs count on one thread each."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("IEMOCAP_ROOT", "SYNTHETIC_ROOT", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    return lambda *options: [str(root / "hparams/demo.yaml"), f"--data_folder={demo_corpus}", *SMALL, *options]


@pytest.fixture
def run(root, words):
    """Return a function that gives the command, as run_loso.py does, and returns its exit status."""
    before = signal.getsignal(signal.SIGTERM)
    yield lambda *options, train=root / TRAIN: run_command("run", words(*options), "run_loso.py", [str(train)])
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def pool(monkeypatch):
    """Return the list of (jobs, n_parallel, devices, env) that were to be run; nothing is run."""
    started = []

    def run_jobs(jobs, n_parallel, devices=(), env=None):
        started.append((jobs, n_parallel, devices, env))
        yield None

    monkeypatch.setattr(plan, "run_jobs", run_jobs)
    return started


def finished_times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("test_metrics.json")}


def test_killed_command_given_again_resumes_and_reports_and_once_more_trains_nothing(
    root, words, run, fit, tmp_path, capsys
):
    options = ["--number_of_epochs=3", "--mixup_prob=0.5"]
    folder = tmp_path / "runs #1" / "a=b: c"  # a path may look like YAML of another kind
    given = [*options, f"--results_folder={folder}", "--folds=1,2"]
    (tmp_path / "killed.py").write_text(KILLED)
    command = [sys.executable, "-c", RUN, tmp_path / "killed.py", *words(*given)]
    env = {**os.environ, "PYTHONPATH": str(root)}
    assert subprocess.run(command, stdout=subprocess.DEVNULL, cwd=tmp_path, env=env).returncode == -signal.SIGKILL
    for lock in folder.rglob(".lock"):  # its runs die with it
        with filelock.FileLock(lock, timeout=600):
            pass
    assert [path.parent.name for path in finished_times(folder)] == ["fold1"]

    assert run(*given) == 0
    said = capsys.readouterr().out
    assert said.count("finished before") == 1
    assert "2 of 2 finished" in said
    alone = fit("alone", "--fold=2", *options)  # each run is what train.py does, also when it was killed
    for name in ("predictions.csv", "epochs.json"):
        assert (folder / "seed1/fold2" / name).read_bytes() == (alone / name).read_bytes()
    report = (folder / "report.md").read_text()
    assert "folds 1 and 2 of 5" in report.splitlines()[0]
    assert f"Report: {folder / 'report.html'}" in said
    assert report not in said  # its summary and its path

    before = finished_times(folder)
    (tmp_path / "nothing.py").write_text("raise SystemExit('nothing is left to start')")
    assert run(*given, train=tmp_path / "nothing.py") == 0
    assert finished_times(folder) == before


def test_failed_run_is_retried_and_reported_and_the_others_kept(run, tmp_path, capsys):
    (tmp_path / "stub.py").write_text(STUB)
    folder = tmp_path / "loso"
    assert run(f"--results_folder={folder}", "--folds=1-3", train=tmp_path / "stub.py") == 1
    said = capsys.readouterr()
    assert "seed 1, fold 2 failed (exit status 1):" in said.err
    assert "CUDA is out of memory" in said.err
    assert f"1 of 3 runs failed; their output is in {folder / 'logs'}. The same command tries them again." in said.err
    logs = {path.name: path.read_text().count("working on --fold=") for path in (folder / "logs").iterdir()}
    assert logs == {"seed1_fold1.log": 1, "seed1_fold2.log": 2, "seed1_fold3.log": 1}
    assert not (folder / "report.md").exists()


def test_terminated_command_ends_its_runs_and_says_how_to_resume_them(root, words, tmp_path):
    (tmp_path / "stub.py").write_text("import os, signal; print(os.getpid(), flush=True); signal.pause()")
    code = "import sys; from speechbrain_ext.commands.main import main; sys.exit(main(sys.argv[1:]))"
    line = ["run", str(tmp_path / "stub.py"), *words("--folds=1", f"--results_folder={tmp_path / 'loso'}")]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *line], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=root
    )
    log = tmp_path / "loso/logs/seed1_fold1.log"
    wait_until(lambda: (log.exists() and len(log.read_text().splitlines()) == 2) or process.poll() is not None)
    process.terminate()
    assert process.communicate(timeout=600)[1].splitlines()[-1] == (
        "speechbrain-ext run: interrupted. The same command resumes the runs."
    )
    assert process.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text().splitlines()[1]), 0)


def test_every_seed_and_fold_is_one_run_of_its_own(root, run, pool, tmp_path, capsys):
    run(f"--results_folder={tmp_path / 'loso'}", "--seeds=3,1", "--folds=2,4-5", "--lr=0.5")
    (jobs, n_parallel, _, env) = pool[0]
    assert [job.name for job in jobs] == [f"seed {seed}, fold {fold}" for seed in (3, 1) for fold in (2, 4, 5)]
    assert n_parallel == max(1, torch.cuda.device_count())
    assert env == {}  # the user's own number of threads
    command = jobs[1].command
    assert command[:2] == (sys.executable, str(root / TRAIN))
    for word in ("--seed=3", "--fold=4", "--lr=0.5", f"--output_folder={tmp_path / 'loso/seed3/fold4'}"):
        assert word in command
    assert "No report yet: " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["loso", "authors_code", "demo"])
def test_folders_are_those_that_train_takes_by_itself(root, demo_corpus, run, pool, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    line = [str(root / f"hparams/{name}.yaml"), f"--data_folder={demo_corpus}"]
    run_command("run", [*line, "--folds=2", "--seeds=7"], "run_loso.py", [str(root / TRAIN)])
    command_line = read_command_line([*line, "--fold=2", "--seed=7"])
    settings, _ = complete_settings(command_line.hparams_file, command_line.overrides)
    assert f"--output_folder={settings['output_folder']}" in pool[0][0][0].command


def test_folds_are_all_of_the_corpus_unless_named_and_paths_absolute(run, pool, demo_corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(demo_corpus.parent)
    monkeypatch.setenv("HOME", str(tmp_path))
    run("--results_folder=~/my results", f"--data_folder={demo_corpus.name}")
    jobs = pool[0][0]
    assert [job.name for job in jobs] == [f"seed 1, fold {fold}" for fold in range(1, 6)]
    last = {word.partition("=")[0]: word.partition("=")[2] for word in jobs[0].command}  # of two the last counts
    assert last["--data_folder"] == str(demo_corpus)
    assert last["--output_folder"] == f"{tmp_path}/my results/seed1/fold1"
    assert Path(jobs[0].log_file).parent == tmp_path / "my results" / "logs"


def test_gpus_are_shared_by_visible_device(pool, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    run = plan.Job("a", ("python", "train.py"), "a.log")
    on_cpu = plan.Job("a", ("python", "train.py", "--device=cpu"), "a.log")
    for jobs, n_parallel in (([run], None), ([run], 4), ([on_cpu], None)):
        list(plan.start_jobs(jobs, n_parallel))
    assert [call[1:3] for call in pool] == [(2, ("2", "5")), (4, ("2", "5")), (1, ())]
    for visible, devices in (
        ("0,1,", ("0", "1")),
        ("1,-1,2", ("1",)),
        ("", ()),
        ("GPU-ab, GPU-cd", ("GPU-ab", "GPU-cd")),
    ):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert plan.cuda_devices() == devices
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    list(plan.start_jobs([run]))
    assert pool[-1][1:3] == (3, ("0", "1", "2"))


def test_runs_side_by_side_share_the_cores(pool, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for n_parallel, cpus in ((4, None), (4, 3), (1, 3), (1, None)):
        list(plan.start_jobs([], n_parallel, cpus_per_run=cpus))
    assert [call[3].get("OMP_NUM_THREADS") for call in pool] == ["2", "3", "3", None]


def test_all_folds_without_a_report_are_no_success(run, pool, tmp_path, capsys):
    """The stand-in for the pool runs nothing, so nothing can be reported."""
    assert run(f"--results_folder={tmp_path / 'loso'}", "--folds=1-2") == 1
    said = capsys.readouterr().out
    assert said.count("No report yet: ") == 1
    assert "--allow" not in said  # an option that this command does not have


def test_debug_is_not_reported(run, pool, tmp_path, capsys):
    assert run(f"--results_folder={tmp_path / 'loso'}", "--folds=1", "--debug") == 0
    assert capsys.readouterr().out.endswith("a few batches only: there is nothing to report.\n")


def test_folder_that_train_would_refuse_is_refused_before_anything_starts(run, pool, tmp_path, fit, capsys):
    fit("loso/seed1/fold2", "--fold=2", "--number_of_epochs=1", "--lr=0.5")
    assert run(f"--results_folder={tmp_path / 'loso'}") == 1
    assert "fold2 holds a run with other settings: lr is 0.5 there, 0.002 now" in capsys.readouterr().err
    assert not pool


def test_longer_training_is_not_taken_for_finished(run, pool, tmp_path, fit):
    fit("loso/seed1/fold1", "--number_of_epochs=1")
    for n_epochs in (1, 2):
        run(f"--results_folder={tmp_path / 'loso'}", "--folds=1", f"--number_of_epochs={n_epochs}")
    assert [[job.name for job in call[0]] for call in pool] == [[], ["seed 1, fold 1"]]


@pytest.mark.parametrize("complete", [True, False])
def test_report_is_of_all_folds_where_all_are_there_else_of_those_that_were_run(monkeypatch, capsys, complete):
    asked = []

    def write_report(folders, out, folds=None):
        asked.append(folds)
        if not complete and folds is None:
            raise InputError("fold 3 is missing")
        return "the summary"

    monkeypatch.setattr(plan, "write_report", write_report)
    assert plan.print_report([Path("x")], folds=[1, 2])
    assert asked == ([None] if complete else [None, [1, 2]])
    assert capsys.readouterr().out == "the summary\n"


def test_states_of_jobs_are_known_to_the_display():
    run = WatchedRun("a", "nowhere", 1, {})
    for state in ("started", "retried", "finished", "failed"):
        run.state = plan.SHOWN.get(state, state)
        run.read()  # a KeyError otherwise


def test_a_corpus_with_published_folds_has_a_run_for_each_of_them(root, tmp_path):
    folder = write_emobox(tmp_path / "EmoBox" / "data" / "emodb")
    for i, (name, *_) in enumerate(UTTERANCES):
        path = tmp_path / "downloads" / "emodb" / "wav" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.random.default_rng(i).uniform(-0.1, 0.1, 8000), 16000)
    options = [f"--corpus=emobox:{folder}", f"--data_folder={tmp_path}", "--validation=none"]
    runs = plan.plan_folds([str(root / "hparams/demo.yaml"), *options], [1], None, tmp_path / "out")
    assert [run.labels["fold"] for run in runs] == [1, 2]
    assert f"--corpus_metadata={folder}" in runs[0].words  # absolute: a worker elsewhere has another folder
