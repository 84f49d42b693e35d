"""Commands run in processes forked from this one, which has their imports behind it: a kill costs no start-up."""

import dataclasses
import importlib
import os
import random
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from tqdm import tqdm

TRACEBACK = "Traceback (most recent call last)"
LIMIT_S = 300.0  # a command takes seconds, here on two cores; one that takes so long hangs
WATCH_S = 0.1
CRASHED = 70  # the exit status of a command that let an exception through


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status (negative: by this signal), what it printed, and how long it took."""

    status: int
    text: str
    seconds: float
    hung: bool = False

    @property
    def crashed(self) -> bool:
        """Whether it ended in a traceback."""
        return self.status == CRASHED or TRACEBACK in self.text or self.status in (-signal.SIGSEGV, -signal.SIGABRT)

    @property
    def last_line(self) -> str:
        """What it said last."""
        return (self.text.strip().splitlines() or [""])[-1]


def run_command(words) -> int:
    """Run a command as its script does; `train` is train.py, `run` is run_loso.py."""
    from recipes.IEMOCAP import train
    from speechbrain_ext.commands import main
    from speechbrain_ext.launch import warm_start
    from speechbrain_ext.training.run import end_in_a_sentence

    if words[:1] == ["train"]:
        return end_in_a_sentence(train.main, words[1:])
    if words[:1] == ["run"]:  # its runs are forked from here, instead of from a server that would import all again
        context = warm_start.multiprocessing.get_context("fork")
        warm_start.multiprocessing.get_context = lambda *_: context
        warm_start.warm_up = lambda *_: None
        return main.run_command("run", words[1:], "run_loso.py", fixed=[train.__file__])
    return main.main(words)


def start(action, log):
    """Fork a process for a function without arguments that returns an exit status; what it prints goes to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    status = CRASHED
    try:
        os.setsid()
        tqdm.set_lock(threading.RLock())  # all forked processes share its own: one that is killed may never free it
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdin = open(0, encoding="utf-8", closefd=False)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1)
        try:
            status = action()
        except SystemExit as end:  # argparse
            status = end.code if isinstance(end.code, int) else 1
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status or 0)


def run(words, log, kill_after_s=None, limit_s=LIMIT_S) -> Ended:
    """Run a command in a process of its own; kill it after a time, if it still runs then."""
    return run_action(lambda: run_command([str(word) for word in words]), log, kill_after_s, limit_s)


def run_action(action, log, kill_after_s=None, limit_s=LIMIT_S, watch=None) -> Ended:
    """Run a function in a process of its own, as `run` does; `watch` is given its id again and again."""
    Path(log).unlink(missing_ok=True)  # a process that is killed at once has written nothing
    begun = time.monotonic()
    pid = start(action, log)
    deadline = begun + (limit_s if kill_after_s is None else min(kill_after_s, limit_s))
    hung = False
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > deadline:
            hung = kill_after_s is None or kill_after_s > limit_s
            os.kill(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            break
        if watch:
            watch(pid)
        time.sleep(0.002 if watch is None else WATCH_S)
    end_group(pid)
    text = Path(log).read_text(encoding="utf-8", errors="replace") if Path(log).exists() else ""
    return Ended(os.waitstatus_to_exitcode(status), text, time.monotonic() - begun, hung)


def end_group(pid) -> None:
    """Kill what a process has left in its group: workers that have not noticed yet that it is gone."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run_and_import(words, log) -> Ended:
    """Run a command as `run` does, then import here what it has imported there: the next ones are quicker."""
    names = Path(f"{log}.modules")

    def note():
        status = run_command([str(word) for word in words])
        names.write_text("\n".join(sorted(sys.modules)))
        return status

    ended = run_action(note, log)
    for name in names.read_text().split() if names.exists() else ():
        if name not in sys.modules and name.partition(".")[0] in IMPORTED_AHEAD:
            try:
                importlib.import_module(name)
            except Exception:  # imported there under other conditions
                pass
    return ended


IMPORTED_AHEAD = set(
    "speechbrain_ext speechbrain transformers matplotlib silero_vad audiomentations scipy soxr av soundfile "
    "torchmetrics PIL markdown rich tqdm huggingface_hub sklearn tensorboard psutil filelock safetensors".split()
)


def choose_moment(rng: random.Random, seconds: float) -> float:
    """Draw when a process is killed that would run for so long: anywhere, and often near the end, where files are."""
    return seconds * (rng.random() if rng.random() < 0.7 else rng.uniform(0.75, 1.0))
