"""`speechbrain-ext prepare`: read a corpus, check it, and write its manifest."""

import argparse
from pathlib import Path
from typing import Optional

from speechbrain_ext.corpora.base import CORPORA, find_corpus_name
from speechbrain_ext.corpora.preparation import prepare_corpus
from speechbrain_ext.dataio.folds import shared_speakers
from speechbrain_ext.dataio.manifest import write_manifest
from speechbrain_ext.errors import InputError

DESCRIPTION = """Read a corpus, check every recording, and write the manifest: lengths, emotions, speakers and groups.

    speechbrain-ext prepare /path/to/IEMOCAP_full_release manifest.json --corpus=iemocap
    speechbrain-ext prepare my_recordings.csv manifest.json

Training prepares its corpus itself; this shows what it will find."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_corpus_arguments(parser)
    parser.add_argument("manifest", metavar="MANIFEST.json", help="the file to write")
    parser.add_argument(
        "--allow_incomplete",
        action="store_true",
        help="accept a copy of a published corpus of which a part is missing",
    )


def add_corpus_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a corpus."""
    parser.add_argument(
        "source",
        metavar="DATA_FOLDER_OR_CSV",
        help="the corpus's folder, or a CSV or JSON Lines file with wav, emo and speaker",
    )
    parser.add_argument(
        "--corpus",
        metavar="NAME",
        help=f"one of {', '.join(CORPORA)}; by default csv for a file, synthetic for what make_demo_corpus.py made",
    )
    parser.add_argument(
        "--corpus_part",
        metavar="PART",
        help="a part of the corpus, for instance improvised for iemocap; all: the whole corpus",
    )
    parser.add_argument(
        "--emotions",
        metavar="A,B,...",
        help="the emotions to keep, in this order; by default the corpus's own, or all of the CSV",
    )
    parser.add_argument(
        "--group_by", metavar="NAME", help="what a fold leaves out: speaker, or an attribute that the corpus has"
    )
    parser.add_argument(
        "--n_folds", metavar="N", type=int, help="deal the speakers (or --group_by's values) into N balanced folds"
    )


def emotions_of(options: argparse.Namespace) -> Optional[list[str]]:
    """Return the emotions that the options name: "ang,hap" and "[ang, hap]" are both read."""
    if options.emotions is None:
        return None
    return [emo.strip().strip("'\"") for emo in options.emotions.strip("[] ").split(",") if emo.strip()]


def run(options: argparse.Namespace) -> int:
    """Prepare the corpus, and write its manifest."""
    path = Path(options.manifest).expanduser()
    if path.suffix.lower() != ".json" or path.is_dir():
        raise InputError(f"MANIFEST.json must name a JSON file to write, got {options.manifest}.")
    prepared = prepare_corpus(
        find_corpus_name(options.source, options.corpus),
        options.source,
        emotions_of(options),
        options.allow_incomplete,
        group_by=options.group_by,
        n_folds=options.n_folds,
        part=options.corpus_part,
    )
    write_manifest(prepared.manifest, path)
    for fault in shared_speakers(prepared.manifest):
        print(f"WARNING: {fault}")
    print(f"{path} holds {len(prepared.manifest)} utterances.")
    return 0
