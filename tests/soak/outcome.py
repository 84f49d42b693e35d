"""What a kind of trial found, and the table of all kinds."""

import dataclasses
import time

COLUMNS = ("kind", "what", "how many", "lost", "tracebacks", "hangs", "silent changes", "seconds")
FAULTS = ("lost", "tracebacks", "hangs", "silent")


@dataclasses.dataclass
class Outcome:
    """Counts of one kind of trial.

    Attributes
    ----------
    kind, what : str
        Its name, and what is counted.
    n : int
        How many trials there were.
    lost : int
        Trials after which less was there than before.
    tracebacks : int
        Trials that ended in a traceback, or in an exception that is no refusal.
    hangs : int
        Trials that did not end in their time.
    silent : int
        Trials that ended as if all were well, with other bytes than those of a healthy run.
    seconds : float
        How long all took.
    notes : list of str
        Numbers that belong to the row.
    findings : list of str
        Each fault, with what repeats it.
    """

    kind: str
    what: str
    n: int = 0
    lost: int = 0
    tracebacks: int = 0
    hangs: int = 0
    silent: int = 0
    seconds: float = 0.0
    notes: list[str] = dataclasses.field(default_factory=list)
    findings: list[str] = dataclasses.field(default_factory=list)
    started: float = dataclasses.field(default_factory=time.monotonic)

    def found(self, fault: str, text: str) -> None:
        """Count a fault, and say what it was."""
        setattr(self, fault, getattr(self, fault) + 1)
        self.findings.append(f"{self.kind}, {fault}: {text}")

    def close(self) -> "Outcome":
        """Note how long it took; return itself."""
        self.seconds = time.monotonic() - self.started
        return self

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not any(getattr(self, fault) for fault in FAULTS)


def make_table(outcomes) -> str:
    """Write outcomes as a table in Markdown, with their notes below."""
    rows = [COLUMNS, ("---", "---", *["---:"] * 6)]
    for one in outcomes:
        counts = (one.lost, one.tracebacks, one.hangs, one.silent, round(one.seconds))
        rows.append((one.kind, one.what, f"{one.n:,}", *map(str, counts)))
    notes = [f"- {one.kind}: {note}" for one in outcomes for note in one.notes]
    return "\n".join([*(f"| {' | '.join(row)} |" for row in rows), "", *notes]) + "\n"
