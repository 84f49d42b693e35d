"""One run: its settings, corpus and fold, read and checked before a model is built, and the folder it works in."""

import contextlib
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

import speechbrain as sb
import torch
from speechbrain.utils.distributed import is_distributed_initialized

from speechbrain_ext.corpora.preparation import PreparedCorpus, prepare_corpus
from speechbrain_ext.dataio.folds import Fold, make_fold
from speechbrain_ext.dataio.manifest import (
    describe_changes,
    located,
    read_manifest,
    write_manifest,
)
from speechbrain_ext.dataio.workers import allow_open_files
from speechbrain_ext.device import check_device, check_precision
from speechbrain_ext.errors import InputError
from speechbrain_ext.nnet.class_weights import check_class_weights
from speechbrain_ext.outside_text import guard_terminal
from speechbrain_ext.storage import describe_fault
from speechbrain_ext.training.command_line import read_command_line
from speechbrain_ext.training.distributed import (
    gather,
    join_processes,
    on_main,
    report_once_per_node,
    world_size_and_rank,
)
from speechbrain_ext.training.history import check_epochs
from speechbrain_ext.training.hparams_file import RUN_FILE, PathLike, hparams_text, settings_fingerprint
from speechbrain_ext.training.other_corpora import OtherCorpus, check_no_copies, read_other_corpora
from speechbrain_ext.training.run_folder import check_run_folder, claim_run_folder, processes_of
from speechbrain_ext.training.run_lock import hold_run_folder
from speechbrain_ext.training.settings import RESUMABLE_KEYS, UNFINGERPRINTED_KEYS, complete_settings
from speechbrain_ext.versions import environment

logger = logging.getLogger(__name__)
MANIFEST_FILE = "manifest.json"
CORPORA_READ: dict[tuple, PreparedCorpus] = {}  # by the process that this one was forked from


