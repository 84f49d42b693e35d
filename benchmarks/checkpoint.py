#!/usr/bin/env python3
"""How long training waits for the checkpoint of an epoch: ours, at once and in the background, against SpeechBrain's.

OMP_NUM_THREADS=2 python benchmarks/checkpoint.py                # HuBERT-Large: 9 GB of memory, 21 GB of disk
python benchmarks/checkpoint.py --device cuda
python benchmarks/checkpoint.py --size small

All save the same: encoder, centers, optimizers and schedules, as `train.py` does at the end of an epoch, and delete the
checkpoint before. Before each turn the background has written its last one.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout runs without being installed
from benchmarks import ours, timing  # first: it says how OpenMP's threads wait

# isort: split
from speechbrain.utils.checkpoints import Checkpointer

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.device import check_device
from speechbrain_ext.errors import check_whole_number
from speechbrain_ext.training.checkpoints import AtomicCheckpointer
from speechbrain_ext.versions import versions

BACKGROUND, AT_ONCE, SPEECHBRAIN = "ours, in the background", "ours, at once", "SpeechBrain's Checkpointer"


def make_savers(folder, parts):
    """Make the rivals: name -> checkpointer of a folder of its own."""
    return {
        BACKGROUND: AtomicCheckpointer(folder / "background", parts, in_background=True),
        AT_ONCE: AtomicCheckpointer(folder / "at_once", parts),
        SPEECHBRAIN: Checkpointer(folder / "speechbrain", parts),
    }


def measure(options):
    """Time the rivals by turns; return everything that is written."""
    config, n_layers = ours.sizes(options.size)
    recipe = ours.Recipe(config, n_layers, options.device)
    recipe.step(recipe.batch([(8000, 0)] * 2, ours.Noise(8000)))  # makes the optimizers' states
    parts = recipe.brain.checkpointer.recoverables
    with tempfile.TemporaryDirectory() as folder:
        savers = make_savers(Path(folder), parts)
        seconds = timing.time_by_turns(
            {name: saver.save_and_keep_only for name, saver in savers.items()},
            options.repeats,
            settle=lambda _: savers[BACKGROUND].wait(),
        )
        savers[BACKGROUND].wait()
        start = time.perf_counter()
        savers[BACKGROUND].save_and_keep_only()
        savers[BACKGROUND].wait()
        written_s = time.perf_counter() - start
        n_bytes = {
            name: sum(file.stat().st_size for file in saver.checkpoints_dir.rglob("*.ckpt"))
            for name, saver in savers.items()
        }
    return {
        "size": options.size,
        "device": options.device,
        "machine": timing.machine(),
        "versions": versions(),
        "n_bytes": n_bytes,
        "seconds": seconds,
        "ratio": {name: timing.ratios(seconds, name, BACKGROUND) for name in (AT_ONCE, SPEECHBRAIN)},
        "background_written_s": written_s,
    }


def report(result, options):
    """Write what was measured, as Markdown."""
    where = result["machine"]
    lines = [
        f"Size {result['size']}, {statistics.median(result['n_bytes'].values()) / 1e9:.2f} GB a checkpoint; "
        f"{where.get('gpu') if result['device'].startswith('cuda') else where['cpu']}; torch "
        f"{result['versions']['torch']}. Median (lowest to highest) of {options.repeats} checkpoints.",
        "",
        "| checkpointer | s that training waits | times the background's |",
        "|---|---|---|",
    ]
    for name, times in result["seconds"].items():
        ratio = timing.spread(result["ratio"][name], ".1f") if name in result["ratio"] else ""
        lines.append(f"| {name} | {timing.spread(times, '.2f')} | {ratio} |")
    return "\n".join([*lines, "", f"The background's is in place after {result['background_written_s']:.1f} s."])


def main(argv):
    """Run the benchmark."""
    parser = timing.command_line(__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", default="large", help=f"{', '.join(ours.SIZES)}; default: large")
    parser.add_argument("--repeats", metavar="N", type=int, default=5)
    options = parser.parse_args(argv)
    check_device(options.device)
    check_whole_number("--repeats", options.repeats, 1)
    result = measure(options)
    print(report(result, options))
    if options.json:
        write_json(result, options.json)


if __name__ == "__main__":
    timing.run(main)
