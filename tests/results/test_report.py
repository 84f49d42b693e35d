"""The report: its numbers against scikit-learn and the hand, what it refuses, what it says loudly, its page."""

import csv
import json
import os
import re
import runpy
import sys
from collections import defaultdict
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, recall_score

from speechbrain_ext.commands import main as cli
from speechbrain_ext.corpora import get_corpus
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


@pytest.fixture
def quick_pictures(monkeypatch):
    """Put next to nothing in the place of the pictures, which take most of the time and have tests of their own."""

    def draw(*args):
        path = args[-2]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\x89PNG")

    monkeypatch.setattr(report, "plot_confusion", draw)
    monkeypatch.setattr(report, "plot_folds", draw)


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


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Write one report on two seeds of IEMOCAP-like runs: (folder, Report)."""
    folder = write_set(tmp_path_factory.mktemp("report") / "loso", epochs=TRACKED)
    return folder, report.write_report([folder])


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


def test_report_numbers_are_those_of_numpy_and_scikit_learn(written):
    folder, made = written
    _, true, predicted = decisions_of(folder)
    rows = {row[0]: row[1:] for row in tables(made.text)[0]}
    for found, (_, table) in zip(rows["Mean of folds"], metrics_of(folder).items()):
        std_folds, std_seeds = (np.std(table.mean(axis=axis), ddof=1) for axis in (0, 1))
        assert found == f"{table.mean():.2f} ± {std_folds:.2f} over folds ± {std_seeds:.2f} over seeds"
    scores = accuracy_score(true, predicted), balanced_accuracy_score(true, predicted)
    assert rows["Pooled over folds"] == percents(*scores)
    recalls = recall_score(true, predicted, labels=EMOTIONS, average=None)
    assert table_with(made.text, "Emotion")[1:] == [list(row) for row in zip(EMOTIONS, percents(*recalls))]
    saved = json.loads((folder / "report.json").read_text())
    assert saved["systems"][0]["pooled"]["confusion"] == confusion_matrix(true, predicted, labels=EMOTIONS).tolist()
    # The intervals are those of `summarise`, which has its own tests.
    for what in ("utterances", "speakers"):
        intervals = saved["systems"][0]["pooled"][f"over_{what}"]
        expected = [" to ".join(percents(*intervals[name])) for name in ("WA", "UA")]
        assert rows[f"95% interval over {what}"] == expected


def test_report_is_printed_in_two_lines_and_the_path_of_its_page(written):
    folder, made = written
    numbers = []
    for table in metrics_of(folder).values():
        numbers.append(f"{table.mean():.2f} ± {np.std(table.mean(axis=0), ddof=1):.2f}%")
    assert str(made).splitlines() == [
        f"loso: WA {numbers[0]}, UA {numbers[1]}",
        "4 runs on IEMOCAP; mean of folds, ± standard deviation over folds.",
        f"Report: {folder / 'report.html'}",
    ]
    assert made.page == folder / "report.html"


def test_report_tells_each_run(written):
    folder, made = written
    found = [json.loads(path.read_text()) for path in sorted(folder.rglob("test_metrics.json"))]
    assert table_with(made.text, "Fold")[1:] == [
        [str(run["seed"]), str(run["fold"]), *percents(run["WA"], run["UA"])]
        + [f"Session{run['fold']}", str(run["n"]), "3 of 5"]
        for run in found
    ]
    assert (
        "4 runs on IEMOCAP: folds 1, 2, seeds 1, 2; validation random; 32 test utterances of 4 speakers." in made.text
    )
    assert "Fewer than five speakers" in made.text


def test_report_parts_are_those_of_the_corpus(written):
    folder, made = written
    ids, true, predicted = decisions_of(folder)
    rows = table_with(made.text, "Part")[1:]
    saved = json.loads((folder / "report.json").read_text())["systems"][0]["parts"]
    assert [row[:2] for row in rows] == [["improvised", "18"], ["scripted", "14"]]
    for row, part in zip(rows, ("impro", "script")):
        chosen = np.char.find(ids.astype(str), part) > 0
        scores = (accuracy_score, balanced_accuracy_score)
        assert [row[2], row[4]] == percents(*(score(true[chosen], predicted[chosen]) for score in scores))
        intervals = saved["improvised" if part == "impro" else "scripted"]["over_speakers"]
        assert [row[3], row[5]] == [" to ".join(percents(*intervals[name])) for name in ("WA", "UA")]
        assert row[3] != row[5]


def test_report_measures_the_leak(written):
    folder, made = written
    honest = [table.mean() for table in metrics_of(folder).values()]
    rows = table_with(made.text, "Epoch")[1:]
    assert rows[0] == ["selected on validation (the result above)", *(f"{value:.2f}" for value in honest)]
    assert rows[1] == ["selected on test (LEAK, no result)", "87.50", "75.00"]  # the first epoch with the best WA
    assert rows[2][1:] == [f"{leak - value:+.2f}" for leak, value in zip((87.5, 75), honest)]


def test_report_is_made_of_five_files_and_explains_its_pictures(written):
    folder, made = written
    assert sorted(path.name for path in folder.iterdir()) == [*FILES, "seed1", "seed2"]
    assert (folder / "report.md").read_text(encoding="utf-8") == made.text
    blocks = made.text.split("\n\n")
    for name, words in (("folds", "Each dot is one run. A bar is "), ("confusion", "A row is the true emotion, a col")):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        (place,) = (i for i, block in enumerate(blocks) if f"]({name}.png)" in block)
        assert blocks[place + 1].startswith(words)


def test_report_has_settings_versions_and_its_date(tmp_path, quick_pictures, monkeypatch):
    write_set(tmp_path, seeds=(1,), hyperparameters={"lr": 0.0001, "emb_dim": 64, "encoder_source": None})
    monkeypatch.setattr(report, "date", SimpleNamespace(today=lambda: date(2024, 2, 29)))
    text = report.write_report([tmp_path]).text
    settings, versions = tables(text)[-2:]
    assert settings == [["Setting", "Value"], ["lr", "0.0001"], ["encoder_source", "null"]]  # the main ones
    assert versions == [["Package", "Value"], ["python", "3.11"]]
    assert re.search(r"\n\nWritten on 2024-02-29 by speechbrain_ext [0-9.]+\.\n$", text)


def test_report_shows_settings_that_differ_between_systems_and_within_one(tmp_path, quick_pictures):
    a = write_set(tmp_path / "a", seeds=(1,), hyperparameters={"emb_dim": 64, "same": 1, "lr": 1})
    b = write_run(tmp_path / "b" / "1", iemocap_ids(1), **IEMOCAP, n_folds=2, hyperparameters={"emb_dim": 8, "same": 1})
    changed = {"settings": "x", "versions": {"python": "3.12"}, "hyperparameters": {"emb_dim": 9, "same": 1, "lr": 2}}
    write_run(tmp_path / "b" / "2", iemocap_ids(2), fold=2, n_folds=2, **{**IEMOCAP, **changed})
    settings, versions = tables(report.write_report([a, b.parent], allow=["mixed"]).text)[-2:]
    assert settings == [["Setting", "a", "b"], ["emb_dim", "64", "8 or 9"], ["lr", "1", "null or 2"]]
    assert versions == [["Package", "a", "b"], ["python", "3.11", "3.11 or 3.12"]]


def test_report_holds_published_results_and_ours_apart(written):
    _, made = written
    published = get_corpus("iemocap").published
    assert len(published) == 15 and (published[-1].year, published[-1].WA, published[-1].UA) == (2023, 75.37, 76.04)
    *theirs, ours = table_with(made.text, "Method")[1:]
    assert theirs == [
        [f"{row.method} (published)", str(row.year), f"{row.WA:.2f}", f"{row.UA:.2f}"] for row in published
    ]
    (line,) = (line for line in made.text.splitlines() if "75.37" in line or "76.04" in line)
    assert line.startswith("| Kang et al., label-adaptive mixup (published) | 2023 | 75.37 | 76.04 |")
    means = [row.split()[0] for row in tables(made.text)[0][1][1:]]
    assert ours == ["**This project, loso: mean of folds**", "", *(f"**{value}**" for value in means)]
    assert "**Not " not in made.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"corpus_faults": ["Session1 lacks 3 utterances", "x."]}, "complete published IEMOCAP: Session1 lacks 3 utt"),
        ({"labels": ["neu", "hap", "ang", "fru"]}, None),
        ({"corpus": "csv"}, None),
        ({"corpus": "synthetic"}, get_corpus("synthetic").note),
        ({"corpus": "csv", "fold_cautions": ["It shares 4 speakers."]}, "It shares 4 speakers."),
    ],
)
def test_report_shows_no_published_results_beside_anything_else(tmp_path, quick_pictures, change, said):
    """Whatever the ids are: the corpus, its faults and the emotions decide."""
    made = report.write_report([write_set(tmp_path / "a", seeds=(1,), **change)])
    assert "published)" not in made.text and "75.37" not in made.text
    if said:
        page = page_of(tmp_path / "a")
        assert said in made.text.split("\n\n")[1] and said in page.texts["p"][0] and said in page.texts["strong"][0]
    assert get_corpus(change.get("corpus", "iemocap")).title in str(made)


def test_report_refuses_a_corpus_that_it_does_not_know(tmp_path):
    folder = write_run(tmp_path / "a", other_ids(1), corpus="iemocup")
    message = refusal([folder])
    assert message.startswith(f"{folder}/test_metrics.json: corpus must be one of ") and "mean iemocap?" in message


def test_report_of_one_run_has_no_spread_and_no_intervals_without_clusters(tmp_path):
    folder = write_run(tmp_path / "one" / "run", ["clip"], validation="none", tested_weights="last", epochs=TRACKED[:1])
    made = report.write_report([folder.parent])
    assert tables(made.text)[0][1][0] == "Mean of folds" and "±" not in "".join(tables(made.text)[0][1])
    assert tables(made.text)[0][3] == ["95% interval over utterances", "-", "-"]
    assert [row[0] for row in table_with(made.text, "Epoch")[1:]][0] == "the last epoch (the result above)"
    (present,) = (emo for emo, recall in table_with(made.text, "Emotion")[1:] if recall != "-")
    absent = ", ".join(emo for emo in EMOTIONS if emo != present)
    assert f"No test utterance of {absent}: left out of UA." in made.text
    title = get_corpus("csv").title
    assert f"1 run on {title}: fold 1, seed 1; validation none; 1 test utterance of 1 speaker." in made.text
    assert str(made).splitlines()[:2] == [
        f"one: WA {tables(made.text)[0][1][1]}%, UA {tables(made.text)[0][1][2]}%",
        f"1 run on {title}.",
    ]


def test_report_leaves_the_pictures_of_a_run_as_they_are(tmp_path, quick_pictures):
    folder = write_run(tmp_path / "run", other_ids(1))
    (folder / "confusion.png").write_bytes(b"the run's own")
    assert report.write_report([folder]).page == folder / "report" / "report.html"
    assert (folder / "confusion.png").read_bytes() == b"the run's own"


def test_report_on_some_folds_says_so_wherever_it_names_the_system(tmp_path, quick_pictures):
    write_set(tmp_path / "loso", seeds=(1,), n_folds=5)
    assert "seed 1 lacks fold 3" in refusal([tmp_path / "loso"])
    made = report.write_report([tmp_path / "loso"], folds=[1, 2])
    page = page_of(tmp_path / "loso")
    assert page.texts["h1"] == page.texts["title"] == ["Results of loso, folds 1 and 2 of 5"]
    assert str(made).startswith("loso, folds 1 and 2 of 5: WA ")
    assert table_with(made.text, "Method")[-1][0] == "**This project, loso: mean of folds 1 and 2 of 5**"
    assert json.loads((tmp_path / "loso" / "report.json").read_text())["systems"][0]["subset"] == "folds 1 and 2 of 5"


FAULTS = {
    "mixed": ({"manifest": "b" * 64, "fold": 2}, "2 versions of the corpus"),
    "duplicates": ({"fold": 1}, "seed 1 fold 1 from a and not from b"),
    "incomplete": ({"fold": 2, "n_folds": 3}, "seed 1 lacks"),
}


@pytest.mark.parametrize("word", FAULTS)
def test_report_refuses_and_writes_nothing_or_says_it_in_the_title(tmp_path, word, quick_pictures):
    change, note = FAULTS[word]
    write_run(tmp_path / "set" / "a", other_ids(1))
    write_run(tmp_path / "set" / "b", other_ids(change["fold"]), **{"n_folds": change["fold"], **change})
    before = files_below(tmp_path)
    assert f"--allow={word}" in refusal([tmp_path / "set"], tmp_path / "out")
    assert files_below(tmp_path) == before and not (tmp_path / "out").exists()

    made = report.write_report([tmp_path / "set"], tmp_path / "out", [word])
    page = page_of(tmp_path / "out")
    for heading in (made.text.splitlines()[0], *page.texts["h1"], *page.texts["title"], made.summary):
        assert f"{word.capitalize()}: {note}" in heading
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    assert {path: content for path, content in files_below(tmp_path).items() if "out" not in path.parts} == before


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Write one report on three systems, two of whose folders have the same name: (folders, Report)."""
    folder = tmp_path_factory.mktemp("compared")
    paths = [folder / "x" / "loso", folder / "y" / "loso", folder / "group"]
    for path, share, validation, seeds in zip(
        paths, (0.3, 0.9, 0.6), ("random", "none", "group"), ((1, 2), (1, 2), (2,))
    ):
        write_set(path, seeds, share=share, validation=validation, settings=str(share))
    return paths, report.write_report(paths)


