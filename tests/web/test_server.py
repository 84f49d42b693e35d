"""The page's server without a browser: what it contacts, hands out and keeps."""

import contextlib
import functools
import json
import os
import socket
import sys
import threading
import tracemalloc

import httpx
import numpy as np
import pytest
import soundfile as sf
import torch
from gradio.queueing import Queue

from speechbrain_ext.errors import InputError
from speechbrain_ext.web.answer import STOPPED
from speechbrain_ext.web.guard import LOCK
from speechbrain_ext.web.page import WAITING
from speechbrain_ext.web.server import check_address, count_workers, serve_page
from tests.web.test_answer import make_classifier

LONG_S = 600  # a guard against hanging, not against a busy machine
CONTACTED = []  # once there, an audit hook stays
sys.addaudithook(
    lambda event, details: CONTACTED.append(details) if event in ("socket.connect", "socket.getaddrinfo") else None
)


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Serve a page with one example, against an environment that asks for the contrary; (client, example)."""
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "True")
    monkeypatch.setenv("GRADIO_ALLOWED_PATHS", "/")
    monkeypatch.setenv("GRADIO_SHARE", "True")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    example = tmp_path / "examples" / "hello.wav"
    example.parent.mkdir()
    example.write_bytes(b"RIFF of a kind")
    with serve_page(None, max_mb=0.01, examples=[str(example)]) as url:
        with httpx.Client(base_url=url, trust_env=False, timeout=LONG_S) as client:
            yield client, example


def uploads(tmp_path):
    return [path for path in tmp_path.glob("speechbrain-ext-web-*/**/*") if path.is_file() and path.name != LOCK]


def test_serve_page_contacts_nobody_else(served):
    client, _ = served
    CONTACTED.clear()
    assert "Speech emotion recognition" in client.get("/").text
    client.get("/config")
    assert CONTACTED  # the hook hears
    names = [details[1][0] if isinstance(details[0], socket.socket) else details[0] for details in CONTACTED]
    assert {name.decode() if isinstance(name, bytes) else name for name in names} == {"127.0.0.1"}


def test_serve_page_starts_without_contacting_anybody_else(request):
    CONTACTED.clear()
    request.getfixturevalue("served")
    addresses = [details[1] for details in CONTACTED if isinstance(details[0], socket.socket)]
    hosts = {address[0] for address in addresses if isinstance(address, tuple)}
    hosts |= {details[0] for details in CONTACTED if not isinstance(details[0], socket.socket)}
    assert {host.decode() if isinstance(host, bytes) else host for host in hosts} == {"127.0.0.1"}


def test_serve_page_hands_out_its_examples_and_no_other_file(served, root):
    client, example = served
    (example.parent / "private.wav").write_bytes(b"not an example")
    files = (example.parent / "private.wav", example.parent, root / "setup.py", "setup.py", "/etc/passwd", __file__)
    for path in files:
        assert client.get(f"/gradio_api/file={path}").status_code == 403, path
    assert client.get(f"/gradio_api/file={example}").content == b"RIFF of a kind"


def test_serve_page_offers_no_events_to_scripts(served):
    assert served[0].get("/gradio_api/info").json() == {"named_endpoints": {}, "unnamed_endpoints": {}}


def test_serve_page_describes_no_routes(served):
    for path in ("/openapi.json", "/docs", "/redoc"):
        assert served[0].get(path).status_code == 404, path


def test_serve_page_limits_uploads(served, tmp_path):
    client, _ = served
    answer = client.post("/gradio_api/upload", files={"files": ("large.wav", bytes(10_001))})
    assert answer.status_code == 413
    assert uploads(tmp_path) == []
    assert client.post("/gradio_api/upload", files={"files": ("small.wav", bytes(9_999))}).status_code == 200
    assert [path.name for path in uploads(tmp_path)] == ["small.wav"]


def test_serve_page_deletes_uploads_and_leaves_the_environment_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("GRADIO_TEMP_DIR", "/elsewhere")
    monkeypatch.delenv("GRADIO_EXAMPLES_CACHE", raising=False)
    with serve_page(None) as url:
        httpx.post(f"{url}gradio_api/upload", files={"files": ("voice.wav", b"mine")}, trust_env=False)
        assert [path.name for path in uploads(tmp_path)] == ["voice.wav"]
    assert list(tmp_path.glob("speechbrain-ext-web-*")) == []
    assert os.environ["GRADIO_TEMP_DIR"] == "/elsewhere" and "GRADIO_EXAMPLES_CACHE" not in os.environ
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)


def test_check_address_refuses_what_cannot_be_served():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} of 127.0.0.1 is taken .* Choose another --port"):
            check_address("127.0.0.1", port)
    check_address("127.0.0.1", port)
    for port in (0, -1, 65536):
        with pytest.raises(InputError, match=f"port must be a number from 1 to 65535, got {port}"):
            check_address("127.0.0.1", port)
    with pytest.raises(InputError, match="cannot be served at 192.0.2.1: .* address or name of this machine"):
        check_address("192.0.2.1", None)  # kept for documentation, nobody's


class Visitors:
    """Many visitors of one page, each of whom has uploaded the same recording."""

    def __init__(self, client, recording):
        self.client, self.recording = client, recording
        self.ahead = {}  # visitor -> how many waited before them when they came
        config = client.get("/config").json()
        buttons = {part["id"]: part["props"].get("value") for part in config["components"] if part["type"] == "button"}
        events = [event for event in config["dependencies"] if event["backend_fn"] and event["targets"]]
        self.events = {buttons.get(event["targets"][0][0]): event["id"] for event in events}

    def ask(self, visitor):
        """Upload, and join the queue."""
        (path,) = self.client.post("/gradio_api/upload", files={"files": ("a.wav", self.recording)}).json()
        return self.click("Recognise", visitor, "queue/join", [{"path": path, "meta": {"_type": "gradio.FileData"}}])

    def stop(self, visitor):
        """Stop what this visitor has asked."""
        assert self.click("Stop recognising", visitor, "run/predict", []).status_code == 200

    def click(self, button, visitor, route, data):
        body = {"data": data, "fn_index": self.events[button], "session_hash": visitor}
        return self.client.post(f"/gradio_api/{route}", json=body)

    def listen(self, visitor):
        """Open the stream of messages."""
        return self.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": visitor})

    def answer(self, visitor):
        """Wait for the answer."""
        with self.listen(visitor) as lines:
            for line in lines.iter_lines():
                message = json.loads(line.removeprefix("data: ") or "{}")
                if message.get("msg") == "estimation":
                    self.ahead.setdefault(visitor, message["rank"])
                if message.get("msg") == "process_completed":
                    return message["output"]["data"][0]


class Gate:
    """Lets what a classifier is given wait until `open` is set: `came` counts it, `n_inside` says how much waited."""

    def __init__(self, classifier):
        self.open, self.came, self.n_inside = threading.Event(), threading.Semaphore(0), [0]
        self.classify, classifier.classify_batch = classifier.classify_batch, self.wait_and_classify

    def wait_and_classify(self, wavs, wav_lens):
        self.n_inside.append(self.n_inside[-1] + 1)
        self.came.release()
        assert self.open.wait(LONG_S)
        self.n_inside.append(self.n_inside[-1] - 1)
        return self.classify(wavs, wav_lens)


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Return a function that serves the page to visitors with a recording of so many seconds."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    @contextlib.contextmanager
    def serve_classifier(classifier, n_workers, duration_s=1.0):
        rate_hz = classifier.hparams.sample_rate
        sf.write(tmp_path / "a.wav", np.full(round(duration_s * rate_hz), 0.5), rate_hz)
        with serve_page(classifier, n_workers=n_workers) as url:
            with httpx.Client(base_url=url, trust_env=False, timeout=LONG_S) as client:
                yield Visitors(client, (tmp_path / "a.wav").read_bytes())

    return serve_classifier


def make_fast_classifier(sample_rate=8000):
    """Make a stand-in for whose rate nobody looks for speech."""
    classifier = make_classifier()
    classifier.hparams.sample_rate = sample_rate
    return classifier


def test_nobody_passes_by_the_queue(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with serve_page(make_fast_classifier(), n_workers=1) as url:
        with httpx.Client(base_url=url, trust_env=False, timeout=LONG_S) as client:
            answer = Visitors(client, b"").click("Recognise", "visitor", "run/predict", [None])
    assert answer.status_code == 500 and answer.json()["error"] == "Ask by the page, which has a queue."
    assert "Traceback" not in caplog.text


def test_50_at_once_are_answered_two_at_a_time_or_told_to_come_again(serve):
    classifier = make_fast_classifier(192_000)  # 5 s are 3.84 MB in memory, and a file of 1.92 MB
    gate = Gate(classifier)
    with serve(classifier, n_workers=2, duration_s=5.0) as visitors:
        gate.open.set()
        visitors.ask("first")  # what is allocated once
        visitors.answer("first")
        assert gate.came.acquire(timeout=LONG_S)
        gate.open.clear()
        tracemalloc.start()
        answers = {}
        for i in range(50):
            answers[f"visitor{i}"] = visitors.ask(f"visitor{i}")
            if i < 2:  # both work at the same time
                assert gate.came.acquire(timeout=LONG_S)
        waiting = [visitor for visitor, answer in answers.items() if answer.status_code == 200]
        refused = [answer for answer in answers.values() if answer.status_code == 503]
        assert (len(waiting), len(refused)) == (2 + WAITING, 28)
        assert all("Queue is full" in answer.json()["detail"] for answer in refused)
        gate.open.set()
        assert all("Anger (ang): 100.0%" in visitors.answer(visitor) for visitor in waiting)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert max(gate.n_inside) == 2
    assert peak < 30e6  # of numpy and Python: two clips; the 22 would be 84 MB, their files 42


def test_who_stops_is_answered_at_once_whether_waiting_or_not_and_nobody_else(serve):
    classifier = make_fast_classifier()
    gate = Gate(classifier)
    with serve(classifier, n_workers=1) as visitors:
        for visitor in ("first", "second", "third"):
            visitors.ask(visitor)
        assert gate.came.acquire(timeout=LONG_S)
        for visitor in ("first", "second", "stranger"):
            visitors.stop(visitor)
        assert [visitors.answer(visitor) for visitor in ("first", "second")] == [STOPPED, STOPPED]
        for visitor in ("fourth", "second"):
            visitors.ask(visitor)
        gate.open.set()
        assert all("Anger" in visitors.answer(visitor) for visitor in ("third", "fourth", "second"))
    assert visitors.ahead["fourth"] == 1  # the third
    assert gate.n_inside == [0] + 4 * [1, 0]  # what has begun keeps its place until it ends


@pytest.mark.parametrize("how", ["stops", "leaves"])
def test_who_stops_or_leaves_is_classified_no_further(serve, monkeypatch, how):
    clean, left = Queue.clean_events, threading.Event()

    async def clean_and_tell(queue, **whose):
        await clean(queue, **whose)
        left.set()

    monkeypatch.setattr(Queue, "clean_events", clean_and_tell)
    classifier = make_fast_classifier()
    gate = Gate(classifier)
    with serve(classifier, n_workers=1, duration_s=20.0) as visitors:
        visitors.ask("first")
        assert gate.came.acquire(timeout=LONG_S)
        if how == "stops":
            visitors.stop("first")
        else:
            with visitors.listen("first") as lines:
                next(lines.iter_lines())
            assert left.wait(LONG_S)
        gate.open.set()
        visitors.ask("second")
        assert "Anger" in visitors.answer("second")
    assert gate.n_inside == [0, 1, 0] + 17 * [1, 0]  # one window of 4 s each second


def test_count_workers_leaves_a_gpu_to_one(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(3)), raising=False)
    assert count_workers(make_classifier()) == 3
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)), raising=False)
    assert count_workers(make_classifier()) == 4
    classifier = make_classifier()
    classifier.device = "cuda:0"
    assert count_workers(classifier) == 1


def test_serve_page_shares_the_cores_among_its_workers(serve, monkeypatch, request):
    threads, classifier = [], make_fast_classifier()
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    classify = classifier.classify_batch
    classifier.classify_batch = lambda *batch: [threads.append(torch.get_num_threads()), classify(*batch)][1]
    request.addfinalizer(functools.partial(torch.set_num_threads, torch.get_num_threads()))
    torch.set_num_threads(8)  # a process with several cannot be forked by later tests
    with serve(classifier, n_workers=3) as visitors:
        visitors.ask("visitor")
        assert "Anger" in visitors.answer("visitor")
    assert threads == [2] and torch.get_num_threads() == 8
