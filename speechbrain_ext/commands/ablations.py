"""`speechbrain-ext ablations`: run the paper's studies, and print them beside the paper's numbers."""

import argparse
import signal
from pathlib import Path

from speechbrain_ext.commands.run import (
    add_shared_arguments,
    check_train_script,
    places,
    read_options,
    read_train_words,
    results_folder,
)
from speechbrain_ext.errors import InputError, parse_numbers
from speechbrain_ext.launch.warm_start import warm_up
from speechbrain_ext.training.hparams_file import read_settings

DESCRIPTION = """Run the paper's studies (Fig. 2, Tables 1 and 2) and the validation protocols beside its numbers.

    speechbrain-ext ablations train.py hparams/loso.yaml --data_folder=/path/to/IEMOCAP_full_release --jobs=5
    speechbrain-ext ablations train.py hparams/loso.yaml --tables=table2 --seeds=1,2,3 --folds=1-5
    speechbrain-ext ablations train.py --preset=demo --jobs=2     # all of it on the synthetic corpus
    speechbrain-ext ablations train.py hparams/frozen.yaml --table=encoders --encoders=microsoft/wavlm-large,FOLDER
    speechbrain-ext ablations train.py hparams/frozen.yaml --table=layers --encoders=microsoft/wavlm-large

Every run is what train.py does with a row's overrides; given again, the command skips what is finished. Writes
ablations.html, .md and .json, and a picture of each table."""

DEMO_CORPUS = "demo_corpus"
__all__ = ["DESCRIPTION", "add_arguments", "read_options", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "train_script", metavar="TRAIN.py", help="the training script, such as recipes/IEMOCAP/train.py"
    )
    parser.add_argument(
        "hparams_file", metavar="HPARAMS.yaml", nargs="?", help="such as hparams/loso.yaml; a preset has its own"
    )
    parser.add_argument("--preset", help="demo: small and offline")
    parser.add_argument("--grid", help="another YAML file of grids; default: the library's ablations.yaml")
    parser.add_argument("--tables", "--table", help="names of grids, joined by commas; default: all")
    parser.add_argument(
        "--encoders", help="for the tables `encoders` and `layers`: Hub ids and folders, joined by commas"
    )
    parser.add_argument("--layers", help="for them: sum (a learned sum of all), each, or numbers such as 6,12-24")
    parser.add_argument("--folds", help="such as 1-5, or all; default: the grid's own")
    add_shared_arguments(parser, "results/ablations/<name of the YAML file>")


def run(options: argparse.Namespace) -> int:
    """Run the grids and write their tables. Returns the exit status."""
    train_script = check_train_script(options.train_script)
    seeds, where = parse_numbers("--seeds", options.seeds), places(options)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: runs are ended before their starter
    from speechbrain_ext.corpora.preparation import PreparedCorpus
    from speechbrain_ext.corpora.synthetic import make_demo_corpus
    from speechbrain_ext.launch.ablations import GRID_FILE, plan_grid, read_grids, write_tables
    from speechbrain_ext.launch.encoder_grid import encoder_rows
    from speechbrain_ext.launch.plan import PlannedRun, print_report, run_all

    grids, preset_file = read_grids(options.grid or GRID_FILE, options.preset)
    default = [name for name, grid in grids.items() if "layers" not in grid]
    asked = [name.strip() for name in options.tables.split(",")] if options.tables else default
    for name in asked:
        if name not in grids:
            raise InputError(f"--tables must be among {', '.join(grids)}, got {name!r}.")
    of_encoders = [name for name in asked if "layers" in grids[name]]
    for name in of_encoders:
        if not options.encoders:
            raise InputError(f"the table {name} compares encoders: name them, --encoders=microsoft/wavlm-large,FOLDER.")
        grids[name]["rows"] = encoder_rows(options.encoders.split(","), options.layers or str(grids[name]["layers"]))
    if options.encoders and not of_encoders:
        raise InputError("--encoders belongs to the tables `encoders` and `layers`: add --table=encoders.")
    hparams_file = options.hparams_file or (preset_file and str(train_script.resolve().parent / preset_file))
    if not hparams_file:
        raise InputError("no hyperparameter file was given: name one, such as hparams/loso.yaml, or set --preset=demo.")
    line = read_train_words(hparams_file, options)
    words = options.train_words
    if options.preset == "demo" and not any(word.startswith(("--data_folder", "--corpus_csv")) for word in words):
        words = [*words, f"--data_folder={DEMO_CORPUS}"]
        if not Path(DEMO_CORPUS).exists():
            make_demo_corpus(DEMO_CORPUS)
    folder = results_folder(options, "ablations", Path(hparams_file).stem)
    settings, _ = read_settings(hparams_file, line.overrides)
    if settings["cache_features"]:
        warm_up(train_script, [hparams_file, *words])
        if not settings["feature_cache"]:
            words = [*words, f"--feature_cache={folder / 'features'}"]  # one for all rows
    runs: list[PlannedRun] = []
    corpora: dict[tuple, PreparedCorpus] = {}
    try:
        for name in asked:
            runs += plan_grid(name, grids[name], [hparams_file, *words], seeds, options.folds, folder, corpora)
        failed = run_all(train_script, runs, folder / "logs", **where)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("The same command resumes the runs.") from None
    is_sound = write_tables(grids, asked, folder)
    print(f"Tables: {folder / 'ablations.html'}")
    if failed:
        return 1
    if "protocols" in asked:
        rows = [folder / "protocols" / str(row["name"]) for row in grids["protocols"]["rows"]]
        is_sound = print_report(rows, folder / "protocols") and is_sound
    return 0 if is_sound else 1
