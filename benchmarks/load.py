#!/usr/bin/env python3
"""Memory and time of loading the first half of a checkpoint's layers, for every family of encoders, a process each.

python benchmarks/load.py                             # 6 of 12 layers of width 1024: 0.3 GB of 0.6 are kept
python benchmarks/load.py --families whisper wavlm

Memory is the largest resident set (VmHWM) minus what was resident before loading. Weights may come as pages of a
mapped file, which are resident only once they are read: so each weight that is kept is read once, as moving it to a GPU
would.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout runs without being installed
from benchmarks import timing  # first: it says how OpenMP's threads wait
from benchmarks.families import SIZES, make_config

# isort: split
import torch
import transformers

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.errors import InputError, check_whole_number
from speechbrain_ext.lobes import TruncatedEncoder
from speechbrain_ext.lobes.families import MODEL_TYPES, get_family
from speechbrain_ext.lobes.pretrained import transformers_class
from speechbrain_ext.versions import versions

FORMATS = {  # file and precision: openai/whisper-large-v3 is published in half
    "safetensors": ("model.safetensors", torch.float32),
    "bin": ("pytorch_model.bin", torch.float32),
    "half safetensors": ("model.safetensors", torch.float16),
    "half bin": ("pytorch_model.bin", torch.float16),
}
N_KEPT, N_WRITTEN = 6, 12
# Whisper's checkpoints hold a decoder as well, of which nothing is read.
DECODER = {"decoder_layers": 1, "decoder_attention_heads": 2, "vocab_size": 100}
DECODER |= {f"{kind}_token_id": 0 for kind in ("pad", "bos", "eos", "decoder_start")}


def make_whole(model_type, size):
    """Build the model of transformers' of which a family's checkpoints are, with weights of zero."""
    decoder = DECODER if model_type == "whisper" else {}
    config = transformers_class(get_family(model_type).config_class)(
        **make_config(model_type, size, N_WRITTEN), **decoder
    )
    with torch.device("meta"):
        model = whole_class(model_type)(config).to_empty(device="cpu")
    for weight in (*model.parameters(), *model.buffers()):
        weight.data.zero_()
    return model


def whole_class(model_type):
    """Return the class of transformers that reads a family's whole checkpoint."""
    return transformers_class("WhisperModel" if model_type == "whisper" else get_family(model_type).model_class)


def write_checkpoint(folder, model_type, size, file_format="safetensors"):
    """Write a checkpoint folder with weights of no meaning."""
    file_name, dtype = FORMATS[file_format]
    model = make_whole(model_type, size).to(dtype)
    model.save_pretrained(folder)
    if file_name == "pytorch_model.bin":
        torch.save(model.state_dict(), Path(folder) / file_name)
        (Path(folder) / "model.safetensors").unlink()


def measure_load(folder):
    """Load, and read each weight once: seconds, the peak of this process's memory, and the bytes that are kept."""
    timing.forget_highest_resident()
    before, start = timing.resident(), time.perf_counter()
    model = TruncatedEncoder(folder, num_layers=N_KEPT, waveform_scale=None)
    for weight in model.parameters():
        weight.detach().sum()
    seconds = time.perf_counter() - start
    n_bytes = sum(p.numel() * p.element_size() for p in model.parameters())
    return {"seconds": seconds, "peak_bytes": timing.resident("VmHWM") - before, "n_bytes": n_bytes}


def child(model_type, folder):
    """Be a process that loads; print what it took as JSON."""
    transformers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as tiny:  # modules that are imported late are not the loading's
        write_checkpoint(tiny, model_type, "tiny")
        measure_load(tiny)
    print(json.dumps(measure_load(folder)))


def measure(options):
    """Load each family from all formats: family -> format -> what `measure_load` returned in each process."""
    found = {}
    for model_type in options.families:
        found[model_type] = {}
        for file_format in FORMATS:
            with tempfile.TemporaryDirectory() as folder:
                write_checkpoint(folder, model_type, options.size, file_format)
                command = [sys.executable, __file__, "--child", model_type, folder]
                runs = [subprocess.run(command, check=True, stdout=subprocess.PIPE) for _ in range(options.repeats)]
            found[model_type][file_format] = [json.loads(run.stdout.splitlines()[-1]) for run in runs]
    return found


def table(found):
    """Write the result as Markdown."""
    lines = ["| family | file | precision | kept, MB | peak / bytes of what is kept | s |", "|---|---|---|---|---|---|"]
    for model_type, formats in found.items():
        for file_format, runs in formats.items():
            file_name, dtype = FORMATS[file_format]
            cells = [model_type, file_name, str(dtype).removeprefix("torch."), f"{runs[0]['n_bytes'] / 1e6:.0f}"]
            cells.append(timing.spread([run["peak_bytes"] / run["n_bytes"] for run in runs], ".2f"))
            cells.append(timing.spread([run["seconds"] for run in runs], ".2f"))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv):
    """Run the benchmark."""
    parser = timing.command_line(__doc__)
    parser.add_argument("--size", default="large", choices=list(SIZES), help="default: %(default)s")
    parser.add_argument("--families", nargs="+", default=list(MODEL_TYPES), help="default: all")
    parser.add_argument("--repeats", metavar="N", type=int, default=3)
    parser.add_argument("--child", nargs=2, metavar=("FAMILY", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        return child(*options.child)
    check_whole_number("--repeats", options.repeats, 1)
    if set(options.families) - set(MODEL_TYPES):
        raise InputError(f"--families may name {', '.join(MODEL_TYPES)}, got {' '.join(options.families)}.")
    found, here, installed = measure(options), timing.machine(), versions()
    print(
        f"{N_KEPT} of {N_WRITTEN} layers of width {SIZES[options.size][0]}. {here['cpu']}; torch {installed['torch']}, "
        f"transformers {installed['transformers']}. Median (lowest to highest) of {options.repeats} processes each."
        f"\n\n{table(found)}"
    )
    if options.json:
        write_json({"size": options.size, "machine": here, "versions": installed, "measured": found}, options.json)


if __name__ == "__main__":
    timing.run(main)
