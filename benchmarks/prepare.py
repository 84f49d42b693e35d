#!/usr/bin/env python3
"""Preparing IEMOCAP: our `prepare_corpus` against what SpeechBrain's IEMOCAP recipe does, by turns, in one process.

python benchmarks/prepare.py                                   # the demo corpus
python benchmarks/prepare.py --data_folder /path/to/IEMOCAP_full_release

SpeechBrain's preparation is written anew from its description: the annotations are searched by a regular expression,
every recording of the four classes is read whole and written again into a folder for its emotion, and every copy is
read whole to learn its length; three JSON files are written. "read once" leaves the copies out, as if they were there
from an earlier run. Ours reads headers, and checks each recording, each id and the corpus's counts. What is read stands
in the page cache for both, after the round that is not counted.
"""

import contextlib
import io
import json
import random
import re
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout runs without being installed
from benchmarks import ours, timing  # first: it says how OpenMP's threads wait

# isort: split
# isort: split
import soundfile
from speechbrain.dataio.dataio import read_audio

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.corpora import prepare_corpus
from speechbrain_ext.dataio.manifest import write_manifest
from speechbrain_ext.errors import check_whole_number
from speechbrain_ext.versions import versions

OURS, COPIES, ONCE = "ours", "copies", "once"
LABELS = {OURS: "prepare_corpus, manifest", COPIES: "SpeechBrain's recipe", ONCE: "SpeechBrain's recipe, read once"}
TURN = re.compile(r"\[[\d.]+ - [\d.]+\]\t(\w+)\t([a-z]{3})\t\[[\d., ]+\]")
CLASSES = {"neu": "neu", "hap": "hap", "exc": "hap", "sad": "sad", "ang": "ang"}


def annotated_turns(data_folder):
    """Find the turns of the four classes: a list of (path of the recording, emotion)."""
    turns = []
    for folder in data_folder.glob("Session*"):
        for path in (folder / "dialog" / "EmoEvaluation").iterdir():
            if not path.is_file() or path.name.startswith("."):  # it crashes on macOS's files; that is no speed
                continue
            text = path.read_text(encoding="utf-8", errors="replace")
            for name, code in TURN.findall(text):
                if code in CLASSES:
                    recording = folder / "sentences" / "wav" / name[:-5] / f"{name}.wav"
                    turns.append((recording, CLASSES[code]))
    return turns


def copy_by_emotion(turns, folder):
    """Write each recording again, below a folder for its emotion: a list as `annotated_turns` returns it."""
    copies = []
    for i, (path, emo) in enumerate(turns):
        samples, rate = soundfile.read(path, dtype="int16")
        copy = folder / path.parents[3].name / emo / f"{i:05}.wav"
        copy.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(copy, samples, rate)
        copies.append((copy, emo))
    return copies


def write_splits(turns, folder):
    """Split at random, and write a JSON file for each part; the lengths come from reading the recordings whole."""
    turns = list(turns)
    random.Random(12).shuffle(turns)
    n_train, n_valid = int(0.8 * len(turns)), int(0.1 * len(turns))
    parts = {"train": turns[:n_train], "valid": turns[n_train : n_train + n_valid], "test": turns[n_train + n_valid :]}
    for name, part in parts.items():
        entries = {
            path.stem: {"wav": str(path), "length": read_audio(str(path)).shape[0] / timing.SAMPLE_RATE_HZ, "emo": emo}
            for path, emo in part
        }
        (folder / f"{name}.json").write_text(json.dumps(entries, indent=2), encoding="utf-8")


def their_preparation(data_folder, copies):
    """Prepare as SpeechBrain's recipe does; return how many turns it found."""
    turns = annotated_turns(data_folder)
    with tempfile.TemporaryDirectory() as scratch:
        write_splits(copy_by_emotion(turns, Path(scratch)) if copies else turns, Path(scratch))
    return len(turns)


def our_preparation(data_folder):
    """Prepare as `train.py` does; return how many turns it found."""
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        manifest = prepare_corpus("iemocap", data_folder, allow_incomplete=True, progress=False).manifest
        write_manifest(manifest, Path(scratch) / "manifest.json")
        return len(manifest)


def measure(data_folder, repeats):
    """Prepare by turns; return everything that is written."""
    found = {}

    def rival(name, prepare):
        def run():
            found[name] = prepare()

        return run

    runs = {
        OURS: rival(OURS, lambda: our_preparation(data_folder)),
        COPIES: rival(COPIES, lambda: their_preparation(data_folder, True)),
        ONCE: rival(ONCE, lambda: their_preparation(data_folder, False)),
    }
    seconds = timing.time_by_turns(runs, repeats)
    return {
        "n_utterances": found,
        "seconds": seconds,
        "ratio": {name: timing.ratios(seconds, name, OURS) for name in (COPIES, ONCE)},
        "machine": timing.machine(),
        "versions": versions(),
    }


def table(result):
    """Write the result as Markdown."""
    lines = ["| preparation | utterances | s | it / ours |", "|---|---|---|---|"]
    for name, label in LABELS.items():
        ratio = timing.spread(result["ratio"][name], ".2f") if name != OURS else ""
        cells = [label, str(result["n_utterances"][name]), timing.spread(result["seconds"][name], ".2f"), ratio]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv):
    """Run the benchmark."""
    parser = timing.command_line(__doc__)
    parser.add_argument("--data_folder", metavar="TREE", type=Path, default=ours.ROOT / "demo_corpus")
    parser.add_argument("--repeats", metavar="N", type=int, default=5)
    options = parser.parse_args(argv)
    check_whole_number("--repeats", options.repeats, 1)
    result = measure(options.data_folder, options.repeats)
    per_s = result["n_utterances"][OURS] / statistics.median(result["seconds"][OURS])
    print(
        f"{result['machine']['cpu']}, {result['machine']['n_cpus']} CPUs. Median (lowest to highest) of "
        f"{options.repeats} rounds.\n\n{table(result)}\n\nOurs: {per_s:.0f} utterances/s."
    )
    if options.json:
        write_json(result, options.json)


if __name__ == "__main__":
    timing.run(main)
