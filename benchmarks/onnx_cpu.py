#!/usr/bin/env python3
"""A classifier on the CPU in five ways, by turns, a process each, with as many threads: which to use when.

OMP_NUM_THREADS=1 python benchmarks/onnx_cpu.py                  # HuBERT-Large's size, random weights; 8 GB of memory
OMP_NUM_THREADS=1 python benchmarks/onnx_cpu.py BUNDLE

PyTorch in fp32 and in bf16; onnxruntime with model.onnx and with model_int8.onnx, as `export` writes them; and, where
they are installed (pip install openvino nncf), OpenVINO with model.onnx, quantized by NNCF with noise.
"""

import importlib.util
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout runs without being installed
from benchmarks import ours, timing  # first: it says how OpenMP's threads wait

# isort: split
import torch

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.errors import check_whole_number
from speechbrain_ext.inference import load_classifier, write_onnx
from speechbrain_ext.inference.onnx import ONNX_FILES
from speechbrain_ext.versions import versions

# Seconds of each clip of a batch; shorter ones are padded.
CASES = {"1 s": [1], "4 s": [4], "8 s": [8], "4 clips of 1 to 8 s, padded": [1, 2, 4, 8]}
REFERENCE = "onnxruntime, fp32"
OPENVINO = "OpenVINO, int8"
RIVALS = ("PyTorch, fp32", "PyTorch, bf16", REFERENCE, "onnxruntime, int8")
PACKAGES = ("onnx", "onnxscript", "onnxruntime", "openvino", "nncf")
N_CALIBRATION = 4


def load_rival(key, bundle, folder):
    """Return a function from (wavs, wav_lens) to log-posteriors."""
    runtime, precision = key.split(", ")
    if runtime == "PyTorch":
        classifier = load_classifier(bundle, {"device": "cpu", "precision": precision})
        return lambda wavs, wav_lens: classifier.classify_batch(wavs, wav_lens)[0]
    if runtime == "OpenVINO":
        clips = [make_batch([duration_s]) for duration_s in range(1, N_CALIBRATION + 1)]
        model = compile_openvino(folder / ONNX_FILES["fp32"], clips)
        return lambda wavs, wav_lens: torch.from_numpy(model(as_inputs(wavs, wav_lens))[0].copy())
    import onnxruntime

    threads = onnxruntime.SessionOptions()
    threads.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(folder / ONNX_FILES[precision], threads, providers=["CPUExecutionProvider"])
    return lambda *batch: torch.from_numpy(session.run(["log_posteriors"], as_inputs(*batch))[0])


def as_inputs(wavs, wav_lens):
    """Name the inputs as the file does."""
    return {"wavs": wavs.numpy(), "wav_lens": wav_lens.numpy()}


def compile_openvino(path, clips):
    """Quantize a model by NNCF after training, weights and activations, and compile it for this processor.

    The ranges of the activations are those that the clips, (wavs, wav_lens), have.
    """
    import nncf
    import openvino

    core = openvino.Core()
    inputs = nncf.Dataset([as_inputs(*clip) for clip in clips])
    model = nncf.quantize(core.read_model(path), inputs, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(clips))
    return core.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": torch.get_num_threads()})


def make_batch(durations_s):
    """Make clips of noise: (wavs [B, T], wav_lens [B])."""
    generator = torch.Generator().manual_seed(0)
    lengths = [duration_s * timing.SAMPLE_RATE_HZ for duration_s in durations_s]
    wavs = torch.zeros(len(lengths), max(lengths))
    for row, n in zip(wavs, lengths):
        row[:n] = 0.1 * torch.randn(n, generator=generator)
    return wavs, torch.tensor(lengths) / max(lengths)


def serve(connection, turn, key, bundle, folder):
    """Be a rival's process: answer the name of a case with (seconds, CPU seconds, posteriors)."""
    run = load_rival(key, bundle, folder)
    with torch.inference_mode():
        while case := connection.recv():
            batch = make_batch(CASES[case])
            start, cpu_start = time.perf_counter(), time.process_time()
            log_posteriors = run(*batch)
            seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
            connection.send((seconds, cpu_s, log_posteriors.exp().numpy()))


