#!/usr/bin/env python3
"""How a training step's time and memory grow with clip length, batch size and layers: ours and the peers.

OMP_NUM_THREADS=2 python benchmarks/growth.py                 # scaled down, some minutes
python benchmarks/growth.py --device cuda

The table goes into README.md, between its two marks, and the plot into growth.png.

All clips of a batch have one length and none has a partner, so nothing is padded but what (a) always pads, and cuts,
to 100 000 samples. One of the three grows at a time, the others stay at their base. On the CPU each point is a
process of its own, whose memory is the growth of its largest resident set from before the model was built; on a GPU
it is what torch had allocated at most. Weights, gradients and optimizer states count. A time is the best of three
steps after the first.
"""

import gc
import multiprocessing
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout runs without being installed
from benchmarks import ours, peers, timing  # first: it says how OpenMP's threads wait

# isort: split
import torch

from speechbrain_ext.atomic_write import atomic_write, write_json
from speechbrain_ext.device import check_device
from speechbrain_ext.errors import InputError
from speechbrain_ext.versions import versions

OURS = "ours"
HERE = Path(__file__).parent
BASE = {"length_s": 4.0, "batch_size": 4, "n_layers": 12}
GROWTH = {"length_s": [1.0, 2.0, 4.0, 8.0, 16.0], "batch_size": [1, 2, 4, 8], "n_layers": [3, 6, 12, 24]}
TITLES = {"length_s": "clip length, s", "batch_size": "batch size", "n_layers": "layers"}
STEPS = 3
MARKS = ("<!-- growth.py writes from here -->", "<!-- to here -->")


def make_step(rival, config, n_layers, n_samples, batch_size, device, precision):
    """Build a rival with its batch; return a function that trains on it once."""
    noise = ours.Noise(n_samples)
    if rival == OURS:
        # Longer clips than a recipe's crop are wanted here, and the batch is given as it is.
        model = ours.Recipe(config, n_layers, device, precision)
        batch = model.batch([(n_samples, 0)] * batch_size, noise)
    else:
        # (a) reads 22 of 24 layers; with fewer, a twelfth is left unread as well.
        deep = {**config, "num_hidden_layers": n_layers + max(1, round(n_layers / 12)) if rival in "ab" else n_layers}
        model = peers.make_peer(rival, deep, n_layers, device, precision)
        batch = model.batch([noise(n_samples, i) for i in range(batch_size)])
    return lambda: model.step(batch)


def time_point(rival, config, n_layers, n_samples, batch_size, device, precision):
    """Build a rival and train it for some steps: (seconds of the best one after the first, peak bytes)."""
    # The code that a step runs is paged in by a small one: a fork's resident set holds none of it yet.
    tiny, n_tiny = ours.sizes("tiny")
    make_step(rival, tiny, n_tiny, timing.SAMPLE_RATE_HZ, 1, device, precision)()
    gc.collect()
    on_gpu = device.startswith("cuda")
    if on_gpu:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
    else:
        timing.forget_highest_resident()
        before = timing.resident()
    step = make_step(rival, config, n_layers, n_samples, batch_size, device, precision)
    times = []
    for _ in range(STEPS + 1):
        start = time.perf_counter()
        step()  # it reads the loss, and so waits for the device
        times.append(time.perf_counter() - start)
    peak = (torch.cuda.max_memory_allocated() if on_gpu else timing.resident("VmHWM")) - before
    return min(times[1:]), peak


def time_apart(*point):
    """Do `time_point` in a process of its own, forked so that nothing is imported anew; on a GPU in this one."""
    if point[-2].startswith("cuda"):
        try:
            return time_point(*point)
        finally:
            gc.collect()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(time_point, point)


def measure(options):
    """Measure all points; return everything that is written."""
    config, _ = ours.sizes(options.size)
    precision = ours.resolve_precision("auto", options.device)
    found, known = {}, {}
    for what, values in GROWTH.items():
        found[what] = []
        for value in values[: options.points]:
            at = {**BASE, what: value}
            row = {"value": value, "rivals": {}}
            for rival in [OURS, *options.rivals]:
                n_samples = round(at["length_s"] * timing.SAMPLE_RATE_HZ)
                wide = {**config, "num_hidden_layers": max(at["n_layers"], config["num_hidden_layers"])}
                point = (rival, wide, at["n_layers"], n_samples, at["batch_size"], options.device, precision)
                key = (rival, *at.values())  # the base stands in all three
                if key not in known:
                    known[key] = time_apart(*point)
                row["rivals"][rival] = dict(zip(("seconds", "bytes"), known[key]))
            found[what].append(row)
    return {
        "size": options.size,
        "device": options.device,
        "precision": precision,
        "base": BASE,
        "growth": found,
        "machine": timing.machine(),
        "versions": versions(),
    }


