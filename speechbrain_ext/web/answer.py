"""What the page in the browser says of a recording: probabilities, and the timeline of a long one, as HTML."""

import base64
import dataclasses
import html
import logging
import math
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Optional

import numpy as np

from speechbrain_ext.dataio.audio import probe_audio
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.prediction_file import format_predictions
from speechbrain_ext.inference.recordings import Prediction, classify_recordings
from speechbrain_ext.inference.speech_detector import SpeechDetector
from speechbrain_ext.inference.timeline import SAY_NO_SPEECH, Timeline, format_csv, make_timeline
from speechbrain_ext.inference.timeline_plot import clock, plot_timeline
from speechbrain_ext.inference.timeline_segments import moment_posteriors
from speechbrain_ext.limits import LONGEST_ON_PAGE_S, MOST_SAMPLES_ON_PAGE
from speechbrain_ext.outside_text import printable

logger = logging.getLogger(__name__)

WHOLE_S = 8.0  # longer recordings get a timeline: an emotion seldom lasts that long
WINDOW_S, HOP_S = 4.0, 1.0
STOPPED = "<p>Stopped.</p>"
NOTHING = "There is nothing to recognise yet. Record speech, upload a file or choose an example first."
# The field's abbreviations; other labels are shown as they are.
WORDS = {
    "ang": "anger",
    "dis": "disgust",
    "exc": "excitement",
    "fea": "fear",
    "fru": "frustration",
    "hap": "happiness",
    "neu": "neutral",
    "sad": "sadness",
    "sur": "surprise",
}
DRAWING = threading.Lock()  # matplotlib's settings hold for the whole process


class Stopped(Exception):
    """A visitor has stopped their classification, or has left."""


def answer(
    classifier: Any,
    path: Optional[str],
    progress: Optional[Callable[[float, float], Any]] = None,
    detector: Optional[SpeechDetector] = None,
    model: str = "",
) -> str:
    """Classify a recording, and say what was found, or in a sentence why nothing was.

    Recordings that are longer than 8 s, or than what the model hears of a clip, are followed by windows.

    Arguments
    ---------
    classifier
        As `load_classifier` returns it.
    path
        The recording, in any format that `open_audio` reads; None if none was chosen.
    progress
        Called during a long recording with (the seconds that are done, the recording's seconds, infinity while they are
        counted); may raise `Stopped`.
    detector
        Looks for speech; without any there is no emotion. By default nobody looks.
    model
        The model's name, for the CSV.

    Returns
    -------
    str
        HTML. Errors have the role "alert", and name the file without its folder.
    """
    if not path:
        return format_error(NOTHING)
    name = Path(path).name
    try:
        check = progress and partial(
            progress, 0.0, math.inf
        )  # silence of an hour is small, and takes seconds to decode
        header = probe_audio(path, name, False, LONGEST_ON_PAGE_S, MOST_SAMPLES_ON_PAGE, check)
        duration_s = header.duration_s
        if duration_s > LONGEST_ON_PAGE_S:
            raise InputError(
                f"{name} is longer than {LONGEST_ON_PAGE_S / 60:g} minutes, the most that this page takes. Cut it, or "
                "use `speechbrain-ext timeline`."
            )
        if header.n_frames * header.n_channels > MOST_SAMPLES_ON_PAGE:
            raise InputError(
                f"{name} has more than {MOST_SAMPLES_ON_PAGE} samples in its {header.n_channels} channels at "
                f"{header.sample_rate_hz} Hz, the most that this page takes. Convert it to one channel at 16000 Hz."
            )
        limits_s = [getattr(classifier.hparams, limit, None) for limit in ("max_s", "fixed_length_s")]
        heard_s = min((limit_s for limit_s in limits_s if limit_s is not None), default=math.inf)
        if duration_s > min(WHOLE_S, heard_s):
            window_s = min(WINDOW_S, heard_s)
            # Window by window costs a CPU 3% more at HuBERT-Base's width, and stops soon.
            n_windows = 1 if classifier.device == "cpu" else 16
            timeline = make_timeline(classifier, path, window_s, HOP_S, n_windows, progress=progress, detector=detector)
            return format_timeline(timeline, name)
        (prediction,) = classify_recordings(classifier, {path: duration_s}, detector=detector)
        if prediction.error:
            raise InputError(prediction.error)
        return format_prediction(prediction, list(classifier.hparams.emotions), model)
    except Stopped:
        return STOPPED
    except InputError as error:
        # Its text names the utterance, here the file, and then the file with its folder, the server's own affair.
        return format_error(str(error).replace(f"{name}: {path}", name).replace(str(path), name))
    except Exception as error:  # such as a GPU without memory: the page stays, and the terminal has the details
        logger.exception("%s was not classified", path)
        return format_error(
            f"{name} was not classified: {type(error).__name__}. The terminal where this page was started says more."
        )


def format_error(sentence: str) -> str:
    """Write a sentence as an alert, which screen readers read out."""
    return f'<p role="alert" class="error">{escape(sentence)}</p>'


