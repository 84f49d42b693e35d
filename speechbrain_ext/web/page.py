"""The page in the browser: record or upload speech, and read the answer. It works without the network."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.speech_detector import make_detector
from speechbrain_ext.limits import LONGEST_ON_PAGE_S
from speechbrain_ext.web.answer import STOPPED, Stopped, answer, say

TITLE = "Speech emotion recognition"
LIMITS = (
    "A model guesses from the sound of a voice which emotion it might express. It is often wrong, and it cannot know "
    "what somebody feels: **do not judge people by it.** Recordings stay on the machine that runs this page, and are "
    "deleted within two hours, or when it is shut down."
)
KEPT_S = 3600  # an upload can be played for so long
WAITING = 20  # visitors in the queue
CLASSIFIER = "classifier"  # what Gradio's queue calls them by

CSS = """
.gradio-container {width: 100% !important; max-width: 860px !important; min-width: 0; margin: 0 auto !important}
h1 {font-size: 1.6rem; margin: 0}
#answer .html-container, #refusal .html-container, #model .html-container {padding: 0}
#model p {margin: 0}
#answer {min-height: 6rem}
#refusal:has([hidden]) {display: none}
#answer h2 {font-size: 1.4rem; font-weight: 600; margin: .5rem 0}
#answer h3 {font-size: 1.1rem; font-weight: 600; margin: 1.2rem 0 .4rem}
#answer table {border-collapse: collapse; width: 100%; border: 0; margin: 0}
#answer caption {text-align: left; padding: .6rem 0 .2rem}
#answer tr {border: 0}
#answer th, #answer td {text-align: left; padding: .35rem .8rem .35rem 0; font-weight: 400; border: 0}
#answer td:last-child, #answer th:last-child {text-align: right; padding-right: 0; font-variant-numeric: tabular-nums}
#answer .best th, #answer .best td, #answer thead th {font-weight: 700}
#answer .bars th, #answer .bars td:last-child {width: 1%; white-space: nowrap}
#answer .bar div {height: 1.1rem; min-width: 2px; background: #6b7280; border-radius: 3px}
#answer .best .bar div {background: #2563eb}
.dark #answer .bar div {background: #9ca3af}
.dark #answer .best .bar div {background: #60a5fa}
#answer .segments tbody tr {border-top: 1px solid var(--border-color-primary)}
#answer .wide {overflow-x: auto; border-radius: 6px; contain: inline-size}
#answer .wide img {width: 100%; min-width: 680px; max-width: none; margin: 0}
.dark #answer img.light, body:not(.dark) #answer img.dark {display: none}
#answer a {color: #1d4ed8; text-decoration: underline; padding: 0}
.dark #answer a {color: #93c5fd}
#answer .long {max-height: 24rem; overflow-y: auto}
p.error {border-left: 5px solid #b91c1c; padding: .6rem .9rem; background: #fef2f2; color: #7f1d1d !important}
p.error {overflow-wrap: anywhere; margin: .5rem 0}
.dark p.error {border-color: #f87171; background: #450a0a; color: #fee2e2 !important}
#speech button, #speech time, #speech select, #speech .or {color: var(--body-text-color) !important}
#speech .source-selection button {display: flex; align-items: center; width: auto; height: auto; white-space: nowrap}
#speech .source-selection {gap: 1rem}
#speech .source-selection svg {width: 18px; height: 18px}
#speech .source-selection button::after {content: attr(aria-label); margin-left: .4rem; font-size: .9rem}
#speech .source-selection .selected::after {text-decoration: underline; text-underline-offset: 3px}
.example {font-weight: 400 !important; white-space: normal !important; overflow-wrap: anywhere}
:focus-visible {outline: 3px solid #2563eb !important; outline-offset: 2px}
.dark :focus-visible {outline-color: #93c5fd !important}
"""
# The answer is read out when it comes. A file that is too large is refused before it is sent; the server has its own
# limit, but what Gradio says of it vanishes after seconds.
JS = """
() => {
    document.getElementById("answer").setAttribute("aria-live", "polite");
    const most = MAX_MB * 1e6, place = document.getElementById("refused");
    const refuse = (event, files) => {
        const large = [...(files || [])].find((file) => file.size > most);
        place.hidden = !large;
        place.textContent = "";
        if (!large) return;
        event.preventDefault();
        event.stopImmediatePropagation();
        const size_mb = (large.size / 1e6).toFixed(1);
        place.textContent = `${large.name} is too large: it has ${size_mb} MB, and at most MAX_MB MB are taken. `
            + "Cut it, or save it as FLAC or MP3.";
    };
    document.addEventListener("change", (event) => {
        if (event.target.type !== "file") return;
        refuse(event, event.target.files);
        if (!place.hidden) event.target.value = "";
    }, true);
    document.addEventListener("drop", (event) => refuse(event, event.dataTransfer?.files), true);
}
"""


# Gradio's own fonts are more files to fetch, and its orange is too pale for white letters.
FONTS = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
BUTTON = {
    "button_primary_background_fill": "*primary_600",
    "button_primary_background_fill_hover": "*primary_700",
    "button_primary_background_fill_dark": "*primary_600",
    "button_primary_background_fill_hover_dark": "*primary_700",
}


def import_gradio() -> Any:
    """Return the module gradio; an InputError says how to install it where it is missing."""
    try:
        import gradio
    except ImportError as error:
        raise InputError(
            f"the page in the browser needs gradio, which cannot be imported ({error}): "
            'pip install "speechbrain-ext[web]"'
        ) from error
    return gradio


def describe_model(classifier: Any, model: str) -> str:
    """Say in HTML which model is served: its name, its corpus, its emotions."""
    title = classifier.bundle.about.get("corpus_title")
    corpus = f", trained on {escape(title)}" if title else ""
    emotions = ", ".join(escape(say(emotion)) for emotion in classifier.hparams.emotions)
    return f"<p>Model: <b>{escape(model)}</b>{corpus}. It tells apart: {emotions}.</p>"


def build_page(
    classifier: Any, max_mb: float = 50.0, examples: Sequence[str] = (), model: str = "", n_workers: int = 1
) -> Any:
    """Build the page; `serve_page` makes it and serves it.

    Arguments
    ---------
    classifier
        As `load_classifier` returns it.
    max_mb
        Largest upload in megabytes, as the page says it.
    examples : sequence of str
        Recordings that are offered as examples.
    model
        The model's name, which stands on the page and in the CSV.
    n_workers
        How many recordings are classified at a time; further visitors wait in a queue.

    Returns
    -------
    gradio.Blocks
        The page.
    """
    gradio = import_gradio()
    detector = make_detector(classifier) if classifier else None

    # Gradio looks for a parameter with this default value.
    def recognise(path: str, progress: Any = gradio.Progress()) -> str:  # noqa: B008
        event = page._queue.event_ids_to_events.get(gradio.context.LocalContext.event_id.get())
        if event is None:  # what did not wait its turn
            raise gradio.Error("Ask by the page, which has a queue.", print_exception=False)

        def show(done_s: float, duration_s: float) -> None:
            if not event.alive:  # its visitor has stopped it, or has closed the page
                raise Stopped
            progress(done_s / duration_s, desc="Listening")

        return answer(classifier, path, show, detector, model)

    # What waits is taken out of the queue; what runs ends at its next window. Gradio's own way, `cancels`, answers what
    # it ends without data, which the page shows as an error if it comes late.
    async def stop_events(request: gradio.Request) -> None:  # type: ignore[name-defined]
        for event in list(page._queue.event_ids_to_events.values()):
            if (event.session_hash, event.concurrency_id) == (request.session_hash, CLASSIFIER):
                await page._queue.remove_from_queue(event._id)
                ended = gradio.server_messages.ProcessCompletedMessage(output={"data": [STOPPED]}, success=True)
                page._queue.send_message(event, ended)
                event.alive = False

    with gradio.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(KEPT_S, KEPT_S)) as page:
        gradio.Markdown(f"# {TITLE}\n{LIMITS}")
        if classifier:
            gradio.HTML(describe_model(classifier, model), elem_id="model")
        gradio.Markdown(
            f"WAV, FLAC, MP3, M4A, Ogg, WebM and others; at most {max_mb:g} MB and {LONGEST_ON_PAGE_S / 60:g} minutes."
        )
        speech = gradio.Audio(
            label="Speech",
            sources=["upload", "microphone"],
            type="filepath",
            editable=False,
            buttons=[],
            elem_id="speech",
        )
        gradio.HTML('<p role="alert" class="error" id="refused" hidden></p>', elem_id="refusal")
        with gradio.Row():
            button = gradio.Button("Recognise", variant="primary", elem_id="recognise", scale=4)
            stop = gradio.Button("Stop recognising", variant="stop", interactive=False, min_width=80)
        found = gradio.HTML(elem_id="answer")
        private = {"api_visibility": "private"}
        heard = {**private, "concurrency_id": CLASSIFIER, "concurrency_limit": n_workers}
        button.click(None, None, stop, js=_set_able(True), **private)  # at once: events of one click come in order
        started = [button.click(recognise, speech, found, **heard)]
        # An answer to another recording would mislead.
        for event in (speech.upload, speech.clear, speech.start_recording):
            event(None, None, found, js="() => ''", **private)
        # A recording is sent after it was stopped: until it is there, there is nothing to recognise.
        for event, ready in ((speech.start_recording, False), (speech.change, True), (speech.clear, True)):
            event(None, None, button, js=_set_able(ready), **private)
        if examples:
            gradio.Markdown("## Examples")
            with gradio.Row():
                for path in examples:
                    example = gradio.Button(Path(path).name, elem_classes="example", size="sm", min_width=300)
                    example.click(None, None, stop, js=_set_able(True), **private)
                    chosen = example.click(lambda path=path: (path, ""), None, [speech, found], **private)
                    started.append(chosen.then(recognise, speech, found, **heard))
        for run in started:
            run.then(None, None, stop, js=_set_able(False), **private)
        stop.click(stop_events, queue=False, **private)
    page.queue(max_size=WAITING)
    return page


def _set_able(able: bool) -> str:
    """Write the script that lets a button be clicked, or not."""
    return f"() => ({{__type__: 'update', interactive: {str(able).lower()}}})"


def page_style(max_mb: float = 50.0) -> dict[str, Any]:
    """Return what `gradio.Blocks.launch` takes for the page's looks and its script: theme, css and js."""
    theme = import_gradio().themes.Default(primary_hue="blue", **FONTS).set(**BUTTON)
    return {"theme": theme, "css": CSS, "js": JS.replace("MAX_MB", f"{max_mb:g}")}


def translations() -> Any:
    """Return what Gradio says to screen readers and has no words for; other languages fall back to English."""
    return import_gradio().I18n(en={"common.complete": "Done"})