def measure(bundle, folder, keys, repeats):
    """Time all cases by turns: case -> rival -> seconds and CPU seconds of each repeat, and its largest difference."""
    measured = {}
    with timing.processes(serve, keys, bundle, folder) as connections:
        for case in CASES:
            rounds = {key: [] for key in keys}

            def ask(key, case=case, rounds=rounds):
                connections[key].send(case)
                rounds[key].append(connections[key].recv())

            timing.time_by_turns({key: lambda key=key: ask(key) for key in keys}, repeats)
            reference = rounds[REFERENCE][0][2]
            measured[case] = {
                key: {
                    "seconds": [turn[0] for turn in turns[1:]],  # the first warms up
                    "cpu_s": [turn[1] for turn in turns[1:]],
                    "difference": float(abs(turns[0][2] - reference).max()),
                }
                for key, turns in rounds.items()
            }
    return measured


def table(measured):
    """Write the times as Markdown; the ratio is that of the two CPU times of a repeat."""
    lines = [
        f"| clips | runtime | s | CPU s | {REFERENCE} / it, CPU time | largest difference of a posterior |",
        "|---|---|---|---|---|---|",
    ]
    for case, rivals in measured.items():
        for key, row in rivals.items():
            ratios = [a / b for a, b in zip(rivals[REFERENCE]["cpu_s"], row["cpu_s"])]
            cells = [case, key, timing.spread(row["seconds"], ".3f"), timing.spread(row["cpu_s"], ".3f")]
            lines.append(f"| {' | '.join([*cells, timing.spread(ratios, '.2f'), format(row['difference'], '.1e')])} |")
    return "\n".join(lines)


def main(argv):
    """Run the benchmark."""
    parser = timing.command_line(__doc__)
    parser.add_argument(
        "bundle", metavar="BUNDLE", nargs="?", help="a folder that `speechbrain-ext export` has written"
    )
    parser.add_argument("--size", default="large", help=f"without a bundle: {', '.join(ours.SIZES)}")
    parser.add_argument("--repeats", metavar="N", type=int, default=3)
    options = parser.parse_args(argv)
    check_whole_number("--repeats", options.repeats, 1)
    has_openvino = all(importlib.util.find_spec(name) for name in ("openvino", "nncf"))
    with tempfile.TemporaryDirectory() as scratch:
        config, n_layers = ours.sizes(options.size)
        bundle = options.bundle or timing.random_bundle(Path(scratch) / "bundle", n_layers, config)
        classifier = load_classifier(bundle, {"device": "cpu"})
        for precision, name in ONNX_FILES.items():
            write_onnx(classifier, Path(scratch) / name, precision)
        n_bytes = {precision: (Path(scratch) / name).stat().st_size for precision, name in ONNX_FILES.items()}
        encoder = classifier.mods.embedding_model.encoder
        model = {
            "n_layers": encoder.num_layers,
            "width": encoder.embedding_dim,
            "weights": "trained" if options.bundle else "random",
            "onnx_bytes": n_bytes,
        }
        del classifier, encoder  # the memory is the rivals'
        keys = [*RIVALS, OPENVINO] if has_openvino else list(RIVALS)
        measured = measure(bundle, Path(scratch), keys, options.repeats)
    here = timing.machine()
    found = {**versions(), **{name: version(name) for name in PACKAGES if importlib.util.find_spec(name)}}
    print(
        f"{model['n_layers']} layers of width {model['width']}, {model['weights']} weights; files of "
        f"{n_bytes['fp32'] / 1e6:.1f} MB and {n_bytes['int8'] / 1e6:.1f} MB "
        f"({n_bytes['int8'] / n_bytes['fp32']:.2f} of it). {here['cpu']}, {here['n_threads']} threads; "
        f"{', '.join(f'{name} {found[name]}' for name in ('torch', *PACKAGES) if name in found)}. Median (lowest to "
        f"highest) of {options.repeats} repeats.\n\n{table(measured)}"
    )
    if options.json:
        result = {"model": model, "machine": here, "versions": found, "repeats": options.repeats}
        write_json({**result, "measured": measured}, options.json)


if __name__ == "__main__":
    timing.run(main)