def format_prediction(prediction: Prediction, emotions: Sequence[str], model: str = "") -> str:
    """Write the answer on a recording that was classified as one.

    Arguments
    ---------
    prediction
        With posteriors.
    emotions
        Labels, in the order of the posteriors.
    model
        The model's name, for the CSV.

    Returns
    -------
    str
        HTML: the most probable emotion in words, all probabilities as bars with their numbers, and a link to them as
        CSV; or that there is no speech.
    """
    name = Path(prediction.path).name
    heard = f"{name}, {prediction.duration_s:.1f} s, classified as a whole."
    if prediction.predicted is None or prediction.posteriors is None:
        return _no_speech(f"{name}, {prediction.duration_s:.1f} s.")
    row = dataclasses.replace(prediction, path=name)
    return (
        _headline(emotions, prediction.posteriors, "")
        + f"<p>{escape(heard)}</p>"
        + _bars("Probabilities", emotions, prediction.posteriors)
        + _download(format_predictions([row], emotions, model, ".csv", excel=True), f"{Path(name).stem}.csv")
    )


def format_timeline(timeline: Timeline, name: str) -> str:
    """Write the answer on a long recording.

    Arguments
    ---------
    timeline
        What `make_timeline` returns.
    name
        The recording's name.

    Returns
    -------
    str
        HTML: the emotion of the highest mean, the means over the time with speech as bars, the picture, the segments,
        and a link to the windows as CSV; or that there is no speech.
    """
    length = f"{name}, {clock(timeline.duration_s)} (mm:ss)"
    if all(segment.emotion is None for segment in timeline.segments):
        return _no_speech(f"{length}.")
    edges_s, posteriors = moment_posteriors(timeline.starts_s, timeline.ends_s, timeline.posteriors, timeline.hop_s)
    speech_s = np.diff(edges_s) * timeline.speech_of(edges_s[:-1], edges_s[1:])
    means = speech_s @ posteriors / speech_s.sum()  # [M] @ [M, C] -> [C]
    mean = "mean over the recording" if timeline.is_speech is None else "mean over its speech"
    windows = f"by windows of {timeline.window_s:g} s, one every {timeline.hop_s:g} s."
    rows = "".join(
        f"<tr><td>{clock(segment.start_s, tenths=True)}</td><td>{clock(segment.end_s, tenths=True)}</td>"
        + (
            f"<td>{SAY_NO_SPEECH}</td><td></td></tr>"
            if segment.emotion is None or segment.posterior is None
            else f"<td>{escape(say(segment.emotion))}</td><td>{_percent(segment.posterior)}</td></tr>"
        )
        for segment in timeline.segments
    )
    return (
        _headline(timeline.emotions, means, f", {mean}")
        + f"<p>{escape(f'{length}, followed {windows}')}</p>"
        + _bars(f"Probabilities, {mean}", timeline.emotions, means)
        + '<h3>Timeline</h3><div class="wide" role="region" aria-label="Timeline" tabindex="0">'
        + "".join(_picture(timeline, name, theme) for theme in ("light", "dark"))
        + '</div><h3>Segments</h3><div class="long" role="region" aria-label="Segments" tabindex="0">'
        + '<table class="segments"><thead><tr><th scope="col">Start</th><th scope="col">End</th>'
        + '<th scope="col">Emotion</th><th scope="col">Mean probability</th></tr></thead>'
        + f"<tbody>{rows}</tbody></table></div>"
        + _download(format_csv(timeline), f"{Path(name).stem}_timeline.csv")
    )


def say(emotion: str) -> str:
    """Write a label in words.

    Example
    -------
    >>> say("hap"), say("boredom")
    ('happiness (hap)', 'boredom')
    """
    return f"{WORDS[emotion]} ({emotion})" if emotion in WORDS else emotion


def escape(text: str) -> str:
    """Write a text for HTML, on one line and in one direction."""
    return html.escape(printable(text))


def _no_speech(heard: str) -> str:
    return (
        f"<h2>No speech found</h2><p>{escape(heard)}</p><p>Without speech, an emotion would be a guess about noise. "
        "Record closer to the microphone, or choose another recording.</p>"
    )


def _picture(timeline: Timeline, name: str, theme: str) -> str:
    """Write the picture for one theme; the page shows the one that fits."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "timeline.png"
        with DRAWING:
            plot_timeline(timeline, path, name, dark=theme == "dark")
        picture = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<img class="{theme}" src="data:image/png;base64,{picture}" '
        'alt="The waveform and the probability of each emotion over time; the table below lists the segments.">'
    )


def _download(text: str, name: str) -> str:
    """Write a link that saves a text as a file."""
    data = base64.b64encode(text.encode()).decode()
    return f'<p><a download="{escape(name)}" href="data:text/csv;charset=utf-8;base64,{data}">Save as CSV</a></p>'


def _headline(emotions: Sequence[str], posteriors: Sequence[float] | np.ndarray, what: str) -> str:
    best = int(np.argmax(posteriors))
    words = say(emotions[best])
    return f"<h2>{escape(words[0].upper() + words[1:])}: {_percent(posteriors[best])}{what}</h2>"


def _bars(caption: str, emotions: Sequence[str], posteriors: Sequence[float] | np.ndarray) -> str:
    best = int(np.argmax(posteriors))
    rows = "".join(
        f'<tr{" class=best" if i == best else ""}><th scope="row">{escape(say(emotion))}</th>'
        f'<td class="bar" aria-hidden="true"><div style="width:{100 * value:.1f}%"></div></td>'
        f"<td>{_percent(value)}</td></tr>"
        for i, (emotion, value) in enumerate(zip(emotions, posteriors))
    )
    return f'<table class="bars"><caption>{caption}</caption><tbody>{rows}</tbody></table>'


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"
