"""The display of many runs: its arithmetic by hand, its two ways of showing on recorded consoles."""

import io
import json
import re
import shutil
import sys
import threading

import pytest
from rich.console import Console

from speechbrain_ext.errors import InputError
from speechbrain_ext.launch.display import (
    RunDisplay,
    WatchedRun,
    fit_rows,
    format_duration,
    format_summary,
    time_left,
)

HEADINGS = "seed fold state epoch best valid WA / UA"
RED = "\x1b[31m"
NOTHING_KNOWN = "time left unknown, 0:00 elapsed"


class Watched:
    """Runs "a", "b", ... of seed 1 in folders of their own, a clock set by hand, and all that is shown of them."""

    def __init__(self, tmp_path, n_runs=1, n_epochs=20, n_parallel=1, terminal=False, height=25):
        self.now_s = 0.0
        self.folders = {name: tmp_path / name for name in "abcdefghij"[:n_runs]}
        self.runs = []
        for fold, (name, folder) in enumerate(self.folders.items(), start=1):
            folder.mkdir(exist_ok=True)
            self.runs.append(WatchedRun(name, str(folder), n_epochs, {"seed": 1, "fold": fold}))
        self.file = io.StringIO()
        self.console = Console(file=self.file, force_terminal=terminal, width=100, height=height)
        self.n_parallel = n_parallel

    def display(self):
        return RunDisplay(self.runs, self.n_parallel, self.console, clock=lambda: self.now_s)

    def has_epochs(self, name, *valid_scores, n_epochs=0):
        """Write epochs.json with these (WA, UA), or of so many epochs without validation."""
        epochs = [{"epoch": number, "lr": 0.1, "train_loss": 1.0} for number in range(1, n_epochs + 1)]
        for number, (wa, ua) in enumerate(valid_scores, start=1):
            epochs.append({"epoch": number, "train_loss": 1.0, "valid_loss": 1.0, "valid_WA": wa, "valid_UA": ua})
        (self.folders[name] / "epochs.json").write_text(json.dumps(epochs))

    def is_tested(self, name, wa, ua):
        results = {"WA": wa, "UA": ua, "tested_epoch": 1}
        (self.folders[name] / "test_metrics.json").write_text(json.dumps(results))

    def news(self):
        """The lines since this was last called."""
        lines = self.file.getvalue().splitlines()
        self.file.seek(0)
        self.file.truncate()
        return lines

    def screen(self):
        """The lines that stand on the terminal: what follows after the last line was erased, words one space apart."""
        frame = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.file.getvalue().split("\x1b[2K")[-1])
        return [" ".join(line.split()) for line in frame.splitlines() if line.strip()]


@pytest.fixture(autouse=True)
def _capable_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.mark.parametrize(
    "n_epochs_left, n_parallel, epoch_s, seconds",
    [
        ([10], 1, 3.0, 30.0),
        ([10, 20, 30], 2, 5.0, 200.0),  # 10 and then 30 in one place
        ([10, 10, 10, 10], 2, 5.0, 100.0),
        ([4, 20], 2, 5.0, 100.0),  # a run is not split
        ([10, 10, 10], 2, 1.0, 20.0),
        ([10], 4, 3.0, 30.0),  # a run is not split
        ([10], 1, None, None),
        ([0, 0], 1, None, 0.0),
        ([], 1, 2.0, 0.0),
    ],
)
def test_time_left_by_hand(n_epochs_left, n_parallel, epoch_s, seconds):
    assert time_left(n_epochs_left, n_parallel, epoch_s) == seconds


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0:00"),
        (9.4, "0:09"),
        (59.6, "1:00"),
        (750, "12:30"),
        (3599, "59:59"),
        (3599.7, "1:00:00"),
        (3661, "1:01:01"),
        (100 * 3600 + 62, "100:01:02"),
    ],
)
def test_format_duration_by_hand(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    "states, left_s, text",
    [
        (["waiting", "running"], None, "0 of 2 finished, time left unknown, 1:35 elapsed"),
        (["finished", "finished before", "retried"], 750, "2 of 3 finished, at most 12:30 left, 1:35 elapsed"),
        (["failed", "waiting"], 61.0, "0 of 2 finished, 1 failed, at most 1:01 left, 1:35 elapsed"),
        (["finished", "running"], 0.0, "1 of 2 finished, only testing left, 1:35 elapsed"),
        (["finished", "failed"], 0.0, "1 of 2 finished, 1 failed, 1:35 elapsed"),
    ],
)
def test_format_summary_by_hand(states, left_s, text):
    assert format_summary(states, left_s, elapsed_s=95) == text


