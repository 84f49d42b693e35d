"""Make a small corpus in IEMOCAP's folders out of synthetic speech, so that the recipe runs without IEMOCAP.

    python recipes/IEMOCAP/make_demo_corpus.py demo_corpus

Five sessions of one female and one male voice say the same English sentences in four manners, set by rule:
pitch, pitch range, speed and vocal effort, relative to the voice's own and jittered from turn to turn. Nobody
felt anything here: a number on this corpus shows that the code works, and says nothing about real speech.

The tree also holds what copies of a corpus hold: other labels, macOS files, CRLF, stray bytes, a wav that no
line names. Dialogs are numbered 21, where IEMOCAP's end at 8, so that no turn bears the name of a real one.

The speech is espeak-ng's: pip install espeakng-loader. The same versions of it, numpy and soxr give the same bytes
each time. Takes seconds; a complete corpus is left as it is.
"""

import argparse
import importlib.util
import json
import multiprocessing
import shutil
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile as sf

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.corpora import iemocap
from speechbrain_ext.corpora.base import DEMO_MARKER as MARKER
from speechbrain_ext.corpora.base import Corpus
from speechbrain_ext.corpora.sources import check_data_folder
from speechbrain_ext.dataio.manifest import Row
from speechbrain_ext.errors import InputError
from speechbrain_ext.seeding import derive_seed

VERSION = 1  # of the bytes written: raise it when they change, and older copies are made anew
SENTENCES = 11
SAMPLE_RATE_HZ = 16000
NOTE = (
    "This is synthetic speech by espeak-ng, made by rules. It is not IEMOCAP, not people and not emotion: "
    "numbers on it show that the code runs, and say nothing about real speech."
)


class Turn(NamedTuple):
    """One line of an annotation file, and what is said in it."""

    session: int
    dialog: str
    name: str
    emo: str
    voice: str
    text: str


# Voices are espeak-ng's, language and variant.
VOICES = {
    1: {"F": "en-us+f1", "M": "en-us+m1"},
    2: {"F": "en+f2", "M": "en+m3"},
    3: {"F": "en-gb-scotland+f3", "M": "en-us+m7"},
    4: {"F": "en-us+linda", "M": "en-gb-x-rp+m2"},
    5: {"F": "en+Annie", "M": "en-gb-scotland+m8"},
}
CLASSES = {"ang": ("ang",), "hap": ("hap", "exc"), "neu": ("neu",), "sad": ("sad",)}
OTHER_LABELS = ("fru", "xxx", "sur", "fea")
# Semitones of pitch, factors of pitch range and speed, decibels of effort: relative to the voice's own way.
MANNERS = {
    "ang": (1.0, 1.4, 1.2, 7.0),
    "hap": (4.0, 1.5, 1.08, 2.5),
    "exc": (5.0, 1.6, 1.12, 3.5),
    "neu": (0.0, 1.0, 1.0, 0.0),
    "sad": (-2.5, 0.5, 0.82, -6.0),
    **dict.fromkeys(OTHER_LABELS, (0.0, 1.0, 1.0, 0.0)),
}
JITTER = (1.5, 0.25, 0.08, 2.2)  # standard deviations: wide enough for neighbouring classes to overlap
DIALOGS = ("F_impro21", "M_script21_1", "M_impro21", "F_script21_1")
MAC_JUNK = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \xff\xfe\xb0"
STORY = """
All right then. / The keys are on the table, next to the blue cup. / I called the office this morning, and
they said that all of the papers would be ready by the end of the week, or perhaps on Monday morning. / We can
talk about it later. / They moved the meeting to Thursday, so there is no need to hurry now. / Take a look at
this. / You know that she always leaves her coat in the car. / I have been standing in this line for an hour,
and it has not moved at all. / What did he say to you? / It was still raining when we came out of the theatre,
and we walked all the way back along the river without a word about the letter. / Where are you going now? /
There is a train at nine, and another one at half past ten. / My brother is coming home tomorrow. / Please
come inside. / He told me to wait here until somebody opens the door. / Tell me one more time what you saw. /
The man at the desk looked at my ticket, then at his list, and told me that the seat was given to somebody
else. / I know that now. / Nobody asked me what I wanted to do with the house. / That is the third time this
month. / She put the letter back in the drawer, closed it, and went to the window. / Not again, please. / When
I was young we lived in a house near the station, and every night I could hear the last train go by, a long
way off, before I fell asleep. / You did it on your own.
"""
TEXTS = [" ".join(text.split()) for text in STORY.split("/")]


