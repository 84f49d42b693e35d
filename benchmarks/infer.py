#!/usr/bin/env python3
"""Posteriors of many clips: ours against the peers, by turns, a process each, on clips that are in memory.

OMP_NUM_THREADS=2 python benchmarks/infer.py                   # HuBERT-Large size; 5 GB of memory
OMP_NUM_THREADS=2 python benchmarks/infer.py --size small --clips 32
python benchmarks/infer.py --device cuda --clips 32 --peer_precision bf16

Ours is as `speechbrain-ext predict --precision=auto` runs it. Rivals: (f) ours in fp32; peers, in fp32: (c)
SpeechBrain's HuBERT lobe with averaged frames and a linear layer, (d) transformers' HubertForSequenceClassification.
All have the same layers and weights. Three ways: a loop over files, each a batch of its own; the same padded batches
for all, clips as they come; batches as each one makes them, ours of clips of similar length, the others' as they come.
No length is met twice.
"""

import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout runs without being installed
from benchmarks import ours, peers, timing  # first: it says how OpenMP's threads wait

# isort: split
import torch

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.dataio.dataset import pad_right
from speechbrain_ext.device import check_device, resolve_precision
from speechbrain_ext.errors import InputError, check_whole_number
from speechbrain_ext.inference.classifier import load_classifier
from speechbrain_ext.versions import versions

OURS, OURS_IN_FP32, WEIGHTS = "ours", "f", "encoder_for_peers.pt"
NAMES = {OURS_IN_FP32: "ours in fp32", "c": peers.PEERS["c"][0], "d": peers.PEERS["d"][0]}
WAYS = {"loop": "a loop over files", "same": "the same padded batches", "own": "batches as each makes them"}


def our_posteriors(classifier):
    """Return a function from (wavs, wav_lens) to posteriors."""

    def run(wavs, wav_lens):
        with torch.inference_mode():
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


def make_clips(n_clips):
    """Make clips of noise with lengths drawn from IEMOCAP's."""
    lengths = random.Random(0).sample([n for _, n in timing.iemocap_lengths()], n_clips)
    noise = ours.Noise(max(lengths))
    return [noise(n, 1000 * i) for i, n in enumerate(lengths)]


def load_rival(key, options, folder):
    """Load ours from the bundle in a folder, or a peer with its weights; return its function to posteriors."""
    if key in (OURS, OURS_IN_FP32):
        precision = options.precision if key == OURS else "fp32"
        return our_posteriors(load_classifier(folder, {"device": options.device, "precision": precision}))
    config, n_layers = ours.sizes(options.size)
    weights = torch.load(folder / WEIGHTS, weights_only=True)
    return peers.PEERS[key][1](config, n_layers, options.device, options.peer_precision, weights=weights).posteriors


def serve(connection, turn, key, options, folder):
    """Be a rival's process: answer the name of a way with (seconds, CPU seconds, posteriors) of one more round."""
    posteriors = load_rival(key, options, folder)
    clips, batches, n_rounds = make_clips(options.clips), {}, dict.fromkeys(WAYS, 0)
    while way := connection.recv():
        if way not in batches:
            by_length = way == "own" and key in (OURS, OURS_IN_FP32)
            order = sorted(range(len(clips)), key=lambda i: -len(clips[i])) if by_length else range(len(clips))
            size = 1 if way == "loop" else options.batch_size
            batches = {way: make_batches(clips, list(order), size, options.device)}
        # Each round of each rival takes another number of samples off the front: a folder of recordings seldom holds a
        # length twice, and a convolution is planned anew for each.
        cut = turn + n_rounds[way] * (1 + len(options.rivals))
        n_rounds[way] += 1
        connection.send(one_round(posteriors, batches[way], cut, options.device))


def one_round(posteriors, batches, cut, device):
    """Classify all batches, less `cut` samples at the front: (seconds, CPU seconds, posteriors [N, C])."""
    answers = {}
    start, cpu_start = time.perf_counter(), time.process_time()
    for members, wavs, wav_lens in batches:
        wavs, n_samples = wavs[:, cut:].contiguous(), wav_lens * wavs.shape[1] - cut
        answers.update(zip(members, posteriors(wavs, n_samples / wavs.shape[1])))
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu_start
    return seconds, cpu_s, torch.stack([answers[i] for i in sorted(answers)]).float().cpu().numpy()


