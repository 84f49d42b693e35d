"""The display of many runs: its arithmetic by hand, its two ways of showing on recorded consoles."""

import io
import json
import re
import sys
import threading

import pytest
from rich.console import Console

from speechbrain_ext.launch.display import RunDisplay, WatchedRun

RED = "\x1b[31m"


class Watched:
    """Runs "a", "b", ... of seed 1 in folders of their own, a clock set by hand, and all that is shown of them."""

    def __init__(self, tmp_path, n_runs=1, n_epochs=20, terminal=False, height=25, labels=None):
        self.now_s = 0.0
        self.folders = {name: tmp_path / name for name in "abcdefghij"[:n_runs]}
        runs = []
        for fold, (name, folder) in enumerate(self.folders.items(), start=1):
            folder.mkdir()
            runs.append(WatchedRun(name, str(folder), n_epochs, (labels or {}).get(name) or {"seed": 1, "fold": fold}))
        self.file = io.StringIO()
        console = Console(file=self.file, force_terminal=terminal, width=80, height=height, get_time=lambda: self.now_s)
        self.display = RunDisplay(runs, console)

    def has_epochs(self, name, *valid_scores, n_epochs=0):
        """Write epochs.json with these (WA, UA), or of so many epochs without validation."""
        epochs = [{"epoch": number, "lr": 0.1, "train_loss": 1.0} for number in range(1, n_epochs + 1)]
        for number, (wa, ua) in enumerate(valid_scores, start=1):
            epochs.append({"epoch": number, "train_loss": 1.0, "valid_loss": 1.0, "valid_WA": wa, "valid_UA": ua})
        (self.folders[name] / "epochs.json").write_text(json.dumps(epochs))
        self.display.refresh()

    def is_tested(self, name, wa, ua):
        (self.folders[name] / "test_metrics.json").write_text(json.dumps({"WA": wa, "UA": ua, "tested_epoch": 1}))

    def news(self):
        """The lines since this was last called."""
        lines = self.file.getvalue().splitlines()
        self.file.seek(0)
        self.file.truncate()
        return lines

    def summary(self):
        """What the last line says about all runs."""
        return self.news()[-1].partition(" | ")[2]

    def screen(self):
        """The lines that stand on the terminal: what follows after the last line was erased, words one space apart."""
        frame = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.file.getvalue().split("\x1b[2K")[-1])
        return [" ".join(line.split()) for line in frame.splitlines() if line.strip()]


@pytest.fixture(autouse=True)
def _capable_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.mark.parametrize("terminal", [False, "dumb"])
def test_news_are_told_once_and_in_full(tmp_path, monkeypatch, terminal):
    if terminal:
        monkeypatch.setenv("TERM", "dumb")
    watched = Watched(tmp_path, n_runs=2, terminal=bool(terminal))
    with watched.display as display:
        display.refresh()
        assert watched.news() == []
        display.set_state("a", "running")
        display.set_state("a", "running")
        display.refresh()
        assert watched.news() == ["seed 1, fold 1: running | 0 of 2 finished, 1 running, 0:00:00 elapsed"]
        watched.now_s = 30.0
        watched.has_epochs("a", (0.4521, 0.4404))
        display.refresh()
        assert watched.news() == [  # 19 + 20 epochs of 30 s
            "seed 1, fold 1: epoch 1/20, best valid WA 45.2% UA 44.0% | 0 of 2 finished, 1 running, "
            "at most about 0:19:30 left, 0:00:30 elapsed"
        ]
        display.set_state("a", "failed")
        assert watched.news() == [  # the 20 of b
            "seed 1, fold 1: failed, epoch 1/20, best valid WA 45.2% UA 44.0% | 0 of 2 finished, 1 failed, "
            "at most about 0:10:00 left, 0:00:30 elapsed"
        ]
        display.set_state("a", "running, second attempt")
        assert watched.news()[0].startswith("seed 1, fold 1: running, second attempt, epoch 1/20, best")
        watched.now_s = 3700.0
        watched.is_tested("a", 0.55, 0.531)
        watched.has_epochs("a", (0.4521, 0.4404), (0.1, 0.1))
        watched.news()
        display.set_state("a", "finished")
        display.set_state("b", "finished before")
    assert watched.news() == [  # 3700 s for 2 epochs: 1850 s each, 20 of them
        "seed 1, fold 1: finished, epoch 2/20, test WA 55.0% UA 53.1% | 1 of 2 finished, "
        "at most about 10:16:40 left, 1:01:40 elapsed",
        "seed 1, fold 2: finished before | 2 of 2 finished, 1:01:40 elapsed",
    ]


