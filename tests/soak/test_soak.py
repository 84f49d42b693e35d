"""The soak finds what it looks for; short, seeded versions of its trials."""

import logging
import random
import signal
import time

import pytest
import torch

from speechbrain_ext.errors import InputError
from tests.soak import children, fuzz, soak
from tests.soak.bad_inputs import run_bad_inputs
from tests.soak.faults import run_faults
from tests.soak.fuzz_readers import Reader, make_readers
from tests.soak.kills import run_kills
from tests.soak.load import load_corpus, load_predict
from tests.soak.outcome import Outcome, make_table
from tests.soak.workshop import Workshop


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    if torch.cuda.is_initialized():
        pytest.skip("a process that has used a GPU cannot be forked")
    shop = Workshop(tmp_path_factory.mktemp("soak") / "shop")
    shop.make_golden(soak.SHORT, warm=False)
    return shop


def test_killed_commands_end_with_the_bytes_of_one_never_killed(shop):
    outcome = run_kills(shop, seed=1, minutes=0, at_least=2)
    assert outcome.n >= 2 and not outcome.findings


def test_damaged_files_give_the_same_bytes_or_a_sentence(shop):
    outcome = run_faults(shop, seed=1, minutes=0, at_least=6, only=("export", "predict"))
    assert outcome.n >= 6 and not outcome.findings


def test_bad_inputs_are_refused_with_their_sentence(shop):
    assert not run_bad_inputs(shop, seed=1, n_most=8).findings


def test_each_of_many_files_and_segments_is_answered_for(shop):
    outcome = Outcome("load", "")
    load_predict(shop, 1, 40, outcome)
    load_corpus(shop, 4000, outcome)
    assert not outcome.findings and outcome.n == 4040
    assert "over 40 files of 0.3 to 0.5 s, 2 of them broken" in outcome.notes[0]
    assert "4,000 segments" in outcome.notes[1] and "batched in" in outcome.notes[1]


def test_fuzzed_inputs_are_read_or_refused(shop, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "LIMIT_S", 60)  # the first case of a reader may import what it needs
    logging.disable(logging.CRITICAL)
    golden, faults = shop.folder / "golden", []
    before = signal.signal(signal.SIGPROF, fuzz.too_slow)
    for reader in make_readers(tmp_path / "fuzz", golden / "bundle", golden / "fold"):
        faults += [f"{reader.name} {k}: {fault}" for k in range(30) if (fault := fuzz.try_case(reader, 1, k))]
    signal.signal(signal.SIGPROF, before)
    logging.disable(logging.NOTSET)
    assert not faults


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


def test_child_ends_as_its_function_does(log):
    ended = children.run_action(lambda: print("said") or 3, log)
    assert (ended.status, ended.last_line, ended.hung, ended.crashed) == (3, "said", False, False)


def test_child_that_lets_an_exception_through_has_crashed(log):
    ended = children.run_action(lambda: 1 / 0, log)
    assert ended.crashed and ended.last_line == "ZeroDivisionError: division by zero"


def test_child_is_killed_in_time_and_a_hang_is_told_from_it(log):
    killed = children.run_action(lambda: time.sleep(60), log, kill_after_s=0.05)
    assert (killed.status, killed.hung) == (-signal.SIGKILL, False)
    hung = children.run_action(lambda: time.sleep(60), log, limit_s=0.05)
    assert (hung.status, hung.hung) == (-signal.SIGKILL, True)


def loop(*_):
    while True:
        pass


def refuse(*_):
    raise InputError("no.")


@pytest.mark.parametrize(
    ("read", "limit_s", "fault"),
    [
        (loop, 0.02, "hang: b''"),
        (lambda *_: 1 / 0, 60, "ZeroDivisionError in test_soak.py"),
        (refuse, 60, ""),
        (lambda *_: None, 60, ""),
    ],
)
def test_fuzz_tells_faults_from_refusals(monkeypatch, read, limit_s, fault):
    monkeypatch.setattr(fuzz, "LIMIT_S", limit_s)
    monkeypatch.setattr(fuzz, "mutate", lambda data, _: data)
    before = signal.signal(signal.SIGPROF, fuzz.too_slow)
    found = fuzz.try_case(Reader("a", [b""], read), 1, 1)
    signal.signal(signal.SIGPROF, before)
    assert found.startswith(fault) and bool(found) == bool(fault)


def test_cases_of_a_seed_repeat():
    cases = []
    reader = Reader("a", [b"abcdef"], lambda data, _: cases.append(data))
    for number in [1, 2, 3, 1, 2, 3]:
        fuzz.try_case(reader, 7, number)
    assert cases[:3] == cases[3:] and len(set(cases)) == 3


def test_moments_of_kills_are_within_a_run():
    rng = random.Random(0)
    moments = [children.choose_moment(rng, 2.0) for _ in range(100)]
    assert 0 <= min(moments) < 0.2 and 1.8 < max(moments) <= 2.0


def test_table_counts_what_was_found_and_stands_between_its_marks(tmp_path):
    outcome = Outcome("kills", "SIGKILLs", n=1234, notes=["train 1234"])
    assert outcome.is_clean
    outcome.found("silent", "other bytes")
    assert not outcome.is_clean
    page = tmp_path / "page.md"
    page.write_text(f"before\n{soak.BEGIN}old\n{soak.END}\nafter\n")
    soak.write_into(page, make_table([outcome]))
    lines = page.read_text().split("\n")
    assert "| kills | SIGKILLs | 1,234 | 0 | 0 | 0 | 1 | 0 |" in lines and "- kills: train 1234" in lines
    assert lines[0] == "before" and lines[-2] == "after" and "old" not in lines
