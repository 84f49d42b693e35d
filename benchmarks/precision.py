#!/usr/bin/env python3
"""What a lower precision changes: posteriors, decisions and UA of a bundle on a corpus, against fp32.

python benchmarks/precision.py BUNDLE --data_folder demo_corpus
python benchmarks/precision.py BUNDLE --data_folder emodb --corpus emodb --ways bf16 int8

Ways: bf16 (`--precision=bf16`), batch (bf16 in batches against bf16 alone), onnx (`export --onnx`), int8
(`export --onnx=int8`), and, where they are installed (pip install openvino nncf), openvino (model.onnx, quantized by
NNCF with training recordings: `--calibrate FOLDER`). Each recording is classified alone.
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout runs without being installed
from benchmarks import onnx_cpu, timing  # first: it says how OpenMP's threads wait

# isort: split
import torch

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.corpora import find_corpus_name, prepare_corpus
from speechbrain_ext.dataio import read_audio
from speechbrain_ext.dataio.dataset import pad_right
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference import load_classifier, write_onnx
from speechbrain_ext.results import EmotionMetrics
from speechbrain_ext.versions import versions

WAYS = ("bf16", "batch", "onnx", "int8")
OPENVINO = "openvino"
BATCH_SIZE = 16
N_CALIBRATION = 64


def read_clips(options, emotions, sample_rate):
    """Read a corpus's recordings with the bundle's emotions: (waveforms [T], indices of their emotions [N])."""
    corpus = find_corpus_name(options.data_folder, options.corpus)
    manifest = prepare_corpus(corpus, options.data_folder, emotions, allow_incomplete=True, progress=False).manifest
    clips = list(manifest.values())[:: options.every]
    paths = [clip["wav"].replace("{data_root}", options.data_folder) for clip in clips]
    wavs = [torch.from_numpy(read_audio(path, path, sample_rate)) for path in paths]
    return wavs, torch.tensor([emotions.index(clip["emo"]) for clip in clips])


def torch_posteriors(bundle, precision, wavs, batch_size=1):
    """Classify with PyTorch, [N, C]; batches are of clips of similar length."""
    classifier = load_classifier(bundle, {"device": "cpu", "precision": precision})
    order = sorted(range(len(wavs)), key=lambda i: len(wavs[i]))
    found = {}
    for start in range(0, len(order), batch_size):
        members = order[start : start + batch_size]
        with torch.inference_mode():
            log_posteriors = classifier.classify_batch(*pad_right([wavs[i] for i in members]))[0]
        found.update(zip(members, log_posteriors.exp()))
    return torch.stack([found[i] for i in range(len(wavs))])


def onnx_posteriors(bundle, kind, wavs):
    """Classify with onnxruntime, [N, C]."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        write_onnx(load_classifier(bundle, {"device": "cpu"}), path, kind)
        threads = onnxruntime.SessionOptions()
        threads.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, threads, providers=["CPUExecutionProvider"])
    inputs = ({"wavs": wav.unsqueeze(0).numpy(), "wav_lens": torch.ones(1).numpy()} for wav in wavs)
    return torch.cat([torch.from_numpy(session.run(["log_posteriors"], one)[0]).exp() for one in inputs])


