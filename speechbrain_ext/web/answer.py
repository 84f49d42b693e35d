"""What the page in the browser says of a recording: probabilities, and the timeline of a long one, as HTML."""

import base64
import logging
import math
import tempfile
from html import escape
from pathlib import Path

import numpy as np

from speechbrain_ext.dataio.audio import probe_audio
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.recordings import classify_recordings
from speechbrain_ext.inference.timeline import make_timeline, moment_posteriors
from speechbrain_ext.inference.timeline_plot import clock, plot_timeline

logger = logging.getLogger(__name__)

WHOLE_S = 8.0  # longer recordings get a timeline: an emotion seldom lasts that long
LONGEST_S = 1800.0  # a small file can hold days of silence
WINDOW_S, HOP_S = 4.0, 1.0
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


def answer(classifier, path, progress=None):
    """Classify a recording, and say what was found, or in a sentence why nothing was.

    Recordings that are longer than 8 s, or than what the model hears of a clip, are followed by windows.

    Arguments
    ---------
    classifier : speechbrain.inference.classifiers.EncoderClassifier
        As `load_classifier` returns it.
    path : str or None
        The recording, in any format that `open_audio` reads; None if none was chosen.
    progress : callable, optional
        Called during a long recording with (the seconds that are done, the recording's seconds).

    Returns
    -------
    str
        HTML. Errors have the role "alert", and name the file without its folder.
    """
    if not path:
        return format_error(NOTHING)
    name = Path(path).name
    try:
        duration_s = probe_audio(path, name, check_samples=False).duration_s
        if duration_s > LONGEST_S:
            raise InputError(
                f"{name} is longer than {LONGEST_S / 60:g} minutes, the most that this page takes. Cut it, or use "
                "`speechbrain-ext timeline`."
            )
        limits_s = [getattr(classifier.hparams, limit, None) for limit in ("max_s", "fixed_length_s")]
        heard_s = min((limit_s for limit_s in limits_s if limit_s is not None), default=math.inf)
        if duration_s > min(WHOLE_S, heard_s):
            window_s = min(WINDOW_S, heard_s)
            return format_timeline(make_timeline(classifier, path, window_s, HOP_S, progress=progress), name)
        (prediction,) = classify_recordings(classifier, {path: duration_s})
        if prediction.error:
            raise InputError(prediction.error)
        return format_prediction(prediction, list(classifier.hparams.emotions))
    except InputError as error:
        # Its text names the utterance, here the file, and then the file with its folder, the server's own affair.
        return format_error(str(error).replace(f"{name}: {path}", name).replace(str(path), name))
    except Exception as error:  # such as a GPU without memory: the page stays, and the terminal has the details
        logger.exception("%s was not classified", path)
        return format_error(
            f"{name} was not classified: {type(error).__name__}. The terminal where this page was started says more."
        )


def format_error(sentence):
    """Write a sentence as an alert, which screen readers read out."""
    return f'<p role="alert" class="error">{escape(sentence)}</p>'


def format_prediction(prediction, emotions):
    """Write the answer on a recording that was classified as one.

    Arguments
    ---------
    prediction : speechbrain_ext.inference.recordings.Prediction
        With posteriors.
    emotions : list of str
        Labels, in the order of the posteriors.

    Returns
    -------
    str
        HTML: the most probable emotion in words, and all probabilities as bars with their numbers.
    """
    heard = f"{Path(prediction.path).name}, {prediction.duration_s:.1f} s, classified as a whole."
    return (
        _headline(emotions, prediction.posteriors, "")
        + f"<p>{escape(heard)}</p>"
        + _bars("Probabilities", emotions, prediction.posteriors)
    )


def format_timeline(timeline, name):
    """Write the answer on a long recording.

    Arguments
    ---------
    timeline : speechbrain_ext.inference.timeline.Timeline
        What `make_timeline` returns.
    name : str
        The recording's name.

    Returns
    -------
    str
        HTML: the emotion of the highest mean, the means over the recording as bars, the picture, and the segments.
    """
    edges_s, posteriors = moment_posteriors(timeline.starts_s, timeline.ends_s, timeline.posteriors, timeline.hop_s)
    means = np.diff(edges_s) @ posteriors / edges_s[-1]  # [M] @ [M, C] -> [C]
    heard = f"{name}, {clock(timeline.duration_s)} (mm:ss)"
    windows = f"by windows of {timeline.window_s:g} s, one every {timeline.hop_s:g} s."
    with tempfile.TemporaryDirectory() as folder:
        plot_timeline(timeline, Path(folder) / "timeline.png", name)
        picture = base64.b64encode((Path(folder) / "timeline.png").read_bytes()).decode()
    rows = "".join(
        f"<tr><td>{clock(segment.start_s, tenths=True)}</td><td>{clock(segment.end_s, tenths=True)}</td>"
        f"<td>{escape(say(segment.emotion))}</td><td>{_percent(segment.posterior)}</td></tr>"
        for segment in timeline.segments
    )
    return (
        _headline(timeline.emotions, means, ", mean over the recording")
        + f"<p>{escape(f'{heard}, followed {windows}')}</p>"
        + _bars("Probabilities, mean over the recording", timeline.emotions, means)
        + '<h3>Timeline</h3><div class="wide" role="region" aria-label="Timeline" tabindex="0">'
        + f'<img src="data:image/png;base64,{picture}" '
        + 'alt="The waveform and the probability of each emotion over time; the table below lists the segments."></div>'
        + '<h3>Segments</h3><div class="long" role="region" aria-label="Segments" tabindex="0"><table class="segments">'
        + '<thead><tr><th scope="col">Start</th><th scope="col">End</th><th scope="col">Emotion</th>'
        + f'<th scope="col">Mean probability</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def say(emotion):
    """Write a label in words.

    Example
    -------
    >>> say("hap"), say("boredom")
    ('happiness (hap)', 'boredom')
    """
    return f"{WORDS[emotion]} ({emotion})" if emotion in WORDS else emotion


def _headline(emotions, posteriors, what):
    best = int(np.argmax(posteriors))
    words = say(emotions[best])
    return f"<h2>{escape(words[0].upper() + words[1:])}: {_percent(posteriors[best])}{what}</h2>"


def _bars(caption, emotions, posteriors):
    best = int(np.argmax(posteriors))
    rows = "".join(
        f'<tr{" class=best" if i == best else ""}><th scope="row">{escape(say(emotion))}</th>'
        f'<td class="bar" aria-hidden="true"><div style="width:{100 * value:.1f}%"></div></td>'
        f"<td>{_percent(value)}</td></tr>"
        for i, (emotion, value) in enumerate(zip(emotions, posteriors))
    )
    return f'<table class="bars"><caption>{caption}</caption><tbody>{rows}</tbody></table>'


def _percent(value):
    return f"{100 * value:.1f}%"
