"""`speechbrain-ext check`: say what is in a corpus, what each fold would train and test on, and what is wrong."""

import argparse
import contextlib
import json
import sys
from pathlib import Path

from speechbrain_ext.commands.prepare import add_corpus_arguments, emotions_of
from speechbrain_ext.corpora.base import find_corpus_name
from speechbrain_ext.corpora.corpus_check import check_corpus
from speechbrain_ext.dataio.validation import VALIDATIONS
from speechbrain_ext.errors import InputError, check_whole_number

DESCRIPTION = """Say what is in a corpus, what each fold would train and test on, and what is wrong.

    speechbrain-ext check my_recordings.csv
    speechbrain-ext check my_recordings.csv --n_folds=5 --plot=corpus.png
    speechbrain-ext check /path/to/IEMOCAP_full_release --corpus=iemocap

All recordings are read once. Nothing is written but the picture. The exit status is 1 when something is wrong."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_corpus_arguments(parser)
    parser.add_argument(
        "--validation", default="random", help=f"how folds validate: {', '.join(VALIDATIONS)} (default: %(default)s)"
    )
    parser.add_argument("--plot", metavar="FILE.png", help="write a picture of the corpus: PNG, PDF or SVG")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument(
        "--max_faults", metavar="N", type=int, default=50, help="how many faults are listed (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Read the corpus, and say what is in it."""
    check_whole_number("--max_faults", options.max_faults, 1)
    if options.validation not in VALIDATIONS:
        raise InputError(f"--validation must be one of {', '.join(VALIDATIONS)}, got {options.validation!r}.")
    if options.plot:  # only now: matplotlib takes a second
        from speechbrain_ext.corpora.corpus_plot import check_picture_path, plot_corpus

        check_picture_path(options.plot)
    name = find_corpus_name(options.source, options.corpus)
    with contextlib.redirect_stdout(sys.stderr if options.json else sys.stdout):
        check = check_corpus(
            name,
            options.source,
            validation=options.validation,
            emotions=emotions_of(options),
            group_by=options.group_by,
            n_folds=options.n_folds,
            part=options.corpus_part,
        )
    print(json.dumps(check.as_dict(), indent=1) if options.json else f"\n{check.as_text(options.max_faults)}")
    if options.plot:
        plot_corpus(check, options.plot, Path(options.source).name)
        print(f"The picture is {options.plot}.", file=sys.stderr)
    return 1 if check.faults else 0