def test_compared_folders_have_a_row_each_and_a_section_each(compared):
    paths, made = compared
    names = ["x/loso", "y/loso", "compared0/group"]
    rows = table_with(made.text, "Validation")[1:]
    assert [row[5:] for row in rows] == [["random", "4"], ["none", "4"], ["group", "2"]]
    assert [row[0] for row in rows][:2] == names[:2] and rows[2][0].endswith("/group")
    for row, path in zip(rows, paths):
        means = metrics_of(path)
        assert [row[1].split()[0], row[2].split()[0]] == [f"{table.mean():.2f}" for table in means.values()]
    names = [row[0] for row in rows]
    assert made.text.startswith(f"# Side by side: {'; '.join(names)}\n")
    for i, name in enumerate(names):
        assert f"\n\n# Results of {name}\n\n" in made.text
        assert f"(folds_{i + 1}.png)" in made.text and f"(confusion_{i + 1}.png)" in made.text
        assert str(made).splitlines()[i].startswith(f"{name}: WA {rows[i][1].split()[0]} ± ")
    out = paths[0] / "comparison"
    pictures = sorted(path.name for path in out.glob("*.png"))
    assert pictures == [f"{name}_{i}.png" for name in ("confusion", "folds") for i in (1, 2, 3)]
    assert len(set(page_of(out).sources)) == 6  # each its own
    assert not [path for folder in paths for path in folder.iterdir() if path.is_file()]
    methods = [table for table in tables(made.text) if "Method" in table[0]]
    assert [f"This project, {name}:" in table[-1][0] for name, table in zip(names, methods)] == [True] * 3


