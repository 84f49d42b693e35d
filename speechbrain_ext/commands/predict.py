"""speechbrain-ext predict: classify a file, a folder, or what comes through a pipe."""

import argparse
import contextlib
import dataclasses
import itertools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechbrain_ext.errors import InputError, check_number, check_whole_number
from speechbrain_ext.limits import LONGEST_CLIP_S, LONGEST_PREDICTED_S, SHORTEST_S
from speechbrain_ext.outside_text import printable

if TYPE_CHECKING:
    from speechbrain_ext.inference.recordings import Prediction

PIPE = "-"
N_SHOWN = 3  # names of files that are passed over
DESCRIPTION = """\
Classify recordings: one file, all recordings in a folder and its folders, or - for what comes through a pipe: a
recording, or a list of paths, one a line. Prints CSV, or writes CSV, JSON or JSON lines with --out.

    speechbrain-ext predict exported recordings/ --out emotions.csv
    find . -name '*.flac' | speechbrain-ext predict exported -

`speech` is the share of a recording that is speech; one without speech gets no `predicted` emotion. A recording that
cannot be read has its error in its row, and the exit status is 1. With --out, an interrupted run is resumed by the
same command; what the file holds by the same model is kept.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_model_arguments(parser)
    parser.add_argument("recordings", metavar="FILE|FOLDER|-", nargs="+", help="what to classify")
    parser.add_argument("--out", help="write to this .csv, .json or .jsonl instead of printing CSV")
    parser.add_argument(
        "--excel", action="store_true", help="write a CSV that a spreadsheet can open: no text in it is a formula"
    )
    parser.add_argument("--batch_size", type=int, default=16, help="recordings at a time (default: %(default)s)")
    parser.add_argument(
        "--max_s", type=float, default=LONGEST_PREDICTED_S, help="refuse longer ones (default: %(default)s s)"
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments that say which model answers, where, and how precisely it computes."""
    parser.add_argument(
        "bundle", metavar="BUNDLE", help="a folder that `speechbrain-ext export` has written, or USER/NAME on the Hub"
    )
    parser.add_argument("--device", help="such as cpu or cuda:0; default: a GPU where there is one")
    parser.add_argument(
        "--precision",
        default="fp32",
        choices=["fp32", "auto", "bf16", "fp16"],
        help="auto takes bf16 where the processor or the card has it (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> int:
    """Classify. Returns the exit status: 1 if a recording could not be read."""
    check_whole_number("--batch_size", options.batch_size, 1)
    check_number("--max_s", options.max_s, SHORTEST_S, LONGEST_CLIP_S)
    from speechbrain_ext.checksums import sha256_of
    from speechbrain_ext.inference.bundle import BUNDLE_FILE  # only now: torch takes seconds
    from speechbrain_ext.inference.classifier import load_classifier
    from speechbrain_ext.inference.prediction_file import PredictionFile, check_format, check_labels, format_predictions

    if options.out:
        check_format(options.out, options.excel)
    with tempfile.TemporaryDirectory() as scratch:
        piped = Path(scratch) / "recording"
        paths = list(dict.fromkeys(path for given in options.recordings for path in _paths(given, piped)))
        classifier = load_classifier(options.bundle, {"device": options.device, "precision": options.precision})
        model = sha256_of(classifier.bundle.folder / BUNDLE_FILE)[:12]
        emotions = list(classifier.hparams.emotions)
        check_labels(emotions)
        out = PredictionFile(options.out, paths, emotions, model, options.excel) if options.out else None
        done = out.predictions if out else {}
        todo = [path for path in paths if path not in done]
        if len(todo) < len(paths):
            print(f"{len(paths) - len(todo)} of {len(paths)} are in {options.out} already.", file=sys.stderr)
        with out or contextlib.nullcontext():
            answered = {path: one.duration_s for path, one in done.items() if one.duration_s is not None}
            for prediction in _classify(classifier, todo, answered, options, piped):
                done[prediction.path] = prediction
                if out:
                    out.add(prediction)
            if out:
                out.write()
    predictions = [done[path] for path in paths]
    if not out:
        print(format_predictions(predictions, emotions, model, ".csv", options.excel), end="")
    silent = sum(prediction.error is None and prediction.predicted is None for prediction in predictions)
    if silent:
        print(f"{silent} of {len(predictions)}: no speech found. They have no `predicted` emotion.", file=sys.stderr)
    failed = sum(prediction.error is not None for prediction in predictions)
    if out:
        print(f"{options.out} holds {len(predictions)} rows.", file=sys.stderr)
    if failed:
        print(f"{failed} of {len(predictions)} were not classified; their rows say why.", file=sys.stderr)
    return 1 if failed else 0


def _classify(
    classifier: Any, paths: list[str], answered: dict[str, float], options: argparse.Namespace, piped: Path
) -> Iterator["Prediction"]:
    """Yield the predictions of recordings beside those that are answered, with a progress bar in seconds of speech."""
    from tqdm import tqdm

    from speechbrain_ext.inference.recordings import classify_recordings, measure_recordings
    from speechbrain_ext.inference.speech_detector import make_detector

    files = [str(piped) if path == PIPE else path for path in paths]
    durations, failed = measure_recordings(files, options.max_s)
    detector = make_detector(classifier)
    found = classify_recordings(classifier, durations, options.batch_size, detector=detector, answered=answered)
    total = round(sum(durations.values()), 1)
    with tqdm(total=total, unit="s", unit_scale=True, disable=not sys.stderr.isatty()) as bar:
        for prediction in itertools.chain(failed, found):
            bar.update(prediction.duration_s or 0)
            if prediction.path == str(piped):
                error = prediction.error and prediction.error.replace(str(piped), PIPE)
                prediction = dataclasses.replace(prediction, path=PIPE, error=error)
            yield prediction


def _paths(given: str, piped: Path) -> list[str]:
    """List the recordings that one argument stands for."""
    from speechbrain_ext.inference.recordings import ENDINGS, find_recordings

    if given == PIPE:
        data = sys.stdin.buffer.read()
        if not data.strip():
            raise InputError("nothing came through the pipe: neither a recording nor a path.")
        if b"\0" in data[:4096]:  # no text
            piped.write_bytes(data)
            return [PIPE]
        lines = data.decode(errors="surrogateescape").split("\n")
        return [path for line in lines if (path := line.rstrip("\r")).strip()]
    if Path(given).is_dir():
        found, others = find_recordings(given)
        if others:
            shown = ", ".join(str(Path(path).relative_to(given)) for path in others[:N_SHOWN])
            more = f" and {len(others) - N_SHOWN} more" if len(others) > N_SHOWN else ""
            what = "1 file" if len(others) == 1 else f"{len(others)} files"
            print(f"{given}: {what} passed over by their ending: {printable(shown)}{more}.", file=sys.stderr)
        if not found:
            raise InputError(f"{given} holds no recordings: no file's name ends as {', '.join(sorted(ENDINGS))}.")
        return found
    if not Path(given).exists():
        raise InputError(f"{given} is neither a file nor a folder.")
    return [given]
