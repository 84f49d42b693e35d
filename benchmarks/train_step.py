#!/usr/bin/env python3
"""One training step after another: ours against the peers, by turns, in one process, on batches that are in memory.

OMP_NUM_THREADS=2 python benchmarks/train_step.py                        # two cores, scaled down, some minutes
python benchmarks/train_step.py --device cuda --epoch                    # HuBERT-Large, and a whole epoch of ours
python benchmarks/train_step.py --device cuda --loso checkpoint_activations=True --rivals ""

Peers: (a) the authors' loop in fp32, (b) the same under bf16 autocast, (c) SpeechBrain's HuBERT lobe, (d)
transformers' HubertForSequenceClassification; (c) and (d) have as many layers as ours, its precision, and crops of
6.25 s as ours. Ours trains on what its sampler plans: crops, a third of them mixed with a longer partner; (c) and (d)
get the crops alone. Batches are taken evenly over all lengths of an epoch's batches, so that few of them stand for
the epoch.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout runs without being installed
from benchmarks import flops, ours, peers, timing  # first: it says how OpenMP's threads wait

# isort: split
import torch

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.device import check_device
from speechbrain_ext.errors import InputError, check_whole_number
from speechbrain_ext.versions import versions

OURS = "ours"


class Rival:
    """One that is timed: a model, its batches of clips, and what is said about it."""

    def __init__(self, name, model, batches, useful_s, padded_s):
        self.name, self.model, self.batches = name, model, batches
        self.useful_s, self.padded_s = useful_s, padded_s
        self.cpu_s = []  # of each round

    def round(self):
        """Train on each of its batches."""
        start = time.process_time()
        for batch in self.batches:
            self.model.step(batch)
        synchronize(self.model.device)
        self.cpu_s.append(time.process_time() - start)


def spread_out(batches, n, length):
    """Choose n batches evenly over the range of their lengths: one out of the middle of each n-th part."""
    batches = sorted(batches, key=length)
    n = min(n, len(batches))
    return [batches[int((i + 0.5) * len(batches) / n)] for i in range(n)]


def synchronize(device):
    """Wait for the device."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def matmul_rate(device, dtype, seconds=1.0):
    """Measure how many operations a second one large matrix product reaches, the median of repeats."""
    n = 8192 if device.startswith("cuda") else 1024
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in "ab")
    times, until = [], time.perf_counter() + seconds
    while len(times) < 4 or time.perf_counter() < until:
        synchronize(device)
        start = time.perf_counter()
        a @ b
        synchronize(device)
        times.append(time.perf_counter() - start)
    return 2 * n**3 / statistics.median(times[1:])


def memory_of(device, build, step):
    """Build something, run its largest step twice, and return (it, peak bytes on the device or None)."""
    if not device.startswith("cuda"):
        return build(), None
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    model = build()
    step(model)  # makes the optimizers' states
    torch.cuda.reset_peak_memory_stats()
    step(model)
    torch.cuda.synchronize()
    return model, torch.cuda.max_memory_allocated() - before


def make_ours(options, config, n_layers, manifest, noise):
    """Make our side: (Rival, recipe, all training batches planned, all validation batches planned)."""
    size = options.batch_size
    full = [(peers.FIXED_SAMPLES, peers.FIXED_SAMPLES if i % 2 else 0) for i in range(size)]
    recipe, peak = memory_of(
        options.device,
        lambda: ours.Recipe(config, n_layers, options.device, options.precision, {"batch_size": size, **options.loso}),
        lambda recipe: recipe.step(recipe.batch(full, noise)),
    )
    train, valid = recipe.plan(manifest)
    chosen = spread_out(train, options.steps, lambda pairs: max(max(pair) for pair in pairs))
    lengths = [[max(pair) for pair in pairs] for pairs in chosen]
    rival = Rival(OURS, recipe, [recipe.batch(pairs, noise) for pairs in chosen], *seconds_of(lengths))
    rival.n_clips, rival.n_layers, rival.peak = sum(map(len, chosen)), n_layers, peak
    rival.what = recipe.describe()
    rival.flops = statistics.fmean(
        flops.training_flops(config, n, n_layers, recipe.reads_first_frame, recipe.trains_feature_encoder)
        for row in lengths
        for n in row
    )
    return rival, recipe, train, valid


