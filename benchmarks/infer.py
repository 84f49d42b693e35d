#!/usr/bin/env python3
"""Posteriors of many clips: ours against the peers, by turns, a process each, on clips that are in memory.

OMP_NUM_THREADS=2 python benchmarks/infer.py
python benchmarks/infer.py --device cuda --precision bf16

Peers: (c) SpeechBrain's HuBERT lobe with averaged frames and a linear layer, (d) transformers'
HubertForSequenceClassification. They have ours' encoder: the same layers and weights. Three ways: a loop over files,
each a batch of its own; the same padded batches for all, clips as they come; batches as each one makes them, ours of
clips of similar length (as `speechbrain-ext predict`), the others' as they come. No length is met twice.
"""

import contextlib
import multiprocessing
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
from speechbrain_ext.device import check_device
from speechbrain_ext.errors import InputError, check_whole_number
from speechbrain_ext.inference.classifier import load_classifier
from speechbrain_ext.versions import versions

OURS, WEIGHTS = "ours", "encoder_for_peers.pt"
WAYS = {"loop": "a loop over files", "same": "the same padded batches", "own": "batches as each makes them"}


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


def make_clips(n_clips):
    """Make clips of noise with lengths drawn from IEMOCAP's."""
    lengths = random.Random(0).sample([n for _, n in timing.iemocap_lengths()], n_clips)
    noise = ours.Noise(max(lengths))
    return [noise(n, 1000 * i) for i, n in enumerate(lengths)]


def load_rival(key, options, folder):
    """Load ours from the bundle in a folder, or a peer with its weights; return its function to posteriors."""
    if key == OURS:
        return our_posteriors(load_classifier(folder, {"device": options.device, "precision": options.precision}))
    config, n_layers = ours.sizes(options.size)
    weights = torch.load(folder / WEIGHTS, weights_only=True)
    return peers.PEERS[key][1](config, n_layers, options.device, options.precision, weights=weights).posteriors


def serve(connection, key, options, folder, turn):
    """Be a rival's process: answer the name of a way with (seconds, CPU seconds, posteriors) of one more round."""
    posteriors = load_rival(key, options, folder)
    clips, batches, n_rounds = make_clips(options.clips), {}, dict.fromkeys(WAYS, 0)
    while way := connection.recv():
        if way not in batches:
            by_length = way == "own" and key == OURS
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


@contextlib.contextmanager
def processes(options, folder):
    """Start a process for each rival; name -> connection to it."""
    context = multiprocessing.get_context("spawn")
    connections, started = {}, []
    try:
        for turn, key in enumerate((OURS, *options.rivals)):
            connections[key], end = context.Pipe()
            started.append(context.Process(target=serve, args=(end, key, options, folder, turn)))
            started[-1].start()
            end.close()  # so that a process that dies is noticed
        yield connections
        for connection in connections.values():
            connection.send(None)
    except BaseException:
        for process in started:
            process.kill()
        raise
    finally:
        for process in started:
            process.join()


def measure(options):
    """Run all ways by turns; return everything that is written."""
    config, n_layers = ours.sizes(options.size)
    found, answers = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = timing.random_bundle(Path(scratch) / "bundle", n_layers, config)
        encoder = load_classifier(folder).mods.embedding_model.encoder
        torch.save(encoder.model.state_dict(), folder / WEIGHTS)
        with processes(options, folder) as connections:
            for way in WAYS:
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
    return {
        "size": options.size,
        "n_layers": n_layers,
        "device": options.device,
        "precision": options.precision,
        "machine": timing.machine(),
        "versions": versions(),
        "n_clips": options.clips,
        "total_s": sum(map(len, make_clips(options.clips))) / timing.SAMPLE_RATE_HZ,
        "ways": found,
        "difference_of_batching": max(float(abs(answers["loop"] - answers[way]).max()) for way in ("same", "own")),
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