def test_news_are_plain_unwrapped_lines(tmp_path):
    watched = Watched(tmp_path, labels={"a": {"row": "[bold]22[/bold] layers :smile: " + "x" * 100}})
    with watched.display as display:
        display.set_state("a", "running")
    (line,) = watched.news()
    assert line.startswith(f"row [bold]22[/bold] layers :smile: {'x' * 100}: running | 0 of 1 finished")


@pytest.mark.parametrize(
    ("scores", "shown"),
    [
        ([(0.2, 0.9), (0.5, 0.25), (0.5, 0.75), (0.3, 0.3)], "epoch 4/20, best valid WA 50.0% UA 25.0%"),  # the first
        ([], "epoch 3/20"),  # no validation
    ],
)
def test_a_new_epoch_shows_the_first_of_the_best_ones(tmp_path, scores, shown):
    watched = Watched(tmp_path)
    with watched.display as display:
        display.set_state("a", "running")
        watched.has_epochs("a", *scores, n_epochs=0 if scores else 3)
    assert watched.news()[1].startswith(f"seed 1, fold 1: {shown} | ")


@pytest.mark.parametrize("state", ["running", "running, second attempt", "failed", "finished before", "finished"])
def test_a_test_result_is_shown_of_finished_runs_only(tmp_path, state):
    watched = Watched(tmp_path)
    watched.has_epochs("a", (0.45, 0.44))
    watched.is_tested("a", 0.55, 0.53)
    scores = "test WA 55.0% UA 53.0%" if state.startswith("finished") else "best valid WA 45.0% UA 44.0%"
    with watched.display as display:
        display.set_state("a", state)
        assert f", {scores} | " in watched.news()[-1]
        (watched.folders["a"] / "test_metrics.json").unlink()
        display.set_state("a", "finished")
    if state != "finished":
        assert watched.news()[-1].startswith("seed 1, fold 1: finished, epoch 1/20 | ")


def test_time_left_counts_what_each_run_may_still_take(tmp_path):
    watched = Watched(tmp_path, n_runs=3, n_epochs=10)
    with watched.display as display:
        display.set_state("a", "running")
        display.set_state("b", "running")
        watched.now_s = 10.0
        watched.has_epochs("a", n_epochs=1)
        assert "about 0:04:50 left" in watched.summary()  # 10 s x 29
        watched.now_s = 30.0
        watched.has_epochs("b", n_epochs=2)
        assert "about 0:04:30 left" in watched.summary()  # 30 s / 3 x 27
        display.set_state("b", "failed")
        assert "about 0:03:10 left" in watched.summary()  # 10 s x (9 + 10)
        display.set_state("a", "finished")  # stopped early
        assert "about 0:01:40 left" in watched.summary()
        display.set_state("c", "running")
        watched.has_epochs("c", n_epochs=11)  # more than planned
        assert "left" not in watched.summary()


def test_epochs_of_before_are_no_news_and_took_no_time(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "epochs.json").write_text(json.dumps([{"epoch": number} for number in range(1, 6)]))
    watched = Watched(tmp_path)
    watched.display = RunDisplay([WatchedRun("x", str(tmp_path / "x"), 20, {"fold": 1})], watched.display.console)
    watched.folders["x"] = tmp_path / "x"
    with watched.display as display:
        display.set_state("x", "running")
        assert watched.news() == ["fold 1: running, epoch 5/20 | 0 of 1 finished, 1 running, 0:00:00 elapsed"]
        watched.now_s = 60.0
        display.refresh()
        assert watched.news() == []
        watched.has_epochs("x", n_epochs=6)
        assert "about 0:14:00 left" in watched.summary()  # 60 s x 14
        watched.now_s = 120.0
        watched.has_epochs("x", n_epochs=2)  # an attempt from an earlier checkpoint
        assert "about 0:36:00 left" in watched.summary()  # 120 s x 18
        (watched.folders["x"] / "epochs.json").unlink()  # one from the very beginning
        display.refresh()
        watched.has_epochs("x", n_epochs=1)
        assert "about 0:19:00 left" in watched.summary()  # 120 s / 2 x 19


