"""All folds and seeds of one training script: planned and checked, run, and reported on together."""

import contextlib
import dataclasses
import itertools
import json
import os
import sys
from collections.abc import Generator, Iterable, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Optional

from speechbrain_ext.corpora.preparation import PreparedCorpus
from speechbrain_ext.dataio.folds import fold_names
from speechbrain_ext.errors import InputError
from speechbrain_ext.launch.display import RunDisplay, WatchedRun
from speechbrain_ext.launch.jobs import Job, JobEvent
from speechbrain_ext.launch.local import run_jobs
from speechbrain_ext.results.across_corpora import lacks_cross_results
from speechbrain_ext.results.fold_results import is_finished
from speechbrain_ext.results.report import write_report
from speechbrain_ext.training.command_line import read_command_line
from speechbrain_ext.training.run import Run

PATHS = ("data_folder", "corpus_csv", "corpus_metadata", "encoder_source", "feature_cache")
SHOWN = {"started": "running", "retried": "running, second attempt"}


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One run.

    Attributes
    ----------
    labels : dict
        What tells it from the others, such as {"seed": 1, "fold": 2}.
    words : tuple of str
        The training script's command line.
    run : Run
        Its settings, corpus and fold.
    finished : bool
        Whether its results are there already.
    """

    labels: dict[str, Any]
    words: tuple[str, ...]
    run: Run
    finished: bool

    @property
    def name(self) -> str:
        """The labels as a text."""
        return ", ".join(f"{key} {value}" for key, value in self.labels.items())


def plan_folds(
    words: Sequence[str],
    seeds: Sequence[int],
    folds: Optional[Sequence[int]],
    results_folder: Path,
    labels: Optional[dict[str, Any]] = None,
    corpora: Optional[MutableMapping[tuple, PreparedCorpus]] = None,
) -> list[PlannedRun]:
    """Plan the runs of all seeds and folds, and check what can be checked before anything is started.

    Arguments
    ---------
    words : list of str
        A training script's command line without fold, seed and output folder, the hyperparameter file first.
    seeds : list of int
        The seeds.
    folds : list of int, optional
        The folds; None for as many as the corpus has.
    results_folder : pathlib.Path
        The runs' folders are seed<seed>/fold<fold> in it; absolute.
    labels : dict, optional
        What else tells these runs from others.
    corpora : dict, optional
        Corpora that were read before, so that each is read once; it is added to.

    Returns
    -------
    list of PlannedRun
        By seed and fold.

    Raises
    ------
    InputError
        If the script would refuse one of the runs.
    """
    line = read_command_line([*words, f"--output_folder={results_folder}"])
    first = {"seed": seeds[0], "fold": folds[0] if folds else 1}
    run = Run.read(line.hparams_file, {**line.overrides, **first}, corpora)
    fingerprint = run.fingerprint
    # All that names a place is passed on as an absolute path: a worker elsewhere has another environment.
    paths = [f"--{key}={run.overrides[key]}" for key in PATHS if run.overrides.get(key)]
    if run.overrides.get("test_corpus"):
        paths.append(f"--test_corpus={json.dumps(run.overrides['test_corpus'], ensure_ascii=False)}")
    n_folds = len(fold_names(run.prepared.manifest))
    planned = []
    for seed, fold in itertools.product(seeds, folds or range(1, n_folds + 1)):
        one = run.of_fold(seed, fold, f"{results_folder}/seed{seed}/fold{fold}")
        finished = is_finished(one.folder, one.identity, fingerprint) and not lacks_cross_results(one)
        if one.folder.exists() and not finished:
            one.check()
        own = [f"--seed={seed}", f"--fold={fold}", f"--output_folder={one.folder}"]
        command_line = (str(line.hparams_file.resolve()), *words[1:], *paths, *own)
        planned.append(PlannedRun({**(labels or {}), "seed": seed, "fold": fold}, command_line, one, finished))
    return planned


def run_all(train_script: Path, runs: Sequence[PlannedRun], log_folder: Path, **places: Any) -> list[JobEvent]:
    """Run what is not finished, several at a time, with one progress display over all.

    Arguments
    ---------
    train_script : pathlib.Path
        The training script, such as recipes/IEMOCAP/train.py.
    runs : list of PlannedRun
        The runs, in the order in which they start.
    log_folder : pathlib.Path
        Where each run's output goes, one file a run.
    **places
        Where they run, as `start_jobs` takes it.

    Returns
    -------
    list of JobEvent
        The runs that failed, each with the last lines of its log.
    """
    jobs = [
        Job(
            name=run.name,
            command=(sys.executable, str(train_script.resolve()), *run.words, "--noprogressbar"),
            log_file=str(log_folder / f"{run.name.replace(', ', '_').replace(' ', '')}.log"),
            warm=run.run.settings["cache_features"],
        )
        for run in runs
        if not run.finished
    ]
    watched = [
        WatchedRun(run.name, str(run.run.folder), run.run.settings["number_of_epochs"], run.labels) for run in runs
    ]
    failed = []
    events = start_jobs(jobs, **places)
    with RunDisplay(watched) as display, contextlib.closing(events):
        for run in runs:
            if run.finished:
                display.set_state(run.name, "finished before")
        for event in events:
            if event:
                display.set_state(event.name, SHOWN.get(event.state, event.state))
                failed += [event] if event.state == "failed" else []
            display.refresh()
    for event in failed:
        print(f"\n{event.name} failed (exit status {event.returncode}):\n{event.tail}", file=sys.stderr)
    if failed:
        words = f"{len(failed)} of {len(runs)} runs failed; their output is in {log_folder}"
        print(f"\n{words}. The same command tries them again.", file=sys.stderr)
    return failed


def start_jobs(
    jobs: Sequence[Job],
    n_parallel: Optional[int] = None,
    ray: bool = False,
    ray_address: Optional[str] = None,
    gpus_per_run: Optional[float] = None,
    cpus_per_run: Optional[int] = None,
) -> Generator[Optional[JobEvent], None, None]:
    """Choose where jobs run: as processes of this machine that share its GPUs and cores, or as tasks of Ray.

    Arguments
    ---------
    jobs : list of Job
        What to run.
    n_parallel : int, optional
        Runs at a time on this machine; by default one a GPU, else one.
    ray : bool
        Whether they are tasks of a Ray on this machine.
    ray_address : str, optional
        The Ray cluster that they are tasks of: auto, or host:port.
    gpus_per_run, cpus_per_run : int, optional
        What each run takes.

    Returns
    -------
    generator of JobEvent or None
        What happens, as `run_jobs` says it.
    """
    if ray or ray_address:
        from speechbrain_ext.launch.on_ray import run_jobs_on_ray

        return run_jobs_on_ray(jobs, address=ray_address, cpus_per_job=cpus_per_run or 1, gpus_per_job=gpus_per_run)
    devices = () if any(word.startswith("--device") for job in jobs for word in job.command) else cuda_devices()
    n_parallel = n_parallel or max(1, len(devices))
    if cpus_per_run is None and n_parallel > 1 and "OMP_NUM_THREADS" not in os.environ:
        cpus_per_run = max(1, (os.cpu_count() or 1) // n_parallel)
    env = {"OMP_NUM_THREADS": str(cpus_per_run)} if cpus_per_run else {}
    return run_jobs(jobs, n_parallel, devices=devices, env=env)


def cuda_devices() -> tuple[str, ...]:
    """Name the CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES does."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        import torch

        return tuple(str(i) for i in range(torch.cuda.device_count()))
    names = [name.strip() for name in visible.split(",")]
    return tuple(itertools.takewhile(lambda name: name and not name.startswith("-"), names))  # CUDA stops there too


def print_report(folders: Iterable[Path], out: Optional[Path] = None, folds: Optional[Sequence[int]] = None) -> bool:
    """Write the report and print its summary, or say what hinders it. Returns whether there is one.

    Arguments
    ---------
    folders : list of pathlib.Path
        As in `write_report`.
    out : pathlib.Path, optional
        As in `write_report`.
    folds : list of int, optional
        What has been run, if not all folds; they are reported on alone unless the others are there as well.
    """
    folders = list(folders)
    try:
        try:
            report = write_report(folders, out)
        except InputError:
            if folds is None:
                raise
            report = write_report(folders, out, folds=folds)
    except (InputError, OSError) as error:
        print(f"No report yet: {error}")
        return False
    print(report)
    return True
