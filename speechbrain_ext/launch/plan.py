"""Train and test every fold with every seed, and report on all of them: the paper's protocol by one command.

    python recipes/IEMOCAP/run_loso.py hparams/loso.yaml --data_folder=/path/to/IEMOCAP_full_release --seeds=1,2,3
    ... --jobs=5                              # five runs at a time on this machine, sharing its GPUs
    ... --ray                                 # as tasks of a Ray on this machine
    ... --ray_address=auto                    # as tasks of the Ray cluster that this machine belongs to

Every run is one process and exactly what train.py does with the same options. Given again, the command skips what is
finished and goes on with what is not.
"""

import argparse
import contextlib
import itertools
import os
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from speechbrain_ext.corpora.base import PreparedCorpus
from speechbrain_ext.errors import InputError, check_whole_number, parse_numbers
from speechbrain_ext.launch.display import RunDisplay, WatchedRun
from speechbrain_ext.launch.jobs import Job
from speechbrain_ext.launch.local import run_jobs
from speechbrain_ext.results.fold_results import is_finished
from speechbrain_ext.results.report import write_report
from speechbrain_ext.training.command_line import read_command_line
from speechbrain_ext.training.run import Run

TRAIN = Path(__file__).resolve().parents[2] / "recipes" / "IEMOCAP" / "train.py"
PATHS = ("data_folder", "corpus_csv", "encoder_source", "output_folder")
SHOWN = {"started": "running", "retried": "running, second attempt"}
OWN_OPTIONS = {"fold": "--folds", "seed": "--seeds", "output_folder": "--results_folder"}


@dataclass(frozen=True)
class PlannedRun:
    """One run: train.py's arguments, what its settings say, and whether its results are there already."""

    name: str
    labels: dict
    arguments: tuple
    settings: dict
    finished: bool
    prepared: PreparedCorpus

    @property
    def folder(self):
        """The run's folder."""
        return Path(self.settings["output_folder"])


def plan_run(arguments, labels, corpora=None):
    """Read and check what train.py would be started with, before anything is started.

    Arguments
    ---------
    arguments : list of str
        train.py's command line, the hyperparameter file first.
    labels : dict
        What tells the run from the others, such as {"seed": 1, "fold": 2}.
    corpora : dict, optional
        What has been described before, so that a corpus is described once; it is added to.

    Returns
    -------
    PlannedRun
        The run.

    Raises
    ------
    InputError
        If train.py would refuse it.
    """
    line = read_command_line(arguments)
    run = Run.read(line.hparams_file, line.overrides, corpora)
    finished = is_finished(run.folder, run.identity, run.fingerprint)
    if not finished:
        run.check()
    # A worker on another machine has another working directory.
    paths = [f"--{key}={check_path(key, run.overrides[key])}" for key in PATHS if run.overrides.get(key)]
    arguments = (str(line.hparams_file.resolve()), *arguments[1:], *paths)
    name = ", ".join(f"{key} {value}" for key, value in labels.items())
    return PlannedRun(name, labels, arguments, run.settings, finished, run.prepared)


def check_path(name, path):
    """Refuse a path that a command line of options in YAML cannot carry."""
    if re.search(r"=|\s#|:\s|:$|\n", str(path)):
        raise InputError(f"{name} must be a path without '=', ' #' and ': ', got {str(path)!r}. Rename the folder.")
    return path


def plan_folds(arguments, seeds, folds, results_folder, labels=None, corpora=None):
    """Plan the runs of all seeds and folds.

    Arguments
    ---------
    arguments : list of str
        train.py's command line without fold, seed and output folder, the hyperparameter file first.
    seeds : list of int
        The seeds.
    folds : str
        Such as "1-3,5"; "all" for as many as the corpus has.
    results_folder : pathlib.Path
        The runs' folders are seed<seed>/fold<fold> in it; absolute.
    labels : dict, optional
        What else tells these runs from others.
    corpora : dict, optional
        As in `plan_run`.

    Returns
    -------
    list of PlannedRun
        By seed and fold.
    """
    check_path("--results_folder", results_folder)
    corpora = {} if corpora is None else corpora

    def plan(seed, fold):
        own = [f"--seed={seed}", f"--fold={fold}", f"--output_folder={results_folder}/seed{seed}/fold{fold}"]
        return plan_run([*arguments, *own], {**(labels or {}), "seed": seed, "fold": fold}, corpora)

    if folds == "all":
        groups = {entry["group"] for entry in plan(seeds[0], 1).prepared.manifest.values()}
        folds = range(1, len(groups) + 1)
    else:
        folds = parse_numbers("--folds", folds)
    return [plan(seed, fold) for seed in seeds for fold in folds]


def results_folder_of(given, *default):
    """Return the absolute folder that an option names, or the default one in results/."""
    return Path(given).expanduser().resolve() if given else Path("results", *default).resolve()


