"""`speechbrain-ext report`: say what tested runs say together, and compare systems."""

import argparse

from speechbrain_ext.errors import InputError, parse_numbers
from speechbrain_ext.results.result_set import ALLOWANCES

DESCRIPTION = """Report on tested runs: means and spreads, pooled accuracies with intervals, pictures; compare systems.

    speechbrain-ext report results/loso
    speechbrain-ext report results/loso results/loso_group results/loso_none    # side by side
    speechbrain-ext report results/loso --folds=1,2                             # these folds; the title says so
    speechbrain-ext report results/loso --allow=incomplete                      # what is there so far

Reads test_metrics.json and predictions.csv of every run below a folder; writes report.html, report.md, report.json,
confusion.png and folds.png there (with several folders, into "comparison" in the first one)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("folders", nargs="+", metavar="RESULTS_DIR", help="folder with the runs of one system")
    parser.add_argument("--out", metavar="FOLDER", help="where the report is written")
    parser.add_argument("--folds", metavar="1-3,5", help="report on these folds only; default: all of the corpus")
    parser.add_argument(
        "--allow", default="", metavar="A,B", help=f"what is accepted, and said in the title: {', '.join(ALLOWANCES)}"
    )


def run(options: argparse.Namespace) -> int:
    """Write the report; print its result and where it is."""
    words = [word for word in options.allow.split(",") if word]
    for word in words:
        if word not in ALLOWANCES:
            raise InputError(f"--allow must be among {', '.join(ALLOWANCES)} (joined by commas), got {word!r}.")
    folds = None if options.folds is None else parse_numbers("--folds", options.folds)
    from speechbrain_ext.results.report import write_report  # only now: its pictures take a second

    print(write_report(options.folders, options.out, words, folds))
    return 0
