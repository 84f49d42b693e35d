"""Kind `load`: many files, many runs and a large corpus; the memory, and what each of them costs."""

import os
import random
import re
import resource
import time

import numpy as np
import psutil
import soundfile

from speechbrain_ext.corpora import prepare_corpus
from speechbrain_ext.dataio.folds import make_fold
from speechbrain_ext.dataio.manifest import fingerprint, read_manifest, write_manifest
from speechbrain_ext.dataio.sampler import PairedBatchSampler
from tests.soak import children
from tests.soak.outcome import Outcome
from tests.soak.workshop import Workshop

N_RECORDINGS, N_RUNS, N_UTTERANCES = 20_000, 40, 200_000
BROKEN = {"empty": b"", "text": b"no sound\n", "cut": b"RIFF\xf0\xff\0\0WAVEfmt ", "page": b"<!DOCTYPE html>"}
EVERY_BROKEN = 20  # one of so many recordings
GROWTH = 1.3  # of the memory from a tenth of the way to the end
FEW = 50  # looks at the memory, and recordings: less is the start of the program
PER_RECORDING = 1000  # segments of 0.05 s at 8 kHz


class Memory:
    """The memory of a process, as it was seen again and again, in MB."""

    def __init__(self):
        self.seen_mb = []

    def __call__(self, pid) -> None:
        """Look once."""
        try:
            self.seen_mb.append(psutil.Process(pid).memory_info().rss / 1e6)
        except psutil.NoSuchProcess:
            pass

    @property
    def growth(self) -> float:
        """Its largest value in the last fifth, over the largest until a fifth of the way; 1 for what ends at once."""
        if len(self.seen_mb) < FEW:
            return 1.0
        fifth = max(1, len(self.seen_mb) // 5)
        return max(self.seen_mb[-fifth:]) / max(self.seen_mb[:fifth])


def run_load(shop: Workshop, seed: int, share: float = 1.0) -> Outcome:
    """Classify 20,000 recordings, queue 40 runs and prepare 200,000 utterances, or a share of each."""
    outcome = Outcome("load", "recordings that are classified, runs that are queued, utterances that are prepared")
    load_predict(shop, seed, round(N_RECORDINGS * share), outcome)
    load_runs(shop, max(2, round(N_RUNS * share)), outcome)
    load_corpus(shop, max(PER_RECORDING * 4, round(N_UTTERANCES * share)), outcome)
    return outcome.close()


def load_predict(shop: Workshop, seed: int, n: int, outcome: Outcome) -> None:
    """Classify recordings of which one in twenty is broken: each gets its row, and the memory stays flat."""
    folder, out, memory, rng = shop.folder / "many", shop.folder / "many.csv", Memory(), random.Random(f"load {seed}")
    folder.mkdir()
    whole = sorted(shop.wavs.glob("*.wav"))
    for name, data in BROKEN.items():
        (shop.folder / f"{name}.broken").write_bytes(data)
    for k in range(n):
        broken = k % EVERY_BROKEN == 0
        os.link(
            shop.folder / f"{rng.choice(list(BROKEN))}.broken" if broken else rng.choice(whole), folder / f"{k}.wav"
        )
    words = [str(word) for word in shop.predict_words(shop.bundle, out, folder)]
    ended = children.run_action(lambda: children.run_command(words), shop.log, limit_s=3600, watch=memory)
    rows = out.read_text(encoding="utf-8").splitlines()[1:] if out.exists() else []
    n_broken = -(-n // EVERY_BROKEN)
    n_named = sum("Replace the file" in row or "Copy it again" in row for row in rows)
    if ended.crashed or ended.status != 1:
        outcome.found("tracebacks", f"predict over {n} files ended with {ended.status}: {ended.text[-1500:]}")
    if len(rows) != n or n_named != n_broken:
        outcome.found("lost", f"{len(rows)} of {n} rows, {n_named} of {n_broken} with their error")
    if n > FEW and memory.growth > GROWTH:
        outcome.found("silent", f"predict over {n} files: its memory grew by a factor of {memory.growth:.2f}")
    outcome.n += n
    outcome.notes.append(
        f"predict over {n:,} files of 0.3 to 0.5 s, {n_broken:,} of them broken and named in their rows: "
        f"{n / ended.seconds:.0f} files/s with a tiny model and the detector of speech, at most "
        f"{max(memory.seen_mb, default=0):.0f} MB, {memory.growth:.2f} times as much at the end as in the first fifth"
    )


def load_runs(shop: Workshop, n: int, outcome: Outcome) -> None:
    """Queue runs of two folds each: all are done, and the last ones take as long as the first."""
    folder, memory = shop.folder / "runs", Memory()
    seeds = ",".join(str(seed) for seed in range(1, n // 2 + 1))
    words = [*shop.loso_words(folder, shop.folder / "runs_features"), f"--seeds={seeds}"]
    words = [str(word) for word in words]
    ended = children.run_action(lambda: children.run_command(words), shop.log, limit_s=3600, watch=memory)
    done_s = sorted(path.stat().st_mtime for path in folder.glob("seed*/fold*/test_metrics.json"))
    if ended.crashed or ended.status:
        outcome.found("tracebacks", f"run_loso.py with {n} runs ended with {ended.status}: {ended.text[-1500:]}")
    elif len(done_s) != n // 2 * 2:
        outcome.found("lost", f"{len(done_s)} of {n} runs have results")
    elif memory.growth > GROWTH:
        outcome.found("silent", f"run_loso.py with {n} runs: its memory grew by a factor of {memory.growth:.2f}")
    else:
        half = len(done_s) // 2
        first_s, last_s = (done_s[half] - done_s[0]) / half, (done_s[-1] - done_s[half]) / max(1, half - 1)
        outcome.notes.append(
            f"run_loso.py with {len(done_s)} runs queued: all done in {ended.seconds:.0f} s, {first_s:.1f} s a run in "
            f"the first half and {last_s:.1f} s in the second, at most "
            f"{max(memory.seen_mb, default=0):.0f} MB without its runs"
        )
    outcome.n += n


def load_corpus(shop: Workshop, n: int, outcome: Outcome) -> None:
    """Prepare a corpus of segments, make a fold of it in each way, and plan an epoch of batches."""
    folder = shop.folder / "large"
    folder.mkdir()
    lines = ["wav,emo,speaker,start,end"]
    for r in range(n // PER_RECORDING):
        noise = np.random.default_rng(r).uniform(-0.5, 0.5, PER_RECORDING * 400)
        soundfile.write(folder / f"r{r:04}.wav", noise, 8000)
        times = ((f"{k / 20:.2f}", f"{(k + 1) / 20:.2f}") for k in range(PER_RECORDING))
        lines += [f"r{r:04}.wav,{('ang', 'sad')[(k + r) % 2]},s{r % 20:02},{a},{b}" for k, (a, b) in enumerate(times)]
    (folder / "corpus.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def work() -> int:
        taken = {}

        def step(name, function):
            begun = time.monotonic()
            found = function()
            taken[name] = time.monotonic() - begun
            return found

        manifest = step("prepared", lambda: prepare_corpus("csv", str(folder / "corpus.csv"), None).manifest)
        step("fingerprinted", lambda: fingerprint(manifest))
        step("written", lambda: write_manifest(manifest, folder / "manifest.json"))
        step("read", lambda: read_manifest(folder / "manifest.json"))
        ways = ("random", "group", "speaker")
        fold = step(
            "folded in three ways", lambda: [make_fold(manifest, 1, way, emotions=["ang", "sad"]) for way in ways]
        )[0]
        n_samples = [round(16000 * manifest[utt_id]["duration"]) for utt_id in fold.train]
        step("batched", lambda: sum(map(len, PairedBatchSampler(n_samples, 16, 0.5, 8))))
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print("LOAD", ", ".join(f"{name} in {s:.1f} s" for name, s in taken.items()), f"at most {peak_mb:.0f} MB")
        return 0

    ended = children.run_action(work, shop.log, limit_s=3600)
    told = re.search(r"^LOAD (.*)$", ended.text, re.MULTILINE)
    if ended.crashed or not told:
        outcome.found("tracebacks", f"a corpus of {n} utterances: {ended.text[-1500:]}")
    else:
        outcome.notes.append(f"a corpus of {n:,} segments, 50 ms each: {told[1]}")
    outcome.n += n