@dataclass(frozen=True)
class Run:
    """What a run is made of.

    Attributes
    ----------
    hparams_file : pathlib.Path
        The hyperparameter file.
    overrides : dict
        All values that replace the file's.
    settings : dict
        The file's values with the overrides, resolved.
    prepared : PreparedCorpus
        The corpus; paths in its manifest begin with "{data_root}".
    fold : Fold
        The ids of each part.
    others : tuple of OtherCorpus
        Other corpora that it is tested on as well.
    """

    hparams_file: Path
    overrides: dict[str, Any]
    settings: dict[str, Any]
    prepared: PreparedCorpus
    fold: Fold
    others: tuple[OtherCorpus, ...] = ()

    @classmethod
    def read(
        cls,
        hparams_file: PathLike,
        overrides: Optional[Mapping[str, Any]] = None,
        corpora: Optional[MutableMapping[tuple, PreparedCorpus]] = None,
    ) -> "Run":
        """Read and check all that can be checked before a model is built.

        Arguments
        ---------
        hparams_file : str or pathlib.Path
            The YAML file.
        overrides : dict, optional
            Values that replace the file's.
        corpora : dict, optional
            Corpora that were read before, so that many runs read one once; it is added to.

        Raises
        ------
        InputError
            If train.py would refuse the run.
        """
        settings, overrides = complete_settings(hparams_file, overrides)
        corpora = {**CORPORA_READ} if corpora is None else corpora
        source = corpus_source(settings)
        emotions = settings["emotions"]
        options = {key: settings[key] for key in ("allow_incomplete", "group_by", "n_folds")}
        options |= {"sample_rate_hz": settings["sample_rate"], "part": settings["corpus_part"]}
        name = corpus_name(settings)
        key = (name, source, str(emotions), *options.values())
        if key not in corpora:
            corpora[key] = prepare_corpus(name, source, emotions, **options)
        prepared = corpora[key]
        if emotions is None:
            overrides["emotions"] = settings["emotions"] = list(prepared.emotions)
        check_class_weights(settings["class_weights"], len(settings["emotions"]))
        fold = fold_of(settings, prepared.manifest)
        others = read_other_corpora(settings["test_corpus"], settings["emotions"], settings["sample_rate"], corpora)
        check_no_copies(prepared.manifest, others)
        return cls(Path(hparams_file), overrides, settings, prepared, fold, others)

    def of_fold(self, seed: int, fold: int, output_folder: str) -> "Run":
        """Return the run of another fold and seed in another folder, without reading settings and corpus again."""
        own = {"seed": seed, "fold": fold, "output_folder": output_folder}
        settings = {**self.settings, **own}
        split = fold_of(settings, self.prepared.manifest)
        return replace(self, overrides={**self.overrides, **own}, settings=settings, fold=split)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.settings["output_folder"])

    @property
    def data_root(self) -> Path:
        """The folder that the manifest's paths are relative to."""
        source = Path(corpus_source(self.settings))
        return source.parent if self.settings["corpus"] == "csv" else source

    @cached_property
    def text(self) -> str:
        """The whole hyperparameter file with all overrides in it, as `load_hyperpyyaml` takes it."""
        return hparams_text(self.hparams_file, self.overrides)

    @cached_property
    def manifest(self) -> dict[str, dict[str, Any]]:
        """The corpus, with the paths of this machine."""
        return located(self.prepared.manifest, self.data_root)

    @property
    def fingerprint(self) -> str:
        """What its settings are, apart from its fold, its seed and what changes no number."""
        return settings_fingerprint(self.text, UNFINGERPRINTED_KEYS)

    @property
    def identity(self) -> dict[str, Any]:
        """What makes the run this one: its corpus, fold and seed."""
        return {
            "corpus": self.settings["corpus"],
            "fold": self.settings["fold"],
            "seed": self.settings["seed"],
            **self.prepared.fingerprints,
        }

    def check(self) -> None:
        """Refuse a folder that cannot become, or is not, this run's; write nothing.

        Raises
        ------
        InputError
            Says what the folder holds.
        """
        check_epochs(self.folder, self.settings["number_of_epochs"])
        check_run_folder(self.folder, self.identity, self.text, RESUMABLE_KEYS, self._explain)

    def claim(self, n_processes: int = 1) -> None:
        """Take the folder for this run, with its settings and its manifest in it.

        Arguments
        ---------
        n_processes : int
            How many processes train it together.

        Raises
        ------
        InputError
            As `check` does.
        """
        check_epochs(self.folder, self.settings["number_of_epochs"])
        facts = {"corpus_faults": [*self.prepared.faults, *self.prepared.limits], "n_processes": n_processes}
        claim_run_folder(self.folder, self.identity, self.text, RESUMABLE_KEYS, facts, self._explain)
        write_manifest(self.prepared.manifest, self.folder / MANIFEST_FILE)

    @property
    def _explain(self) -> dict[str, Callable[[], str]]:
        return dict.fromkeys(("manifest", "samples"), self._what_changed)

    def _what_changed(self) -> str:
        try:
            changes = describe_changes(read_manifest(self.folder / MANIFEST_FILE), self.prepared.manifest)
        except InputError as error:
            return f"the corpus has changed, in what is not known ({error})"
        return f"the corpus has changed: {changes}" if changes else f"{RUN_FILE} is not of {MANIFEST_FILE} beside it"


def fold_of(settings: Mapping[str, Any], manifest: dict[str, dict[str, Any]]) -> Fold:
    """Split a corpus as the settings say, see `make_fold`."""
    return make_fold(
        manifest,
        settings["fold"],
        validation=settings["validation"],
        valid_fraction=settings["valid_fraction"],
        seed=settings["seed"],
        emotions=list(settings["emotions"]),
    )


def corpus_name(settings: Mapping[str, Any]) -> str:
    """Return the corpus that the settings name, with its folder where it has one: emobox:/home/me/data/emodb."""
    folder = settings["corpus_metadata"]
    return f"{settings['corpus'].partition(':')[0]}:{folder}" if folder else settings["corpus"]


def corpus_source(settings: Mapping[str, Any]) -> str:
    """Return where the corpus lies that the settings name: its folder, or its CSV."""
    return settings["corpus_csv"] if settings["corpus"] == "csv" else settings["data_folder"]


