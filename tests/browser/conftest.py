"""What the tests of the page share: a small model, recordings, the page served in this process, and a browser."""

import shutil
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile as sf
from playwright.sync_api import expect, sync_playwright

from speechbrain_ext.inference.classifier import load_classifier
from speechbrain_ext.web.server import serve_page
from tests.bundle_making import make_bundle

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MAX_MB = 1.0
RATE_HZ = 16000

expect.set_options(timeout=30_000)  # a busy machine fails no test


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("model") / "bundle")


@pytest.fixture(scope="session")
def classifier(bundle):
    return load_classifier(bundle, {"device": "cpu"})


@pytest.fixture(scope="session")
def recordings(tmp_path_factory):
    """Name -> path: two short clips and a long one, a text with a recording's name, and a file that is too large."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for name, duration_s in (("short.wav", 1.5), ("other.flac", 0.8), ("long.wav", 20.0)):
        n_samples = round(duration_s * RATE_HZ)
        loudness = 0.05 + 0.3 * np.arange(n_samples) / n_samples
        sf.write(folder / name, loudness * rng.standard_normal(n_samples).clip(-2, 2), RATE_HZ)
    (folder / "text.wav").write_text("These are words, and no recording of them.\n" * 50)
    (folder / "large.wav").write_bytes(bytes(round(1.2e6 * MAX_MB)))
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="session")
def url(classifier, recordings):
    """Serve the page with two examples, and return its address."""
    examples = [str(recordings[name]) for name in ("other.flac", "short.wav")]
    with serve_page(classifier, max_mb=MAX_MB, examples=examples) as address:
        yield address


@pytest.fixture(scope="session")
def browser():
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.fail(f"these tests need a browser, and found none of {', '.join(BROWSERS)} on the PATH")
    microphone = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]  # beeps, and asks nobody
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *microphone])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser, url):
    """Return a function that opens the page; whatever it asks for has to be on this machine, and no script may fail."""
    contexts, hosts, errors = [], set(), []

    def open_page(width=1280, height=900, theme="light"):
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce"))
        page = contexts[-1].new_page()
        page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
        page.on("pageerror", lambda error: errors.append(error))
        page.goto(f"{url}?__theme={theme}", wait_until="networkidle")
        page.get_by_role("button", name="Recognise").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert hosts <= {"127.0.0.1", None}  # data: and blob: have no host
    assert not errors
