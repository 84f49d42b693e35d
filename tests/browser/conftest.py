"""What the tests of the page share: a small model, recordings, the page served in this process, and a browser."""

import shutil
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile as sf
from playwright.sync_api import expect, sync_playwright

from speechbrain_ext.inference.classifier import load_classifier
from speechbrain_ext.web.server import serve_page
from tests.babble import make_babble
from tests.bundle_making import make_bundle

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MAX_MB = 1.0
RATE_HZ = 16000

LONG_S = 300  # a busy machine fails no test
expect.set_options(timeout=1000 * LONG_S)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("model") / "bundle")


@pytest.fixture(scope="session")
def classifier(bundle):
    return load_classifier(bundle, {"device": "cpu"})


@pytest.fixture(scope="session")
def recordings(tmp_path_factory):
    """Name -> path: two short clips and a long one, silence, a text named as a recording, a file that is too large."""
    folder = tmp_path_factory.mktemp("recordings")
    for name, duration_s in (("short.wav", 1.5), ("other.flac", 0.8), ("long.wav", 20.0)):
        sf.write(folder / name, make_babble(duration_s), RATE_HZ)
    sf.write(folder / "silence.wav", np.zeros(2 * RATE_HZ), RATE_HZ)
    (folder / "text.wav").write_text("These are words, and no recording of them.\n" * 50)
    (folder / "large.wav").write_bytes(bytes(round(1.2e6 * MAX_MB)))
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="session")
def url(classifier, recordings):
    """Serve the page with two examples, and return its address."""
    examples = [str(recordings[name]) for name in ("other.flac", "short.wav")]
    with serve_page(classifier, max_mb=MAX_MB, examples=examples, model="user/tiny") as address:
        yield address


@pytest.fixture(scope="session")
def browser():
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.fail(f"these tests need a browser, and found none of {', '.join(BROWSERS)} on the PATH")
    microphone = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]  # beeps, and asks nobody
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", *microphone]
        chromium = playwright.chromium.launch(executable_path=path, args=arguments, timeout=1000 * LONG_S)
        yield chromium
        chromium.close()


# Keys of translations, such as common.complete, that the page shows or says to screen readers at any time.
FIND_KEYS = """
new MutationObserver((changes) => {
    for (const {target, addedNodes} of changes)
        for (const node of [target, ...addedNodes]) {
            const element = node.closest ? node : node.parentElement
            if (element?.closest("script, style, head") || element?.querySelector("script")) continue
            const text = node.textContent ?? ""  // a document has none
            for (const [key] of text.matchAll(/\\b(common|status|errors)\\.[a-z_]+\\b/g)) reportKey(key)
        }
}).observe(document, {subtree: true, childList: true, characterData: true})
"""


@pytest.fixture
def visit(browser, url):
    """Return a function that opens the page.

    Whatever the page asks for has to be on this machine, no script may fail, and no key may stand for its translation.
    """
    contexts, hosts, errors, keys = [], set(), [], []

    def open_page(width=1280, height=900, theme="light", locale="en-GB"):
        viewport = {"width": width, "height": height}
        contexts.append(browser.new_context(viewport=viewport, reduced_motion="reduce", locale=locale))
        contexts[-1].set_default_timeout(1000 * LONG_S)
        page = contexts[-1].new_page()
        page.expose_function("reportKey", lambda key: keys.append(key))
        page.add_init_script(FIND_KEYS)
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
    assert not keys