def make_peer(key, options, config, n_layers, precision, utterances, noise):
    """Make a peer on random batches of the same utterances."""
    dropouts, size = peers.PLAIN if options.plain else peers.SHIPPED, options.batch_size
    model, peak = memory_of(
        options.device,
        lambda: peers.make_peer(key, config, n_layers, options.device, precision, dropouts),
        lambda model: model.step(model.batch([noise(peers.FIXED_SAMPLES, i) for i in range(size)])),
    )
    order = torch.randperm(len(utterances), generator=torch.Generator().manual_seed(0)).tolist()
    whole = len(order) // size * size  # a shorter last batch would stand for a full one here
    batches = [[utterances[i] for i in order[j : j + size]] for j in range(0, whole, size)] or [utterances]
    chosen = spread_out(batches, options.peer_steps, max)
    made = [model.batch([noise(n, 1000 * i) for i, n in enumerate(row)]) for row in chosen]
    useful_s, _ = seconds_of(chosen)
    padded_s = statistics.fmean(batch[0].shape[1] for batch in made) / timing.SAMPLE_RATE_HZ
    rival = Rival(key, model, made, useful_s, padded_s)
    rival.n_clips, rival.n_layers, rival.peak = sum(map(len, chosen)), model.n_layers, peak
    drops = "" if key in "ab" else ", no dropout" if options.plain else ", dropouts as shipped"
    rival.what = f"{model.n_layers} layers; {model.precision}; trains {model.trained}{drops}"
    return rival


def seconds_of(rows):
    """Return a clip's mean seconds (its own, padded to its batch's longest)."""
    n = sum(map(len, rows))
    own, padded = sum(map(sum, rows)), sum(len(row) * max(row) for row in rows)
    return own / n / timing.SAMPLE_RATE_HZ, padded / n / timing.SAMPLE_RATE_HZ


def time_epoch(recipe, train, valid, noise):
    """Time one whole epoch of a fold with its validation and checkpoint, on clips that are in memory: seconds."""
    train = [recipe.batch(pairs, noise) for pairs in train]
    valid = [recipe.batch(pairs, noise) for pairs in valid]
    synchronize(recipe.device)
    start = time.perf_counter()
    for batch in train:
        recipe.step(batch)
    synchronize(recipe.device)
    trained = time.perf_counter()
    recipe.validate(valid)
    synchronize(recipe.device)
    return {"training_s": trained - start, "validation_s": time.perf_counter() - trained, **time_checkpoint(recipe)}


def time_checkpoint(recipe):
    """Time the second checkpoint, as later ones are: seconds that training waits, seconds until it is written."""
    for _ in "12":
        start = time.perf_counter()
        recipe.save()
        waited = time.perf_counter() - start
        recipe.brain.checkpointer.wait()
        written = time.perf_counter() - start
    return {"checkpoint_s": waited, "checkpoint_written_s": written}


def measure(options):
    """Run the rivals by turns; return everything that is written."""
    config, n_layers = ours.sizes(options.size)
    manifest = ours.iemocap_manifest()
    noise = ours.Noise(max(n for _, n in timing.iemocap_lengths()))
    torch.manual_seed(0)
    our_rival, recipe, train, valid = make_ours(options, config, n_layers, manifest, noise)
    utterances = [own for pairs in train for own, _ in pairs]
    rivals = [our_rival]
    for key in options.rivals:
        rivals.append(make_peer(key, options, config, n_layers, recipe.precision, utterances, noise))
    seconds = timing.time_by_turns({rival.name: rival.round for rival in rivals}, options.repeats)
    found = {}
    for rival in rivals:
        times, cpu = seconds[rival.name], rival.cpu_s[1:]  # the first round warms up
        found[rival.name] = {
            "name": "speechbrain_ext" if rival.name == OURS else peers.PEERS[rival.name][0],
            "what": rival.what,
            "n_layers": rival.n_layers,
            "useful_s": rival.useful_s,
            "padded_s": rival.padded_s,
            "n_clips": rival.n_clips,
            "seconds": times,
            "rate": [rival.n_clips / t for t in times],
            "cpu_s_per_clip": [t / rival.n_clips for t in cpu],
            "peak_bytes": rival.peak,
        }
    for rival in rivals[1:]:
        row, us = found[rival.name], found[OURS]
        row["ratio"] = [a / b for a, b in zip(us["rate"], row["rate"])]
        row["cpu_ratio"] = [a / b for a, b in zip(row["cpu_s_per_clip"], us["cpu_s_per_clip"])]
    dtype = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    peak = matmul_rate(options.device, dtype, options.matmul_s)
    done = our_rival.flops * statistics.median(found[OURS]["rate"])
    result = {
        "size": options.size,
        "device": options.device,
        "precision": recipe.precision,
        "machine": timing.machine(),
        "versions": versions(),
        "tf32": {"matmul": torch.backends.cuda.matmul.allow_tf32, "cudnn": torch.backends.cudnn.allow_tf32},
        "rivals": found,
        "matmul_flops_per_s": peak,
        "our_flops_per_clip": our_rival.flops,
        "our_flops_per_s": done,
        "utilisation": done / peak,
    }
    if options.epoch:
        result["epoch"] = {"n_train": len(utterances), "n_valid": sum(map(len, valid))}
        result["epoch"] |= time_epoch(recipe, train, valid, noise)
    return result