def test_a_file_unreadable_for_a_moment_changes_no_news(tmp_path):
    watched = Watched(tmp_path)
    with watched.display as display:
        display.set_state("a", "running")
        watched.has_epochs("a", (0.5, 0.5))
        watched.news()
        (watched.folders["a"] / "epochs.json").write_text('[{"epoch": 1')
        display.refresh()
        watched.has_epochs("a", (0.5, 0.5))
        assert watched.news() == []
        watched.has_epochs("a", (0.5, 0.5), (0.6, 0.6))
        assert len(watched.news()) == 1


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
    None,  # a folder
]


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_shows_nothing_and_never_raises(tmp_path, garbage, terminal):
    watched = Watched(tmp_path, terminal=terminal)
    for name in ("epochs.json", "test_metrics.json"):
        path = watched.folders["a"] / name
        path.mkdir() if garbage is None else path.write_bytes(garbage)
    with watched.display as display:
        for state in ("running", "finished"):
            display.set_state("a", state)
            display.refresh()
    if terminal:
        assert watched.screen()[2] == "1 1 finished"
    else:
        lines = [line.split(" | ")[0] for line in watched.news()]
        assert lines == ["seed 1, fold 1: running", "seed 1, fold 1: finished"]


def test_the_table_shows_each_run_and_the_whole(tmp_path):
    watched = Watched(tmp_path, n_runs=5, terminal=True)
    watched.is_tested("b", 0.1, 0.1)  # from before
    headings = "seed fold state epoch scores"
    with watched.display as display:
        waiting = [f"1 {fold} waiting" for fold in range(1, 6)]
        assert watched.screen() == ["0 of 5 finished, 0:00:00 elapsed", headings, *waiting]
        for name in "abcd":
            display.set_state(name, "running")
        watched.now_s = 30.0
        watched.has_epochs("b", (0.4521, 0.4404), (0.3, 0.3))
        watched.has_epochs("c", n_epochs=3)
        watched.is_tested("a", 0.5512, 0.531)
        display.set_state("a", "finished")
        assert RED not in watched.file.getvalue()
        display.set_state("c", "failed")
        assert RED in watched.file.getvalue()
        display.set_state("d", "running, second attempt")
        assert watched.screen()[1:] == [
            headings,
            "1 2 running epoch 2/20 best valid WA 45.2% UA 44.0%",
            "1 4 running, second attempt",
            "1 3 failed epoch 3/20",
            "1 1 finished test WA 55.1% UA 53.1%",
            "1 5 waiting",
        ]


def test_the_table_is_redrawn_in_place_and_only_when_asked(tmp_path):
    watched = Watched(tmp_path, terminal=True)
    threads = set(threading.enumerate())
    with watched.display as display:
        assert set(threading.enumerate()) <= threads
        n_shown = len(watched.file.getvalue())
        display.refresh()
        again = watched.file.getvalue()[n_shown:]
    assert again.count("\x1b[1A") == 2  # up from the row over the headings to the summary
    assert "waiting" in again


def test_the_table_shows_the_last_numbers_and_the_cursor_after_an_error(tmp_path):
    watched = Watched(tmp_path, terminal=True)
    stdout = sys.stdout
    with pytest.raises(KeyboardInterrupt), watched.display as display:
        display.set_state("a", "running")
        watched.has_epochs("a", n_epochs=1)
        raise KeyboardInterrupt
    assert watched.screen()[-1] == "1 1 running epoch 1/20"
    assert watched.file.getvalue().endswith("\x1b[?25h")
    assert sys.stdout is stdout


def test_a_small_terminal_shows_the_summary_and_what_runs_or_failed_and_in_the_end_all(tmp_path):
    labels = {"a": {"row": "long " * 6}, "b": {"row": "[red]22 layers", "seed": 3}}
    watched = Watched(tmp_path, n_runs=10, terminal=True, height=6, labels=labels)
    with watched.display as display:
        display.set_state("c", "finished")
        display.set_state("e", "failed")
        display.set_state("b", "running")
        summary, _, *rows = watched.screen()
        assert summary.startswith("1 of 10 finished, 1 running, 1 failed, ")
        assert rows == ["[red]22 layers 3 running", "1 5 failed", "1 3 finished", "..."]
    assert len(watched.screen()) == 12  # one line a row
    assert watched.screen()[5] == "long " * 6 + "waiting"


@pytest.mark.parametrize("terminal", [False, True])
def test_no_runs_are_no_error(terminal):
    with RunDisplay([], Console(file=io.StringIO(), force_terminal=terminal)) as display:
        display.refresh()


def test_an_unknown_state_is_refused(tmp_path):
    with pytest.raises(KeyError, match="done"):
        Watched(tmp_path).display.set_state("a", "done")
