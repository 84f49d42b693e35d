"""`speechbrain-ext check`: say what is in a corpus, what each fold would train and test on, and what is wrong."""

import argparse
import statistics

from speechbrain_ext.commands.prepare import add_corpus_arguments, emotions_of
from speechbrain_ext.corpora.base import count_table, find_corpus_name, prepare_corpus
from speechbrain_ext.dataio.folds import fold_names, make_fold, shared_speakers
from speechbrain_ext.dataio.manifest import Manifest, first_lines
from speechbrain_ext.errors import InputError

DESCRIPTION = """Say what is in a corpus, what each fold would train and test on, and what is wrong.

    speechbrain-ext check my_recordings.csv
    speechbrain-ext check /path/to/IEMOCAP_full_release --corpus=iemocap

Nothing is written. The exit status is 1 when something is wrong."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_corpus_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Read the corpus, and say what is in it."""
    name = find_corpus_name(options.source, options.corpus)
    prepared = prepare_corpus(
        name,
        options.source,
        emotions_of(options),
        allow_incomplete=True,
        group_by=options.group_by,
        n_folds=options.n_folds,
        part=options.corpus_part,
    )
    manifest, emotions = prepared.manifest, prepared.emotions
    groups = {entry["group"] for entry in manifest.values()}
    if len({(entry["group"], entry["speaker"]) for entry in manifest.values()}) > len(groups):
        print(f"\nBy speaker\n{count_table(manifest, emotions, 'speaker')}")
    print(f"\n{describe_lengths(manifest)}")
    faults = [*prepared.faults, *prepared.copies, *shared_speakers(manifest)]
    if not shared_speakers(manifest):
        lines, wrong = describe_folds(manifest, emotions)
        faults += wrong
        if lines:
            print("\nFolds: what each tests on, and trains and validates on\n" + "\n".join(lines))
    print(f"\nWhat is wrong\n{first_lines(faults)}" if faults else "\nNothing is wrong.")
    return 1 if faults else 0


def describe_lengths(manifest: Manifest) -> str:
    """Say how long the recordings are, and name the shortest and the longest."""
    by_length = sorted(manifest, key=lambda utt_id: (manifest[utt_id]["duration"], utt_id))
    seconds = [manifest[utt_id]["duration"] for utt_id in by_length]
    return (
        f"Lengths: {seconds[0]:.2f} s ({by_length[0]}) to {seconds[-1]:.2f} s ({by_length[-1]}), "
        f"mean {statistics.mean(seconds):.2f} s, median {statistics.median(seconds):.2f} s."
    )


def describe_folds(manifest: Manifest, emotions: list[str]) -> tuple[list[str], list[str]]:
    """Say what each fold would test and train on: (a table's lines, what is wrong)."""
    groups = fold_names(manifest)
    width = max(5, *map(len, groups))
    lines = [f"    fold  {'group':{width}}     test  speakers    train  speakers"]
    faults = []
    for k, group in enumerate(groups, start=1):
        try:
            fold = make_fold(manifest, k, validation="none", emotions=emotions)
        except InputError as error:
            faults.append(str(error))
            continue
        cells = [
            f"{len(part):9}{len({manifest[utt_id]['speaker'] for utt_id in part}):10}"
            for part in (fold.test, fold.train)
        ]
        tested = {manifest[utt_id]["emo"] for utt_id in fold.test}
        absent = [emo for emo in emotions if emo not in tested]
        lines.append(
            f"{k:8}  {group:{width}}{cells[0]}{cells[1]}" + (f"  no {', '.join(absent)} to test on" if absent else "")
        )
        faults += fold.cautions
    return lines, faults
