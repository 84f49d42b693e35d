#!/usr/bin/env python3
"""A classifier on the CPU: onnxruntime against PyTorch, by turns, on the same clips and number of threads.

OMP_NUM_THREADS=2 python benchmarks/onnx_cpu.py BUNDLE
OMP_NUM_THREADS=2 python benchmarks/onnx_cpu.py --random_layers 12
"""

import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout runs without being installed
from benchmarks import timing  # first: it says how OpenMP's threads wait

# isort: split
import torch

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.errors import check_whole_number
from speechbrain_ext.inference.classifier import load_classifier
from speechbrain_ext.inference.onnx import write_onnx
from speechbrain_ext.versions import versions

# Seconds of each clip of a batch; shorter ones are padded.
CASES = {
    "1 s": [1],
    "2 s": [2],
    "4 s": [4],
    "8 s": [8],
    "8 clips of 1 to 8 s, padded": [1, 2, 3, 4, 5, 6, 7, 8],
}
RIVALS = ("PyTorch", "onnxruntime")


def rivals(classifier, path):
    """Return name -> function from (wavs, wav_lens) to log-posteriors, in the order of RIVALS."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run_pytorch(wavs, wav_lens):
        with torch.inference_mode():
            return classifier.classify_batch(wavs, wav_lens)[0]

    def run_onnxruntime(wavs, wav_lens):
        inputs = {"wavs": wavs.numpy(), "wav_lens": wav_lens.numpy()}
        return torch.from_numpy(session.run(["log_posteriors"], inputs)[0])

    return dict(zip(RIVALS, (run_pytorch, run_onnxruntime)))


def make_batch(durations_s):
    """Make clips of noise: (wavs [B, T], wav_lens [B])."""
    generator = torch.Generator().manual_seed(0)
    lengths = [duration_s * timing.SAMPLE_RATE_HZ for duration_s in durations_s]
    wavs = torch.zeros(len(lengths), max(lengths))
    for row, n in zip(wavs, lengths):
        row[:n] = 0.1 * torch.randn(n, generator=generator)
    return wavs, torch.tensor(lengths) / max(lengths)


def measure(run_of, durations_s, repeats):
    """Time one case: name -> seconds, a repeat each, and the largest "difference" of a log-posterior."""
    batch, short = make_batch(durations_s), make_batch([1])
    pytorch, onnx = (run_of[name](*batch) for name in RIVALS)
    seconds = timing.time_by_turns(
        {name: lambda name=name: run_of[name](*batch) for name in RIVALS},
        repeats,
        settle=lambda name: run_of[name](*short),
    )
    return {**seconds, "difference": (pytorch - onnx).abs().max().item()}


def table(measured):
    """Write the times as Markdown; the ratio is that of the two times of a repeat."""
    lines = [
        "| clips | PyTorch, ms | onnxruntime, ms | PyTorch / onnxruntime | onnxruntime wins | largest difference |",
        "|---|---|---|---|---|---|",
    ]
    for name, case in measured.items():
        ratios = timing.ratios(case, *RIVALS)
        times = [timing.spread([1000 * t for t in case[rival]], ".1f") for rival in RIVALS]
        wins = f"{sum(ratio > 1 for ratio in ratios)} of {len(ratios)}"
        cells = [name, *times, timing.spread(ratios, ".2f"), wins, f"{case['difference']:.1e}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def verdict(measured):
    """Say which is faster: of a case only what was so in 9 of 10 repeats."""
    faster = {"onnxruntime": [], "PyTorch": [], "undecided": []}
    for name, case in measured.items():
        ratios = timing.ratios(case, *RIVALS)
        share = sum(ratio > 1 for ratio in ratios) / len(ratios)
        faster["onnxruntime" if share >= 0.9 else "PyTorch" if share <= 0.1 else "undecided"].append(name)
    return "Faster: " + ", ".join(f"{rival} ({'; '.join(names)})" for rival, names in faster.items() if names) + "."


def main(argv):
    """Run the benchmark."""
    parser = timing.command_line(__doc__)
    parser.add_argument(
        "bundle", metavar="BUNDLE", nargs="?", help="a folder that `speechbrain-ext export` has written"
    )
    parser.add_argument("--random_layers", metavar="N", type=int, default=12, help="without a bundle: N of width 768")
    parser.add_argument("--repeats", metavar="N", type=int, default=15)
    options = parser.parse_args(argv)
    for name in ("random_layers", "repeats"):
        check_whole_number(f"--{name}", getattr(options, name), 1)
    with tempfile.TemporaryDirectory() as scratch:
        bundle = options.bundle or timing.random_bundle(Path(scratch) / "bundle", options.random_layers)
        classifier = load_classifier(bundle)
        path = Path(scratch) / "model.onnx"
        write_onnx(classifier, path)
        n_bytes = path.stat().st_size
        run_of = rivals(classifier, path)
        measured = {name: measure(run_of, durations_s, options.repeats) for name, durations_s in CASES.items()}
    encoder = classifier.mods.embedding_model.encoder
    model = {
        "n_layers": encoder.num_layers,
        "width": encoder.embedding_dim,
        "feature_reduction": encoder.feature_reduction,
        "weights": "trained" if options.bundle else "random",
        "onnx_bytes": n_bytes,
    }
    here = timing.machine()
    found = {**versions(), **{name: version(name) for name in ("onnx", "onnxscript", "onnxruntime")}}
    print(
        f"{model['n_layers']} layers of width {model['width']}, {model['weights']} weights, feature_reduction "
        f"{model['feature_reduction']}, an ONNX file of {n_bytes / 1e6:.1f} MB. {here['cpu']}, {here['n_threads']} "
        f"threads; torch {found['torch']}, onnxruntime {found['onnxruntime']}. Median (lowest to highest) of "
        f"{options.repeats} repeats.\n\n{table(measured)}\n\n{verdict(measured)}"
    )
    if options.json:
        result = {"model": model, "machine": here, "versions": found, "repeats": options.repeats}
        write_json({**result, "measured": measured}, options.json)


if __name__ == "__main__":
    timing.run(main)