def test_compared_folders_are_compared_with_the_first_by_hand(compared):
    paths, made = compared
    _, first_true, first_predicted = decisions_of(paths[0])
    sections = re.findall(r"^## (\S+) minus (\S+), pooled, on the same (\d+) utterances$", made.text, re.M)
    assert [(b, n) for _, b, n in sections] == [("x/loso", "32")] * 2
    assert [a.split("/")[0] for a, _, _ in sections][0] == "y"
    differences = [table for table in tables(made.text) if table[0][1] == "Difference (points)"]
    tests = [table for table in tables(made.text) if table[0][0] == "Seed" and "McNemar, exact p" in table[0]]
    for path, table, test, seeds in zip(paths[1:], differences, tests, (("1", "2"), ("2",))):
        _, true, predicted = decisions_of(path)
        for row, score in zip(table[1:], (accuracy_score, balanced_accuracy_score)):
            difference = 100 * (score(true, predicted) - score(first_true, first_predicted))
            assert row[1] == f"{difference:+.2f}" and difference > 0
            low, high = map(float, row[2].split(" to "))
            assert low < difference < high and row[3] != "-"
        assert tuple(row[0] for row in test[1:]) == seeds
        for row in test[1:]:
            own, other = (right_in(one, row[0]) for one in (path, paths[0]))
            assert row[1:3] == [str(len(own - other)), str(len(other - own))]
            assert 0 <= float(row[3].removeprefix("< ")) <= 1
    assert re.match(r"right in y/loso alone", tests[0][0][1]) and tests[0][0][2] == "right in x/loso alone"


