"""The kinds of trials side by side for some minutes, and what becomes of their outcomes: a table in a page."""

import json
import os
import platform
import random
import re
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch

from speechbrain_ext.versions import versions
from tests.soak import children
from tests.soak.bad_inputs import run_bad_inputs
from tests.soak.faults import run_faults
from tests.soak.fuzz import run_fuzz
from tests.soak.kills import run_kills
from tests.soak.load import run_load
from tests.soak.outcome import Outcome, make_table
from tests.soak.workshop import Workshop

KINDS = ("kills", "faults", "bad_inputs", "load", "fuzz")
# What a run of full length has at least, however slow the machine is.
FLOORS = {"kills": 50, "faults": 50, "fuzz": 1_000_000}
FULL_MINUTES = 10.0
SHARES = {"kills": 0.4, "faults": 0.2}  # of the time; the load takes the rest, and fuzzing runs beside them
SHORT = ("train", "export", "predict")
BEGIN, END = "<!-- soak: begin -->\n", "<!-- soak: end -->"
MOST_SHOWN = 20


def soak(minutes, seed=None, only=None, page=None, short=False) -> int:
    """Run the trials, print the table, and write it into a page; return 1 if anything was found."""
    torch.set_num_threads(1)  # a process with threads of its own cannot be forked
    seed = int(seed or random.SystemRandom().randrange(10**6))
    chosen = [kind for kind in KINDS if only is None or kind in only.split(",")]
    if not chosen:
        sys.exit(f"--only must be some of {', '.join(KINDS)}, got {only!r}.")
    print(f"SEED={seed} repeats this run.", flush=True)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="speechbrain-ext-soak-") as folder:
        shop = Workshop(Path(folder) / "shop")
        shop.make_golden(SHORT if short else None)
        run_trials(shop, chosen, seed, minutes, short, outcomes)
    table = make_table(outcomes)
    words = f"make soak MINUTES={minutes:g} SEED={seed}" + (f' ARGS="--only {only}"' if only else "")
    text = f"`{words}`, {machine()}:\n\n{table}"
    print(f"\n{text}")
    findings = [finding for outcome in outcomes for finding in outcome.findings]
    for finding in findings[:MOST_SHOWN]:
        print(f"\n{finding}", file=sys.stderr)
    if len(findings) > MOST_SHOWN:
        print(f"\nand {len(findings) - MOST_SHOWN} more", file=sys.stderr)
    if page:
        write_into(Path(page), text)
    return 0 if all(outcome.is_clean for outcome in outcomes) else 1


def run_trials(shop, chosen, seed, minutes, short, outcomes) -> None:
    """Run the chosen kinds, fuzzing in a process of its own; add their outcomes to a list, in their order."""
    floors = {kind: round(n * min(1.0, minutes / FULL_MINUTES)) for kind, n in FLOORS.items()}
    fuzzing = None
    if "fuzz" in chosen:
        place = shop.folder / "fuzzing"

        def fuzz() -> int:
            golden = shop.folder / "golden"
            found = run_fuzz(place, shop.bundle, golden / "fold", seed, minutes, floors["fuzz"])
            (shop.folder / "fuzz.json").write_text(json.dumps(asdict(found)))
            return 0

        fuzzing = children.start(fuzz, shop.folder / "fuzz.log")
    try:
        if "kills" in chosen:
            outcomes.append(run_kills(shop, seed, SHARES["kills"] * minutes, floors["kills"]))
        if "faults" in chosen:
            outcomes.append(run_faults(shop, seed, SHARES["faults"] * minutes, floors["faults"]))
        if "bad_inputs" in chosen:
            outcomes.append(run_bad_inputs(shop, seed, 10 if short else None))
        if "load" in chosen and not short:
            outcomes.append(run_load(shop, seed, min(1.0, minutes / FULL_MINUTES)))
        if fuzzing:
            os.waitpid(fuzzing, 0)
            outcomes.append(read_outcome(shop.folder / "fuzz.json", shop.folder / "fuzz.log"))
    finally:
        if fuzzing:
            children.end_group(fuzzing)


def read_outcome(path: Path, log: Path) -> Outcome:
    """Read what a process of its own has found; one that has died has found that."""
    if path.exists():
        return Outcome(**json.loads(path.read_text()))
    outcome = Outcome("fuzz", "")
    outcome.found("tracebacks", f"the process has died: {log.read_text(errors='replace')[-2000:]}")
    return outcome.close()


def machine() -> str:
    """Return the machine and the versions in words."""
    model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    cores = f"{os.cpu_count()} cores of {model[1] if model else platform.machine()}"
    listed = ", ".join(f"{name} {versions()[name]}" for name in ("torch", "speechbrain", "speechbrain_ext"))
    return f"{cores}, Python {platform.python_version()}, {listed}"


def write_into(page: Path, text: str) -> None:
    """Put a text between the marks of a page."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        sys.exit(f"{page} lacks the lines {BEGIN.strip()} and {END}.")
    page.write_text(f"{before}{begin}{text}{end}{after}", encoding="utf-8")
