#!/usr/bin/env python3
"""Hours of speech classified in a minute: speechbrain-ext predict against a plain loop of classify_file.

OMP_NUM_THREADS=2 python benchmarks/predict.py BUNDLE
OMP_NUM_THREADS=2 python benchmarks/predict.py --random_layers 12 --clips 40

The clips have lengths drawn from IEMOCAP's and hold noise: arithmetic takes as long with it. Both read the same files
in the same process, by turns; the loop is SpeechBrain's own, of the same model.
"""

import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout runs without being installed
from benchmarks import timing  # first: it says how OpenMP's threads wait

# isort: split
import numpy as np
import soundfile
import torch
from speechbrain.inference.classifiers import EncoderClassifier

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.errors import check_whole_number
from speechbrain_ext.inference.recordings import classify_recordings, find_recordings, measure_recordings
from speechbrain_ext.versions import versions


def write_clips(folder, n_clips):
    """Write clips of noise with IEMOCAP's lengths; return the seconds in all."""
    rng = np.random.default_rng(0)
    lengths = random.Random(0).sample([n for _, n in timing.iemocap_lengths()], n_clips)
    for i, n_samples in enumerate(lengths):
        soundfile.write(Path(folder) / f"{i:04}.wav", 0.1 * rng.standard_normal(n_samples), timing.SAMPLE_RATE_HZ)
    return sum(lengths) / timing.SAMPLE_RATE_HZ


def main(argv):
    """Run the benchmark."""
    parser = timing.command_line(__doc__)
    parser.add_argument(
        "bundle", metavar="BUNDLE", nargs="?", help="a folder that `speechbrain-ext export` has written"
    )
    parser.add_argument("--random_layers", metavar="N", type=int, default=12, help="without a bundle: N of width 768")
    parser.add_argument("--clips", metavar="N", type=int, default=200)
    parser.add_argument("--batch_size", metavar="N", type=int, default=16)
    parser.add_argument("--repeats", metavar="N", type=int, default=5)
    options = parser.parse_args(argv)
    for name in ("clips", "batch_size", "repeats"):
        check_whole_number(f"--{name}", getattr(options, name), 1)
    with tempfile.TemporaryDirectory() as scratch:
        bundle = options.bundle or timing.random_bundle(Path(scratch) / "bundle", options.random_layers)
        classifier = EncoderClassifier.from_hparams(source=str(bundle))
        (Path(scratch) / "clips").mkdir()
        total_s = write_clips(Path(scratch) / "clips", options.clips)
        paths, _ = find_recordings(Path(scratch) / "clips")
        found = {}

        def loop():
            for path in paths:
                found["loop", path] = classifier.classify_file(path)[0].exp()[0]

        def predict():
            durations, _ = measure_recordings(paths)
            for prediction in classify_recordings(classifier, durations, options.batch_size):
                found["predict", prediction.path] = torch.tensor(prediction.posteriors)

        seconds = timing.time_by_turns({"loop": loop, "predict": predict}, options.repeats)
    difference = max(float((found["loop", path] - found["predict", path]).abs().max()) for path in paths)
    hours_a_minute = {name: [total_s / 60 / t for t in times] for name, times in seconds.items()}
    ratio = timing.ratios(seconds, "loop", "predict")
    here = timing.machine()
    print(f"{len(paths)} clips, {total_s / 60:.1f} minutes; {here['cpu']}, {here['n_threads']} threads.")
    for name, label in (("loop", "loop of classify_file"), ("predict", f"predict, batches of {options.batch_size}")):
        print(f"{label}: {timing.spread(hours_a_minute[name], '.2f')} hours of speech a minute")
    print(f"predict is {timing.spread(ratio, '.2f')} times as fast; largest difference of a posterior {difference:.1e}")
    if options.json:
        result = {"machine": here, "versions": versions(), "clips": len(paths), "total_s": total_s}
        write_json({**result, "seconds": seconds, "ratio": ratio, "difference": difference}, options.json)


if __name__ == "__main__":
    timing.run(main)
