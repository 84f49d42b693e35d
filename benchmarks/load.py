#!/usr/bin/env python3
"""Memory and time of loading 22 of a checkpoint's 24 layers: ours against all layers and truncation, a process each.

python benchmarks/load.py                   # 24 layers of width 512, random weights, 0.3 GB on disk
python benchmarks/load.py --size large      # HuBERT-Large, 1.3 GB

"all" is transformers' `HubertModel.from_pretrained` with the layers above the 22nd cut off afterwards, which is what
one does without TruncatedHuBERT; "fewer" is the same with `num_hidden_layers=22` in the configuration. Memory is the
largest resident set (VmHWM) minus what was resident before loading. Weights may come as pages of a mapped file, which
are resident only once they are read: so each weight that is kept is read once, as moving it to a GPU would.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout runs without being installed
from benchmarks import ours, peers, timing  # first: it says how OpenMP's threads wait

# isort: split
import torch
import transformers

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.errors import check_whole_number
from speechbrain_ext.lobes.truncated_encoder import TruncatedHuBERT
from speechbrain_ext.versions import versions

WIDE = {"hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 2048, "conv_dim": [256] * 7}
FORMATS = {"safetensors": "model.safetensors", "bin": "pytorch_model.bin"}
RIVALS = {"ours": "TruncatedHuBERT", "all": "all layers, then cut", "fewer": "from_pretrained with fewer layers"}


def load(rival, folder, n_layers):
    """Load an encoder as a rival does."""
    if rival == "ours":
        return TruncatedHuBERT(source=folder, num_layers=n_layers)
    if rival == "fewer":
        return transformers.HubertModel.from_pretrained(folder, num_hidden_layers=n_layers)
    model = transformers.HubertModel.from_pretrained(folder)
    model.encoder.layers = model.encoder.layers[:n_layers]
    return model


def child(rival, folder, n_layers):
    """Load in this process, and print what it took as JSON."""
    transformers.utils.logging.set_verbosity_error()
    tiny, n_tiny = ours.sizes("tiny")
    TruncatedHuBERT(config=tiny, num_layers=n_tiny)  # modules that are imported late are not the loading's
    timing.forget_highest_resident()
    before = timing.resident()
    start = time.perf_counter()
    model = load(rival, folder, n_layers)
    for weight in model.parameters():
        weight.detach().sum()
    seconds = time.perf_counter() - start
    n_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
    peak, after = timing.resident("VmHWM") - before, timing.resident() - before
    print(json.dumps({"seconds": seconds, "peak_bytes": peak, "after_bytes": after, "n_bytes": n_bytes}))


def write_checkpoint(folder, config, file_format):
    """Write a checkpoint folder with random weights."""
    kept = {**peers.SHIPPED, **{key: value for key, value in config.items() if key != "model_type"}}
    model = transformers.HubertModel(transformers.HubertConfig(**kept))
    peers.save_checkpoint(model, folder)
    if file_format == "bin":
        torch.save(model.state_dict(), Path(folder) / FORMATS["bin"])
        (Path(folder) / FORMATS["safetensors"]).unlink()


def run_children(folder, n_layers, repeats):
    """Load by turns, a process each: rival -> what `child` printed, a round each."""
    runs = {rival: [] for rival in RIVALS}
    for repeat in range(repeats):
        for rival in list(RIVALS) if repeat % 2 == 0 else list(RIVALS)[::-1]:
            command = [sys.executable, __file__, "--child", rival, str(folder), "--layers", str(n_layers)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs[rival].append(json.loads(done.stdout.splitlines()[-1]))
    return runs


def measure(config, n_layers, repeats):
    """Load from both formats; return everything that is written."""
    formats = {}
    for file_format in FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(folder, config, file_format)
            runs = run_children(folder, n_layers, repeats)
        needed = runs["ours"][0]["n_bytes"]
        found = {
            rival: {key: [run[key] for run in every] for key in ("seconds", "peak_bytes", "after_bytes")}
            for rival, every in runs.items()
        }
        for row in found.values():
            row["of_needed"] = [peak / needed for peak in row["peak_bytes"]]
            row["ratio"] = [a / b for a, b in zip(row["peak_bytes"], found["ours"]["peak_bytes"])]
        formats[file_format] = found
    return {
        "n_layers": n_layers,
        "of_layers": config["num_hidden_layers"],
        "width": config["hidden_size"],
        "needed_bytes": needed,
        "machine": timing.machine(),
        "versions": versions(),
        "formats": formats,
    }


def table(result):
    """Write the result as Markdown."""
    lines = [
        "| file | loading | peak, MB | peak / bytes of what is kept | peak / ours | resident after, MB | s |",
        "|---|---|---|---|---|---|---|",
    ]
    for file_format, found in result["formats"].items():
        for rival, row in found.items():
            cells = [FORMATS[file_format], RIVALS[rival], timing.spread([n / 1e6 for n in row["peak_bytes"]], ".0f")]
            cells += [timing.spread(row["of_needed"], ".2f"), timing.spread(row["ratio"], ".2f")]
            cells.append(f"{statistics.median(row['after_bytes']) / 1e6:.0f}")
            cells.append(timing.spread(row["seconds"], ".2f"))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv):
    """Run the benchmark."""
    parser = timing.command_line(__doc__)
    parser.add_argument("--size", help=f"{', '.join(ours.SIZES)}; default: width 512")
    parser.add_argument("--layers", metavar="N", type=int, help="how many are kept")
    parser.add_argument("--repeats", metavar="N", type=int, default=3)
    parser.add_argument("--child", nargs=2, metavar=("RIVAL", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        return child(*options.child, options.layers)
    check_whole_number("--repeats", options.repeats, 1)
    config, n_layers = ours.sizes(options.size or "large", **({} if options.size else WIDE))
    result = measure(config, options.layers or n_layers, options.repeats)
    found = result["versions"]
    print(
        f"{result['n_layers']} of {result['of_layers']} layers of width {result['width']}: "
        f"{result['needed_bytes'] / 1e6:.0f} MB of weights. "
        f"{result['machine']['cpu']}; torch {found['torch']}, transformers {found['transformers']}. Median (lowest to "
        f"highest) of {options.repeats} processes each.\n\n{table(result)}"
    )
    if options.json:
        write_json(result, options.json)


if __name__ == "__main__":
    timing.run(main)
