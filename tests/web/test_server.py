"""The page's server without a browser: what it contacts, hands out and keeps."""

import functools
import json
import os
import socket
import sys
import threading

import httpx
import numpy as np
import psutil
import pytest
import soundfile as sf
import torch

from speechbrain_ext.errors import InputError
from speechbrain_ext.web.guard import LOCK
from speechbrain_ext.web.page import WAITING
from speechbrain_ext.web.server import check_address, count_workers, serve_page
from tests.web.test_answer import make_classifier

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
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
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
        config = client.get("/config").json()
        buttons = {part["id"]: part["props"].get("value") for part in config["components"] if part["type"] == "button"}
        events = [event for event in config["dependencies"] if event["backend_fn"] and event["targets"]]
        self.fn_index = next(event["id"] for event in events if buttons.get(event["targets"][0][0]) == "Recognise")

    def ask(self, visitor):
        """Upload, and join the queue."""
        (path,) = self.client.post("/gradio_api/upload", files={"files": ("a.wav", self.recording)}).json()
        data = [{"path": path, "meta": {"_type": "gradio.FileData"}}]
        body = {"data": data, "fn_index": self.fn_index, "session_hash": visitor}
        return self.client.post("/gradio_api/queue/join", json=body)

    def answer(self, visitor):
        """Wait for the answer."""
        with self.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": visitor}) as lines:
            for line in lines.iter_lines():
                message = json.loads(line.removeprefix("data: ") or "{}")
                if message.get("msg") == "process_completed":
                    return message["output"]["data"][0]


def make_fast_classifier():
    """Make a stand-in for whose rate nobody looks for speech."""
    classifier = make_classifier()
    classifier.hparams.sample_rate = 8000
    return classifier


def test_50_at_once_are_answered_two_at_a_time_or_told_to_come_again(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sf.write(tmp_path / "a.wav", np.full(960_000, 0.5), 192_000)
    classifier = make_fast_classifier()
    classify, inside, gate, most = classifier.classify_batch, threading.Semaphore(0), threading.Event(), []

    def wait_and_classify(wavs, wav_lens):
        most.append(1)
        inside.release()
        assert gate.wait(60)
        most.append(-1)
        return classify(wavs, wav_lens)

    classifier.classify_batch = wait_and_classify
    with serve_page(classifier, n_workers=2) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        visitors = Visitors(client, (tmp_path / "a.wav").read_bytes())
        gate.set()
        visitors.ask("first")  # what is allocated once
        visitors.answer("first")
        assert inside.acquire(timeout=60)
        gate.clear()
        before = psutil.Process().memory_info().rss
        answers = {}
        for i in range(50):
            answers[f"visitor{i}"] = visitors.ask(f"visitor{i}")
            if i < 2:  # both work at the same time
                assert inside.acquire(timeout=60)
        waiting = [visitor for visitor, answer in answers.items() if answer.status_code == 200]
        refused = [answer for answer in answers.values() if answer.status_code == 503]
        assert (len(waiting), len(refused)) == (2 + WAITING, 28)
        assert all("Queue is full" in answer.json()["detail"] for answer in refused)
        gate.set()
        assert all("Anger (ang): 100.0%" in visitors.answer(visitor) for visitor in waiting)
        n_bytes = psutil.Process().memory_info().rss - before
    assert max(np.cumsum(most)) == 2
    assert n_bytes < 50e6  # the uploads are 96 MB


def test_who_stops_while_waiting_is_taken_out_of_the_queue(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sf.write(tmp_path / "a.wav", np.full(8_000, 0.5), 16_000)
    classifier = make_fast_classifier()
    classify, inside, gate = classifier.classify_batch, threading.Semaphore(0), threading.Event()
    classifier.classify_batch = lambda *batch: [inside.release(), gate.wait(60), classify(*batch)][2]
    with serve_page(classifier, n_workers=1) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        visitors = Visitors(client, (tmp_path / "a.wav").read_bytes())
        (stop,) = [event for event in client.get("/config").json()["dependencies"] if event["cancels"]]
        assert stop["cancels"] == [visitors.fn_index]
        visitors.ask("first")
        assert inside.acquire(timeout=60)
        event = visitors.ask("second").json()["event_id"]
        body = {"session_hash": "second", "fn_index": visitors.fn_index, "event_id": event}
        assert client.post("/gradio_api/cancel", json=body).json() == {"success": True}
        gate.set()
        assert "Anger" in visitors.answer("first")
        visitors.ask("third")
        assert "Anger" in visitors.answer("third")
    assert inside.acquire(timeout=60) and not inside.acquire(blocking=False)  # the third one's, and no other


def test_count_workers_leaves_a_gpu_to_one(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(3)), raising=False)
    assert count_workers(make_classifier()) == 3
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(64)), raising=False)
    assert count_workers(make_classifier()) == 4
    classifier = make_classifier()
    classifier.device = "cuda:0"
    assert count_workers(classifier) == 1


def test_serve_page_shares_the_cores_among_its_workers(tmp_path, monkeypatch, request):
    threads, classifier = [], make_fast_classifier()
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)), raising=False)
    classify = classifier.classify_batch
    classifier.classify_batch = lambda *batch: [threads.append(torch.get_num_threads()), classify(*batch)][1]
    sf.write(tmp_path / "a.wav", np.full(8_000, 0.5), 16_000)
    request.addfinalizer(functools.partial(torch.set_num_threads, torch.get_num_threads()))
    torch.set_num_threads(8)  # a process with several cannot be forked by later tests
    with serve_page(classifier, n_workers=3) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
        visitors = Visitors(client, (tmp_path / "a.wav").read_bytes())
        visitors.ask("visitor")
        assert "Anger" in visitors.answer("visitor")
    assert threads == [2] and torch.get_num_threads() == 8
