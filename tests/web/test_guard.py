"""Who may talk to the page, how much may be uploaded, and what a page that was killed leaves."""

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from speechbrain_ext.web.guard import PREFIX, PageGuard, own_hosts, upload_folder
from speechbrain_ext.web.server import serve_page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Serve a page that also answers to one other name, and takes 10 kB of uploads in all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("uploads")))
        with serve_page(None, allow_hosts=["Emotions.example.org"], max_total_mb=0.01) as url:
            with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
                yield client


def test_page_is_answered_under_its_own_names_alone(page):
    port = page.base_url.port
    for host in ("127.0.0.1", f"127.0.0.1:{port}", f"localhost:{port}", "LOCALHOST", "emotions.example.org"):
        assert page.get("/", headers={"host": host}).status_code == 200, host
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "[::1]:80", "[", ""):
        answer = page.get("/config", headers={"host": host})
        assert answer.status_code == 403, host
        assert answer.text == "This page is not served under this name: see --allow_host.\n"


def test_page_answers_no_other_origin(page):
    host = f"127.0.0.1:{page.base_url.port}"
    own = {"origin": f"http://{host}", "host": host}
    assert page.get("/config", headers=own).status_code == 200
    for origin in (
        "http://evil.example",
        "null",
        "http://127.0.0.1:1",
        "http://[::1",
        f"http://localhost:{page.base_url.port}",
    ):
        answer = page.post("/gradio_api/upload", headers={**own, "origin": origin}, files={"files": ("a.wav", b"a")})
        assert answer.status_code == 403, origin
        assert "not pages of other origins" in answer.text


def test_page_is_no_part_of_a_foreign_page_but_may_be_linked_to(page):
    part = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert page.get("/config", headers=part).status_code == 403
    assert page.get("/", headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}).status_code == 200
    assert page.get("/config", headers={"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}).status_code == 200


def test_page_tells_browsers_to_guess_no_types_and_to_load_nothing_from_elsewhere(page):
    for answer in (page.get("/"), page.get("/config"), page.get("/", headers={"host": "evil.example"})):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


def test_all_uploads_together_have_a_limit(page):
    def upload(n_bytes):
        return page.post("/gradio_api/upload", files={"files": (f"{n_bytes}.wav", bytes(n_bytes))})

    assert upload(6000).status_code == 200
    answer = upload(6001)
    assert answer.status_code == 413
    assert answer.text.startswith("The 0.01 MB for uploads are used up.")
    assert upload(2000).status_code == 200
    chunked = page.post("/gradio_api/upload", content=iter([b"a"]), headers={"content-type": "multipart/form-data"})
    assert chunked.status_code == 411 and "Content-Length" in chunked.text


def test_uploads_that_are_under_way_count(tmp_path):
    answers = []

    async def slow_app(scope, receive, send):
        if not answers:  # the second one comes while the first is being received
            answers.append("first")
            await guard(scope, receive, lambda message: note(message))

    async def note(message):
        if message["type"] == "http.response.start":
            answers.append(message["status"])

    guard = PageGuard(slow_app, ["*"], tmp_path, max_bytes=100)
    scope = {"type": "http", "path": "/upload", "headers": [(b"content-length", b"60")]}
    asyncio.run(guard(scope, None, note))
    assert answers == ["first", 413] and guard.n_under_way == 0


def test_own_hosts_of_all_networks_are_those_of_this_machine():
    assert own_hosts("127.0.0.1") == ["127.0.0.1", "localhost"]
    assert {"0.0.0.0", "127.0.0.1", "localhost"} < set(own_hosts("0.0.0.0"))


def test_upload_folder_deletes_what_a_killed_page_has_left_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    killed = (
        "import os, signal, sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        "from speechbrain_ext.web.guard import upload_folder\n"
        "with upload_folder() as name:\n"
        "    os.makedirs(name + '/deep'); open(name + '/deep/voice.wav', 'w').close()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", killed, str(tmp_path)], check=False)
    (left,) = tmp_path.glob(f"{PREFIX}*")
    assert (left / "deep" / "voice.wav").exists()
    other = tmp_path / "mine"
    other.mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(other)
    with upload_folder() as served:  # a second page leaves the first one's alone
        assert not left.exists() and other.exists()
        (Path(served) / "voice.wav").touch()
        with upload_folder() as second:
            assert (Path(served) / "voice.wav").exists() and second != served
    assert not Path(served).exists() and (tmp_path / f"{PREFIX}link").is_symlink()
