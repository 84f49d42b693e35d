"""`speechbrain-ext audit`: say what the folds of any work leak, and how good the predictions of any system are."""

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from speechbrain_ext import __version__
from speechbrain_ext.atomic_write import atomic_write, check_writable, write_json
from speechbrain_ext.corpora.fold_names import part_of_path
from speechbrain_ext.errors import InputError

DESCRIPTION = """Say what the folds of any work leak, and how good the predictions of any system are.

    speechbrain-ext audit EmoBox/data/emodb
    speechbrain-ext audit train=a.csv valid=b.jsonl test=c.json
    speechbrain-ext audit data/train data/test --corpus=emodb            # Kaldi's folders
    speechbrain-ext audit splits/ --predictions=ours.csv --predictions=theirs.csv --html=audit.html

Lists are enough; where recordings are there, they are compared by their samples. The exit status is 1 when what is
tested on shares speakers, sessions, dialogues, groups or recordings with what is trained or validated on, 2 when a file
cannot be used, and else 0."""
LEAK, UNUSABLE = 1, 2
OUTPUTS = {"json": (".json",), "html": (".html", ".htm")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "splits", metavar="SPLIT", nargs="*", help="a list or a folder of lists; its name, or train=, valid= or test= "
        "before it, says which part it is"
    )  # fmt: skip
    parser.add_argument(
        "--predictions", metavar="FILE", action="append", default=[], type=Path,
        help="a table with id, predicted, and perhaps true and a posterior for each label; or a folder of tested runs; "
        "the second and further ones are compared with the first",
    )  # fmt: skip
    parser.add_argument(
        "--corpus", metavar="NAME", help="whose naming scheme says who speaks, and whose counts are known"
    )
    parser.add_argument("--audio", metavar="FOLDER", action="append", default=[], type=Path,
                        help="where the recordings are that the lists name")  # fmt: skip
    parser.add_argument("--json", metavar="FILE.json", type=Path, help="write everything that was found")
    parser.add_argument("--html", metavar="FILE.html", type=Path, help="write a page for the browser")


def run(options: argparse.Namespace) -> int:
    """Audit, print, and write what was asked for."""
    try:
        found = audit(options)
    except (InputError, OSError) as error:
        print(f"speechbrain-ext audit: {error}", file=sys.stderr)
        return UNUSABLE
    return LEAK if found["leak"] else 0


def audit(options: argparse.Namespace) -> dict[str, Any]:
    """Read, audit, print and write; return what was found."""
    if not options.splits and not options.predictions:
        raise InputError("nothing to audit: give split files, --predictions=FILE, or both.")
    for folder in options.audio:
        if not folder.is_dir():
            raise InputError(f"--audio {folder} is no folder. Give the one that the lists' paths begin in.")
    for name, endings in OUTPUTS.items():
        if path := getattr(options, name):
            _check_output(path, f"--{name}", endings, options)
    from speechbrain_ext.corpora.split_files import read_split
    from speechbrain_ext.results.audit import audit_split
    from speechbrain_ext.results.audit_system import audit_system, compare_systems, coverage, keep_tested
    from speechbrain_ext.results.audit_text import sections_of, to_markdown, to_terminal
    from speechbrain_ext.results.markdown_text import to_html
    from speechbrain_ext.results.system_predictions import read_system

    split = read_split(options.splits, options.corpus) if options.splits else None
    utterances = split.utterances if split else {}
    given = [read_system(path, utterances) for path in options.predictions]
    systems = [keep_tested(system, split.folds) for system in given] if split else given
    found: dict[str, Any] = {
        "version": __version__,
        "split": audit_split(split, options.audio) if split else None,
        "systems": [
            {
                **audit_system(system, utterances),
                "coverage": coverage(whole, split.folds, utterances) if split else None,
            }
            for system, whole in zip(systems, given)
        ],
        "comparisons": [compare_systems(other, systems[0], utterances) for other in systems[1:]],
    }
    found["leak"] = bool(found["split"] and found["split"]["leak"])
    sections = sections_of(found)
    print(to_terminal(sections))
    if options.json:
        write_json(found, options.json)
    if options.html:
        made = f"Written on {date.today().isoformat()} by speechbrain_ext {__version__}."
        title = f"Audit of {', '.join(options.splits or map(str, options.predictions))}"
        with atomic_write(options.html) as file:
            file.write(to_html(to_markdown(sections, title, made)))
    return found


def _check_output(path: Path, argument: str, endings: Sequence[str], options: argparse.Namespace) -> None:
    """Refuse an output that cannot be written, or that would take the place of what is read."""
    if path.suffix.lower() not in endings:
        raise InputError(f"{argument} must name a file that ends in {' or '.join(endings)}, got {path}.")
    check_writable(path, argument)
    read = [*options.predictions, *(Path(word.partition("=")[2] or word) for word in options.splits)]
    for one in read if path.exists() else ():
        if path.resolve() == one.resolve() or (
            path.resolve().is_relative_to(one.resolve()) and part_of_path(path.name)
        ):
            raise InputError(f"{argument} {path} is one of the lists that are read. Name another file.")
