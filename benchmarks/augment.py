#!/usr/bin/env python3
"""What augmentation costs a worker: each of the paper's nine alone, and the random combinations that a YAML may choose.

OMP_NUM_THREADS=1 python benchmarks/augment.py

A clip is 6.25 s of noise; what stands here is processor time, which a busy machine changes little. All rivals run by
turns. In training a clip with a mixup partner is two clips.
"""

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout runs without being installed
from benchmarks import ours, timing  # first: it says how OpenMP's threads wait

# isort: split
import audiomentations

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.augment.waveforms import PAPER_AUGMENTATIONS, WaveformAugment
from speechbrain_ext.errors import check_whole_number
from speechbrain_ext.versions import versions

CLIP_S = 6.25
CODE = [audiomentations.Gain(min_gain_db=-10.0, max_gain_db=10.0, p=0.3), audiomentations.PolarityInversion(p=0.9)]


def rivals():
    """Make what is measured: name -> WaveformAugment."""
    nine = list(PAPER_AUGMENTATIONS)
    found = {name: WaveformAugment([name], n_transforms=[1, 1]) for name in nine}
    for n_max in (1, 2, 3, 5, 9):
        found[f"1 to {n_max} of the nine, prob 0.8"] = WaveformAugment(nine, prob=0.8, n_transforms=[1, n_max])
    found["each of the nine with p 0.5, prob 0.8"] = WaveformAugment(nine, prob=0.8)
    found["the authors' two, prob 0.8"] = WaveformAugment(CODE, prob=0.8)
    return found


def measure(n_clips, repeats):
    """Augment clips by turns; return name -> list of processor seconds a clip."""
    n_samples = round(CLIP_S * timing.SAMPLE_RATE_HZ)
    wav = ours.Noise(n_samples)(n_samples, 0).numpy()
    augments = rivals()
    found = {name: [] for name in augments}
    for repeat in range(repeats + 1):  # the first round warms up
        for name, augment in augments.items():
            start = time.process_time()
            for i in range(n_clips):
                augment(wav, repeat, f"clip{i}")
            if repeat:
                found[name].append((time.process_time() - start) / n_clips)
    return found


def main(argv):
    """Run the benchmark."""
    parser = timing.command_line(__doc__)
    parser.add_argument("--clips", metavar="N", type=int, default=40)
    parser.add_argument("--repeats", metavar="N", type=int, default=5)
    options = parser.parse_args(argv)
    for name in ("clips", "repeats"):
        check_whole_number(f"--{name}", getattr(options, name), 1)
    seconds, machine = measure(options.clips, options.repeats), timing.machine()
    rounds = f"{options.repeats} rounds of {options.clips} clips"
    print(f"{machine['cpu']}. Processor time, median (lowest to highest) of {rounds}.\n")
    print("| augmentation | ms a clip | clips/s a worker |\n|---|---|---|")
    for name, values in seconds.items():
        cost = timing.spread([1000 * value for value in values], ".2f")
        print(f"| {name} | {cost} | {1 / statistics.median(values):.0f} |")
    if options.json:
        write_json({"seconds": seconds, "machine": machine, "versions": versions()}, options.json)


if __name__ == "__main__":
    timing.run(main)
