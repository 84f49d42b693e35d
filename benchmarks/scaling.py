#!/usr/bin/env python3
"""Utterances that train.py trains on in a second with N processes, against one, and the scaling efficiency.

python benchmarks/scaling.py                                  # a process for each GPU: loso.yaml, random weights
python benchmarks/scaling.py --processes 2                    # without a GPU: demo.yaml on the CPU, with gloo
python benchmarks/scaling.py hparams/loso.yaml --encoder_source=null --precision=fp32  # other options of train.py

What is timed is train.py's own training over whole epochs, reading and mixup included, validation and checkpoints left
out; an epoch to warm up comes before. The clips have lengths drawn from IEMOCAP's and hold noise: arithmetic takes as
long with it. All rivals see the same clips; with N processes a batch is N times as large. One process and N take turns.
The efficiency is rate_N / (N * rate_1): 1 where nothing is lost. A process has one thread, unless OMP_NUM_THREADS says
otherwise.
"""

import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout runs without being installed
from benchmarks import timing  # first: it says how OpenMP's threads wait

# isort: split
import numpy as np
import soundfile
import torch

from recipes.IEMOCAP import train
from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.errors import InputError, check_whole_number
from speechbrain_ext.training.command_line import read_command_line
from speechbrain_ext.training.distributed import world_size_and_rank
from speechbrain_ext.training.hparams_file import read_settings
from speechbrain_ext.versions import versions

ROOT = Path(__file__).resolve().parents[1]
EMOTIONS = ("ang", "hap", "sad", "neu")
TIMES_FILE = "scaling_times_file"  # set in a process that trains: where it writes its seconds
ON_CPU = "The processes share this machine's CPU, its cores and its memory: this says nothing about GPUs."


class TimedBrain(train.EmotionBrain):
    """train.py's own, which notes the seconds of each epoch's training and ends after the last, without any test."""

    seconds = []

    def on_stage_start(self, stage, epoch=None):
        """Start the clock."""
        super().on_stage_start(stage, epoch)
        self.start = time.perf_counter()

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Stop the clock: the loss of the last step is on the CPU, so the device has done what is timed."""
        self.seconds.append(time.perf_counter() - self.start)
        if epoch == self.hparams.number_of_epochs:
            if world_size_and_rank()[1] == 0:
                write_json(self.seconds[1:], os.environ[TIMES_FILE])
            sys.exit(0)


def write_corpus(folder, n_clips):
    """Write clips of noise with IEMOCAP's lengths and their table; return the table. Fold 1 tests on four more."""
    rng = np.random.default_rng(0)
    lengths = random.Random(0).choices([n for _, n in timing.iemocap_lengths()], k=n_clips + len(EMOTIONS))
    with open(folder / "corpus.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "wav", "emo", "speaker", "group"])
        for i, n_samples in enumerate(lengths):
            group = "test" if i < len(EMOTIONS) else "train"
            soundfile.write(folder / f"{i:05}.wav", 0.1 * rng.standard_normal(n_samples), timing.SAMPLE_RATE_HZ)
            writer.writerow([f"{i:05}", f"{i:05}.wav", EMOTIONS[i % len(EMOTIONS)], group, group])
    return folder / "corpus.csv"


def train_epochs(n_processes, arguments, folder):
    """Train in processes of their own; return the seconds of each epoch after the first."""
    # torchrun gives a process one thread by itself, which is no rival to a process with all cores.
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={n_processes}"]
    command = [sys.executable, *(launch if n_processes > 1 else []), __file__, *arguments]
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        times_file = Path(scratch) / "times.json"
        done = subprocess.run(
            [*command, f"--output_folder={scratch}/fold"],
            env={**environment, TIMES_FILE: str(times_file)},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise InputError(f"training with {n_processes} process(es) failed:\n{done.stdout}{done.stderr}")
        return json.loads(times_file.read_text(encoding="utf-8"))


def main(argv):
    """Run the benchmark."""
    n_gpus = torch.cuda.device_count()
    parser = timing.command_line(__doc__)
    parser.add_argument("--processes", metavar="N", type=int, default=n_gpus if n_gpus > 1 else 2)
    parser.add_argument("--clips", metavar="N", type=int, help="by default 20 batches of N processes, on a CPU 4")
    parser.add_argument("--epochs", metavar="N", type=int, default=2, help="timed in a turn, after one that is not")
    parser.add_argument("--repeats", metavar="N", type=int, default=3, help="turns")
    options, arguments = parser.parse_known_args(argv)
    n_processes = options.processes
    for name in ("processes", "epochs", "repeats"):
        check_whole_number(f"--{name}", getattr(options, name), 1)
    on_gpu = n_processes <= n_gpus
    if not arguments or arguments[0].startswith("-"):
        yaml = ["loso.yaml", "--encoder_source=null"] if on_gpu else ["demo.yaml"]
        arguments = [str(ROOT / "hparams" / yaml[0]), *yaml[1:], *arguments]
    if not on_gpu:
        arguments += ["--device=cpu", "--distributed_backend=gloo"]
    line = read_command_line(arguments)
    batch_size = read_settings(line.hparams_file, line.overrides)[0]["batch_size"]
    n_clips = options.clips or (20 if on_gpu else 4) * n_processes * batch_size
    check_whole_number("--clips", n_clips, len(EMOTIONS))

    rates = {1: [], n_processes: []}
    with tempfile.TemporaryDirectory() as folder:
        table = write_corpus(Path(folder), n_clips)
        arguments += [f"--corpus_csv={table}", "--fold=1", "--validation=none", "--noprogressbar"]
        arguments += [f"--number_of_epochs={options.epochs + 1}", "--track_test=False"]
        for turn in range(options.repeats):
            for n in list(rates) if turn % 2 == 0 else list(rates)[::-1]:
                rates[n] += [n_clips / seconds for seconds in train_epochs(n, arguments, folder)]
    efficiency = [many / (n_processes * one) for one, many in zip(rates[1], rates[n_processes])]
    here = {**timing.machine(), "n_threads": int(os.environ.get("OMP_NUM_THREADS", 1))}  # of each process
    print(f"{n_clips} clips an epoch, {batch_size} to a process; {here.get('gpu') if on_gpu else here['cpu']}.")
    for n, found in rates.items():
        print(f"{n} {'process' if n == 1 else 'processes'}: {timing.spread(found, '.2f')} utterances a second")
    print(f"scaling efficiency: {timing.spread(efficiency, '.2f')}")
    if not on_gpu:
        print(ON_CPU)
    if options.json:
        result = {"machine": here, "versions": versions(), "on_gpu": on_gpu, "processes": n_processes}
        result |= {"clips": n_clips, "batch_size": batch_size, "arguments": arguments}
        write_json({**result, "rates": rates, "efficiency": efficiency}, options.json)


def timed_training(argv):
    """Train as `train.py` does, and leave the times."""
    train.EmotionBrain = TimedBrain
    train.main(argv)


if __name__ == "__main__":
    timing.run(timed_training if TIMES_FILE in os.environ else main)