def table(result):
    """Write the result as Markdown."""
    lines = [
        "| rival | what | s a clip (padded) | utterances/s | ours / it | by CPU time | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    on_cpu = not result["device"].startswith("cuda")
    for key, row in result["rivals"].items():
        label = row["name"] if key == OURS else f"({key}) {row['name']}"
        cells = [
            label,
            row["what"],
            f"{row['useful_s']:.2f} ({row['padded_s']:.2f})",
            timing.spread(row["rate"], ".3g"),
        ]
        cells.append(timing.spread(row["ratio"], ".2f") if "ratio" in row else "")
        cells.append(timing.spread(row["cpu_ratio"], ".2f") if "ratio" in row and on_cpu else "")
        cells.append("" if row["peak_bytes"] is None else f"{row['peak_bytes'] / 1e9:.2f} GB")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def report(result, options):
    """Write what was measured, as text."""
    here, found = result["machine"], result["versions"]
    where = here.get("gpu") if result["device"].startswith("cuda") else f"{here['cpu']}, {here['n_threads']} threads"
    tf32 = "on, as SpeechBrain sets it, but in the products of (a)" if result["tf32"]["matmul"] else "off"
    lines = [
        f"Size {result['size']}, batches of {options.batch_size}; {where}; torch {found['torch']}, transformers "
        f"{found['transformers']}; TF32 {tf32}. Median (lowest to highest) of {options.repeats} rounds.",
        "",
        table(result),
        "",
        f"Ours: {result['our_flops_per_clip'] / 1e9:.3g} GFLOP a clip on its own frames, "
        f"{result['our_flops_per_s'] / 1e9:.4g} GFLOP/s: {100 * result['utilisation']:.0f}% of the "
        f"{result['matmul_flops_per_s'] / 1e9:.4g} GFLOP/s that one large {result['precision']} product reaches here.",
    ]
    if "epoch" in result:
        epoch = result["epoch"]
        waits_s, written_s = epoch["checkpoint_s"], epoch["checkpoint_written_s"]
        total = epoch["training_s"] + epoch["validation_s"] + waits_s
        lines.append(
            f"An epoch of fold 1, {epoch['n_train']} utterances to train on and {epoch['n_valid']} whole ones to "
            f"validate: {total:.1f} s ({epoch['training_s']:.1f} + {epoch['validation_s']:.1f}, and "
            f"{waits_s:.1f} for a checkpoint, which is in place after {written_s:.1f} s)."
        )
    return "\n".join(lines)


def parse(argv):
    """Read the options."""
    parser = timing.command_line(__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", help=f"{', '.join(ours.SIZES)}; default: large on a GPU, small on the CPU")
    parser.add_argument("--rivals", help="letters of the peers; default: abcd on a GPU, acd on the CPU")
    parser.add_argument("--precision", default="auto", help="of ours, (c) and (d), as in loso.yaml")
    parser.add_argument("--plain", action="store_true", help="(c) and (d) without dropout, layerdrop and SpecAugment")
    parser.add_argument("--batch_size", metavar="N", type=int, default=16, help="of all; default: %(default)s")
    parser.add_argument("--steps", metavar="N", type=int, help="batches of ours a round; default: 64 on a GPU, else 8")
    parser.add_argument("--peer_steps", metavar="N", type=int, help="of each peer; default: 8 on a GPU, else 1")
    parser.add_argument("--repeats", metavar="N", type=int, default=5)
    parser.add_argument("--matmul_s", metavar="SECONDS", type=float, default=1.0, help=argparse.SUPPRESS)
    parser.add_argument("--epoch", action="store_true", help="also time a whole epoch of ours")
    parser.add_argument("--loso", metavar="KEY=VALUE", action="append", default=[], help="another key of loso.yaml")
    options = parser.parse_args(argv)
    check_device(options.device)
    cuda = options.device.startswith("cuda")
    options.size = options.size or ("large" if cuda else "small")
    options.rivals = ("abcd" if cuda else "acd") if options.rivals is None else options.rivals
    options.steps = options.steps or (64 if cuda else 8)
    options.peer_steps = options.peer_steps or (8 if cuda else 1)
    unknown = set(options.rivals) - set(peers.PEERS)
    if unknown:
        raise InputError(f"--rivals may name {', '.join(peers.PEERS)}, got {options.rivals!r}.")
    for name in ("batch_size", "steps", "peer_steps", "repeats"):
        check_whole_number(f"--{name}", getattr(options, name), 1)
    options.loso = ours.parse_overrides(options.loso)
    return options


def main(argv):
    """Run the benchmark."""
    options = parse(argv)
    result = measure(options)
    print(report(result, options))
    if options.json:
        write_json(result, options.json)


if __name__ == "__main__":
    timing.run(main)
