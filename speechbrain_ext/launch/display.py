"""One progress display over many training runs: their epochs and scores, how many are finished, the time left."""

import heapq
import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from speechbrain_ext.errors import InputError

KINDS = ("running", "failed", "finished", "waiting")  # the order in which runs find room in the table
STATES = {"retried": "running", "finished before": "finished", **{kind: kind for kind in KINDS}}  # -> kind


@dataclass(frozen=True)
class WatchedRun:
    """A run to show.

    Arguments
    ---------
    name : str
        What `RunDisplay.set_state` calls it.
    folder : str
        Where it keeps epochs.json (a list of one dict an epoch) and, once tested, test_metrics.json.
    n_epochs : int
        How many epochs it takes at most.
    labels : dict
        Heading -> value: the first columns of its row, such as {"seed": 1, "fold": 2}.
    """

    name: str
    folder: str
    n_epochs: int
    labels: dict


@dataclass
class _Progress:
    run: WatchedRun
    state: str = "waiting"
    last_change: int = 0  # counts the state changes of all runs
    n_done: int = None  # epochs, as last readable
    since_s: float = None  # when its attempt started, or ended the last epoch that was seen
    epoch: str = ""
    scores: tuple = None  # (kind, WA, UA)
    news: str = None  # still to be told: a new state, or "" for a new epoch


class RunDisplay:
    """Shows many runs at once: a table on a terminal, elsewhere one plain line for each piece of news.

    What cannot be read in a run's folder is not shown; it never raises.

    Arguments
    ---------
    runs : list of WatchedRun
        The runs, in the order of their rows; all are waiting at first.
    n_parallel : int
        How many run at once; more, when more are seen to run.
    console : rich.console.Console, optional
        Where to show them; standard output if not given.
    clock : callable
        Returns seconds.

    Example
    -------
    >>> runs = [WatchedRun("run1", "results/seed1/fold2", n_epochs=20, labels={"seed": 1, "fold": 2})]
    >>> with RunDisplay(runs, console=Console(force_terminal=False), clock=lambda: 0) as display:
    ...     display.set_state("run1", "running")
    seed 1, fold 2: running | 0 of 1 finished, time left unknown, 0:00 elapsed
    """

    def __init__(self, runs, n_parallel=1, console=None, clock=time.monotonic):
        self.progress = {run.name: _Progress(run) for run in runs}
        self.headings = list(dict.fromkeys(heading for run in runs for heading in run.labels))
        self.n_parallel = n_parallel
        self.console = console or Console()
        redraws = self.console.is_terminal and not self.console.is_dumb_terminal
        self.live = Live(console=self.console, auto_refresh=False) if redraws else None
        self.clock = clock
        self.started_s = clock()
        self.n_changes = 0
        self.n_timed, self.timed_s = 0, 0.0  # epochs that ended since the start, and how long they took

    def __enter__(self):
        if self.live:
            self.live.start()
        self.refresh()
        return self

    def __exit__(self, *error):
        try:
            self.refresh()
        finally:
            if self.live:
                self.live.stop()

    def set_state(self, name, state):
        """Show that a run is waiting, running, retried (its second attempt runs), finished before, finished, failed."""
        if state not in STATES:
            raise InputError(f"state must be one of {', '.join(STATES)}, got {state!r}.")
        progress = self.progress[name]
        if state == progress.state:
            return
        self._observe(progress)  # the epochs until now belong to the state that ends
        self.n_changes += 1
        progress.state, progress.last_change, progress.news = state, self.n_changes, _shown(state)
        progress.since_s = self.clock()
        self.refresh()

    def refresh(self):
        """Read the runs' files; redraw the table or tell the news."""
        for progress in self.progress.values():
            self._observe(progress)
        if self.live:
            self.live.update(self._table(), refresh=True)
            return
        for progress in self.progress.values():
            if progress.news is not None:
                self.console.print(Text(f"{_news_line(progress)} | {self._summary()}"), soft_wrap=True)
                progress.news = None

    def _observe(self, progress):
        """Read a run's files; note and time its new epochs."""
        folder = Path(progress.run.folder)
        n_done, progress.scores = _read(folder / "epochs.json", _last_and_best, missing=(0, None)) or (None, None)
        progress.epoch = f"{n_done}/{progress.run.n_epochs}" if n_done else ""
        if STATES[progress.state] == "finished":  # else the file is of an earlier training
            progress.scores = _read(folder / "test_metrics.json", lambda test: _scores(test, "test"))
        n_before, progress.n_done = progress.n_done, progress.n_done if n_done is None else n_done
        if n_before in (None, progress.n_done):  # epochs that were there at the start are no news and took no time
            return
        if progress.since_s is not None:
            now_s = self.clock()
            if n_done > n_before:  # else an attempt began anew, or from an earlier checkpoint
                self.n_timed += n_done - n_before
                self.timed_s += now_s - progress.since_s
            progress.since_s = now_s
        if n_done and progress.news is None:
            progress.news = ""

    def _summary(self):
        states = [progress.state for progress in self.progress.values()]
        n_left = [_n_epochs_left(progress) for progress in self.progress.values()]
        n_parallel = max(self.n_parallel, sum(STATES[state] == "running" for state in states))
        left_s = time_left(n_left, n_parallel, self.timed_s / self.n_timed if self.n_timed else None)
        return format_summary(states, left_s, self.clock() - self.started_s)

    def _table(self):
        everyone = list(self.progress.values())
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in (*self.headings, "state", "epoch", "best valid WA / UA"):
            table.add_column(Text(str(heading)), no_wrap=True)  # one line a row, or they do not fit the terminal
        rows, others = fit_rows(
            [progress.state for progress in everyone],
            [progress.last_change for progress in everyone],
            self.console.height - 2,  # without headings and summary
        )
        for progress in (everyone[row] for row in rows):
            kind, *scores = progress.scores or ("",)
            scores = " / ".join(f"{score:.1%}" for score in scores) + (" (test)" if kind == "test" else "")
            labels = [progress.run.labels.get(heading, "") for heading in self.headings]
            cells = [Text(str(cell)) for cell in (*labels, _shown(progress.state), progress.epoch, scores)]
            table.add_row(*cells, style="red" if progress.state == "failed" else "")
        below = [Text(line, no_wrap=True, overflow="ellipsis") for line in (others, self._summary()) if line]
        return Group(table, *below)


