"""Prepare IEMOCAP: from the corpus's folders to one validated manifest of its four-class utterances.

    python recipes/IEMOCAP/iemocap_prepare.py /path/to/IEMOCAP_full_release manifest.json

Excited counts as happy; utterances with other labels are left out and counted (Sec. 3.1 of the paper).
"""

import argparse
import hashlib
import re
from collections import Counter, defaultdict
from pathlib import Path

from speechbrain_ext.dataio.manifest import build_manifest, write_manifest
from speechbrain_ext.errors import InputError

CODES = {"ang": "ang", "hap": "hap", "exc": "hap", "sad": "sad", "neu": "neu"}
EMOTIONS = ("neu", "hap", "ang", "sad")  # the order of the table

OTHER_CODES = ("fru", "sur", "fea", "dis", "oth", "xxx")  # IEMOCAP's further labels, which are left out

# [6.2901 - 8.2357]	Ses01F_impro01_F000	neu	[2.5000, 2.5000, 2.5000]
TIMES = re.compile(r"^\[\s*[\d.]+\s*-\s*[\d.]+\s*\]")
TURN = re.compile(TIMES.pattern + r"\s+(?P<id>\S+)\s+(?P<code>[^\s\[]+)(\s|$)")
# The letter after the session says who wears the markers; the one after the last "_" says who speaks.
UTT_ID = re.compile(r"^(?P<dialog>Ses(?P<session>\d{2})[FM]_(?P<part>impro|script)\w*)_(?P<speaker>[FM])\d+$")

