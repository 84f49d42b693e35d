"""The page as a visitor has it, in a headless Chromium; and the command that serves it, from start to end."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest
from matplotlib.image import imread
from playwright.sync_api import expect

from speechbrain_ext.web.answer import NOTHING
from tests.browser.conftest import LONG_S

TIMES = re.compile(r"(\d\d):(\d\d\.\d)")
# The contrast of WCAG 2: every piece of text with the first opaque background behind it.
CONTRASTS = """
() => {
    const rgba = (text) => { const [r, g, b, a] = text.match(/[\\d.]+/g).map(Number); return [r, g, b, a ?? 1] }
    const linear = (value) => value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4
    const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
    const behind = (element) => {
        for (let e = element; e; e = e.parentElement) {
            const colour = rgba(getComputedStyle(e).backgroundColor)
            if (colour[3] === 1) return colour
        }
        return [255, 255, 255, 1]
    }
    const found = []
    const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT)
    while (walker.nextNode()) {
        const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement
        if (!text || !element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue
        const [one, other] = [rgba(getComputedStyle(element).color), behind(element)].map(luminance)
        found.push([(Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05), text])
    }
    return found
}
"""
FOCUS = "() => { const e = document.activeElement; return [e.getAttribute('aria-label') || e.innerText, \
    getComputedStyle(e).outlineStyle, parseFloat(getComputedStyle(e).outlineWidth)] }"


def upload(page, path):
    page.locator("#speech input[type=file]").set_input_files(path)
    page.get_by_role("button", name="Clear").wait_for()


def recognise(page):
    page.get_by_role("button", name="Recognise").click()
    page.locator("#answer h2").wait_for()


def read_bars(page):
    """Return {label: percent} from the table of the probabilities."""
    rows = page.locator("#answer .bars tbody tr").all()
    return {row.locator("th").inner_text(): float(row.locator("td").last.inner_text().rstrip("%")) for row in rows}


def test_upload_is_answered_with_the_probabilities_of_classify_file(visit, recordings, classifier, tmp_path):
    page = visit()
    upload(page, recordings["short.wav"])
    recognise(page)
    posteriors = classifier.classify_file(str(recordings["short.wav"]))[0].exp()[0]
    labels = ["anger (ang)", "happiness (hap)", "sadness (sad)", "neutral (neu)"]
    bars = read_bars(page)
    assert list(bars) == labels
    assert list(bars.values()) == pytest.approx([100 * value for value in posteriors.tolist()], abs=0.051)
    assert sum(bars.values()) == pytest.approx(100, abs=0.21)
    best = labels[posteriors.argmax()]
    expect(page.locator("#answer h2")).to_have_text(f"{best.capitalize()}: {bars[best]:.1f}%")
    expect(page.locator("#answer")).to_contain_text("short.wav, 1.5 s, classified as a whole.")
    expect(page.locator("#answer")).to_have_attribute("aria-live", "polite")
    lengths = [bar.bounding_box()["width"] for bar in page.locator("#answer .bar div").all()]
    assert [value / sum(lengths) for value in lengths] == pytest.approx(posteriors.tolist(), abs=0.01)
    page.screenshot(path=tmp_path / "short.png")


def test_page_names_its_model_and_saves_its_answer_as_csv(visit, recordings, tmp_path):
    page = visit()
    expect(page.locator("#model")).to_contain_text("Model: user/tiny")
    for name, saved, columns in (
        ("short.wav", "short.csv", "path,predicted,ang,hap,sad,neu,speech,duration_s,model,error,checksum"),
        ("long.wav", "long_timeline.csv", "start_s,end_s,emotion,ang,hap,sad,neu,speech"),
    ):
        upload(page, recordings[name])
        recognise(page)
        with page.expect_download() as download:
            page.get_by_role("link", name="Save as CSV").click()
        assert download.value.suggested_filename == saved
        download.value.save_as(tmp_path / saved)
        assert (tmp_path / saved).read_text().splitlines()[0] == columns
        page.get_by_role("button", name="Clear").click()


@pytest.mark.parametrize("locale", ["en-GB", "de-DE"])
def test_screen_readers_hear_words_in_place_of_keys(visit, locale):
    page = visit(locale=locale)
    page.get_by_role("button", name="other.flac").click()
    expect(page.locator("#answer")).to_contain_text("other.flac, 0.8 s")
    page.get_by_text("Done", exact=True).first.wait_for(state="attached")  # up to 5 s later; `visit` looks for keys


def test_silence_is_no_emotion(visit, recordings, tmp_path):
    page = visit()
    upload(page, recordings["silence.wav"])
    recognise(page)
    expect(page.locator("#answer h2")).to_have_text("No speech found")
    expect(page.locator("#answer")).to_contain_text("silence.wav, 2.0 s.")
    expect(page.locator("#answer table")).to_have_count(0)
    page.screenshot(path=tmp_path / "silence.png")


def test_long_recording_shows_picture_and_segments_without_gaps(visit, recordings, tmp_path):
    page = visit()
    upload(page, recordings["long.wav"])
    recognise(page)
    expect(page.locator("#answer h2")).to_contain_text("mean over its speech")
    assert sum(read_bars(page).values()) == pytest.approx(100, abs=0.21)
    picture = page.locator("#answer img:visible")
    assert picture.evaluate("image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])") == [
        1600,
        700,
    ]
    assert "waveform" in picture.get_attribute("alt")
    rows = [row.locator("td").all_inner_texts() for row in page.locator("#answer .segments tbody tr").all()]
    times = [[60 * int(m) + float(s) for m, s in (TIMES.fullmatch(text).groups() for text in row[:2])] for row in rows]
    assert times[0][0] == 0 and times[-1][1] == 20
    assert all(before[1] == after[0] for before, after in zip(times, times[1:]))
    page.screenshot(path=tmp_path / "long.png", full_page=True)


def test_errors_are_sentences_that_stay_and_name_no_folder(visit, recordings, tmp_path):
    page = visit()
    alert = page.locator("#answer").get_by_role("alert")
    page.get_by_role("button", name="Recognise").click()
    expect(alert).to_have_text(NOTHING)
    upload(page, recordings["text.wav"])
    expect(alert).to_have_count(0)  # it was said of another try
    page.get_by_role("button", name="Recognise").click()
    expect(alert).to_have_text(
        re.compile(r"^text\.wav cannot be read as audio: .*Format not recognised.* Replace the file")
    )
    assert "/" not in alert.inner_text()
    page.screenshot(path=tmp_path / "unreadable.png")


def test_new_recording_takes_the_old_answer_away(visit, recordings):
    page = visit()
    upload(page, recordings["short.wav"])
    recognise(page)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#answer h2")).to_have_count(0)


def test_too_large_file_is_refused_in_a_sentence_until_another_is_chosen(visit, recordings, tmp_path):
    page = visit()
    page.locator("#speech input[type=file]").set_input_files(recordings["large.wav"])
    alert = page.locator("#refused")
    expect(alert).to_have_text(
        "large.wav is too large: it has 1.2 MB, and at most 1 MB are taken. Cut it, or save it as FLAC or MP3."
    )
    page.screenshot(path=tmp_path / "large.png")
    expect(page.get_by_role("button", name="Clear")).to_have_count(0)  # nothing was chosen
    upload(page, recordings["short.wav"])
    expect(alert).to_be_hidden()
    recognise(page)


def test_too_large_file_that_is_dropped_is_refused(visit):
    page = visit()
    page.locator("#speech").evaluate(
        """element => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(1200000)], "dropped.wav", {type: "audio/wav"}));
            element.querySelector("button").dispatchEvent(
                new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
        }"""
    )
    expect(page.locator("#refused")).to_contain_text("dropped.wav is too large: it has 1.2 MB")
    expect(page.get_by_role("button", name="Clear")).to_have_count(0)


def test_example_is_one_click(visit):
    page = visit()
    page.get_by_role("button", name="other.flac").click()
    expect(page.locator("#answer")).to_contain_text("other.flac, 0.8 s")
    page.get_by_role("button", name="Play", exact=True).wait_for()
    page.get_by_role("button", name="short.wav").click()
    expect(page.locator("#answer")).to_contain_text("short.wav, 1.5 s")


def test_recording_with_the_microphone_is_answered(visit, tmp_path):
    page = visit()
    page.get_by_role("button", name="Record audio").click()
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.locator("#speech time").last).to_have_text(re.compile(r"0:(0[2-9]|[1-5]\d)"))  # seconds recorded
    expect(page.get_by_role("button", name="Recognise")).to_be_disabled()
    page.get_by_role("button", name="Stop", exact=True).click()
    recognise(page)  # as soon as it can be clicked
    expect(page.locator("#answer h2")).to_have_text("No speech found")  # the device beeps
    heard = re.search(r"audio\.wav, (\d+\.\d) s\.", page.locator("#answer").inner_text())
    assert 0.1 < float(heard[1])  # a busy machine loses some
    page.screenshot(path=tmp_path / "recorded.png")


def test_recording_that_is_given_up_leaves_the_page_usable(visit):
    page = visit()
    page.get_by_role("button", name="Record audio").click()
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.get_by_role("button", name="Recognise")).to_be_disabled()
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="Recognise").click()
    expect(page.locator("#answer").get_by_role("alert")).to_have_text(NOTHING)


def test_keyboard_alone_reaches_everything_and_shows_where_it_is(visit):
    page = visit()
    reached = []
    for _ in range(6):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUS))
    names = [name for name, _, _ in reached]
    assert "upload" in names[0]
    assert names[1:] == ["Upload file", "Record audio", "Recognise", "other.flac", "short.wav"]
    assert all(style == "solid" and width >= 2 for _, style, width in reached)

    page.keyboard.press("Enter")  # the last example
    expect(page.locator("#answer")).to_contain_text("short.wav, 1.5 s")


def test_keyboard_alone_uploads_and_reads_a_timeline(visit, recordings):
    page = visit()
    page.on("filechooser", lambda chooser: chooser.set_files(recordings["long.wav"]))
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Drop an audio file here")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Clear").wait_for()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate(FOCUS)[0] == "Recognise":
            break
    assert page.evaluate(FOCUS)[0] == "Recognise"
    page.keyboard.press("Enter")
    page.locator("#answer img:visible").wait_for()
    expect(page.get_by_role("button", name="Stop recognising")).to_be_disabled()  # it is no longer in the way
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUS)[0] == "Timeline"  # a phone's width cuts it: the arrow keys move it
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUS)[0] == "Segments"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width, height", [(1280, 900), (390, 844)])
def test_text_is_readable_and_fits_the_screen(visit, recordings, tmp_path, theme, width, height):
    page = visit(width, height, theme)
    upload(page, recordings["long.wav"])
    recognise(page)
    expect(page.locator("#answer .html-container")).to_have_css("opacity", "1")  # it fades in
    page.mouse.move(1, 1)
    contrasts = page.evaluate(CONTRASTS)
    assert {"Speech emotion recognition", "Recognise", "Segments", "other.flac"} <= {text for _, text in contrasts}
    assert [(round(ratio, 1), text) for ratio, text in contrasts if ratio < 4.5] == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.screenshot(path=tmp_path / f"{theme}_{width}.png", full_page=True)
    corner = imread(tmp_path / f"{theme}_{width}.png")[5, 5, :3]
    assert corner.max() < 0.2 if theme == "dark" else corner.min() > 0.9
    (picture,) = page.locator("#answer img:visible").all()
    picture.screenshot(path=tmp_path / f"{theme}_{width}_timeline.png")
    corner = imread(tmp_path / f"{theme}_{width}_timeline.png")[5, 5, :3]
    assert corner.max() < 0.2 if theme == "dark" else corner.min() > 0.9

    page.get_by_role("button", name="Clear").click()
    page.get_by_role("button", name="Recognise").click()
    page.locator("#answer").get_by_role("alert").wait_for()
    expect(page.locator("#answer .html-container")).to_have_css("opacity", "1")
    assert [(round(ratio, 1), text) for ratio, text in page.evaluate(CONTRASTS) if ratio < 4.5] == []
    page.screenshot(path=tmp_path / f"{theme}_{width}_error.png")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_serves_this_machine_alone_and_ends_cleanly(bundle, root, tmp_path, number):
    command = [
        sys.executable,
        "-m",
        "speechbrain_ext.commands.main",
        "web",
        str(bundle),
        "--device",
        "cpu",
    ]
    environment = {**os.environ, "PYTHONPATH": str(root), "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path
    )
    try:
        line = process.stdout.readline()
        said = re.fullmatch(r"The page is at http://127\.0\.0\.1:(\d+)/ - Ctrl-C ends it\.\n", line)
        assert said, (line, process.stderr.read())
        with socket.create_connection(("127.0.0.1", said[1]), timeout=LONG_S):
            assert list(tmp_path.glob("speechbrain-ext-web-*"))
        with pytest.raises(ConnectionRefusedError):  # another address of this machine
            socket.create_connection(("127.0.0.2", said[1]), timeout=LONG_S)
        process.send_signal(number)
        out, err = process.communicate(timeout=LONG_S)
    finally:
        process.kill()
    assert (process.returncode, out) == (0, "The page is closed, and what was uploaded is deleted.\n")
    assert "Traceback" not in err
    assert not list(tmp_path.glob("speechbrain-ext-web-*"))


@pytest.fixture
def held(classifier, monkeypatch):
    """Let each recording's first window wait; (entered: Semaphore, gate: Event, calls: list)."""
    classify, entered, gate, calls = classifier.classify_batch, threading.Semaphore(0), threading.Event(), []

    def wait_and_classify(wavs, wav_lens):
        calls.append(len(wavs))
        entered.release()
        assert gate.wait(LONG_S)
        return classify(wavs, wav_lens)

    monkeypatch.setattr(classifier, "classify_batch", wait_and_classify)
    return entered, gate, calls


def test_what_a_visitor_stops_ends_at_the_next_window(visit, recordings, held):
    entered, gate, calls = held
    page = visit()
    stop = page.get_by_role("button", name="Stop recognising")
    expect(stop).to_be_disabled()
    upload(page, recordings["long.wav"])
    page.get_by_role("button", name="Recognise").click()
    assert entered.acquire(timeout=LONG_S)
    stop.click()
    expect(page.locator("#answer")).to_have_text("Stopped.")
    expect(stop).to_be_disabled()
    gate.set()
    recognise(page)
    expect(stop).to_be_disabled()
    assert len(calls) == 1 + 17  # of 20 s: one window of 4 s each second
