"""An audit of anyone's folds: what their parts share, how their labels are spread, what is missing from the corpus."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np
import scipy

from speechbrain_ext.corpora import get_corpus
from speechbrain_ext.corpora.labels import match_label
from speechbrain_ext.corpora.spelling import spelling_key
from speechbrain_ext.corpora.split_files import Split
from speechbrain_ext.results.audit_audio import compare_recordings

# What two parts may share: the key of an utterance, and what it is called; the first two are the utterance itself.
SHARED = {
    "id": "utterances", "content": "recordings, by their samples", "wav": "recordings, by their paths",
    "speaker": "speakers", "session": "sessions", "dialogue": "dialogues", "group": "groups",
}  # fmt: skip
NAMES = ("speaker", "session", "dialogue", "group")  # which people write in several ways
SHOWN = 5

Utterances = Mapping[str, Mapping[str, Any]]


def audit_split(split: Split, audio: Sequence[Path] = ()) -> dict[str, Any]:
    """Audit folds.

    Arguments
    ---------
    split : Split
        The folds.
    audio : list of pathlib.Path
        Further folders that recordings may be relative to. Recordings that are found are compared by their samples;
        what is not there is not needed.

    Returns
    -------
    dict
        Ready for JSON:

        - "corpus" (a title or None), "n_utterances", "labels" (counts), "known" (how many utterances have a speaker,
          and so on), "notes" (sentences: how the lists were read), "faults" (sentences: what contradicts itself in
          them);
        - "audio": as `compare_recordings` returns it;
        - "published": None, or "complete" and "differences" (sentences), by the registry's counts;
        - "folds": for each "fold" (from 1), "sizes", "speakers" and "unknown_speakers" (of how many utterances nothing
          says who speaks) of each part, "shared", "label_shift" (see `label_shift`), "cautions" (sentences);
        - "shared", of two parts: for each thing that is known "what" (its title), "n" (how many of the tested ones are
          shared), "of" (how many there are), "names" (the first ones), "alike" (of those that are written in another
          way in the seen part, the first ones: "S1 as s1"). Names count as shared however they are written (see
          `spelling_key`), unless a part itself has several spellings, as it would of several names: then they are
          "unsure";
        - "leak": whether a test part shares anything with what is trained or validated on.
    """
    utterances, found = compare_recordings(split.utterances, split.roots, audio)
    n_known = {key: sum(key in one for one in utterances.values()) for key in (*SHARED, "emo", "gender", "language")}
    if any(
        all(one.get("group") == one.get(key) for one in utterances.values())
        for key in ("speaker", "session", "dialogue")
    ):
        n_known["group"] = 0  # the same under another name
    titles = {**SHARED, "group": _group_title(split)}
    folds = [_audit_fold(k, parts, utterances, n_known, titles) for k, parts in enumerate(split.folds, start=1)]
    return {
        "corpus": get_corpus(split.corpus).title if split.corpus else None,
        "n_utterances": len(utterances),
        "labels": dict(sorted(Counter(one["emo"] for one in utterances.values() if "emo" in one).items())),
        "known": {
            key: n_known[key] for key in ("emo", "speaker", "session", "dialogue", "group", "gender", "language")
        },
        "notes": split.notes,
        "faults": split.faults + _contradicted_names(split),
        "audio": found,
        "published": compare_with_published(split),
        "folds": folds,
        "leak": any(one["leak"] for fold in folds for one in fold["shared"]),
    }


def _shared_between(
    utterances: Utterances,
    seen: Sequence[str],
    tested: Sequence[str],
    n_known: Mapping[str, int],
    titles: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Count what two parts share, of each thing that is known of any utterance."""
    counts = []
    for key, what in titles.items():
        if key != "id" and not n_known[key]:
            continue
        there, here = (
            {value for utt_id in part if (value := utt_id if key == "id" else utterances[utt_id].get(key))}
            for part in (seen, tested)
        )
        written, own = (_spellings(key, names) for names in (there, here))
        alike = {name: written[spelled] for spelled, names in own.items() if spelled in written for name in names}
        alike = {name: others for name, others in alike.items() if name not in there}
        unsure = sorted(name for name, others in alike.items() if len({name, *others, *own[_key(key, name)]}) > 2)
        shared = sorted((here & there) | alike.keys() - unsure)
        counts.append(
            {
                "key": key,
                "what": what,
                "n": len(shared),
                "of": len(here),
                "names": shared[:SHOWN],
                "alike": [f"{name} as {alike[name][0]}" for name in shared if name in alike][:SHOWN],
                "unsure": unsure,
            }
        )
    return counts


def _spellings(kind: str, values: Iterable[str]) -> dict[Any, list[str]]:
    """Group names that are one name in several spellings; of ids and paths only the form of accents does not count."""
    found: dict[Any, list[str]] = {}
    for value in sorted(values):
        found.setdefault(_key(kind, value), []).append(value)
    return found


def _key(kind: str, value: str) -> Any:
    return spelling_key(value) if kind in NAMES else unicodedata.normalize("NFC", value)