def right_in(folder, seed):
    """Collect what a seed got right."""
    ids, true, predicted = decisions_of(folder / f"seed{seed}")
    return set(ids[true == predicted])


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"manifest": "b" * 64}, "different versions of the corpus (manifests aaaaaaaa, bbbbbbbb)"),
        ({"corpus": "csv"}, "different corpora (csv, iemocap)"),
    ],
)
def test_compared_folders_of_different_corpora_are_refused_or_said_in_the_title(tmp_path, quick_pictures, change, note):
    a, b = write_set(tmp_path / "a", seeds=(1,)), write_set(tmp_path / "b", seeds=(1,), **change)
    before = files_below(tmp_path)
    message = refusal([a, b], allow=["incomplete", "duplicates"])
    assert message == f"a and b were run on {note}. Report on them apart, or set --allow=mixed."
    other = write_set(tmp_path / "c", ids_of=other_ids, **change)
    assert "have tested no utterance in common" in refusal([a, other], allow=["mixed"])
    assert {path for path in files_below(tmp_path) if "c" not in path.parts} == set(before)
    assert not (a / "comparison").exists()
    made = report.write_report([a, b], allow=["mixed"])
    page = page_of(a / "comparison")
    for heading in (made.text.splitlines()[0], page.texts["title"][0], page.texts["h1"][0]):
        assert heading.endswith(f"[Mixed: {note}]")


