#!/usr/bin/env python3
"""Posteriors of many clips: ours against the peers, by turns, in one process, on clips that are in memory.

OMP_NUM_THREADS=2 python benchmarks/infer.py
python benchmarks/infer.py --device cuda --precision bf16

Peers: (c) SpeechBrain's HuBERT lobe with averaged frames and a linear layer, (d) transformers'
HubertForSequenceClassification. They have ours' encoder: the same layers and weights. Three ways: a loop over files,
each a batch of its own; the same padded batches for all, clips as they come; batches as each one makes them, ours of
clips of similar length (as `speechbrain-ext predict`), the others' as they come. No length is met twice.
"""

import random
import statistics
import tempfile
import time
from pathlib import Path

import ours  # first: it puts the checkout on the path
import peers
import timing
import torch

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.batching import pad_right
from speechbrain_ext.device import check_device
from speechbrain_ext.errors import InputError, check_whole_number
from speechbrain_ext.inference import load_classifier
from speechbrain_ext.versions import versions

OURS = "ours"
WAYS = {"loop": "a loop over files", "same": "the same padded batches", "own": "batches as each makes them"}


def random_classifier(folder, config, n_layers, device, precision):
    """Load a bundle with random weights; return (classifier, weights of its encoder)."""
    timing.random_bundle(folder, n_layers, config)
    classifier = load_classifier(folder, {"device": device, "precision": precision})
    encoder = classifier.mods.embedding_model.encoder
    return classifier, {key: value.cpu() for key, value in encoder.model.state_dict().items()}


def our_posteriors(classifier):
    """Return a function from (wavs, wav_lens) to posteriors."""

    def run(wavs, wav_lens):
        with torch.inference_mode(), classifier.inference_ctx:
            return classifier.classify_batch(wavs, wav_lens)[0].exp()

    return run


def make_batches(clips, order, batch_size, device):
    """Pad clips in this order into batches: (their indices, wavs, wav_lens)."""
    batches = []
    for i in range(0, len(order), batch_size):
        members = order[i : i + batch_size]
        wavs, wav_lens = pad_right([clips[j] for j in members])
        batches.append((members, wavs.to(device), wav_lens.to(device)))
    return batches


def run_over(posteriors, batches, answers, cpu_s, device, first_cut=0, stride=1):
    """Return a function that classifies all batches, and leaves the answers and the CPU time that it took."""

    def run():
        start = time.process_time()
        for members, wavs, wav_lens in batches:
            # Each round of each rival takes another number of samples off the front: a folder of recordings seldom
            # holds a length twice, and a convolution is planned anew for each.
            cut = first_cut + stride * len(cpu_s)
            wavs, n_samples = wavs[:, cut:].contiguous(), wav_lens * wavs.shape[1] - cut
            answers.update(zip(members, posteriors(wavs, n_samples / wavs.shape[1])))
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        cpu_s.append(time.process_time() - start)

    return run