def label_shift(labels: Mapping[str, Sequence[str]]) -> Optional[dict[str, Any]]:
    """Test whether the labels of parts are spread alike: the chi-squared test, and Cramér's V as the effect's size.

    Arguments
    ---------
    labels : dict
        {part: the label of each of its utterances}; empty parts do not count.

    Returns
    -------
    dict or None
        "p", "cramers_v" (0: alike, 1: no label in common), "largest" (the label whose shares differ most) and "points"
        (by how much, a fraction, from the first part to the last). None with fewer than two parts or labels.

    Example
    -------
    >>> label_shift({"train": ["ang"] * 30 + ["sad"] * 10, "test": ["ang"] * 10 + ["sad"] * 30})["cramers_v"]
    0.5
    """
    counts = [Counter(part) for part in labels.values() if part]
    names = sorted(set().union(*counts))
    if len(counts) < 2 or len(names) < 2:
        return None
    table = np.array([[part[name] for name in names] for part in counts])  # [parts, labels]
    shares = table / table.sum(axis=1, keepdims=True)
    differences = shares[-1] - shares[0]
    largest = int(np.abs(differences).argmax())
    return {
        "p": float(scipy.stats.chi2_contingency(table, correction=False).pvalue),
        "cramers_v": float(scipy.stats.contingency.association(table, method="cramer")),
        "largest": names[largest],
        "points": float(differences[largest]),
    }


def compare_with_published(split: Split) -> Optional[dict[str, Any]]:
    """Compare the utterances of all parts with what the registry says of their corpus; None where it says nothing."""
    if not split.corpus:
        return None
    corpus = get_corpus(split.corpus)
    rows = []
    for utt_id, one in split.utterances.items():
        named = one.get("named", {})
        emo = match_label(named.get("emo") or one.get("emo", ""), corpus.emotions, corpus.merged)
        rows.append({"id": named.get("id", utt_id), "emo": emo, "speaker": one.get("speaker", ""), "wav": ""})
    rows = [row for row in rows if row["emo"] in corpus.emotions]
    is_this, differences = corpus.compare(rows)
    if not is_this:
        differences = [f"the utterances are not {corpus.title}'s"]
    return {"complete": is_this and not differences, "holds": corpus.complete, "differences": list(differences)}


def _group_title(split: Split) -> str:
    """Call groups as their corpus does, where its names say them."""
    named = split.corpus and all(
        one.get("group") == one.get("named", {}).get("group") for one in split.utterances.values()
    )
    return f"{get_corpus(split.corpus).group}s" if split.corpus and named else SHARED["group"]


def _audit_fold(
    fold: int,
    parts: Mapping[str, list[str]],
    utterances: Utterances,
    n_known: Mapping[str, int],
    titles: Mapping[str, str],
) -> dict[str, Any]:
    train, valid, test = parts["train"], parts["valid"], parts["test"]
    shared = [
        {"between": ["test", "training or validation"], **one, "leak": one["n"] > 0}
        for one in _shared_between(utterances, train + valid, test, n_known, titles)
    ]
    if valid:
        same = ("id", "wav", "content")  # of new speakers a validation part need not be
        shared += [
            {"between": ["validation", "training"], **one, "leak": one["n"] > 0 and one["key"] in same}
            for one in _shared_between(utterances, train, valid, n_known, titles)
        ]
    unsure = [
        f"Of the {one['between'][0]} {one['what']}, {', '.join(one['unsure'][:SHOWN])} may be some of "
        f"{one['between'][1]} in another spelling; one part has several spellings, so they count as others."
        for one in shared
        if one["unsure"]
    ]
    labels = {
        part: [utterances[utt_id]["emo"] for utt_id in ids if "emo" in utterances[utt_id]]
        for part, ids in parts.items()
    }
    return {
        "fold": fold,
        "sizes": {part: len(ids) for part, ids in parts.items()},
        "speakers": {
            part: len({utterances[utt_id]["speaker"] for utt_id in ids if "speaker" in utterances[utt_id]})
            for part, ids in parts.items()
        },
        "unknown_speakers": {
            part: sum("speaker" not in utterances[utt_id] for utt_id in ids) for part, ids in parts.items()
        },
        "shared": shared,
        "label_shift": label_shift(labels),
        "cautions": [*_cautions(parts, labels, utterances), *unsure],
    }


def _cautions(parts: Mapping[str, list[str]], labels: Mapping[str, list[str]], utterances: Utterances) -> list[str]:
    said = []
    if not parts["valid"]:
        said.append(
            "There is no validation part: what is chosen, such as the epoch, is chosen on training or test data."
        )
    for part, ids in parts.items():
        twice = [utt_id for utt_id, n in Counter(ids).items() if n > 1]
        if twice:
            said.append(f"{len(twice)} utterances stand twice in the {part} part (the first is {twice[0]}).")
    absent = sorted(set(labels["test"]) - set(labels["train"]))
    if absent and labels["train"]:
        said.append(f"Tested, but not trained on: {', '.join(absent)}.")
    seen = parts["train"] + parts["valid"]
    for ids, what, doubt in (
        (parts["test"], "test utterances", "whether these speakers are trained on"),
        (seen, "utterances that are trained or validated on", "whether these speakers are tested on"),
    ):
        unknown = sum("speaker" not in utterances[utt_id] for utt_id in ids)
        if unknown and (ids is not seen or any("speaker" in utterances[utt_id] for utt_id in parts["test"])):
            said.append(f"Nothing says who speaks in {unknown} of {len(ids)} {what}: {doubt} cannot be told.")
    return said


def _contradicted_names(split: Split) -> list[str]:
    """Say which labels are not those that the names of the recordings say."""
    if not split.corpus:
        return []
    corpus = get_corpus(split.corpus)
    wrong = []
    for utt_id, one in split.utterances.items():
        told, emo = one.get("named", {}).get("emo"), one.get("emo")
        label = match_label(emo or "", corpus.emotions, corpus.merged)
        if told and label in corpus.emotions and told != label:
            wrong.append(f"{utt_id} is labelled {emo}, and by its name it is {told}")
    return [f"{len(wrong)} labels contradict the names of the recordings: {'; '.join(wrong[:SHOWN])}."] if wrong else []