def test_compared_folders_must_differ(tmp_path, monkeypatch):
    folder = write_set(tmp_path / "a", seeds=(1,))
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    for again in ("a", "./a/../a/", tmp_path / "link"):
        assert refusal([folder, again]).startswith(f"a folder is given twice: {folder}, ")
    assert not (folder / "comparison").exists()


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/r/loso"], ["loso"]),
        (["/r/a", "/r/b"], ["a", "b"]),
        (["/a/loso", "/b/loso"], ["a/loso", "b/loso"]),
        (["/a/x/loso", "/b/x/loso", "/b/x/group"], ["a/x/loso", "b/x/loso", "b/x/group"]),
    ],
)
def test_unique_names_take_as_much_of_the_paths_as_tells_them_apart(paths, names):
    assert report.unique_names(list(map(Path, paths))) == names


def assert_is_self_contained(page):
    """Check that nothing is fetched, linked or run."""
    assert page.sources and all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not page.links and not page.handlers
    assert not {"script", "link", "iframe", "object", "a", "base"} & set(page.seen)


def test_page_is_whole_and_self_contained(written, compared):
    for made in (written[1], compared[1]):
        source = made.page.read_text(encoding="utf-8")
        assert source.startswith("<!doctype html>") and not re.search(r"https?:|url\(|@import", source)
        page = Page(source)
        assert_is_self_contained(page)
        assert {"html", "head", "meta", "title", "style", "body", "h1", "h2", "table", "img"} <= set(page.seen)
        (heading, *_), (named,) = page.texts["h1"], page.texts["title"]
        assert heading == named == made.text.splitlines()[0].removeprefix("# ")
        # Each cell stands on the page, without Markdown's marks.
        cells = [cell.strip("*") for table in tables(made.text) for row in table for cell in row]
        assert sorted(page.texts["td"] + page.texts["th"]) == sorted(cells)


HOSTILE = [
    "<script>alert(1)<",
    "<img src=x onerror=alert(1)>",
    "a|b",
    "a\\|b",
    "x_y_z",
    "_x_",
    "*bold*",
    "`code`",
    "[x](javascript:alert(1))",
    "![x](http:evil.png)",
    "$\\foo$",
    "C#",
    "&lt;b&gt;",
    "a\nb",
    "~~no~~",
    '"quoted"',
    "高兴 😀",
    os.fsdecode(b"no utf-8 \xff"),
]


