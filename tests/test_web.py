"""The page without a browser: what it contacts, hands out and keeps, and what the command refuses."""

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

import httpx
import pytest

from speechbrain_ext import cli, web_command
from speechbrain_ext.errors import InputError
from speechbrain_ext.web import build_page, page_style
from speechbrain_ext.web_command import pick_examples
from speechbrain_ext.web_server import check_address, serve_page

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
        with httpx.Client(base_url=url, trust_env=False) as client:
            yield client, example


def uploads(tmp_path):
    return [path for path in tmp_path.glob("speechbrain-ext-web-*/**/*") if path.is_file()]


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


def test_page_style_fetches_nothing():
    style = page_style(max_mb=2.5)
    assert style["theme"]._stylesheets == [] and "@font-face" not in style["theme"]._get_theme_css()
    assert not any("http" in style[name] or "url(" in style[name] for name in ("css", "js"))
    assert "MAX_MB" not in style["js"] and "2.5 * 1e6" in style["js"]


def test_build_page_says_its_limits_and_names_its_examples():
    page = build_page(None, max_mb=7, examples=["/far/away/hello.wav"])
    values = [getattr(block, "value", None) for block in page.blocks.values()]
    assert any("do not judge people by it" in str(value) for value in values)
    assert any("at most 7 MB and 30 minutes" in str(value) for value in values)
    assert "hello.wav" in values and not any("/far/away" in str(value) for value in values)


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


def test_pick_examples_spreads_over_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert pick_examples() == []
    for i in range(10):
        Path("demo_corpus", f"speaker{i // 5}").mkdir(parents=True, exist_ok=True)
        Path("demo_corpus", f"speaker{i // 5}", f"{i}.wav").touch()
    assert [Path(path).name for path in pick_examples()] == ["0.wav", "2.wav", "5.wav", "7.wav"]
    assert len(pick_examples("demo_corpus/speaker1", n_examples=9)) == 5


@pytest.mark.parametrize(
    "words, message",
    [
        (["--max_mb", "0"], "--max_mb must be a number between 0 and inf, got 0.0."),
        (["--max_mb", "nan"], "--max_mb must be a number between 0 and inf, got nan."),
        (["--port", "99999"], "port must be a number from 1 to 65535, got 99999."),
        (["--host", "192.0.2.1"], "the page cannot be served at 192.0.2.1"),
        (["--examples", "nowhere"], "--examples must be a folder with recordings, and nowhere is no folder."),
        (["--device", "gpu"], "device 'gpu' cannot be used"),
        ([], "no_bundle is no folder."),
    ],
)
def test_web_refuses_in_a_sentence(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["web", "no_bundle", *words]) == 1
    assert f"speechbrain-ext web: {message}" in capsys.readouterr().err


def test_web_without_gradio_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert cli.main(["web", "bundle"]) == 1
    assert 'pip install "speechbrain-ext[web]"' in capsys.readouterr().err


@pytest.mark.parametrize("host, warned", [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])
def test_web_opens_the_browser_warns_of_visitors_and_ends_by_a_signal(host, warned, monkeypatch, capsys):
    opened = []

    def open_browser(url):
        opened.append(url)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(web_command, "load_classifier", lambda bundle, run_opts: None)
    monkeypatch.setattr(web_command, "serve_page", lambda *_: contextlib.nullcontext("http://page/"))
    monkeypatch.setattr("webbrowser.open", open_browser)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert cli.main(["web", "bundle", "--host", host, "--open"]) == 0
    assert opened == ["http://page/"]
    printed = capsys.readouterr()
    assert printed.out.startswith("The page is at http://page/ - Ctrl-C ends it.\nThe page is closed")
    assert ("asks for no password" in printed.err) == warned
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
