"""speechbrain-ext web: a page in the browser to record or upload speech."""

import argparse
import contextlib
import ipaddress
import signal
import sys
import threading
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from speechbrain_ext.commands.predict import add_model_arguments
from speechbrain_ext.errors import InputError, check_number, check_whole_number

DEMO_CORPUS = "demo_corpus"  # where `make demo` leaves it
N_EXAMPLES = 4
DESCRIPTION = """\
Open a page in the browser: record or upload speech, and see the probabilities and, for long recordings, the timeline.

    speechbrain-ext web exported
    speechbrain-ext web exported --port 8000 --examples recordings/

The page is for this machine alone, unless --host says otherwise. Whoever reaches it may use it: it asks for no
password. From other machines, browsers record over https only. Ctrl-C ends it, and deletes what was uploaded.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_model_arguments(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to serve at; 0.0.0.0 for all networks (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, help="default: the first free one from 7860")
    parser.add_argument("--max_mb", type=float, default=50.0, help="largest upload (default: %(default)s MB)")
    parser.add_argument(
        "--max_total_mb", type=float, default=1000.0, help="all uploads together (default: %(default)s MB)"
    )
    parser.add_argument(
        "--workers", type=int, help="recordings at a time (default: one a core, at most 4; one on a GPU)"
    )
    parser.add_argument(
        "--allow_host",
        action="append",
        default=[],
        metavar="NAME",
        help="also answer browsers that ask for this name, such as a proxy's; may be given again; * for any name",
    )
    parser.add_argument(
        "--examples", metavar="FOLDER", help=f"offer recordings from here (default: {DEMO_CORPUS}, where there is one)"
    )
    parser.add_argument("--open", action="store_true", help="open the browser")


def run(options: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C or SIGTERM. Returns the exit status."""
    for key in ("max_mb", "max_total_mb"):
        check_number(f"--{key}", getattr(options, key), 0, float("inf"), inclusive=False)
    if options.workers is not None:
        check_whole_number("--workers", options.workers, 1)
    from speechbrain_ext.device import check_device  # only now: torch takes seconds
    from speechbrain_ext.inference.classifier import load_classifier
    from speechbrain_ext.web.page import import_gradio
    from speechbrain_ext.web.server import check_address, serve_page

    if options.device:
        check_device(options.device)
    import_gradio()
    check_address(options.host, options.port)
    examples = pick_examples(options.examples)
    classifier = load_classifier(options.bundle, {"device": options.device, "precision": options.precision})
    model = Path(options.bundle).resolve().name if Path(options.bundle).is_dir() else options.bundle  # USER/NAME
    page = serve_page(
        classifier,
        options.host,
        options.port,
        options.max_mb,
        examples,
        model,
        options.allow_host,
        options.max_total_mb,
        options.workers,
    )
    with page as url, _end_signals() as ended:
        print(f"The page is at {url} - Ctrl-C ends it.", flush=True)
        if not _is_loopback(options.host):
            print("Whoever reaches this machine can use it: it asks for no password.", file=sys.stderr)
        if options.open:
            webbrowser.open(url)
        while not ended.wait(1):  # without a limit, Windows would not hear Ctrl-C
            pass
    print("The page is closed, and what was uploaded is deleted.", flush=True)
    return 0


def pick_examples(folder: Optional[str] = None, n_examples: int = N_EXAMPLES) -> list[str]:
    """Pick recordings from a folder, spread evenly over all of its names.

    Arguments
    ---------
    folder
        The folder; by default the demo corpus in the current one, if it is there.
    n_examples
        How many.

    Returns
    -------
    list of str
        Their paths, sorted.

    Raises
    ------
    InputError
        If a folder is given and holds no recordings.
    """
    from speechbrain_ext.inference.recordings import find_recordings

    found, _ = find_recordings(folder or DEMO_CORPUS)
    if folder and not found:
        what = "holds no recordings" if Path(folder).is_dir() else "is no folder"
        raise InputError(f"--examples must be a folder with recordings, and {folder} {what}.")
    n = min(n_examples, len(found))
    return [found[i * len(found) // n] for i in range(n)]


@contextlib.contextmanager
def _end_signals() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C or SIGTERM sets: both are the ordinary end, after which uploads are deleted."""
    ended = threading.Event()
    before = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
