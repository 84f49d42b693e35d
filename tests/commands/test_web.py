"""`speechbrain-ext web`: its examples, what it refuses, and how it ends."""

import contextlib
import signal
import sys
from pathlib import Path

import pytest

from speechbrain_ext.commands import main as cli
from speechbrain_ext.commands.web import pick_examples


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
    opened, served = [], []

    def open_browser(url):
        opened.append(url)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("speechbrain_ext.inference.classifier.load_classifier", lambda bundle, run_opts: None)
    page = contextlib.nullcontext("http://page/")
    monkeypatch.setattr("speechbrain_ext.web.server.serve_page", lambda *given: [served.append(given), page][1])
    monkeypatch.setattr("webbrowser.open", open_browser)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert cli.main(["web", "bundle", "--host", host, "--port", "8000", "--open"]) == 0
    assert opened == ["http://page/"] and served[0][1:3] == (host, 8000)
    printed = capsys.readouterr()
    assert printed.out.startswith("The page is at http://page/ - Ctrl-C ends it.\nThe page is closed")
    assert ("asks for no password" in printed.err) == warned
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