def measure(options):
    """Run all ways by turns; return everything that is written."""
    config, n_layers = ours.sizes(options.size)
    lengths = random.Random(0).sample([n for _, n in timing.iemocap_lengths()], options.clips)
    noise = ours.Noise(max(lengths))
    clips = [noise(n, 1000 * i) for i, n in enumerate(lengths)]
    as_they_come, by_length = list(range(len(clips))), sorted(range(len(clips)), key=lambda i: -lengths[i])
    with tempfile.TemporaryDirectory() as scratch:
        classifier, weights = random_classifier(
            Path(scratch) / "bundle", config, n_layers, options.device, options.precision
        )
    rivals = {OURS: our_posteriors(classifier)}
    for key in options.rivals:
        peer = peers.PEERS[key][1](config, n_layers, options.device, options.precision, weights=weights)
        rivals[key] = peer.posteriors
    found, answers = {}, {}
    for way in WAYS:
        runs, cpu = {}, {}
        for i, (name, posteriors) in enumerate(rivals.items()):
            order = by_length if way == "own" and name == OURS else as_they_come
            batches = make_batches(clips, order, 1 if way == "loop" else options.batch_size, options.device)
            cpu[name], answers[way, name] = [], {}
            runs[name] = run_over(posteriors, batches, answers[way, name], cpu[name], options.device, i, len(rivals))
        seconds = timing.time_by_turns(runs, options.repeats)
        cpu = {name: times[1:] for name, times in cpu.items()}  # the first round warms up
        found[way] = {"seconds": seconds, "cpu_s": cpu}
        found[way]["ratio"] = {key: timing.ratios(seconds, key, OURS) for key in options.rivals}
        found[way]["cpu_ratio"] = {key: timing.ratios(cpu, key, OURS) for key in options.rivals}
    alone = answers["loop", OURS]
    difference = max(
        float((alone[i] - answers[way, OURS][i]).abs().max()) for way in ("same", "own") for i in range(len(clips))
    )
    return {
        "size": options.size,
        "n_layers": n_layers,
        "device": options.device,
        "precision": options.precision,
        "machine": timing.machine(),
        "versions": versions(),
        "n_clips": len(clips),
        "total_s": sum(lengths) / timing.SAMPLE_RATE_HZ,
        "ways": found,
        "difference_of_batching": difference,
    }


def table(result):
    """Write the result as Markdown."""
    keys = list(result["ways"]["loop"]["ratio"])
    heads = [f"({key}) / ours" for key in keys] + [f"({key}) / ours, CPU time" for key in keys]
    lines = [f"| clips | s, ours | {' | '.join(heads)} |", "|---|---|" + "---|" * len(heads)]
    for way, label in WAYS.items():
        case = result["ways"][way]
        cells = [label, timing.spread(case["seconds"][OURS], ".2f")]
        cells += [timing.spread(case["ratio"][key], ".2f") for key in keys]
        cells += [timing.spread(case["cpu_ratio"][key], ".2f") for key in keys]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def report(result, options):
    """Write what was measured, as text."""
    here, found = result["machine"], result["versions"]
    where = here.get("gpu") if result["device"].startswith("cuda") else f"{here['cpu']}, {here['n_threads']} threads"
    names = "; ".join(f"({key}) {peers.PEERS[key][0]}" for key in options.rivals)
    per_second = result["total_s"] / statistics.median(result["ways"]["own"]["seconds"][OURS])
    return (
        f"{result['n_clips']} clips, {result['total_s'] / 60:.1f} minutes, IEMOCAP's lengths; size {result['size']}, "
        f"{result['n_layers']} layers, {result['precision']}; {where}; torch {found['torch']}, transformers "
        f"{found['transformers']}. {names}. Batches of {options.batch_size}. Median (lowest to highest) of "
        f"{options.repeats} rounds.\n\n{table(result)}\n\nOurs, own batches: {per_second:.0f} s of speech a second. "
        f"Largest difference of a posterior of ours between alone and in a batch: "
        f"{result['difference_of_batching']:.1e}."
    )


def main(argv):
    """Run the benchmark."""
    parser = timing.command_line(__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", help=f"{', '.join(ours.SIZES)}; default: large on a GPU, small on the CPU")
    parser.add_argument("--rivals", default="cd", help="letters of the peers")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--clips", metavar="N", type=int, default=32)
    parser.add_argument("--batch_size", metavar="N", type=int, default=16)
    parser.add_argument("--repeats", metavar="N", type=int, default=3)
    options = parser.parse_args(argv)
    check_device(options.device)
    options.size = options.size or ("large" if options.device.startswith("cuda") else "small")
    if not options.rivals or set(options.rivals) - set("cd"):
        raise InputError(f"--rivals may name c and d, got {options.rivals!r}.")
    for name in ("clips", "batch_size", "repeats"):
        check_whole_number(f"--{name}", getattr(options, name), 1)
    result = measure(options)
    print(report(result, options))
    if options.json:
        write_json(result, options.json)


if __name__ == "__main__":
    timing.run(main)