MANY = ["finished", "failed", "running", "finished before", "finished", "retried", "waiting", "waiting"]
CHANGES = [6, 5, 3, 1, 4, 7, 0, 0]  # rows 0, 4, 3: finished last to first


@pytest.mark.parametrize(
    "n_lines, rows, others",
    [
        (8, [0, 1, 2, 3, 4, 5, 6, 7], ""),
        (7, [0, 1, 2, 3, 4, 5], "... and 2 waiting"),
        (6, [0, 1, 2, 4, 5], "... and 1 finished, 2 waiting"),
        (5, [0, 1, 2, 5], "... and 2 finished, 2 waiting"),
        (4, [1, 2, 5], "... and 3 finished, 2 waiting"),
        (3, [2, 5], "... and 1 failed, 3 finished, 2 waiting"),
        (2, [5], "... and 1 running, 1 failed, 3 finished, 2 waiting"),
        (-1, [], "... and 2 running, 1 failed, 3 finished, 2 waiting"),
    ],
)
def test_fit_rows_by_hand(n_lines, rows, others):
    assert fit_rows(MANY, CHANGES, n_lines) == (rows, others)


def test_fit_rows_only_counts_waiting_runs():
    assert fit_rows(["running", "waiting", "waiting", "waiting"], [1, 0, 0, 0], 3) == ([0], "... and 3 waiting")


def test_news_are_told_once_and_in_full(tmp_path):
    watched = Watched(tmp_path, n_runs=2)
    with watched.display() as display:
        display.refresh()
        assert watched.news() == []
        display.set_state("a", "running")
        display.set_state("a", "running")
        display.refresh()
        assert watched.news() == [f"seed 1, fold 1: running | 0 of 2 finished, {NOTHING_KNOWN}"]
        watched.now_s = 30.0
        watched.has_epochs("a", (0.4521, 0.4404))
        display.refresh()
        display.refresh()
        assert watched.news() == [  # 19 + 20 epochs of 30 s
            "seed 1, fold 1: epoch 1/20, best valid WA 45.2% UA 44.0% | 0 of 2 finished, at most 19:30 left, "
            "0:30 elapsed"
        ]
        display.set_state("a", "failed")
        assert watched.news() == [
            "seed 1, fold 1: failed, epoch 1/20, best valid WA 45.2% UA 44.0% | 0 of 2 finished, 1 failed, "
            "at most 10:00 left, 0:30 elapsed"
        ]
        display.set_state("a", "retried")
        assert watched.news()[0].startswith("seed 1, fold 1: running, second attempt, epoch 1/20, best")
        watched.now_s = 3700.0
        watched.has_epochs("a", (0.4521, 0.4404), (0.1, 0.1))
        watched.is_tested("a", 0.55, 0.531)
        display.set_state("a", "finished")
        display.set_state("b", "finished before")
    assert watched.news() == [  # 30 s and 3670 s: 1850 s an epoch, 20 of them
        "seed 1, fold 1: finished, epoch 2/20, test WA 55.0% UA 53.1% | 1 of 2 finished, at most 10:16:40 left, "
        "1:01:40 elapsed",
        "seed 1, fold 2: finished before | 2 of 2 finished, 1:01:40 elapsed",
    ]


