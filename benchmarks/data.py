#!/usr/bin/env python3
"""Reading, cropping, scaling and augmenting: clips a second of our input pipeline, by the number of worker processes.

python benchmarks/data.py
python benchmarks/data.py --workers 0 4 8 --train_json train_step.json    # as train_step.py --json wrote it

Ours is `train.py`'s own datasets and sampler under `hparams/loso.yaml`. The peer is a plain torch DataLoader with the
same augmentation (audiomentations, same probabilities) that reads whole clips, mixes none, and pads to the longest of
a random batch. Both read the same WAV files of noise with IEMOCAP's lengths. One clip in two of ours has a partner,
which is read and augmented too and does not count as a clip. The start of the workers counts, as in each epoch of a
training.

With the training rate that `train_step.py` measured it says for how much of the time the device would compute, and
from how many workers on it would for 90%.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout runs without being installed
from benchmarks import ours, timing  # first: it says how OpenMP's threads wait

# isort: split
# isort: split
import audiomentations
import soundfile
import torch

from recipes.IEMOCAP import train
from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.dataio.dataset import collate_pairs
from speechbrain_ext.errors import check_number, check_whole_number
from speechbrain_ext.training.run import fold_of
from speechbrain_ext.versions import versions

OURS, PLAIN = "ours", "plain"
LABELS = {OURS: "train.py's pipeline", PLAIN: "plain DataLoader"}
# The nine of the paper's Sec. 3.4, with the library's own ranges.
AUGMENTATIONS = (
    audiomentations.AddGaussianNoise,
    audiomentations.ClippingDistortion,
    audiomentations.Gain,
    audiomentations.GainTransition,
    audiomentations.PolarityInversion,
    audiomentations.TanhDistortion,
    audiomentations.TimeMask,
    audiomentations.TimeStretch,
    audiomentations.PitchShift,
)
WANTED = 0.9  # of the time the device should compute


class PlainClips(torch.utils.data.Dataset):
    """Whole clips, scaled by their peaks and augmented as in loso.yaml."""

    def __init__(self, paths):
        self.paths = paths
        self.augment = audiomentations.SomeOf((1, 3), [transform(p=1.0) for transform in AUGMENTATIONS], p=0.8)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        wav, rate = soundfile.read(self.paths[index], dtype="float32")
        return torch.from_numpy(self.augment(wav / abs(wav).max(), sample_rate=rate))


def pad(clips):
    """Pad clips to the longest: (wavs [B, T], lengths [B])."""
    return torch.nn.utils.rnn.pad_sequence(clips, batch_first=True), torch.tensor([len(clip) for clip in clips])


def write_corpus(folder, n_clips):
    """Write WAVs of noise with IEMOCAP's lengths, evenly out of all sessions; return their manifest."""
    manifest = ours.iemocap_manifest()
    ids = sorted(manifest)[:: max(1, len(manifest) // n_clips)][:n_clips]
    noise = ours.Noise(max(n for _, n in timing.iemocap_lengths()))
    kept = {}
    for i, utt_id in enumerate(ids):
        path = Path(folder) / f"{utt_id}.wav"
        clip = noise(round(manifest[utt_id]["duration"] * timing.SAMPLE_RATE_HZ), 1000 * i)
        soundfile.write(path, clip.numpy(), timing.SAMPLE_RATE_HZ)
        kept[utt_id] = {**manifest[utt_id], "wav": str(path), "emo": ours.EMOTIONS[i % 4]}
    return kept


def our_loader(recipe, manifest, n_workers):
    """Make the loader that `train.py` trains with."""
    fold = fold_of(recipe.hparams, manifest)
    recipe.brain.train_sampler = train.plan_batches(recipe.hparams, manifest, fold)
    return recipe.brain.make_dataloader(
        train.make_dataset(recipe.hparams, manifest, fold.train, recipe.hparams["train_clip"]),
        train.sb.Stage.TRAIN,
        ckpt_prefix=None,
        num_workers=n_workers,
        batch_sampler=recipe.brain.train_sampler,
        collate_fn=collate_pairs,
    )


def plain_loader(recipe, manifest, n_workers):
    """Make the peer's loader over the same clips."""
    paths = [manifest[utt_id]["wav"] for utt_id in fold_of(recipe.hparams, manifest).train]
    size = recipe.hparams["batch_size"]
    return torch.utils.data.DataLoader(PlainClips(paths), size, shuffle=True, num_workers=n_workers, collate_fn=pad)


def epoch_rate(loader):
    """Read an epoch; return clips a second."""
    start = time.perf_counter()
    n_clips = sum(len(batch[0]) if isinstance(batch, tuple) else len(batch.id) for batch in loader)
    return n_clips / (time.perf_counter() - start)


def measure(options):
    """Read epochs by turns; return everything that is written."""
    recipe = ours.Recipe(*ours.sizes("tiny"))
    rates = {n: {name: [] for name in LABELS} for n in options.workers}
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_corpus(folder, options.clips)
        for n_workers in options.workers:
            loaders = {OURS: our_loader(recipe, manifest, n_workers), PLAIN: plain_loader(recipe, manifest, n_workers)}
            for repeat in range(options.repeats + 1):
                for name in list(LABELS) if repeat % 2 == 0 else list(LABELS)[::-1]:
                    rate = epoch_rate(loaders[name])
                    if repeat:  # the first one fills the page cache
                        rates[n_workers][name].append(rate)
    return {
        "n_clips": options.clips,
        "rates": {str(n): row for n, row in rates.items()},
        "ratio": {str(n): [b / a for a, b in zip(row[PLAIN], row[OURS])] for n, row in rates.items()},
        "step_rate": options.step_rate,
        "busy": {str(n): busy(statistics.median(row[OURS]), options.step_rate, n) for n, row in rates.items()},
        "machine": timing.machine(),
        "versions": versions(),
    }


def busy(rate, step_rate, n_workers):
    """Share of the time for which the device computes; None where its rate is unknown.

    With workers, loading and computing overlap, and the slower of the two sets the pace; without, they take turns.
    """
    if step_rate is None:
        return None
    return min(1.0, rate / step_rate) if n_workers else rate / (rate + step_rate)


def verdict(result):
    """Say whether the device is kept busy, and by how many workers."""
    if result["step_rate"] is None:
        return "Without --step_rate or --train_json there is no device to keep busy."
    step_rate = result["step_rate"]
    enough = [int(n) for n, share in result["busy"].items() if share >= WANTED]
    if enough:
        n = min(enough)
        return (
            f"At {step_rate:.4g} utterances/s the device computes for {100 * result['busy'][str(n)]:.0f}% of the time "
            f"with {n} workers: over {100 * WANTED:.0f}%."
        )
    best = max(result["busy"], key=result["busy"].get)
    return (
        f"NOT ENOUGH: at {step_rate:.4g} utterances/s the device computes for {100 * result['busy'][best]:.0f}% of the "
        f"time with {best} workers, the best here ({result['machine']['n_cpus']} CPUs), and waits for the rest."
    )


def table(result):
    """Write the result as Markdown."""
    heads = ["workers", *(f"{label}, clips/s" for label in LABELS.values()), "ours / plain", "device computes"]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for n, row in result["rates"].items():
        share = result["busy"][n]
        cells = [n, *(timing.spread(row[name], ".0f") for name in LABELS), timing.spread(result["ratio"][n], ".2f")]
        lines.append(f"| {' | '.join([*cells, '' if share is None else f'{100 * share:.0f}%'])} |")
    return "\n".join(lines)


def parse(argv):
    """Read the options."""
    parser = timing.command_line(__doc__)
    parser.add_argument(
        "--workers", metavar="N", type=int, nargs="+", help="default: 0, 1, 2, 4 ... to the CPUs' number"
    )
    parser.add_argument("--clips", metavar="N", type=int, default=1500, help="WAV files, out of 5531")
    parser.add_argument("--repeats", metavar="N", type=int, default=3)
    parser.add_argument("--step_rate", metavar="RATE", type=float, help="utterances/s that the device trains on")
    parser.add_argument("--train_json", metavar="FILE", help="take that rate from what train_step.py wrote")
    options = parser.parse_args(argv)
    options.workers = options.workers or [0, *(n for n in (1, 2, 4, 8, 16) if n <= (os.cpu_count() or 1))]
    for n in options.workers:
        check_whole_number("--workers", n, 0)
    check_whole_number("--clips", options.clips, 100)
    check_whole_number("--repeats", options.repeats, 1)
    if options.train_json:
        found = json.loads(Path(options.train_json).read_text(encoding="utf-8"))
        options.step_rate = statistics.median(found["rivals"]["ours"]["rate"])
    if options.step_rate is not None:
        check_number("--step_rate", options.step_rate, 0, float("inf"), inclusive=False)
    return options


def main(argv):
    """Run the benchmark."""
    options = parse(argv)
    result = measure(options)
    here = result["machine"]
    print(
        f"{options.clips} WAV files, IEMOCAP's lengths; {here['cpu']}, {here['n_cpus']} CPUs; torch "
        f"{result['versions']['torch']}. Median (lowest to highest) of {options.repeats} epochs.\n\n"
        f"{table(result)}\n\n{verdict(result)}"
    )
    if options.json:
        write_json(result, options.json)


if __name__ == "__main__":
    timing.run(main)
