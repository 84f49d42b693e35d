"""IEMOCAP: its annotations, what a complete copy holds, and the results published on its four emotions.

Excited counts as happy (Sec. 3.1 of the paper), unless it is chosen itself. A corpus in IEMOCAP's folders and format is
read as well.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from speechbrain_ext.corpora.base import Corpus, PublishedResult
from speechbrain_ext.corpora.file_names import GENDERS
from speechbrain_ext.corpora.published_counts import PublishedCounts
from speechbrain_ext.corpora.sources import check_data_folder, packed_in, read_text
from speechbrain_ext.dataio.manifest import Row, first_lines
from speechbrain_ext.errors import InputError

EMOTIONS = ("ang", "hap", "sad", "neu")
MERGED = (("exc", "hap"),)
# IEMOCAP's codes; of the others ("xxx": no agreement) none is among the four emotions.
CODES = ("ang", "hap", "exc", "sad", "neu", "fru", "sur", "fea", "dis", "oth", "xxx")

# [6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]
TIMES = re.compile(r"^\[\s*[\d.]+\s*-\s*[\d.]+\s*\]")
TURN = re.compile(TIMES.pattern + r"\s+(?P<id>\S+)\s+(?P<code>[^\s\[]+)(\s|$)")
# The letter after the session says who wears the markers; the one after the last "_" says who speaks.
NAME = r"(?P<dialog>Ses(?P<session>\d{2})[FM]_(?P<part>impro|script)\w*)_(?P<speaker>[FM])\d+"
UTT_ID = re.compile(rf"^{NAME}$")
PART_NAMES = {"impro": "improvised", "script": "scripted"}
PART_COUNTS = {
    "improvised": PublishedCounts({"ang": 289, "hap": 947, "sad": 608, "neu": 1099}),
    "scripted": PublishedCounts({"ang": 814, "hap": 689, "sad": 476, "neu": 609}),
}

# Utterances of the four emotions by session (counts as published with EmoBox), in the order of EMOTIONS.
IEMOCAP_COUNTS = {
    1: (229, 278, 194, 384),
    2: (137, 327, 197, 362),
    3: (240, 286, 305, 320),
    4: (327, 303, 143, 258),
    5: (170, 442, 245, 384),
}
# By session and part: number of utterances, and the first 16 digits of the SHA-256 of their sorted ids joined by "\n".
IEMOCAP_PARTS = {
    (1, "impro"): (521, "c16cbf766c62a7b3"),
    (1, "script"): (564, "f90c0e0daf56b1b8"),
    (2, "impro"): (530, "98d7771e65c0206d"),
    (2, "script"): (493, "545e691ab84c3ab3"),
    (3, "impro"): (627, "cd74bfc87eb9cc91"),
    (3, "script"): (524, "dbf12b86231d7b55"),
    (4, "impro"): (534, "9718c517cb441f29"),
    (4, "script"): (497, "c6b36f6254e0910b"),
    (5, "impro"): (731, "ec4a0127c2dbcdbf"),
    (5, "script"): (510, "1fc747fef97d161e"),
}


def read_rows(data_folder: Path) -> list[Row]:
    """Make a row of each turn in the annotations of all sessions.

    Raises
    ------
    InputError
        If the folder holds no annotations, or a line of them cannot be used.
    """
    check_data_folder(data_folder, "holds Session1 to Session5")
    annotations = sorted(
        path
        for path in data_folder.glob("Session*/dialog/EmoEvaluation/*.txt")
        if path.is_file() and not path.name.startswith(".")  # macOS leaves "._*.txt" in copies
    )
    if not annotations:
        inner = next((path.parent for path in sorted(data_folder.glob("*/Session1"))), None)
        outer = data_folder.parent if data_folder.name.startswith("Session") else None
        hint = f" Did you mean {inner or outer}?" if inner or outer else ""
        hint = hint or packed_in(data_folder)
        raise InputError(
            f"the data folder {data_folder} holds no Session*/dialog/EmoEvaluation/*.txt. Give the folder that holds "
            f"Session1 to Session5, IEMOCAP_full_release.{hint}"
        )
    rows: list[Row] = []
    faults: list[str] = []
    for path in annotations:
        wav_folder = path.relative_to(data_folder).parents[2] / "sentences" / "wav"
        lines = read_text(path, "replace").splitlines()
        turns = [(number, line) for number, line in enumerate(lines, start=1) if TIMES.match(line)]
        if not turns:
            faults.append(f"{path} holds no turn: copy it again from the corpus.")
        for number, line in turns:
            try:
                rows.append(_read_turn(line, f"{path}, line {number}", wav_folder))
            except InputError as error:
                faults.append(str(error))
    if faults:
        raise InputError(*first_lines(faults))
    return rows


def _read_turn(line: str, place: str, wav_folder: Path) -> Row:
    turn = TURN.match(line)
    if not turn:
        raise InputError(f"{place} has times but no turn with a label: {line!r}. Correct the line.")
    utt_id, code, utt = turn["id"], turn["code"], UTT_ID.match(turn["id"])
    if not utt:
        raise InputError(f"{utt_id}: {place} has a turn whose name is not of IEMOCAP's form Ses01F_impro01_F000.")
    if code not in CODES:
        raise InputError(
            f"{utt_id}: the label {code!r} in {place} is unknown; known are {', '.join(CODES)}. Correct it."
        )
    wav = str(wav_folder / utt["dialog"] / f"{utt_id}.wav")
    return {"id": utt_id, "wav": wav, "emo": code, **describe(utt), "place": place}


def describe(name: re.Match[str]) -> Row:
    """Tell what an utterance's name says: its speaker and group, the speaker's gender, and its part."""
    return {
        "speaker": f"Ses{name['session']}_{name['speaker']}",
        "group": f"Session{int(name['session'])}",
        "dialogue": name["dialog"],
        **GENDERS[name["speaker"]],
        "style": PART_NAMES[name["part"]],
    }


def part_of(utt_id: str) -> Optional[str]:
    """Name the part of IEMOCAP that an utterance belongs to: improvised or scripted; None for other ids."""
    utt = UTT_ID.match(utt_id)
    return PART_NAMES[utt["part"]] if utt else None


def compare_with_iemocap(rows: Sequence[Row]) -> tuple[bool, list[str]]:
    """Compare utterances of the four emotions with IEMOCAP's.

    It counts as IEMOCAP when at least one part of one session (improvised or scripted) has exactly IEMOCAP's ids, or
    when it has IEMOCAP's five sessions and more than a third of its utterances.

    Arguments
    ---------
    rows : list of dict
        The utterances, with id and emo.

    Returns
    -------
    tuple
        (whether the ids are IEMOCAP's, list of what is wrong).
    """
    ids: dict[tuple[int, str], list[str]] = defaultdict(list)
    labels: Counter = Counter()
    for row in rows:
        utt = UTT_ID.match(row["id"])
        if utt:
            ids[int(utt["session"]), utt["part"]].append(row["id"])
            labels[int(utt["session"]), row["emo"]] += 1
    digests = {
        part: hashlib.sha256("\n".join(sorted(members)).encode()).hexdigest()[:16] for part, members in ids.items()
    }
    whole = {part for part, (_, digest) in IEMOCAP_PARTS.items() if digests.get(part) == digest}
    faults = []
    total = sum(n for n, _ in IEMOCAP_PARTS.values())
    if not whole and (len(rows) < total / 3 or {session for session, _ in ids} != set(IEMOCAP_COUNTS)):
        return False, []

    if len(rows) != total:
        faults.append(f"{len(rows)} utterances found, {total} expected")
    missing = {part for part in IEMOCAP_PARTS if part not in ids}
    for name in PART_NAMES:
        if all((session, name) in missing for session in IEMOCAP_COUNTS):
            n = sum(n for (_, part), (n, _) in IEMOCAP_PARTS.items() if part == name)
            faults.append(f"the {PART_NAMES[name]} part is missing ({n} utterances)")
            missing -= {(session, name) for session in IEMOCAP_COUNTS}
    for session in IEMOCAP_COUNTS:
        if {(session, name) for name in PART_NAMES} <= missing:
            faults.append(f"session {session} is missing ({sum(IEMOCAP_COUNTS[session])} utterances)")
            missing -= {(session, name) for name in PART_NAMES}
    for session, name in sorted(missing):
        faults.append(
            f"session {session}, {PART_NAMES[name]} is missing ({IEMOCAP_PARTS[session, name][0]} utterances)"
        )
    for part in sorted(set(IEMOCAP_PARTS) & set(ids) - whole):
        faults.append(
            f"session {part[0]}, {PART_NAMES[part[1]]} has {len(ids[part])} utterances, expected are "
            f"{IEMOCAP_PARTS[part][0]} with IEMOCAP's ids"
        )
    unknown = sorted(set(ids) - set(IEMOCAP_PARTS))
    if unknown:
        faults.append(f"session {unknown[0][0]} is not IEMOCAP's")
    for session, expected in IEMOCAP_COUNTS.items():
        if {(session, name) for name in PART_NAMES} <= whole:
            for emo, n in zip(EMOTIONS, expected):
                if labels[session, emo] != n:
                    faults.append(f"session {session} has {labels[session, emo]} utterances of {emo}, expected are {n}")
    return True, faults


CORPUS = Corpus(
    name="iemocap",
    title="IEMOCAP",
    read_rows=read_rows,
    emotions=EMOTIONS,
    merged=MERGED,
    group="session",
    speaker="session and gender, for instance Ses01_F",
    language="en",
    licence="IEMOCAP is released by the University of Southern California for research, to those who sign its terms "
    "(https://sail.usc.edu/iemocap/iemocap_release.htm). Whether weights trained on it may be passed on, and for what "
    "they may be used, is for whoever publishes this model to settle with them.",
    source="IEMOCAP is free for research and is requested at https://sail.usc.edu/iemocap/iemocap_release.htm.",
    complete="5531 utterances of four emotions, in five sessions of two speakers each",
    published=(  # the paper's Table 3: four emotions, LOSO, mean of five folds
        PublishedResult("Human performance", 2017, 69.00, 70.00),
        PublishedResult("TDNN-LSTM-attn", 2018, 70.10, 60.70),
        PublishedResult("LSTM", 2019, 56.99, 53.07),
        PublishedResult("IS09-classification", 2019, 64.33, 64.79),
        PublishedResult("CNN-GRU-SeqCap", 2019, 72.73, 59.71),
        PublishedResult("HGFM", 2020, 66.60, 70.50),
        PublishedResult("ACNN", 2020, 67.28, 67.94),
        PublishedResult("ASR-SER", 2020, 68.60, 69.70),
        PublishedResult("Lightweight model", 2020, 70.39, 71.72),
        PublishedResult("SSL&CMKT fusion", 2021, 61.16, 62.50),
        PublishedResult("Audio25,250 + BERT", 2021, 69.44, 70.90),
        PublishedResult("Selective MTL", 2022, 56.87, 59.47),
        PublishedResult("MFCC + spectrogram + W2E", 2022, 69.80, 71.05),
        PublishedResult("CNN-SeqCap", 2022, 70.54, 56.94),
        PublishedResult("Kang et al., label-adaptive mixup", 2023, 75.37, 76.04),
    ),
    hours=6.989,
    part_of=part_of,
    part_counts=PART_COUNTS,
    compare=compare_with_iemocap,
)
