"""Folders of runs to report on, and what a report says, taken apart."""

import csv
import json
import re
from collections import defaultdict
from html.parser import HTMLParser

import numpy as np
import pytest

from speechbrain_ext.errors import InputError
from speechbrain_ext.results import report
from tests.results import run_files

EMOTIONS = ["neu", "hap", "ang", "sad"]
FILES = ["confusion.png", "folds.png", "report.html", "report.json", "report.md"]
# Utterances of each session in each part: folds are unequal.
SIZES = {1: {"impro": 12, "script": 8}, 2: {"impro": 6, "script": 6}}
IEMOCAP = {"corpus": "iemocap", "corpus_faults": []}


def iemocap_ids(session):
    """Name a session's utterances as IEMOCAP does, half of them hers."""
    dialogs = {"impro": "impro01", "script": "script01_1"}
    return [
        f"Ses0{session}F_{dialog}_{'FM'[i % 2]}{i:03d}"
        for part, dialog in dialogs.items()
        for i in range(SIZES[session][part])
    ]


def other_ids(fold):
    """Name the utterances of another corpus."""
    return [f"clip{fold}_{i}" for i in range(8)]


def write_run(folder, ids, seed=1, fold=1, share=0.6, **changes):
    """Write a tested run; the labels follow from the fold, the decisions from seed, fold and share."""
    true = np.random.default_rng(fold).permutation(np.resize(range(4), len(ids)))
    rng = np.random.default_rng([seed, fold, int(1000 * share)])
    predicted = np.where(rng.random(len(ids)) < share, true, rng.integers(4, size=len(ids)))
    changes = {"labels": EMOTIONS, "n_folds": 1, **changes}
    return run_files.write_run(folder, seed, fold, true, predicted, ids, **changes)


def write_set(root, seeds=(1, 2), ids_of=iemocap_ids, **changes):
    """Write both folds of each seed."""
    for seed in seeds:
        for fold in (1, 2):
            write_run(
                root / f"seed{seed}" / f"fold{fold}", ids_of(fold), seed, fold, **{**IEMOCAP, "n_folds": 2, **changes}
            )
    return root


def tables(text):
    """Read the tables of a Markdown text: rows of cells, without the line of marks; spaces may be unbreakable."""
    found = []
    for block in text.replace("\u00a0", " ").split("\n\n"):
        lines = block.strip().splitlines()
        if lines and lines[0].startswith("| "):
            rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
            assert {len(row) for row in rows} == {len(rows[0])} and set("".join(rows[1])) <= set("-:"), block
            found.append([rows[0], *rows[2:]])
    return found


def table_with(text, header):
    """Find the only table whose header has this cell."""
    (found,) = (rows for rows in tables(text) if header in rows[0])
    return found


class Page(HTMLParser):
    """A page taken apart: that its tags are balanced, its cells, headings, title, pictures and links."""

    VOID = ("meta", "img", "br", "hr")

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.sources, self.links, self.handlers = [], [], [], [], []
        self.texts = defaultdict(list)
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.texts[tag].append("")
        for key, value in attrs:
            {"src": self.sources, "href": self.links}.get(key, []).append(value)
            self.handlers += [key] if key.startswith("on") else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)  # <img ... />

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"{tag} is closed, which was not the last one opened"

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts[tag][-1] += data.replace("\u00a0", " ")


def page_of(folder):
    """Read a folder's report.html."""
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def refusal(*args, **kwargs):
    """Return the message with which a report is refused."""
    with pytest.raises(InputError) as error:
        report.write_report(*args, **kwargs)
    return str(error.value)


def files_below(folder):
    """List all files with their contents."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


TRACKED = [
    {"epoch": i + 1, "test_WA": WA, "test_UA": UA} for i, (WA, UA) in enumerate([(0.5, 0.5), (0.875, 0.75), (0.875, 1)])
]


def decisions_of(folder):
    """Read all decisions below a folder: arrays of ids, true and decided emotions."""
    rows = [row for path in sorted(folder.rglob("predictions.csv")) for row in csv.DictReader(open(path))]
    return tuple(np.array([row[key] for row in rows]) for key in ("id", "true", "predicted"))


def metrics_of(folder):
    """Read WA and UA of all runs, in percent: {name: [seeds, folds]}."""
    found = [json.loads(path.read_text()) for path in sorted(folder.rglob("test_metrics.json"))]
    return {name: 100 * np.reshape([run[name] for run in found], (-1, 2)) for name in ("WA", "UA")}


def percents(*values):
    """Write percent as the report does."""
    return [f"{100 * value:.2f}" for value in values]
