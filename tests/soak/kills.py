"""Kind `kills`: SIGKILL at random moments, the same command again, until it ends; then the bytes are compared."""

import random
import shutil
import time

from speechbrain_ext.training.history import EPOCHS_FILE, read_epochs
from tests.soak import children
from tests.soak.outcome import Outcome
from tests.soak.workshop import Workshop, differing, fold_bytes, folder_bytes

MOST_KILLS = 8  # of one command; then it is left alone


class Target:
    """A command that is killed: how it is called, how much it has done so far, and what it leaves in the end."""

    def __init__(self, name, words, done, result):
        self.name, self.words, self.done, self.result = name, words, done, result


def targets(shop: Workshop, folder, rng: random.Random) -> list[Target]:
    """List the commands, each working below a folder; those that the workshop has made once."""
    style = [f"--checkpoints_in_background={rng.random() < 0.5}", f"--num_workers={int(rng.random() < 0.2)}"]
    fold, frozen, loso = folder / "fold", folder / "frozen", folder / "loso"
    out = folder / "answers.csv"
    cache, loso_cache = folder / "features", folder / "loso_features"
    bundle = folder / "bundle"

    def n_epochs(place):
        return len(read_epochs(place / EPOCHS_FILE)) if (place / EPOCHS_FILE).exists() else 0

    def n_shards(place):
        return sum(path.suffix == ".safetensors" and path.name[0] != "." for path in place.rglob("*"))

    def n_answers():
        partial = out.with_name(f"{out.name}.partial")
        return max(len(path.read_bytes().splitlines()) if path.exists() else 0 for path in (out, partial))

    found = [
        Target("train", shop.train_words(fold, *style), lambda: n_epochs(fold), lambda: fold_bytes(fold)),
        Target("features", shop.frozen_words(frozen, cache), lambda: (n_shards(cache), n_epochs(frozen)),
               lambda: fold_bytes(frozen)),
        Target("predict", shop.predict_words(shop.bundle, out), n_answers, lambda: {"answers": out.read_bytes()}),
        Target("export", ["export", shop.folder / "golden" / "fold", bundle], lambda: 0,
               lambda: folder_bytes(bundle)),
        Target("loso", shop.loso_words(loso, loso_cache),
               lambda: (n_shards(loso_cache), *(n_epochs(place) for place in sorted(loso.glob("seed1/fold*")))),
               lambda: {f"{place.name}, {name}": content for place in sorted(loso.glob("seed1/fold*"))
                        for name, content in fold_bytes(place).items()}),
    ]  # fmt: skip
    return [target for target in found if target.name in shop.seconds]


def run_kills(shop: Workshop, seed: int, minutes: float, at_least: int = 0) -> Outcome:
    """Kill commands for some minutes, or until there were enough kills."""
    outcome = Outcome("kills", "SIGKILLs of train.py, feature extraction, run_loso.py, predict and export")
    rng = random.Random(f"kills {seed}")
    deadline = time.monotonic() + 60 * minutes
    golden = {target.name: target.result() for target in targets(shop, shop.folder / "golden", random.Random(0))}
    seconds, counts, n_ends = dict(shop.seconds), dict.fromkeys(golden, 0), 0
    while time.monotonic() < deadline or outcome.n < at_least:
        folder = shop.folder / "killed"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for target in targets(shop, folder, rng):
            if time.monotonic() >= deadline and outcome.n >= at_least:
                break
            n_kills = rng.randint(1, 2 if target.name == "export" else MOST_KILLS)
            done = target.done()
            for k in range(n_kills + 1):
                moment_s = children.choose_moment(rng, seconds[target.name]) if k < n_kills else None
                ended = children.run(target.words, shop.log, moment_s)
                where = f"SEED={seed}, {target.name}, kill {k + 1} of {n_kills}"
                if ended.status == -9 and not ended.hung:
                    outcome.n += 1
                    counts[target.name] += 1
                elif moment_s is not None:  # it was quicker this time
                    seconds[target.name] = 0.7 * seconds[target.name] + 0.3 * ended.seconds
                if ended.hung or ended.crashed:
                    outcome.found("hangs" if ended.hung else "tracebacks", f"{where}: {ended.text[-2000:]}")
                before, done = done, target.done()
                if done < before:
                    outcome.found("lost", f"{where}: {before} before, {done} after")
            if ended.status:
                outcome.found("lost", f"{where}: does not end after its kills: {ended.last_line}")
            elif changed := differing(golden[target.name], target.result()):
                outcome.found("silent", f"{where}: other bytes in {', '.join(changed)}")
            n_ends += 1
    each = ", ".join(f"{name} {count}" for name, count in counts.items())
    outcome.notes.append(f"{each}; {n_ends} commands came to their end, each with the bytes of one never killed "
                         f"({len(differing({}, golden['train']))} files compared of a fold)")  # fmt: skip
    return outcome.close()
