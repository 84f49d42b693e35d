"""One progress display over many training runs: a table on a terminal, elsewhere one line for each change."""

import contextlib
import json
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from speechbrain_ext.outside_text import guard_terminal, printable
from speechbrain_ext.results.tested_run import METRICS_FILE
from speechbrain_ext.training.history import EPOCHS_FILE, read_epochs

KINDS = ("running", "failed", "finished", "waiting")  # the order of the rows: a small terminal shows the first ones
TO_COME = ("running", "waiting")
KIND_OF = {**{kind: kind for kind in KINDS}, "running, second attempt": "running", "finished before": "finished"}


@dataclass
class WatchedRun:
    """A run to show, with what was last read in its folder."""

    name: str
    folder: str  # holds epochs.json (a list of one dict an epoch) and, once tested, test_metrics.json
    n_epochs: int  # at most
    labels: dict[str, object]  # the first columns of its row, such as {"seed": 1, "fold": 2}
    state: str = "waiting"
    n_done: int = 0
    scores: str = ""

    def read(self) -> int:
        """Read the run's files. Returns how many epochs are new."""
        n_before = self.n_done
        with contextlib.suppress(Exception):  # hours of training do not end because they cannot be shown
            file = Path(self.folder, EPOCHS_FILE)
            epochs = read_epochs(file) if file.exists() else []
            best = max((epoch for epoch in epochs if "valid_WA" in epoch), key=lambda e: e["valid_WA"], default=None)
            scores = f"best valid WA {best['valid_WA']:.1%} UA {best['valid_UA']:.1%}" if best else ""
            self.n_done, self.scores = int(epochs[-1]["epoch"]) if epochs else 0, scores
        if KIND_OF[self.state] == "finished":  # else test_metrics.json is of an earlier training
            self.scores = ""
            with contextlib.suppress(Exception):
                metrics = json.loads(Path(self.folder, METRICS_FILE).read_bytes())
                self.scores = f"test WA {metrics['WA']:.1%} UA {metrics['UA']:.1%}"
        return self.n_done - n_before

    def _cells(self) -> list[str]:
        return [self.state, f"epoch {self.n_done}/{self.n_epochs}" if self.n_done else "", self.scores]


class RunDisplay:
    """Shows many runs at once; it never raises because of what stands in a run's folder.

    Example
    -------
    >>> runs = [WatchedRun("run1", "results/seed1/fold2", n_epochs=20, labels={"seed": 1, "fold": 2})]
    >>> with RunDisplay(runs, Console(force_terminal=False, get_time=lambda: 0)) as display:
    ...     display.set_state("run1", "running")
    seed 1, fold 2: running | 0 of 1 finished, 1 running, 0:00:00 elapsed
    """

    def __init__(self, runs: list[WatchedRun], console: Console | None = None) -> None:
        self.runs = {run.name: run for run in runs}
        # It draws by control characters, which a guarded stream does not write.
        self.console = console or Console(file=getattr(sys.stdout, "stream", None))
        self.started_s, self.n_epochs_seen = self.console.get_time(), 0
        for run in runs:  # epochs that are there at the start are no news
            run.read()
        redraws = self.console.is_terminal and not self.console.is_dumb_terminal
        self.live = Live(console=self.console, auto_refresh=False, get_renderable=self._table) if redraws else None

    def __enter__(self) -> "RunDisplay":
        if self.live:
            self.live.start(refresh=True)
            guard_terminal()  # what is printed meanwhile goes through the display
        return self

    def __exit__(self, *error: object) -> None:
        self.refresh()
        if self.live:
            self.live.stop()  # shows all rows, also those that the terminal had no room for

    def set_state(self, name: str, state: str) -> None:
        """Show a run's new state, one of `KIND_OF`."""
        if state != self.runs[name].state:
            self.runs[name].state = state
            self.refresh(changed=name)

    def refresh(self, changed: str | None = None) -> None:
        """Read the runs' files; draw the table anew, or print a line for each run with news."""
        new = {name: run.read() for name, run in self.runs.items()}
        self.n_epochs_seen += sum(n for n in new.values() if n > 0)  # else an attempt began anew
        if self.live:
            return self.live.refresh()
        for name, run in ((name, run) for name, run in self.runs.items() if name == changed or new[name]):
            labels = ", ".join(f"{heading} {value}" for heading, value in run.labels.items())
            news = [cell for cell in run._cells() if cell and (name == changed or cell != run.state)]
            self.console.print(Text(printable(f"{labels}: {', '.join(news)} | {self._summary()}")), soft_wrap=True)

    def _summary(self) -> str:
        counts = Counter(KIND_OF[run.state] for run in self.runs.values())
        parts = [f"{counts['finished']} of {len(self.runs)} finished"]
        parts += [f"{counts[kind]} {kind}" for kind in ("running", "failed") if counts[kind]]
        n_left = sum(max(run.n_epochs - run.n_done, 0) for run in self.runs.values() if KIND_OF[run.state] in TO_COME)
        elapsed_s = self.console.get_time() - self.started_s
        if n_left and self.n_epochs_seen:  # at the rate of all runs together
            parts.append(f"at most about {timedelta(seconds=round(n_left * elapsed_s / self.n_epochs_seen))} left")
        return ", ".join([*parts, f"{timedelta(seconds=round(elapsed_s))} elapsed"])

    def _table(self) -> Group:
        headings = list(dict.fromkeys(heading for run in self.runs.values() for heading in run.labels))
        columns = [Column(heading, no_wrap=True) for heading in (*headings, "state", "epoch", "scores")]
        table = Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for run in sorted(self.runs.values(), key=lambda run: KINDS.index(KIND_OF[run.state])):
            cells = (*(run.labels.get(key, "") for key in headings), *run._cells())
            table.add_row(*(Text(printable(str(cell))) for cell in cells), style="red" if run.state == "failed" else "")
        return Group(Text(self._summary(), no_wrap=True, overflow="ellipsis"), table)