def measure(options):
    """Run all ways by turns; return everything that is written."""
    config, n_layers = ours.sizes(options.size)
    found, answers = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = timing.random_bundle(Path(scratch) / "bundle", n_layers, config)
        torch.save(load_classifier(folder).mods.embedding_model.encoder.model.state_dict(), folder / WEIGHTS)
        with timing.processes(serve, (OURS, *options.rivals), options, folder) as connections:
            for way in options.ways:
                rounds = {key: [] for key in connections}

                def ask(key, way=way, rounds=rounds):
                    connections[key].send(way)
                    rounds[key].append(connections[key].recv())

                timing.time_by_turns({key: lambda key=key: ask(key) for key in connections}, options.repeats)
                answers[way] = rounds[OURS][-1][2]
                rounds = {key: turns[1:] for key, turns in rounds.items()}  # the first round warms up
                seconds = {key: [turn[0] for turn in turns] for key, turns in rounds.items()}
                cpu = {key: [turn[1] for turn in turns] for key, turns in rounds.items()}
                found[way] = {"seconds": seconds, "cpu_s": cpu}
                found[way]["ratio"] = {key: timing.ratios(seconds, key, OURS) for key in options.rivals}
                found[way]["cpu_ratio"] = {key: timing.ratios(cpu, key, OURS) for key in options.rivals}
                print(row(way, found[way]), file=sys.stderr, flush=True)  # the next way may need more memory
    return {
        "size": options.size,
        "n_layers": n_layers,
        "device": options.device,
        "precision": options.precision,
        "peer_precision": options.peer_precision,
        "machine": timing.machine(),
        "versions": versions(),
        "n_clips": options.clips,
        "total_s": sum(map(len, make_clips(options.clips))) / timing.SAMPLE_RATE_HZ,
        "ways": found,
        "difference_of_batching": max(float(abs(answers[options.ways[0]] - found).max()) for found in answers.values()),
    }


def table(result):
    """Write the result as Markdown."""
    keys = list(next(iter(result["ways"].values()))["ratio"])
    heads = [f"({key}) / ours" for key in keys] + [f"({key}) / ours, CPU time" for key in keys]
    lines = [f"| clips | s, ours | {' | '.join(heads)} |", "|---|---|" + "---|" * len(heads)]
    return "\n".join(lines + [row(way, case) for way, case in result["ways"].items()])


def row(way, case):
    """Write one way's line of the table."""
    cells = [WAYS[way], timing.spread(case["seconds"][OURS], ".2f")]
    cells += [timing.spread(found, ".2f") for found in (*case["ratio"].values(), *case["cpu_ratio"].values())]
    return f"| {' | '.join(cells)} |"


def report(result, options):
    """Write what was measured, as text."""
    here, found = result["machine"], result["versions"]
    where = here.get("gpu") if result["device"].startswith("cuda") else f"{here['cpu']}, {here['n_threads']} threads"
    names = "; ".join(f"({key}) {NAMES[key]}" for key in options.rivals)
    last = list(result["ways"])[-1]
    per_second = result["total_s"] / statistics.median(result["ways"][last]["seconds"][OURS])
    return (
        f"{result['n_clips']} clips, {result['total_s'] / 60:.1f} minutes, IEMOCAP's lengths; size {result['size']}, "
        f"{result['n_layers']} layers; ours in {result['precision']}, peers in {result['peer_precision']}; {where}; "
        f"torch {found['torch']}, transformers {found['transformers']}. {names}. Batches of {options.batch_size}. "
        f"Median (lowest to highest) of {options.repeats} rounds.\n\n{table(result)}\n\nOurs, {WAYS[last]}: "
        f"{per_second:.1f} s of speech a second. Largest difference of a posterior of ours between ways: "
        f"{result['difference_of_batching']:.1e}."
    )


def main(argv):
    """Run the benchmark."""
    parser = timing.command_line(__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", default="large", help=f"{', '.join(ours.SIZES)}; default: %(default)s")
    parser.add_argument("--rivals", default="fcd", help="their letters")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), help="default: all")
    parser.add_argument("--precision", default="auto", help="of ours; default: %(default)s")
    parser.add_argument("--peer_precision", default="fp32", help="default: %(default)s")
    parser.add_argument("--clips", metavar="N", type=int, default=8)
    parser.add_argument("--batch_size", metavar="N", type=int, default=16)
    parser.add_argument("--repeats", metavar="N", type=int, default=3)
    options = parser.parse_args(argv)
    check_device(options.device)
    options.precision = resolve_precision(options.precision, options.device, inference=True)
    if not options.rivals or set(options.rivals) - set(NAMES):
        raise InputError(f"--rivals may name {', '.join(NAMES)}, got {options.rivals!r}.")
    for name in ("clips", "batch_size", "repeats"):
        check_whole_number(f"--{name}", getattr(options, name), 1)
    result = measure(options)
    print(report(result, options))
    if options.json:
        write_json(result, options.json)


if __name__ == "__main__":
    timing.run(main)
