"""What the benchmarks share: rivals timed by turns, ratios with their spread, the machine, a model to time."""

import argparse
import contextlib
import csv
import multiprocessing
import multiprocessing.connection
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

from speechbrain_ext.openmp import wait_briefly

wait_briefly()  # as train.py and speechbrain-ext do

import torch  # noqa: E402

from speechbrain_ext.errors import InputError  # noqa: E402
from speechbrain_ext.inference.bundle_settings import BundleSettings  # noqa: E402
from speechbrain_ext.inference.bundle_writer import write_bundle  # noqa: E402
from speechbrain_ext.lobes.truncated_encoder import TruncatedHuBERT  # noqa: E402
from speechbrain_ext.nnet.projection import EmotionClassifier, EmotionEmbedding  # noqa: E402

SAMPLE_RATE_HZ = 16000
LENGTHS_FILE = Path(__file__).with_name("iemocap_lengths.csv")
# HuBERT-Base's sizes with the LayerNorms of HuBERT-Large.
BASE = {
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "conv_dim": [512] * 7,
    "conv_bias": True,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
}


def command_line(doc):
    """Begin a benchmark's parser: its text, and --json, where everything is written."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--json", metavar="FILE", help="where everything is written, versions and machine as well")
    return parser


def run(main):
    """Run a benchmark's main function on the command line; say what is wrong with it in a sentence."""
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")


def time_by_turns(rivals, repeats, settle=None):
    """Time functions without arguments, each once in every round, every other round in the opposite order.

    Arguments
    ---------
    rivals : dict
        Name -> function.
    repeats : int
        Number of rounds, after one that is not counted.
    settle : callable, optional
        Called with a name right before it is timed: the threads of the one before may still be spinning.

    Returns
    -------
    dict
        Name -> list of seconds, a round each.
    """
    for run in rivals.values():
        run()
    seconds = {name: [] for name in rivals}
    for repeat in range(repeats):
        for name in list(rivals) if repeat % 2 == 0 else list(rivals)[::-1]:
            if settle:
                settle(name)
            start = time.perf_counter()
            rivals[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


@contextlib.contextmanager
def processes(serve, keys, *args):
    """Start a process for each rival: name -> connection to it.

    Arguments
    ---------
    serve : callable
        Called in the process with (connection, number of the rival, its name, *args); ends when it receives None.
    keys : list of str
        The rivals' names.
    args
        What else `serve` takes.
    """
    context = multiprocessing.get_context("spawn")
    connections, started = {}, []
    try:
        for turn, key in enumerate(keys):
            connections[key], end = context.Pipe()
            started.append(context.Process(target=serve, args=(end, turn, key, *args)))
            started[-1].start()
            end.close()  # so that a process that dies is noticed
        yield connections
        for connection in connections.values():
            connection.send(None)
        for process in started:
            process.join()
    except (EOFError, ConnectionError) as error:
        ended = multiprocessing.connection.wait([process.sentinel for process in started])
        keys = [key for key, process in zip(keys, started) if process.sentinel in ended]
        raise InputError(
            f"the process of {', '.join(keys)} ended before its answer, perhaps for want of memory. Take fewer clips, "
            "smaller batches or fewer rivals."
        ) from error
    finally:
        for process in started:
            process.kill()
            process.join()


def ratios(seconds, of, to):
    """Return how many times as long one rival takes as another, a round each."""
    return [a / b for a, b in zip(seconds[of], seconds[to])]


def spread(values, form):
    """Write a median with its range."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def resident(kind="VmRSS"):
    """Read this process's resident memory in bytes: "VmRSS" now, "VmHWM" at its highest."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(re.search(rf"{kind}:\s+(\d+) kB", status)[1])


def forget_highest_resident():
    """Let "VmHWM" begin again from what is resident now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def machine():
    """Describe this machine: processor, cores, threads in use, and the GPU where there is one."""
    found = {"cpu": cpu_name(), "n_cpus": os.cpu_count(), "n_threads": torch.get_num_threads()}
    return {**found, "gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else found


def cpu_name():
    """Name the processor, as the system does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def iemocap_lengths():
    """Read the lengths of IEMOCAP's 5531 utterances: a list of (session, number of samples at 16 kHz)."""
    with open(LENGTHS_FILE, newline="", encoding="utf-8") as file:
        return [(int(row["session"]), int(row["n_samples"])) for row in csv.DictReader(file)]


def random_bundle(folder, n_layers, config=None):
    """Write a bundle with random weights: arithmetic takes as long with them."""
    torch.manual_seed(0)
    encoder = TruncatedHuBERT(config={**(config or BASE), "num_hidden_layers": n_layers}, num_layers=n_layers)
    parts = {"encoder": encoder, "f_0": EmotionEmbedding(encoder.embedding_dim), "f_1": EmotionClassifier(64, 4)}
    with tempfile.TemporaryDirectory() as scratch:
        weights = {name: Path(scratch) / f"{name}.pt" for name in parts}
        for name, part in parts.items():
            torch.save(part.state_dict(), weights[name])
        card = "# Random weights, for timing\n"
        settings = BundleSettings(["ang", "hap", "sad", "neu"], 64, encoder.architecture())
        write_bundle(folder, weights, settings, card)
    return folder