def plan_session(session: int, sentences: int) -> list[Turn]:
    """List a session's labelled turns, dialog by dialog in the order of speech.

    Each speaker says the same sentences in all four classes, so that the words do not tell the class.

    Arguments
    ---------
    session : int
    sentences : int
        How many sentences each speaker says in each class.

    Returns
    -------
    turns : list of Turn
    """
    lines = [(DIALOGS[0], "FM"[i % 2], emo, session + i) for i, emo in enumerate(OTHER_LABELS)]
    for i in range(sentences):
        for codes in CLASSES.values():
            emo = codes[(i + i // len(DIALOGS)) % len(codes)]
            for k, gender in enumerate("FM"):
                # Each speaker goes on in the list where the one before stopped: all of it is used.
                i_text = (2 * (session - 1) + k) * sentences + i
                lines.append((DIALOGS[i % len(DIALOGS)], gender, emo, i_text))

    turns: list[Turn] = []
    n_turns: Counter = Counter()
    for dialog, gender, emo, i_text in sorted(lines, key=lambda line: DIALOGS.index(line[0])):
        name = f"Ses{session:02d}{dialog}_{gender}{n_turns[dialog, gender]:03d}"
        n_turns[dialog, gender] += 1
        text = TEXTS[i_text % len(TEXTS)]
        turns.append(Turn(session, f"Ses{session:02d}{dialog}", name, emo, VOICES[session][gender], text))
    return turns


def wav_path(out_dir: Path, turn: Turn) -> Path:
    """Return where a turn's audio lies."""
    return out_dir / f"Session{turn.session}" / "sentences" / "wav" / turn.dialog / f"{turn.name}.wav"


def write_session(out_dir: Path, session: int, sentences: int) -> None:
    """Speak a session and write its wavs, annotations and dirt. Needs a process of its own, for `Espeak`."""
    from speechbrain_ext.corpora.espeak import Espeak, Manner, say_with_effort  # an extra package, only to make speech

    espeak = Espeak()
    dialogs: dict[str, list[Turn]] = defaultdict(list)
    for turn in plan_session(session, sentences):
        dialogs[turn.dialog].append(turn)
    annotations = out_dir / f"Session{session}" / "dialog" / "EmoEvaluation"
    annotations.mkdir(parents=True)
    for dialog, turns in dialogs.items():
        wav_path(out_dir, turns[0]).parent.mkdir(parents=True)
        text, start_s = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n", 1.0
        for turn in turns:
            rng = np.random.default_rng(derive_seed(turn.name))
            manner = Manner(*rng.normal(MANNERS[turn.emo], JITTER))
            wav = say_with_effort(espeak, turn.text, turn.voice, manner, SAMPLE_RATE_HZ, rng)
            sf.write(wav_path(out_dir, turn), wav, SAMPLE_RATE_HZ, subtype="PCM_16")
            end_s = start_s + len(wav) / SAMPLE_RATE_HZ
            text += f"[{start_s:.4f} - {end_s:.4f}]\t{turn.name}\t{turn.emo}\t[2.5000, 2.5000, 2.5000]\n"
            text += "C-E2:\tNeutral;\t()\nC-E4:\tOther;\t()\nA-E3:\tval 3; act 2; dom  3;\t()\n\n"
            start_s = end_s + 0.5
        (annotations / f"{dialog}.txt").write_bytes(text.encode())
    write_dirt(out_dir, session, dialogs)


def write_dirt(out_dir: Path, session: int, dialogs: dict[str, list[Turn]]) -> None:
    """Add to a session what is no four-class data and yet lies in every copy of a real corpus."""
    annotations = out_dir / f"Session{session}" / "dialog" / "EmoEvaluation"
    for path in (annotations / ".DS_Store", out_dir / f"Session{session}" / ".DS_Store"):
        path.write_bytes(MAC_JUNK)
    for dialog, turns in dialogs.items():
        (annotations / f"._{dialog}.txt").write_bytes(MAC_JUNK)
        wav_path(out_dir, turns[0]).with_name(f"._{turns[0].name}.wav").write_bytes(MAC_JUNK)
        for folder, ending, judgement in (
            ("Attribute", "e2_atr", "act 2; val 3; dom  3; ()"),
            ("Categorical", "e2_cat", "Neutral state; ()"),
            ("Self-evaluation", "f1_cat", "Frustration; ()"),
        ):
            (annotations / folder).mkdir(exist_ok=True)
            lines = [f"{turn.name} :{judgement}\n" for turn in turns]
            (annotations / folder / f"{dialog}_{ending}.txt").write_bytes("".join(lines).encode())

    dialog, turns = next(iter(dialogs.items()))
    path = annotations / f"{dialog}.txt"
    if session == 2:
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    elif session == 3:  # Latin-1 in an evaluator's comment
        path.write_bytes(path.read_bytes().replace(b"Other;\t()", b"Other;\t(\xe0 mi-voix)", 1))
    elif session == 4:  # a wav that no line names
        wav = wav_path(out_dir, turns[0])
        shutil.copyfile(wav, wav.with_name(f"{dialog}_FXX0.wav"))


def read_marker(out_dir: Path) -> dict[str, Any]:
    """Return what the marker in `out_dir` says, {} if the folder is free; refuse somebody else's folder."""
    if not out_dir.exists() or (out_dir.is_dir() and not any(out_dir.iterdir())):
        return {}
    try:
        marker = json.loads((out_dir / MARKER).read_bytes())
        if isinstance(marker, dict) and "complete" in marker:
            return marker
    except (OSError, ValueError):
        pass
    raise InputError(
        f"out_dir must be a new or empty folder, or a demo corpus, but {out_dir} holds something else "
        f"(it has no valid {MARKER}): name another folder."
    )


def make_demo_corpus(out_dir: str | Path, sentences: int = SENTENCES) -> tuple[dict[str, Any], bool]:
    """Make the demo corpus, unless `out_dir` already holds it complete.

    A corpus that was interrupted, or made by another version or with another setting, is made anew.

    Arguments
    ---------
    out_dir : str or path
        A new or empty folder, or an earlier demo corpus.
    sentences : int
        How many sentences each speaker says in each class.

    Returns
    -------
    summary : dict
        What the marker holds: "counts", turns by annotated label, and "minutes", of the four classes.
    made : bool
        False if the corpus was already there.

    Raises
    ------
    InputError
        If `out_dir` holds something else, `sentences` is out of range, or espeakng-loader is missing.
    """
    out_dir = Path(out_dir)
    if not 1 <= sentences <= 500:
        raise InputError(f"sentences must be 1 to 500, got {sentences}.")
    wanted = {"version": VERSION, "sentences": sentences, "complete": True}
    marker = read_marker(out_dir)
    turns = [turn for session in VOICES for turn in plan_session(session, sentences)]
    if wanted.items() <= marker.items() and all(wav_path(out_dir, turn).is_file() for turn in turns):
        return marker, False
    if importlib.util.find_spec("espeakng_loader") is None:
        raise InputError("the demo corpus needs espeakng-loader, which is missing: pip install espeakng-loader")

    out_dir.mkdir(parents=True, exist_ok=True)
    write_json({**wanted, "complete": False}, out_dir / MARKER)
    (out_dir / "README.txt").write_text(NOTE + "\n", encoding="utf-8")
    for session in VOICES:
        if (out_dir / f"Session{session}").exists():
            shutil.rmtree(out_dir / f"Session{session}")
    context = multiprocessing.get_context("spawn")  # a fork may inherit an espeak-ng that has already spoken
    workers = [context.Process(target=write_session, args=(out_dir, s, sentences)) for s in VOICES]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode != 0 for worker in workers):
        raise RuntimeError("the synthesis failed: its own message stands above this one")

    seconds = sum(sf.info(wav_path(out_dir, turn)).duration for turn in turns if turn.emo not in OTHER_LABELS)
    counts = Counter(sorted(turn.emo for turn in turns))
    summary = {**wanted, "counts": counts, "minutes": round(seconds / 60, 1)}
    write_json(summary, out_dir / MARKER)  # last: it vouches for the rest
    return summary, True


def read_rows(data_folder: Path) -> list[Row]:
    """Read the demo corpus as IEMOCAP is read, if it carries the marker of a complete one."""
    check_data_folder(data_folder, "make_demo_corpus.py made")
    try:
        is_complete = read_marker(data_folder).get("complete", False)
    except InputError as error:
        raise InputError(
            f"the data folder {data_folder} is not the synthetic corpus: it has no valid {MARKER}. Give the folder "
            "that make_demo_corpus.py made, or set --corpus=iemocap for a corpus in IEMOCAP's folders and format."
        ) from error
    if not is_complete:
        raise InputError(f"{data_folder} is empty or half made: run make_demo_corpus.py {data_folder} again.")
    return iemocap.read_rows(data_folder)


CORPUS = Corpus(
    name="synthetic",
    title="the synthetic demo corpus",
    read_rows=read_rows,
    emotions=iemocap.EMOTIONS,
    merged=iemocap.MERGED,
    group="session",
    speaker="session and voice, for instance Ses01_F",
    language="en",
    licence="The synthetic corpus is free of rights of others; the code is Apache-2.0.",
    source="`make demo` or make_demo_corpus.py makes it.",
    complete=f"{40 * SENTENCES} utterances of four emotions, in five sessions of two voices each",
    note=NOTE,
    part_of=iemocap.part_of,
)


def main() -> None:
    """Make the corpus that the command line asks for, and say what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out_dir", nargs="?", default="demo_corpus", help="default: %(default)s")
    parser.add_argument(
        "--sentences", type=int, default=SENTENCES, help="of each speaker in each class; default: %(default)s"
    )
    args = parser.parse_args()
    try:
        summary, made = make_demo_corpus(args.out_dir, args.sentences)
    except InputError as error:
        sys.exit(f"make_demo_corpus.py: {error}")
    print(f"{args.out_dir}: {'made' if made else 'already complete, left as it is'}.", NOTE)
    for name, codes in {**CLASSES, "other": OTHER_LABELS}.items():
        print(f"{name:>7} {sum(summary['counts'].get(code, 0) for code in codes):5d}  ({', '.join(codes)})")
    print(f"minutes {summary['minutes']:5.1f}  (of the four classes)")


if __name__ == "__main__":
    main()