def test_hostile_names_of_folders_are_shown_as_they_are(tmp_path, quick_pictures):
    paths = [tmp_path / name for name in HOSTILE]
    for path in paths:
        write_run(path / "run", other_ids(1))
    made = report.write_report(paths, tmp_path / "out")
    assert not re.search(r"<[a-z!/]", made.text)
    assert all(len({len(row) for row in table}) == 1 for table in tables(made.text))
    page = page_of(tmp_path / "out")
    assert_is_self_contained(page)
    names = [" ".join(name.split()).replace("\udcff", "\\xff") for name in HOSTILE]
    assert page.texts["title"] == [f"Side by side: {'; '.join(names)}"]
    assert page.texts["h1"] == [f"Side by side: {'; '.join(names)}", *(f"Results of {name}" for name in names)]
    assert not {"em", "code", "del", "strong"} & set(page.seen)
    for name in names:
        assert name in page.texts["td"]  # side by side
        assert sum(heading.startswith(f"{name} minus {names[0]}, pooled") for heading in page.texts["h2"]) == (
            name != names[0]
        )


def test_hostile_words_in_the_results_are_shown_as_they_are(tmp_path):
    emotions = ["<b>ang</b>", "a|b", "*怒*", "$\\neu$"]
    folder, hostile = tmp_path / "*x*" / "a", "![g](http:evil.png)"
    settings, versions = {"lr": hostile, "augmentations": ["*a*", {"!new:<i>.<b>": {"|": 1}}]}, {"torch": "<b>"}
    words = {
        "test_group": hostile,
        "validation": "<i>|none",
        "corpus_faults": [hostile],
        "fold_cautions": [f"{hostile} leaks"],
    }
    write_run(folder, other_ids(1), labels=emotions, **words, hyperparameters=settings, versions=versions)
    report.write_report([tmp_path / "*x*"])
    page = page_of(tmp_path / "*x*")
    assert_is_self_contained(page)
    assert {*emotions, hostile, "[*a*, <b>(|=1)]", "<b>"} <= set(page.texts["td"])
    assert hostile in page.texts["p"][0] and f"{hostile} leaks" in page.texts["strong"]
    assert "validation <i>|none; 8 test utterances" in page.texts["p"][2]


def test_command_prints_the_summary_and_the_path(tmp_path, capsys, quick_pictures):
    write_run(tmp_path / "set" / "a", other_ids(1), n_folds=3)
    write_run(tmp_path / "set" / "b", other_ids(2), fold=2, n_folds=3)
    words = ["report", str(tmp_path / "set"), f"--out={tmp_path / 'out'}"]
    assert cli.main([*words, "--allow=incomplete,duplicates"]) == 0
    first, _, last = capsys.readouterr().out.splitlines()
    assert first.startswith("set [Incomplete: seed 1 lacks fold 3]: WA ")
    assert last == f"Report: {tmp_path}/out/report.html"
    assert cli.main([*words, "--folds=1-2"]) == 0
    assert capsys.readouterr().out.startswith("set, folds 1 and 2 of 3: WA ")
    assert cli.main([*words, "--folds=2"]) == 0
    assert capsys.readouterr().out.startswith("set, fold 2 of 3: WA ")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--allow=all", r"--allow must be among incomplete, mixed, .*got 'all'\.$"),
        ("--allow=mixed,x", r"--allow must be among incomplete, mixed, .*got 'x'\.$"),
        ("--folds=one", r"--folds must be whole numbers such as 1-5 or 1,3, got 'one'\.$"),
        ("--folds=7", r"folds must be from 1 to 1, as many as the corpus has, got 7\.$"),
    ],
)
def test_command_refuses_options_that_cannot_be(tmp_path, capsys, word, message):
    folder = write_run(tmp_path / "a", other_ids(1))
    assert cli.main(["report", str(folder), word]) == 1
    assert re.match(f"speechbrain-ext report: {message}", capsys.readouterr().err)
    assert sorted(path.name for path in folder.iterdir()) == ["predictions.csv", "test_metrics.json"]


def test_script_on_a_wrong_folder_says_one_sentence(tmp_path, root, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["report.py", "nowhere"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(root / "recipes" / "IEMOCAP" / "report.py"), run_name="__main__")
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out, list(tmp_path.iterdir())) == (1, "", [])
    assert printed.err == "report.py: the folder nowhere does not exist. Give one that holds tested runs.\n"
