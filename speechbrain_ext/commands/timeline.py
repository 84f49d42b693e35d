"""speechbrain-ext timeline: follow the emotions through a long recording."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speechbrain_ext.commands.predict import add_model_arguments
from speechbrain_ext.errors import InputError
from speechbrain_ext.outside_text import printable

if TYPE_CHECKING:
    from speechbrain_ext.inference.timeline import Timeline

FILES = {"csv": "timeline.csv", "json": "timeline.json", "audacity": "labels.txt", "png": "timeline.png"}
MOST_ROWS = 40
DESCRIPTION = """\
Follow the emotions through a long recording: windows that overlap are classified, and merged into segments. Writes the
windows (timeline.csv), all there is (timeline.json), labels for Audacity (labels.txt: File > Import > Labels) and a
picture (timeline.png). Where there is no speech, there is no emotion. Memory does not grow with the recording.

    speechbrain-ext timeline exported meeting.flac
    speechbrain-ext timeline exported meeting.flac --out meeting --hop_s 0.5 --formats csv,png
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_model_arguments(parser)
    parser.add_argument("file", metavar="FILE", help="the recording")
    parser.add_argument("--out", metavar="FOLDER", help="where files are written (default: FILE's name and _timeline)")
    parser.add_argument("--window_s", type=float, default=4.0, help="length of a window (default: %(default)s s)")
    parser.add_argument("--hop_s", type=float, default=1.0, help="from window to window (default: %(default)s s)")
    parser.add_argument(
        "--min_segment_s", type=float, default=1.0, help="merge shorter segments away (default: %(default)s s)"
    )
    parser.add_argument("--batch_size", type=int, default=16, help="windows at a time (default: %(default)s)")
    parser.add_argument("--formats", default=",".join(FILES), help="what is written (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    """Make the timeline, write its files, and print its segments. Returns the exit status."""
    formats = options.formats.split(",")
    unknown = [name for name in formats if name not in FILES]
    if unknown:
        raise InputError(f"--formats must be some of {','.join(FILES)}, with commas alone, got {options.formats!r}.")
    from speechbrain_ext.dataio.audio import probe_audio
    from speechbrain_ext.inference.classifier import load_classifier  # only now: torch takes seconds
    from speechbrain_ext.inference.timeline import check_settings, write_audacity, write_csv, write_json
    from speechbrain_ext.inference.timeline_plot import clock, plot_timeline

    check_settings(options.window_s, options.hop_s, options.min_segment_s, options.batch_size)
    out = Path(options.out or f"{Path(options.file).stem}_timeline")
    if out.exists() and not out.is_dir():
        raise InputError(f"--out must be a folder, and {out} is a file. Choose another name.")
    header = probe_audio(options.file, Path(options.file).name, check_samples=False)

    classifier = load_classifier(options.bundle, {"device": options.device, "precision": options.precision})
    out.mkdir(parents=True, exist_ok=True)  # what cannot be written is told before an hour of work
    timeline = _follow(classifier, options, header.duration_s)
    title = (
        f"{Path(options.file).name}: emotions over {clock(timeline.duration_s)}, by windows of {timeline.window_s:g} s "
        f"every {timeline.hop_s:g} s"
    )
    writers = {"csv": write_csv, "json": write_json, "audacity": write_audacity}
    for name in formats:
        if name == "png":
            plot_timeline(timeline, out / FILES[name], title)
        else:
            writers[name](timeline, out / FILES[name])
    if all(segment.emotion is None for segment in timeline.segments):
        print("No speech found.", file=sys.stderr)
    print(format_segments(timeline))
    print("", *(f"{name}: {printable(str(out / FILES[name]))}" for name in formats), sep="\n")
    return 0


def format_segments(timeline: "Timeline", most_rows: int = MOST_ROWS) -> str:
    """Write the segments as a table.

    Arguments
    ---------
    timeline
        What `make_timeline` returns.
    most_rows
        Further segments are only counted.

    Returns
    -------
    str
        A heading and a line for each segment: start, end, emotion, probability.
    """
    from speechbrain_ext.inference.timeline import SAY_NO_SPEECH
    from speechbrain_ext.inference.timeline_plot import clock

    width = max(len(emotion) for emotion in (*timeline.emotions, "emotion", SAY_NO_SPEECH))
    lines = [f"{'start':>9}  {'end':>9}  {'emotion':<{width}}  probability"]
    for segment in timeline.segments[:most_rows]:
        start, end = clock(segment.start_s, tenths=True), clock(segment.end_s, tenths=True)
        posterior = "" if segment.posterior is None else f"{100 * segment.posterior:.1f}%"
        lines.append(f"{start:>9}  {end:>9}  {segment.emotion or SAY_NO_SPEECH:<{width}}  {posterior:>11}".rstrip())
    n_left_out = len(timeline.segments) - most_rows
    if n_left_out > 0:
        lines.append(f"and {n_left_out} more segments")
    return "\n".join(lines)


def _follow(classifier: Any, options: argparse.Namespace, duration_s: float) -> "Timeline":
    """Make the timeline, with a bar of the seconds that are done, on a terminal only."""
    from tqdm import tqdm

    from speechbrain_ext.inference.speech_detector import make_detector
    from speechbrain_ext.inference.timeline import make_timeline

    layout = "{percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s of speech [{elapsed}<{remaining}]"
    with tqdm(total=duration_s, bar_format=layout, disable=not sys.stderr.isatty()) as bar:
        return make_timeline(
            classifier,
            options.file,
            options.window_s,
            options.hop_s,
            options.batch_size,
            options.min_segment_s,
            progress=lambda done_s, _: bar.update(done_s - bar.n),
            detector=make_detector(classifier),
        )