def time_left(n_epochs_left, n_parallel, epoch_s):
    """Compute how many seconds the runs take if none stops early; None if `epoch_s`, an epoch's seconds, is.

    Each run, in the order given, begins where one of `n_parallel` places is free first.

    Example
    -------
    >>> time_left([10, 20, 30], n_parallel=2, epoch_s=5.0)
    200.0
    """
    if not any(n_epochs_left):
        return 0.0
    places = [0] * n_parallel  # the epochs that each place is taken for
    for n_epochs in n_epochs_left:
        heapq.heappush(places, heapq.heappop(places) + n_epochs)
    return None if epoch_s is None else epoch_s * max(places)


def format_duration(seconds):
    """Write seconds as m:ss or h:mm:ss.

    Example
    -------
    >>> format_duration(754.6), format_duration(3605)
    ('12:35', '1:00:05')
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def format_summary(states, left_s, elapsed_s):
    """Write how far all runs are.

    Example
    -------
    >>> format_summary(["finished before", "failed", "running"], left_s=750, elapsed_s=95)
    '1 of 3 finished, 1 failed, at most 12:30 left, 1:35 elapsed'
    """
    counts = Counter(STATES[state] for state in states)
    parts = [f"{counts['finished']} of {len(states)} finished"]
    if counts["failed"]:
        parts.append(f"{counts['failed']} failed")
    if left_s is None:
        parts.append("time left unknown")
    elif left_s > 0:
        parts.append(f"at most {format_duration(left_s)} left")
    elif counts["running"]:  # no epoch left; what tests take is unknown
        parts.append("only testing left")
    return ", ".join([*parts, f"{format_duration(elapsed_s)} elapsed"])


def fit_rows(states, last_changes, n_lines):
    """Choose the runs to show, all or the running, the failed and the last finished ones, and count the others.

    `last_changes` tells which came into its state last. Returns the indices of the runs and the line of counts.

    Example
    -------
    >>> fit_rows(["finished", "finished", "running", "waiting", "waiting"], [2, 4, 3, 0, 0], n_lines=3)
    ([1, 2], '... and 1 finished, 2 waiting')
    """
    if len(states) <= n_lines:
        return list(range(len(states))), ""
    kinds = [STATES[state] for state in states]
    candidates = [row for row, kind in enumerate(kinds) if kind != "waiting"]
    candidates.sort(key=lambda row: (KINDS.index(kinds[row]), -last_changes[row]))
    rows = sorted(candidates[: max(n_lines - 1, 0)])
    others = Counter(kind for row, kind in enumerate(kinds) if row not in rows)
    return rows, "... and " + ", ".join(f"{others[kind]} {kind}" for kind in KINDS if others[kind])


def _n_epochs_left(progress):
    """Count a run's epochs to come, with all of a waiting one: it is not known before it runs where it goes on."""
    kind = STATES[progress.state]
    n_done = (progress.n_done or 0) if kind == "running" else 0
    return max(progress.run.n_epochs - n_done, 0) if kind in ("running", "waiting") else 0


def _shown(state):
    return "running, second attempt" if state == "retried" else state


def _news_line(progress):
    labels = ", ".join(f"{heading} {value}" for heading, value in progress.run.labels.items())
    epoch = f"epoch {progress.epoch}" if progress.epoch else ""
    scores = "{} WA {:.1%} UA {:.1%}".format(*progress.scores) if progress.scores else ""
    return f"{labels}: " + ", ".join(part for part in (progress.news, epoch, scores) if part)


def _read(path, take, missing=None):
    """Return what `take` finds in a JSON file; None if there is nothing that it understands."""
    try:
        return take(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return missing
    except Exception:  # whatever stands there: hours of training do not end because it cannot be shown
        return None


def _last_and_best(epochs):
    """Return the last epoch's number and the scores of the first of the best ones, None without validation."""
    validated = [_scores(epoch, "best valid", "valid_") for epoch in epochs if "valid_WA" in epoch]
    return int(epochs[-1]["epoch"]) if epochs else 0, max(validated, key=lambda scores: scores[1], default=None)


def _scores(numbers, kind, prefix=""):
    return kind, float(numbers[prefix + "WA"]), float(numbers[prefix + "UA"])
