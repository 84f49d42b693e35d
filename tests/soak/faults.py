"""Kind `faults`: a damaged file in a run's folder, cache, bundle or answers; the same bytes come out, or a sentence."""

import random
import shutil
import time
from pathlib import Path

from tests.damage import damaged_copies
from tests.soak import children
from tests.soak.outcome import Outcome
from tests.soak.workshop import Workshop, differing, fold_bytes, folder_bytes

N_GENERAL = 20  # of `damaged_copies`, those for all files come first


class Victim:
    """A command and the folder that it reads: which of its files are damaged, and what comes out."""

    def __init__(self, name, whole, words, result, pattern="**/*"):
        self.name, self.whole, self.words, self.result, self.pattern = name, whole, words, result, pattern

    def files(self) -> list[Path]:
        """List the files of the whole folder that are damaged: all that hold something."""
        found = sorted(path.relative_to(self.whole) for path in self.whole.glob(self.pattern) if path.is_file())
        return [path for path in found if (self.whole / path).stat().st_size and path.suffix not in (".png", ".log")]


def make_unfinished(shop: Workshop, whole: Path) -> None:
    """Make a run that is to be resumed, and files of answers as a kill and as the end leave them."""
    half = whole / "half"
    children.run(shop.train_words(half, "--number_of_epochs=4"), shop.log)
    for name in ("test_metrics.json", "predictions.csv", "confusion.png", "curves.png"):
        (half / name).unlink(missing_ok=True)
    for name, ending in (("journal", ".csv.partial"), ("csv", ".csv"), ("jsonl", ".jsonl")):
        folder = whole / name
        folder.mkdir()
        words = shop.predict_words(shop.bundle, folder / f"answers{ending.removesuffix('.partial')}")
        children.run(words, shop.log)
        if name == "journal":  # as a kill leaves it
            children.run(shop.predict_words(shop.bundle, folder / "lines.jsonl"), shop.log)
            lines = (folder / "lines.jsonl").read_text().splitlines(keepends=True)
            (folder / "answers.csv.partial").write_text("".join(lines[: len(lines) // 2]))
            (folder / "answers.csv").unlink()
            (folder / "lines.jsonl").unlink()


def prepare(shop: Workshop, only=None) -> list[Victim]:
    """Make what is damaged, and list the commands that read it, or some of them; each works on `shop/damaged`."""
    golden, place, out = shop.folder / "golden", shop.folder / "damaged", shop.folder / "out"
    whole = shop.folder / "whole"
    half = whole / "half"
    if only is None:
        make_unfinished(shop, whole)

    def printed():
        return {"printed": "\n".join(line for line in shop.log.read_text().splitlines() if str(place) not in line)}

    def of_file(path):
        return lambda: {path.name: path.read_bytes()}

    def tested():
        return {name: (place / name).read_bytes() for name in ("test_metrics.json", "predictions.csv")}

    answers, frozen = place / "answers.csv", shop.folder / "frozen_again"
    found = [
        Victim("resume", half, shop.train_words(place), lambda: fold_bytes(place)),
        Victim("test again", golden / "fold", [*shop.train_words(place), "--test_only"], tested),
        Victim("export", golden / "fold", ["export", place, out], lambda: folder_bytes(out)),
        Victim("report", golden / "loso", ["report", place, "--folds=1,2"], printed, "seed1/fold*/*"),
        Victim("predict", shop.bundle, shop.predict_words(place, out / "answers.csv"), of_file(out / "answers.csv")),
        Victim("journal", whole / "journal", shop.predict_words(shop.bundle, answers), of_file(answers)),
        Victim("answers", whole / "csv", shop.predict_words(shop.bundle, answers), of_file(answers)),
        Victim("lines", whole / "jsonl", shop.predict_words(shop.bundle, answers.with_suffix(".jsonl")),
               of_file(answers.with_suffix(".jsonl"))),
        Victim("cache", golden / "features", shop.frozen_words(frozen, place), lambda: fold_bytes(frozen)),
    ]  # fmt: skip
    return [victim for victim in found if victim.whole.is_dir() and victim.name in (only or (victim.name,))]


def choose_damage(path: Path, rng: random.Random) -> tuple[str, bytes]:
    """Draw what stands in a file's place: half of the time a flipped bit, a cut or zeros."""
    kinds = list(damaged_copies(path, rng))
    simple = [kind for kind in kinds if kind[0].startswith(("one bit", "cut", "zeros", "empty"))]
    others = kinds[N_GENERAL:] or kinds
    return rng.choice(simple if rng.random() < 0.5 else kinds[:N_GENERAL] if rng.random() < 0.5 else others)


def run_faults(shop: Workshop, seed: int, minutes: float, at_least: int = 0, only=None) -> Outcome:
    """Damage files for some minutes, or until there were enough."""
    outcome = Outcome("faults", "damaged files of run folders, manifests, caches, bundles and answers")
    rng = random.Random(f"faults {seed}")
    deadline = time.monotonic() + 60 * minutes
    victims = prepare(shop, only)
    place, out, again = (shop.folder / name for name in ("damaged", "out", "frozen_again"))

    def run(victim, name=None, damaged=b""):
        for folder in (place, out, again):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(victim.whole, place)
        if name:
            (place / name).write_bytes(damaged)
        return children.run(victim.words, shop.log)

    healthy = {}
    for victim in victims:
        ended = run(victim)
        if ended.status:
            raise RuntimeError(f"{victim.name} failed without a fault:\n{ended.text}")
        healthy[victim.name] = victim.result()
    n_same = n_refused = 0
    while time.monotonic() < deadline or outcome.n < at_least:
        victim = victims[outcome.n % len(victims)]
        name = rng.choice(victim.files())
        kind, damaged = choose_damage(victim.whole / name, rng)
        ended = run(victim, name, damaged)
        outcome.n += 1
        where = f"SEED={seed}, {victim.name}, {name}: {kind}"
        if ended.hung or ended.crashed:
            outcome.found("hangs" if ended.hung else "tracebacks", f"{where}: {ended.text[-1500:]}")
        elif ended.status and not ended.last_line:
            outcome.found("silent", f"{where}: ended with {ended.status} and said nothing")
        elif ended.status:
            n_refused += 1
        elif changed := differing(healthy[victim.name], victim.result()):
            outcome.found("silent", f"{where}: other bytes in {', '.join(changed[:5])}")
        else:
            n_same += 1
    outcome.notes.append(f"{n_same} times the same bytes as without damage, {n_refused} times a sentence and exit 1")
    return outcome.close()