def label(rival):
    """Name a rival."""
    return "speechbrain_ext" if rival == OURS else f"({rival}) {peers.PEERS[rival][0]}"


def table(result):
    """Write the result as Markdown: seconds of a step, memory, and (peer / ours) of both."""
    rivals = list(next(iter(result["growth"].values()))[0]["rivals"])
    lines = []
    for what, rows in result["growth"].items():
        lines += [f"| {TITLES[what]} | {' | '.join(map(label, rivals))} |", "|---|" + "---|" * len(rivals)]
        for row in rows:
            us = row["rivals"][OURS]
            cells = [f"{row['value']:g}"]
            for rival in rivals:
                it = row["rivals"][rival]
                times, memory = it["seconds"] / us["seconds"], it["bytes"] / us["bytes"]
                ratios = "" if rival == OURS else f" ({times:.1f}x, {memory:.1f}x)"
                cells.append(f"{it['seconds']:.3g} s, {it['bytes'] / 1e9:.2f} GB{ratios}")
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def plot(result, path):
    """Draw seconds (above) and memory (below) against each of the three."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(result["growth"]), figsize=(12, 6.5), sharex="col", squeeze=False)
    for column, (what, rows) in zip(axes.T, result["growth"].items()):
        for axis, (key, scale, unit) in zip(column, (("seconds", 1, "step, s"), ("bytes", 1e9, "peak memory, GB"))):
            for rival in rows[0]["rivals"]:
                values = [row["rivals"][rival][key] / scale for row in rows]
                axis.plot([row["value"] for row in rows], values, marker="o", label=label(rival))
            axis.set_ylim(bottom=0)
            axis.grid(alpha=0.3)
            axis.set_ylabel(unit)
        column[-1].set_xlabel(TITLES[what])
    axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    with atomic_write(path, binary=True) as file:
        figure.savefig(file, format="png", dpi=110)
    pyplot.close(figure)


def put_into(path, text):
    """Put a text between the marks of a page, or begin a page with it."""
    page = path.read_text(encoding="utf-8") if path.exists() else f"{MARKS[0]}\n{MARKS[1]}\n"
    before, rest = page.split(MARKS[0])
    with atomic_write(path) as file:
        file.write(f"{before}{MARKS[0]}\n{text}{MARKS[1]}{rest.split(MARKS[1])[1]}")


def text_of(result):
    """Write what was measured, as text."""
    here, base = result["machine"], result["base"]
    where = here.get("gpu") if result["device"].startswith("cuda") else f"{here['cpu']}, {here['n_threads']} threads"
    return (
        f"Size {result['size']}, {result['precision']}; {where}; torch {result['versions']['torch']}. Base: "
        f"{base['length_s']:g} s, batch of {base['batch_size']}, {base['n_layers']} layers. In brackets: its time and "
        f"memory over ours.\n\n{table(result)}\n"
    )


def main(argv):
    """Run the benchmark."""
    parser = timing.command_line(__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", help=f"{', '.join(ours.SIZES)}; default: large on a GPU, small on the CPU")
    parser.add_argument("--rivals", default="acd", help="letters of the peers")
    parser.add_argument("--points", metavar="N", type=int, help="only the first N values of each")
    parser.add_argument("--folder", type=Path, default=HERE, help="whose README.md and growth.png are written")
    options = parser.parse_args(argv)
    check_device(options.device)
    options.size = options.size or ("large" if options.device.startswith("cuda") else "small")
    if set(options.rivals) - set(peers.PEERS):
        raise InputError(f"--rivals may name {', '.join(peers.PEERS)}, got {options.rivals!r}.")
    result = measure(options)
    text = text_of(result)
    print(text, end="")
    options.folder.mkdir(parents=True, exist_ok=True)
    put_into(options.folder / "README.md", text)
    plot(result, options.folder / "growth.png")
    if options.json:
        write_json(result, options.json)


if __name__ == "__main__":
    timing.run(main)