def openvino_posteriors(bundle, wavs, folder, sample_rate):
    """Classify with OpenVINO in int8, calibrated with recordings out of a folder, [N, C]."""
    paths = sorted(Path(folder).rglob("*.wav"))
    if not paths:
        raise InputError(f"--calibrate: {folder} holds no WAV file. Give a folder with training recordings.")
    paths = paths[:: max(1, len(paths) // N_CALIBRATION)][:N_CALIBRATION]
    clips = [torch.from_numpy(read_audio(path, path, sample_rate)) for path in paths]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        write_onnx(load_classifier(bundle, {"device": "cpu"}), path)
        model = onnx_cpu.compile_openvino(path, [(clip.unsqueeze(0), torch.ones(1)) for clip in clips])
    inputs = (onnx_cpu.as_inputs(wav.unsqueeze(0), torch.ones(1)) for wav in wavs)
    return torch.cat([torch.from_numpy(model(one)[0].copy()).exp() for one in inputs])


def unweighted_accuracy(posteriors, labels, emotions):
    """Compute UA, in percent."""
    metrics = EmotionMetrics(emotions)
    metrics.update(posteriors.log(), labels)
    return 100 * metrics.compute()["UA"]


def compare(posteriors, reference, labels, emotions):
    """Compare posteriors [N, C] with those of fp32."""
    difference = (posteriors - reference).abs().max(dim=1).values
    uas = [unweighted_accuracy(found, labels, emotions) for found in (posteriors, reference)]
    return {
        "largest_difference": difference.max().item(),
        "mean_difference": difference.mean().item(),
        "equal_decisions": (posteriors.argmax(1) == reference.argmax(1)).float().mean().item(),
        "UA": uas[0],
        "UA_lost": uas[1] - uas[0],
    }


def measure(options):
    """Classify by all ways; return everything that is written."""
    classifier = load_classifier(options.bundle, {"device": "cpu"})
    emotions, sample_rate = list(classifier.hparams.emotions), classifier.hparams.sample_rate
    wavs, labels = read_clips(options, emotions, sample_rate)
    alone = {"fp32": torch_posteriors(options.bundle, "fp32", wavs)}
    found = {}
    for way in options.ways:
        reference = alone["fp32"]
        if way == "batch":
            posteriors = torch_posteriors(options.bundle, "bf16", wavs, BATCH_SIZE)
            reference = alone.get("bf16", reference)
        elif way == "bf16":
            posteriors = alone["bf16"] = torch_posteriors(options.bundle, "bf16", wavs)
        elif way == OPENVINO:
            posteriors = openvino_posteriors(options.bundle, wavs, options.calibrate, sample_rate)
        else:
            posteriors = onnx_posteriors(options.bundle, {"onnx": "fp32"}.get(way, way), wavs)
        found[way] = compare(posteriors, reference, labels, emotions)
    return {
        "data": Path(options.data_folder).resolve().name,
        "n": len(wavs),
        "UA": unweighted_accuracy(alone["fp32"], labels, emotions),
        "ways": found,
        "machine": timing.machine(),
        "versions": versions(),
    }


def table(result):
    """Write the result as Markdown."""
    lines = [
        "| way | largest difference of a posterior | mean | equal decisions | UA | UA lost, points |",
        "|---|---|---|---|---|---|",
    ]
    for way, row in result["ways"].items():
        lines.append(
            f"| {way} | {row['largest_difference']:.1e} | {row['mean_difference']:.1e} | "
            f"{100 * row['equal_decisions']:.2f}% | {row['UA']:.2f}% | {row['UA_lost']:.2f} |"
        )
    return "\n".join(lines)


def main(argv):
    """Run the benchmark."""
    parser = timing.command_line(__doc__)
    parser.add_argument("bundle", metavar="BUNDLE", help="a folder that `speechbrain-ext export` has written")
    parser.add_argument("--data_folder", metavar="FOLDER", required=True, help="a corpus's folder")
    parser.add_argument("--corpus", metavar="NAME", help="as `speechbrain-ext prepare` takes it")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), help="default: %(default)s")
    parser.add_argument(
        "--calibrate", metavar="FOLDER", help=f"WAV files for {OPENVINO}, of which it takes {N_CALIBRATION} at most"
    )
    parser.add_argument("--every", metavar="N", type=int, default=1, help="take each N-th recording")
    options = parser.parse_args(argv)
    known = (*WAYS, OPENVINO)
    if set(options.ways) - set(known):
        raise InputError(f"--ways may name {', '.join(known)}, got {' '.join(options.ways)}.")
    if OPENVINO in options.ways and not options.calibrate:
        raise InputError(f"{OPENVINO} needs --calibrate=FOLDER with training recordings.")
    result = measure(options)
    print(
        f"{result['n']} recordings of {result['data']}, alone; UA {result['UA']:.2f}% in fp32; "
        f"{result['machine']['cpu']}; torch {result['versions']['torch']}.\n\n{table(result)}"
    )
    if options.json:
        write_json(result, options.json)


if __name__ == "__main__":
    timing.run(main)
