"""`speechbrain-ext run`: train and test all folds and seeds, here or on Ray, and report on them."""

import argparse
import difflib
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechbrain_ext.errors import InputError, check_whole_number, parse_numbers
from speechbrain_ext.launch.warm_start import warm_up
from speechbrain_ext.training.command_line import CommandLine, read_command_line

DESCRIPTION = """Train and test every fold with every seed, and report on all of them: a protocol by one command.

    speechbrain-ext run train.py hparams/loso.yaml --data_folder=/path/to/IEMOCAP_full_release --seeds=1,2,3
    ... --jobs=5              # five runs at a time on this machine, sharing its GPUs
    ... --ray                 # as tasks of a Ray on this machine
    ... --ray_address=auto    # as tasks of the Ray cluster that this machine belongs to

Every run is one process and exactly what train.py does with the same options: each key of the YAML file is one, written
as --key=value. Given again, the command skips what is finished and resumes what is not."""

OF_EACH_RUN = {"fold": "folds", "seed": "seeds", "output_folder": "results_folder"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "train_script", metavar="TRAIN.py", help="the training script, such as recipes/IEMOCAP/train.py"
    )
    parser.add_argument("hparams_file", metavar="HPARAMS.yaml", help="such as hparams/loso.yaml; its keys are options")
    parser.add_argument("--folds", default="all", help="such as 1-5 or 1,3; default: every fold of the corpus")
    add_shared_arguments(parser, "results/<name of the YAML file>")


def add_shared_arguments(parser: argparse.ArgumentParser, results_folder: str) -> None:
    """Add what this command and the ablations have in common."""
    parser.add_argument("--seeds", default="1", help="such as 1,2,3; default: %(default)s")
    parser.add_argument("--results_folder", help=f"default: {results_folder}")
    parser.add_argument("--jobs", type=int, help="runs at a time on this machine; default: one a GPU, else one")
    parser.add_argument("--ray", action="store_true", help="run as tasks of a Ray on this machine")
    parser.add_argument("--ray_address", help="run as tasks of a Ray cluster: auto, or host:port")
    parser.add_argument("--gpus_per_run", type=float, help="for Ray; default: 1 where the cluster has a GPU")
    parser.add_argument("--cpus_per_run", type=int, help="CPU cores for each run")


def read_options(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Namespace:
    """Read the command's own options; `train_words` are all others, which belong to the training script."""
    own = {name.lstrip("-") for action in parser._actions for name in action.option_strings}
    train_words = []
    for before, word in zip(["", *words], words):
        key, equals, value = word.lstrip("-").partition("=")
        if key in OF_EACH_RUN and (equals or word.startswith("--")):
            hint = f"--{OF_EACH_RUN[key]}" + (f"={value}" if value else "")
            raise InputError(f"{word} is set for each run: use {hint}.")
        is_value = before.startswith("--") and before[2:] in own  # --results_folder a=b
        if equals and not word.startswith("--") and key.isidentifier() and not is_value and not Path(word).exists():
            raise InputError(f"{word!r} belongs to no option. Did you mean --{word.lstrip('-')}?")
        if word.startswith("--") and key not in own:
            train_words.append(word)
    options, strays = parser.parse_known_args([word for word in words if word not in train_words])
    if strays:
        before = list(words)[list(words).index(strays[0]) - 1]
        hint = f"{before}={strays[0]}" if before.startswith("--") and "=" not in before else "--key=value"
        raise InputError(f"{strays[0]!r} belongs to no option: write {hint}.")
    options.train_words, options.own_names = train_words, own
    return options


def read_train_words(hparams_file: str, options: argparse.Namespace) -> CommandLine:
    """Take train.py's words apart; an unknown one may be meant as an option of this command."""
    try:
        return read_command_line([hparams_file, *options.train_words])
    except InputError as error:
        if unknown := re.match(r"--(\w+) is unknown", str(error)):
            for near in difflib.get_close_matches(unknown[1], options.own_names, n=1, cutoff=0.75):
                raise InputError(f"{unknown[0]}. Did you mean --{near}?") from None
        raise


def check_train_script(path: str) -> Path:
    """Refuse what cannot be a training script."""
    if not path.endswith(".py") or not Path(path).is_file():
        raise InputError(f"TRAIN.py must be a training script such as recipes/IEMOCAP/train.py, got {path!r}.")
    return Path(path)


def places(options: argparse.Namespace) -> dict[str, Any]:
    """Check where the runs take place, and return it as `run_all` takes it."""
    for name in ("jobs", "cpus_per_run"):
        if getattr(options, name) is not None:
            check_whole_number(f"--{name}", getattr(options, name), 1)
    on_ray = options.ray or options.ray_address
    if on_ray and options.jobs is not None:
        raise InputError("--jobs is for this machine; Ray runs as many at a time as it has room for.")
    if not on_ray and options.gpus_per_run is not None:
        raise InputError("--gpus_per_run is for Ray; on this machine --jobs says how many runs share its GPUs.")
    names = ("ray", "ray_address", "gpus_per_run", "cpus_per_run")
    return {"n_parallel": options.jobs, **{name: getattr(options, name) for name in names}}


def results_folder(options: argparse.Namespace, *default: str) -> Path:
    """Return the absolute folder that an option names, or the default one in results/."""
    return Path(options.results_folder or Path("results", *default)).expanduser().resolve()


def run(options: argparse.Namespace) -> int:
    """Run all folds and seeds, and report. Returns the exit status."""
    train_script = check_train_script(options.train_script)
    seeds = parse_numbers("--seeds", options.seeds)
    folds = None if options.folds == "all" else parse_numbers("--folds", options.folds)
    where = places(options)
    line = read_train_words(options.hparams_file, options)
    from speechbrain_ext.training.settings import complete_settings  # only now: audiomentations takes a second

    settings, _ = complete_settings(line.hparams_file, line.overrides)
    if settings["cache_features"]:
        warm_up(train_script, [options.hparams_file, *options.train_words])  # while this process imports and plans
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: runs are ended before their starter
    from speechbrain_ext.launch.plan import plan_folds, print_report, run_all  # only now: its imports take seconds

    folder = results_folder(options, Path(options.hparams_file).stem)
    try:
        runs = plan_folds([options.hparams_file, *options.train_words], seeds, folds, folder)
        if run_all(train_script, runs, folder / "logs", **where):
            return 1
    except KeyboardInterrupt:
        raise KeyboardInterrupt("The same command resumes the runs.") from None
    if "--debug" in options.train_words:
        print("With --debug each run has seen a few batches only: there is nothing to report.")
        return 0
    return 0 if print_report([folder], folds=folds) else 1