# The four-class IEMOCAP by session (counts as published with EmoBox), in the order of EMOTIONS.
IEMOCAP_COUNTS = {
    1: (384, 278, 229, 194),
    2: (362, 327, 137, 197),
    3: (320, 286, 240, 305),
    4: (258, 303, 327, 143),
    5: (384, 442, 170, 245),
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
PART_NAMES = {"impro": "improvised", "script": "scripted"}


def prepare_iemocap(data_folder, save_manifest, allow_incomplete=False, n_threads=8, progress=True):
    """Find, check and describe the four-class utterances of an IEMOCAP tree, and write the manifest.

    Arguments
    ---------
    data_folder, allow_incomplete, n_threads, progress
        As in `describe_iemocap`.
    save_manifest : str or pathlib.Path
        Where the manifest is written.

    Returns
    -------
    dict
        The manifest.
    """
    manifest = describe_iemocap(data_folder, allow_incomplete, n_threads, progress)
    write_manifest(manifest, save_manifest)
    return manifest


def describe_iemocap(data_folder, allow_incomplete=False, n_threads=8, progress=True):
    """Find, check and describe the four-class utterances of an IEMOCAP tree; prints its table.

    Arguments
    ---------
    data_folder : str or pathlib.Path
        The folder that holds Session1 to Session5 (IEMOCAP_full_release), or another corpus in that format.
    allow_incomplete : bool
        Whether an IEMOCAP of which a part is missing, or whose labels differ, is accepted with a warning.
    n_threads : int
        How many recordings' headers are read at the same time.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    dict
        The manifest; `group` is the session, `speaker` for instance "Ses01_F".

    Raises
    ------
    InputError
        If the folder is missing or holds no annotations, a recording is missing or cannot be used, an id stands
        twice, or a part of IEMOCAP is missing.
    """
    data_folder = Path(data_folder)
    rows, dropped = read_annotations(data_folder)
    manifest = build_manifest(rows, data_folder, n_threads=n_threads, progress=progress)
    print(session_table(manifest))
    if dropped:
        others = ", ".join(f"{code} {n}" for code, n in sorted(dropped.items()))
        print(f"Left out, because of other labels: {sum(dropped.values())} utterances ({others}).")
    is_iemocap, faults = compare_with_iemocap(manifest)
    if not is_iemocap:
        print("These utterances are not IEMOCAP's; results on them are not results on IEMOCAP.")
    elif faults:
        text = "This is IEMOCAP, but not all of the four-class corpus: " + "; ".join(faults) + "."
        if not allow_incomplete:
            raise InputError(
                f"{text} Complete the copy; or, to go on with what there is, set allow_incomplete "
                "(--allow_incomplete=True): the numbers are then not comparable with published ones."
            )
        print(f"WARNING: {text} The numbers are not comparable with published ones.")
    return manifest


def read_annotations(data_folder):
    """Read the annotations of all sessions.

    Arguments
    ---------
    data_folder : pathlib.Path
        The folder that holds the sessions.

    Returns
    -------
    tuple
        (rows for `build_manifest`, counts of the labels that were left out).
    """
    if not data_folder.is_dir():
        raise InputError(
            f"the data folder {data_folder} does not exist. Give the folder that holds Session1 to Session5; "
            "`make demo` makes a synthetic one."
        )
    annotations = sorted(
        path
        for path in data_folder.glob("Session*/dialog/EmoEvaluation/*.txt")
        if path.is_file() and not path.name.startswith(".")  # macOS leaves "._*.txt" in copies
    )
    if not annotations:
        inner = next((path.parent for path in sorted(data_folder.glob("*/Session1"))), None)
        hint = f" Did you mean {inner}?" if inner else ""
        raise InputError(
            f"the data folder {data_folder} holds no Session*/dialog/EmoEvaluation/*.txt. Give the folder that holds "
            f"Session1 to Session5, IEMOCAP_full_release.{hint}"
        )
    rows, dropped, seen = [], Counter(), {}
    for path in annotations:
        wav_folder = path.parents[2] / "sentences" / "wav"
        n_turns = 0
        for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
            if not TIMES.match(line):
                continue  # the header, or an evaluator's own line
            place, turn = f"{path}, line {number}", TURN.match(line)
            if not turn:
                raise InputError(f"{place} has times but no turn with a label: {line!r}. Correct the line.")
            n_turns += 1
            utt_id, code, utt = turn["id"], turn["code"], UTT_ID.match(turn["id"])
            if not utt:
                raise InputError(
                    f"{utt_id}: {place} has a turn whose name is not of IEMOCAP's form Ses01F_impro01_F000."
                )
            if utt_id in seen:
                raise InputError(f"{utt_id}: the id stands twice ({seen[utt_id]} and {place}). Leave one of them out.")
            seen[utt_id] = place
            if code in OTHER_CODES:
                dropped[code] += 1
                continue
            if code not in CODES:
                known = ", ".join((*CODES, *OTHER_CODES))
                raise InputError(f"{utt_id}: the label {code!r} in {place} is unknown; known are {known}. Correct it.")
            rows.append(
                {
                    "id": utt_id,
                    "wav": str((wav_folder / utt["dialog"] / f"{utt_id}.wav").relative_to(data_folder)),
                    "emo": CODES[code],
                    "speaker": f"Ses{utt['session']}_{utt['speaker']}",
                    "group": f"Session{int(utt['session'])}",
                }
            )
        if n_turns == 0:
            raise InputError(f"{path} holds no turn: copy it again from the corpus.")
    if not rows:
        raise InputError(f"the annotations in {data_folder} hold no utterance labelled {', '.join(CODES)}.")
    return rows, dropped


def session_table(manifest):
    """Return the table of utterance counts by session and label, as text."""
    counts = Counter((entry["group"], entry["emo"]) for entry in manifest.values())
    groups = sorted({entry["group"] for entry in manifest.values()})
    lines = ["".join(f"{title:>9}" for title in ("", "all", *EMOTIONS))]
    for group in groups:
        by_emotion = [counts[group, emo] for emo in EMOTIONS]
        lines.append("".join(f"{cell:>9}" for cell in (group, sum(by_emotion), *by_emotion)))
    totals = [sum(counts[group, emo] for group in groups) for emo in EMOTIONS]
    lines.append("".join(f"{cell:>9}" for cell in ("total", sum(totals), *totals)))
    hours = sum(entry["duration"] for entry in manifest.values()) / 3600
    lines.append(f"{len({entry['speaker'] for entry in manifest.values()})} speakers, {hours:.2f} hours.")
    return "\n".join(lines)


def compare_with_iemocap(manifest):
    """Hold a manifest against the four-class IEMOCAP.

    It counts as IEMOCAP when at least one part of one session (improvised or scripted) has exactly IEMOCAP's ids, or
    when it has IEMOCAP's five sessions and more than a third of its utterances.

    Arguments
    ---------
    manifest : dict
        The manifest.

    Returns
    -------
    tuple
        (whether the ids are IEMOCAP's, list of what is wrong).
    """
    ids, labels = defaultdict(list), Counter()
    for utt_id, entry in sorted(manifest.items()):
        utt = UTT_ID.match(utt_id)
        if utt:
            ids[int(utt["session"]), utt["part"]].append(utt_id)
            labels[int(utt["session"]), entry["emo"]] += 1
    digests = {part: hashlib.sha256("\n".join(members).encode()).hexdigest()[:16] for part, members in ids.items()}
    whole = {part for part, (_, digest) in IEMOCAP_PARTS.items() if digests.get(part) == digest}
    faults = []
    total = sum(n for n, _ in IEMOCAP_PARTS.values())
    if not whole and (len(manifest) < total / 3 or {session for session, _ in ids} != set(IEMOCAP_COUNTS)):
        return False, []

    if len(manifest) != total:
        faults.append(f"{len(manifest)} utterances found, {total} expected")
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


def main(argv):
    """Prepare from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_folder", help="the folder that holds Session1 to Session5")
    parser.add_argument("save_manifest", help="the JSON file to write")
    parser.add_argument("--allow_incomplete", action="store_true", help="accept an IEMOCAP of which a part is missing")
    arguments = parser.parse_args(argv)
    prepare_iemocap(arguments.data_folder, arguments.save_manifest, arguments.allow_incomplete)