def run_all(runs, log_folder, options):
    """Run what is not finished, several at a time, with one progress display over all.

    Arguments
    ---------
    runs : list of PlannedRun
        The runs, in the order in which they start.
    log_folder : pathlib.Path
        Where each run's output goes, one file a run.
    options : argparse.Namespace
        As `add_pool_options` reads them.

    Returns
    -------
    list of speechbrain_ext.launch.jobs.JobEvent
        The runs that failed, each with the last lines of its log.
    """
    jobs = [
        Job(
            name=run.name,
            command=(sys.executable, str(TRAIN), *run.arguments, "--noprogressbar"),
            log_file=str(log_folder / f"{run.name.replace(', ', '_').replace(' ', '')}.log"),
        )
        for run in runs
        if not run.finished
    ]
    watched = [WatchedRun(run.name, str(run.folder), run.settings["number_of_epochs"], run.labels) for run in runs]
    failed = []
    pool = start_pool(jobs, options)
    with RunDisplay(watched) as display, contextlib.closing(pool):
        for run in runs:
            if run.finished:
                display.set_state(run.name, "finished before")
        for event in pool:
            if event:
                display.set_state(event.name, SHOWN.get(event.state, event.state))
                failed += [event] if event.state == "failed" else []
            display.refresh()
    return failed


def start_pool(jobs, options):
    """Choose where the jobs run. Returns the generator of events."""
    for name, value in (("--jobs", options.jobs), ("--cpus_per_run", options.cpus_per_run)):
        if value is not None:
            check_whole_number(name, value, 1)
    on_ray = options.ray or options.ray_address
    if on_ray and options.jobs is not None:
        raise InputError("--jobs is for this machine; Ray runs as many at a time as it has room for.")
    if not on_ray and options.gpus_per_run is not None:
        raise InputError("--gpus_per_run is for Ray; on this machine --jobs says how many runs share its GPUs.")
    if on_ray:
        from speechbrain_ext.launch.on_ray import run_jobs_on_ray

        return run_jobs_on_ray(
            jobs,
            address=options.ray_address,
            cpus_per_job=options.cpus_per_run or 1,
            gpus_per_job=options.gpus_per_run,
        )
    devices = () if any(argument.startswith("--device") for job in jobs for argument in job.command) else cuda_devices()
    n_parallel = options.jobs or max(1, len(devices))
    n_threads = options.cpus_per_run
    if n_threads is None and n_parallel > 1 and "OMP_NUM_THREADS" not in os.environ:
        n_threads = max(1, (os.cpu_count() or 1) // n_parallel)
    env = {"OMP_NUM_THREADS": str(n_threads)} if n_threads else {}
    return run_jobs(jobs, n_parallel, devices=devices, env=env)


def cuda_devices():
    """Name the CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES does."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return tuple(str(i) for i in range(torch.cuda.device_count()))
    names = [name.strip() for name in visible.split(",")]
    return tuple(itertools.takewhile(lambda name: name and not name.startswith("-"), names))  # CUDA stops there too


def tell_failures(failed, n_runs):
    """Print which runs failed, with the last lines of their logs."""
    for event in failed:
        print(f"\n{event.name} failed (exit status {event.returncode}):\n{event.tail}", file=sys.stderr)
    print(f"\n{len(failed)} of {n_runs} runs failed. The same command tries them again.", file=sys.stderr)


def print_report(folders, out=None):
    """Write and print the report, or say what hinders it. Returns whether there is one."""
    try:
        print(write_report(folders, out))
    except (InputError, OSError) as error:
        print(f"No report yet: {error}")
        return False
    return True


def add_pool_options(parser):
    """Add the options that say where and how many at a time."""
    parser.add_argument("--jobs", type=int, help="runs at a time on this machine; default: one a GPU, else one")
    parser.add_argument("--ray", action="store_true", help="run as tasks of a Ray on this machine")
    parser.add_argument("--ray_address", help="run as tasks of a Ray cluster: auto, or host:port")
    parser.add_argument("--gpus_per_run", type=float, help="for Ray; default: 1 where the cluster has a GPU")
    parser.add_argument("--cpus_per_run", type=int, help="CPU cores for each run")
    return parser


def parse_options(argv, parser):
    """Read the own options; all others are train.py's, each written as one word: --key=value."""
    own = {name for action in parser._actions for name in action.option_strings}
    others = [word for word in argv if word.startswith("--") and word.partition("=")[0] not in own]
    for option in others:
        key = option.lstrip("-").partition("=")[0]
        if key in OWN_OPTIONS:
            raise InputError(f"--{key} is different in every run: use {OWN_OPTIONS[key]}.")
    options, strays = parser.parse_known_args([word for word in argv if word not in others])
    if strays:
        raise InputError(f"{strays[0]!r} belongs to no option: write train.py's options as --key=value.")
    return options, others


def main(argv):
    """Run all folds and seeds. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("hparams_file", help="for instance hparams/loso.yaml; all its keys are options")
    parser.add_argument("--folds", default="all", help="such as 1-5 or 1,3; default: every fold of the corpus")
    parser.add_argument("--seeds", default="1", help="such as 1,2,3")
    parser.add_argument("--results_folder", help="default: results/<name of the hyperparameter file>")
    options, others = parse_options(argv, add_pool_options(parser))
    results_folder = results_folder_of(options.results_folder, Path(options.hparams_file).stem)
    seeds = parse_numbers("--seeds", options.seeds)
    runs = plan_folds([options.hparams_file, *others], seeds, options.folds, results_folder)
    failed = run_all(runs, results_folder / "logs", options)
    if failed:
        tell_failures(failed, len(runs))
        return 1
    reported = print_report([results_folder])
    return 0 if reported or options.folds != "all" else 1


def run_command(name, main):
    """Run a script's main function: runs are ended before it is, and what is wrong is said in a sentence."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C
    try:
        sys.exit(main(sys.argv[1:]))
    except (InputError, OSError) as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{name}: interrupted. The same command goes on where it was.")