@contextlib.contextmanager
def run_context(words: Sequence[str]) -> Iterator[tuple[Run, Any]]:
    """Hold the folder of the run that a command line asks for, as the only process or as one of those of torchrun.

    Within it the run's settings and corpus are checked and saved, SpeechBrain logs into the folder, and no other
    program can work there.

    Arguments
    ---------
    words : list of str
        train.py's words.

    Yields
    ------
    tuple
        (Run, SpeechBrain's run options), the same in all processes.

    Raises
    ------
    InputError
        If the run is refused; all processes raise, and one of each machine says it.
    """
    with contextlib.ExitStack() as stack:
        with report_once_per_node():
            hparams_file, overrides, host_words = read_command_line(words)
            _, run_opts, _ = sb.parse_arguments([str(hparams_file), *host_words])
            if run_opts["data_parallel_backend"]:
                raise InputError("data_parallel_backend is not supported: use torchrun for several GPUs.")
            if run_opts["device"]:
                check_device(run_opts["device"])
            join_processes(run_opts)
            run = on_main(lambda: stack.enter_context(_claimed_run(hparams_file, overrides, run_opts)))
            allow_open_files(0 if run.settings["cache_features"] else run.settings["num_workers"])
            if not all(gather((run.folder / MANIFEST_FILE).is_file())):
                raise InputError(
                    f"output_folder must be one folder for all machines, on a file system that they share; not all "
                    f"see what was written to {run.folder}."
                )
        on_main(lambda: (run.folder / "env.log").write_text(environment(), encoding="utf-8"))
        with _in_a_sentence(run.folder):
            yield run, run_opts
    if is_distributed_initialized():
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def _claimed_run(hparams_file: Path, overrides: Mapping[str, Any], run_opts: Any) -> Iterator[Run]:
    """Read a run, and hold its folder with its settings and its manifest in it."""
    if run_opts["debug"]:  # a few batches: in a folder of its own, where no real run will find it
        settings, overrides = complete_settings(hparams_file, overrides)
        overrides = {**overrides, "output_folder": f"{settings['output_folder']}/debug"}
    run = Run.read(hparams_file, overrides)
    for key in ("precision", "eval_precision"):
        check_precision(run.settings[key], run_opts["device"])
    with contextlib.ExitStack() as stack:
        with _in_a_sentence(run.folder):
            stack.enter_context(hold_run_folder(run.folder))
            run.claim(processes_of(run.folder, world_size_and_rank()[0], run_opts["test_only"]))
        yield run


@contextlib.contextmanager
def _in_a_sentence(folder: Path) -> Iterator[None]:
    """Say what a file system refuses, and that nothing is lost by it."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        fault = describe_fault(error, folder)
        if fault is None:
            raise
        raise InputError(f"{fault} What was saved stays, and the same command then resumes the run.") from error


def end_in_a_sentence(main: Any, words: Sequence[str], name: str = "train.py") -> int:
    """Run a program's main function; a refusal, a full disk and an interrupt end it with a sentence.

    Arguments
    ---------
    main : callable
        Takes the words.
    words : list of str
        The words after the program's name.
    name : str
        What the program calls itself.

    Returns
    -------
    int
        The exit status: 0, 1, or 130 for an interrupted program.
    """
    guard_terminal()
    alone = "LOCAL_RANK" not in os.environ  # else torchrun ends its processes, and those wait for each other
    logging.raiseExceptions = False  # a line that a full disk leaves no room for is no traceback
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt if alone else signal.SIG_DFL)
    try:
        main(words)
        return 0
    except InputError as error:
        # A DataLoader's worker puts its traceback before the sentence.
        lines = (str(line).rpartition("errors.InputError: ")[2].rstrip() for line in error.args)
        print(f"{name}: {InputError(*lines)}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, RuntimeError, OSError) as error:
        # A DataLoader may notice first that its worker has got the signal as well.
        if isinstance(error, KeyboardInterrupt) or "is killed by signal: Terminated" in str(error):
            print(f"{name}: interrupted. The same command resumes the run.", file=sys.stderr)
            return 130
        text = describe_fault(error) or _lost_worker(error)
        if not text:
            raise
        print(f"{name}: {text} The same command resumes the run.", file=sys.stderr)
        return 1


def _lost_worker(error: BaseException) -> str:
    """Say that a process that reads has died; "" for other errors."""
    if not re.match(r"DataLoader worker \(pid\S* [\d, ]+\) (is killed by signal|exited unexpectedly)", str(error)):
        return ""
    return (
        f"{str(error).splitlines()[0].rstrip('. ')}: there was too little memory, too little in /dev/shm, or too many "
        "files were open. Make room, or set --num_workers lower."
    )


def _interrupt(*_: Any) -> None:
    """Raise KeyboardInterrupt; what becomes of worker processes is no news from then on."""
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    raise KeyboardInterrupt