def test_news_are_plain_unwrapped_lines(tmp_path):
    file = io.StringIO()
    console = Console(file=file, force_terminal=False, width=80)
    labels = {"row": "[bold]22[/bold] layers :smile: " + "x" * 100}
    with RunDisplay([WatchedRun("a", str(tmp_path), 20, labels)], console=console) as display:
        display.set_state("a", "running")
    line = f"row [bold]22[/bold] layers :smile: {'x' * 100}: running | 0 of 1 finished, {NOTHING_KNOWN}\n"
    assert file.getvalue() == line


def test_a_dumb_terminal_gets_lines(tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    watched = Watched(tmp_path, terminal=True)
    with watched.display() as display:
        display.set_state("a", "running")
    assert watched.news() == [f"seed 1, fold 1: running | 0 of 1 finished, {NOTHING_KNOWN}"]


def test_a_new_epoch_shows_the_first_of_the_best_ones(tmp_path):
    watched = Watched(tmp_path)
    with watched.display() as display:
        display.set_state("a", "running")
        watched.has_epochs("a", (0.2, 0.9), (0.5, 0.25), (0.5, 0.75), (0.3, 0.3))
        display.refresh()
    assert watched.news()[1].startswith("seed 1, fold 1: epoch 4/20, best valid WA 50.0% UA 25.0% | ")


def test_epochs_without_validation_have_no_scores(tmp_path):
    watched = Watched(tmp_path)
    with watched.display() as display:
        display.set_state("a", "running")
        watched.has_epochs("a", n_epochs=3)
        display.refresh()
    assert watched.news()[1].startswith("seed 1, fold 1: epoch 3/20 | ")


@pytest.mark.parametrize(
    "state, scores",
    [
        ("waiting", "best valid WA 45.0% UA 44.0%"),
        ("running", "best valid WA 45.0% UA 44.0%"),
        ("retried", "best valid WA 45.0% UA 44.0%"),
        ("failed", "best valid WA 45.0% UA 44.0%"),
        ("finished before", "test WA 55.0% UA 53.0%"),
        ("finished", "test WA 55.0% UA 53.0%"),
    ],
)
def test_a_test_result_is_shown_of_finished_runs_only(tmp_path, state, scores):
    watched = Watched(tmp_path)
    watched.has_epochs("a", (0.45, 0.44))
    watched.is_tested("a", 0.55, 0.53)
    with watched.display() as display:
        if state == "waiting":
            display.set_state("a", "running")
        display.set_state("a", state)
    assert f", {scores} | " in watched.news()[-1]


def test_a_finished_run_without_a_result_shows_no_scores(tmp_path):
    watched = Watched(tmp_path)
    watched.has_epochs("a", (0.45, 0.44))
    with watched.display() as display:
        display.set_state("a", "finished")
    assert watched.news() == ["seed 1, fold 1: finished, epoch 1/20 | 1 of 1 finished, 0:00 elapsed"]


def left(watched):
    """What the last line says about the time."""
    return re.search(r"\| \d of \d finished, (?:\d failed, )?(.*), [\d:]+ elapsed$", watched.news()[-1])[1]


def test_time_left_counts_what_each_run_may_still_take(tmp_path):
    watched = Watched(tmp_path, n_runs=3, n_epochs=10, n_parallel=2)
    with watched.display() as display:
        display.set_state("a", "running")
        display.set_state("b", "running")
        watched.now_s = 10.0
        watched.has_epochs("a", n_epochs=1)
        display.refresh()
        assert left(watched) == "at most 3:10 left"  # 10 s x (9 + 10), c after a
        watched.now_s = 30.0
        watched.has_epochs("b", n_epochs=1)
        display.refresh()
        assert left(watched) == "at most 6:20 left"  # (10 + 30) / 2 = 20 s x (9 + 10)
        display.set_state("b", "failed")
        assert left(watched) == "at most 3:20 left"  # 20 s x the 10 of c
        display.set_state("b", "retried")
        assert left(watched) == "at most 6:20 left"
        display.set_state("a", "finished")  # stopped early
        assert left(watched) == "at most 3:20 left"  # the 10 of c again


def test_time_left_counts_epochs_that_came_together(tmp_path):
    watched = Watched(tmp_path, n_epochs=10)
    with watched.display() as display:
        watched.now_s = 100.0  # time waited is not time trained
        display.set_state("a", "running")
        watched.now_s = 112.0
        watched.has_epochs("a", n_epochs=3)
        display.refresh()
        assert left(watched) == "at most 0:28 left"  # 7 x 12 / 3
        watched.now_s = 120.0
        watched.has_epochs("a", n_epochs=4)
        display.refresh()
        assert left(watched) == "at most 0:30 left"  # 6 x (12 + 8) / 4


def test_time_left_does_not_count_a_pause_between_attempts(tmp_path):
    watched = Watched(tmp_path, n_epochs=10)
    with watched.display() as display:
        display.set_state("a", "running")
        watched.now_s = 12.0
        watched.has_epochs("a", n_epochs=2)
        display.set_state("a", "failed")
        watched.now_s = 1000.0
        display.set_state("a", "retried")
        watched.now_s = 1009.0
        watched.has_epochs("a", n_epochs=3)
        display.refresh()
    assert left(watched) == "at most 0:49 left"  # 7 x (12 + 9) / 3


def test_epochs_of_before_the_display_are_neither_timed_nor_news(tmp_path):
    watched = Watched(tmp_path, n_runs=2)
    watched.has_epochs("a", n_epochs=5)
    watched.has_epochs("b", n_epochs=5)
    with watched.display() as display:
        assert watched.news() == []
        display.set_state("a", "running")
        assert watched.news() == [f"seed 1, fold 1: running, epoch 5/20 | 0 of 2 finished, {NOTHING_KNOWN}"]
        watched.now_s = 60.0
        display.refresh()
        assert watched.news() == []
        watched.has_epochs("a", n_epochs=6)
        display.refresh()
        assert left(watched) == "at most 34:00 left"  # 60 s x (14 + all 20 of the waiting one)


def test_epochs_of_a_waiting_run_are_not_timed(tmp_path):
    watched = Watched(tmp_path)
    with watched.display() as display:
        watched.now_s = 10.0
        watched.has_epochs("a", n_epochs=1)
        display.refresh()
    assert left(watched) == "time left unknown"


def test_epochs_that_could_not_be_read_at_the_start_are_not_timed(tmp_path):
    watched = Watched(tmp_path)
    (watched.folders["a"] / "epochs.json").write_text("[{")
    with watched.display() as display:
        display.set_state("a", "running")
        watched.now_s = 10.0
        watched.has_epochs("a", n_epochs=5)
        display.refresh()
        display.set_state("a", "failed")
        display.set_state("a", "retried")
        assert left(watched) == "time left unknown"


def test_an_attempt_from_an_earlier_checkpoint_counts_its_epochs_only(tmp_path):
    watched = Watched(tmp_path, n_epochs=10)
    watched.has_epochs("a", n_epochs=6)
    with watched.display() as display:
        display.set_state("a", "running")
        watched.now_s = 100.0
        watched.has_epochs("a", n_epochs=4)
        display.refresh()
        assert watched.news()[1:] == [
            "seed 1, fold 1: epoch 4/10 | 0 of 1 finished, time left unknown, 1:40 elapsed",
        ]
        watched.now_s = 110.0
        watched.has_epochs("a", n_epochs=5)
        display.refresh()
    assert left(watched) == "at most 0:50 left"  # 5 x 10


def test_an_attempt_from_the_very_beginning_is_timed_from_its_start(tmp_path):
    watched = Watched(tmp_path, n_epochs=10)
    watched.has_epochs("a", n_epochs=6)
    with watched.display() as display:
        display.set_state("a", "running")
        watched.news()
        (watched.folders["a"] / "epochs.json").unlink()
        display.refresh()
        assert watched.news() == []
        watched.has_epochs("a")  # none yet
        display.refresh()
        assert watched.news() == []
        watched.now_s = 10.0
        watched.has_epochs("a", n_epochs=1)
        display.refresh()
    assert left(watched) == "at most 1:30 left"


def test_a_list_without_epochs_at_the_start_is_none_done(tmp_path):
    watched = Watched(tmp_path, n_epochs=10)
    watched.has_epochs("a")
    with watched.display() as display:
        display.set_state("a", "running")
        watched.now_s = 10.0
        watched.has_epochs("a", n_epochs=1)
        display.refresh()
    assert left(watched) == "at most 1:30 left"


def test_more_epochs_than_planned_leave_none(tmp_path):
    watched = Watched(tmp_path, n_runs=3, n_epochs=2)
    with watched.display() as display:
        display.set_state("a", "running")
        watched.now_s = 30.0
        watched.has_epochs("a", n_epochs=3)
        display.refresh()
    assert left(watched) == "at most 0:40 left"  # 10 s x the 2 of b and of c


def test_a_file_unreadable_for_a_moment_changes_no_news(tmp_path):
    watched = Watched(tmp_path)
    with watched.display() as display:
        display.set_state("a", "running")
        watched.now_s = 10.0
        watched.has_epochs("a", (0.5, 0.5))
        display.refresh()
        assert left(watched) == "at most 3:10 left"
        (watched.folders["a"] / "epochs.json").write_text('[{"epoch": 1')
        display.refresh()
        watched.has_epochs("a", (0.5, 0.5))
        display.refresh()
        assert watched.news() == []
        watched.now_s = 30.0
        watched.has_epochs("a", (0.5, 0.5), (0.6, 0.6))
        display.refresh()
        assert left(watched) == "at most 4:30 left"  # 18 x (10 + 20) / 2


GARBAGE = [
    b"",
    b"[{",
    b"\xff\xfe\x00",
    b"null",
    b"3",
    b'"text"',
    b"{}",
    b'{"epoch": 1}',
    b'{"WA": "much", "UA": 1}',
    b"[1, 2]",
    b'["valid_WA"]',
    b"[[]]",
    b"[{}]",
    b'[{"epoch": "third"}]',
    b'[{"epoch": null}]',
    b'[{"epoch": Infinity}]',
    b'[{"epoch": 1, "valid_WA": 0.5}]',
    b'[{"epoch": 1, "valid_WA": [], "valid_UA": null}]',
    b"[" * 100_000,
]


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_shows_nothing_and_never_raises(tmp_path, garbage, terminal):
    watched = Watched(tmp_path, terminal=terminal)
    (watched.folders["a"] / "epochs.json").write_bytes(garbage)
    (watched.folders["a"] / "test_metrics.json").write_bytes(garbage)
    with watched.display() as display:
        for state in ("running", "finished"):
            display.set_state("a", state)
            display.refresh()
    if terminal:
        assert watched.screen()[1] == "1 1 finished"
    else:
        assert [line.split(" | ")[0] for line in watched.news()] == [
            "seed 1, fold 1: running",
            "seed 1, fold 1: finished",
        ]


@pytest.mark.parametrize("terminal", [False, True])
def test_folders_and_files_of_the_wrong_kind_never_raise(tmp_path, terminal):
    watched = Watched(tmp_path, n_runs=3, terminal=terminal)
    shutil.rmtree(watched.folders["a"])
    watched.folders["b"].rmdir()
    watched.folders["b"].write_text("a file")
    (watched.folders["c"] / "epochs.json").mkdir()
    (watched.folders["c"] / "test_metrics.json").mkdir()
    with watched.display() as display:
        for name in "abc":
            display.set_state(name, "finished")
    assert "3 of 3 finished" in watched.file.getvalue()


def test_the_table_shows_each_run_and_the_whole(tmp_path):
    watched = Watched(tmp_path, n_runs=5, n_parallel=2, terminal=True)
    watched.is_tested("b", 0.1, 0.1)  # from before
    with watched.display() as display:
        assert watched.screen() == [HEADINGS, *(f"1 {fold} waiting" for fold in range(1, 6))] + [
            f"0 of 5 finished, {NOTHING_KNOWN}"
        ]
        for name in "abcd":
            display.set_state(name, "running")
        watched.now_s = 30.0
        watched.has_epochs("a", (0.5, 0.5))
        watched.is_tested("a", 0.5512, 0.531)
        watched.has_epochs("b", (0.4521, 0.4404), (0.3, 0.3))
        watched.has_epochs("c", n_epochs=3)
        display.set_state("a", "finished")
        assert RED not in watched.file.getvalue()
        display.set_state("c", "failed")
        assert RED in watched.file.getvalue()
        display.set_state("d", "retried")
        assert watched.screen() == [  # 3 x 30 s for 6 epochs; 18 + 20 of them one after the other
            HEADINGS,
            "1 1 finished 1/20 55.1% / 53.1% (test)",
            "1 2 running 2/20 45.2% / 44.0%",
            "1 3 failed 3/20",
            "1 4 running, second attempt",
            "1 5 waiting",
            "1 of 5 finished, 1 failed, at most 9:30 left, 0:30 elapsed",
        ]


def test_the_table_is_redrawn_in_place_at_each_refresh(tmp_path):
    watched = Watched(tmp_path, terminal=True)
    threads = set(threading.enumerate())
    with watched.display() as display:
        assert set(threading.enumerate()) <= threads
        n_shown = len(watched.file.getvalue())
        display.refresh()
        again = watched.file.getvalue()[n_shown:]
    assert again.count("\x1b[1A") == 2  # up from the summary over the row to the headings
    assert "waiting" in again


def test_the_table_shows_the_last_numbers_and_the_cursor_after_an_error(tmp_path):
    watched = Watched(tmp_path, terminal=True)
    stdout = sys.stdout
    with pytest.raises(KeyboardInterrupt), watched.display() as display:
        display.set_state("a", "running")
        watched.has_epochs("a", (0.5, 0.25))
        raise KeyboardInterrupt
    assert watched.screen()[1] == "1 1 running 1/20 50.0% / 25.0%"
    assert watched.file.getvalue().endswith("\x1b[?25h")
    assert sys.stdout is stdout


def test_the_table_fits_the_terminal(tmp_path):
    watched = Watched(tmp_path, n_runs=10, terminal=True, height=6)
    with watched.display() as display:
        display.set_state("a", "finished")
        display.set_state("c", "finished")
        display.set_state("b", "finished before")
        display.set_state("e", "failed")
        display.set_state("j", "running")
        assert watched.screen() == [
            HEADINGS,
            "1 2 finished before",
            "1 5 failed",
            "1 10 running",
            "... and 2 finished, 5 waiting",
            f"3 of 10 finished, 1 failed, {NOTHING_KNOWN}",
        ]


def test_the_table_shows_all_runs_where_they_just_fit(tmp_path):
    watched = Watched(tmp_path, n_runs=10, terminal=True, height=12)
    with watched.display():
        assert len(watched.screen()) == 12
        assert watched.screen()[-2] == "1 10 waiting"


def test_the_rows_of_the_table_are_never_wrapped(tmp_path):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=30, height=20)
    runs = [WatchedRun(name, str(tmp_path), 20, {"row": f"{name} much too long " * 5}) for name in "ab"]
    with RunDisplay(runs, console=console):
        shown = file.getvalue()
    assert shown.count("\n") == 3  # headings, two rows, summary


def test_the_table_takes_labels_as_they_are(tmp_path):
    watched = Watched(tmp_path, terminal=True)
    watched.runs = [
        WatchedRun("a", str(tmp_path), 20, {"row": "[red]22 layers"}),
        WatchedRun("b", str(tmp_path), 20, {"row": "mean", "seed": 3}),
    ]
    with watched.display():
        assert watched.screen()[:3] == [
            "row seed state epoch best valid WA / UA",
            "[red]22 layers waiting",
            "mean 3 waiting",
        ]


@pytest.mark.parametrize("terminal", [False, True])
def test_no_runs_are_no_error(tmp_path, terminal):
    with Watched(tmp_path, n_runs=0, terminal=terminal).display() as display:
        display.refresh()


def test_an_unknown_state_is_refused(tmp_path):
    with pytest.raises(InputError, match="state must be one of .*finished before.*, got 'done'"):
        Watched(tmp_path).display().set_state("a", "done")
