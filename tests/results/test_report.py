"""The report: its numbers against scikit-learn and the hand, what it refuses, what it says loudly, its page."""

import csv
import hashlib
import json
import re
import subprocess
import sys
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, recall_score

import speechbrain_ext.results.report as report
from speechbrain_ext.corpora.base import get_corpus
from speechbrain_ext.errors import InputError

EMOTIONS = ["neu", "hap", "ang", "sad"]
FILES = ["confusion.png", "folds.png", "report.html", "report.json", "report.md"]
# Utterances of each session in each part: folds are unequal.
SIZES = {1: {"impro": 12, "script": 8}, 2: {"impro": 6, "script": 6}}


def iemocap_ids(session, parts=("impro", "script")):
    """Name a session's utterances as IEMOCAP does, half of them hers."""
    dialogs = {"impro": "impro01", "script": "script01_1"}
    return [
        f"Ses0{session}F_{dialogs[part]}_{'FM'[i % 2]}{i:03d}" for part in parts for i in range(SIZES[session][part])
    ]


def write_run(folder, ids, seed=1, fold=1, share=0.6, emotions=EMOTIONS, **changes):
    """Write a tested run; the labels follow from the fold, the decisions from seed, fold and share."""
    true = np.random.default_rng(fold).permutation(np.resize(range(4), len(ids)))
    rng = np.random.default_rng([seed, fold, int(1000 * share)])
    predicted = np.where(rng.random(len(ids)) < share, true, rng.integers(4, size=len(ids)))
    confusion = confusion_matrix(true, predicted, labels=range(4))
    recalls = recall_score(true, predicted, labels=range(4), average=None, zero_division=np.nan)
    metrics = {
        "WA": accuracy_score(true, predicted),
        "UA": np.nanmean(recalls),
        "recall": {emo: None if np.isnan(recall) else recall for emo, recall in zip(emotions, recalls)},
        "absent": [emo for emo, recall in zip(emotions, recalls) if np.isnan(recall)],
        "n": len(ids),
        "emotions": emotions,
        "confusion": confusion.tolist(),
        "test_loss": 1.0,
        "tested_epoch": 3,
        "n_epochs": 5,
        "test_group": f"Session{fold}",
        "validation": "random",
        "fold": fold,
        "seed": seed,
        "manifest": "a" * 64,
        "versions": {},
        **changes,
    }
    folder.mkdir(parents=True)
    (folder / "test_metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    with open(folder / "predictions.csv", "w", encoding="utf-8", newline="") as file:
        rows = [[utt_id, emotions[t], emotions[p]] + [0.25] * 4 for utt_id, t, p in zip(ids, true, predicted)]
        csv.writer(file, lineterminator="\n").writerows([["id", "true", "predicted", *emotions], *rows])
    return folder


def write_set(root, seeds=(1, 2), ids_of=iemocap_ids, **changes):
    """Write both folds of each seed."""
    for seed in seeds:
        for fold in (1, 2):
            write_run(root / f"seed{seed}" / f"fold{fold}", ids_of(fold), seed, fold, n_folds=2, **changes)
    return root


def other_ids(fold):
    """Name the utterances of another corpus."""
    return [f"clip{fold}_{i}" for i in range(8)]


def parts_of(ids):
    """Describe sessions and parts as IEMOCAP_PARTS does."""
    parts = defaultdict(list)
    for utt_id in sorted(ids):
        parts[int(utt_id[3:5]), "impro" if "impro" in utt_id else "script"].append(utt_id)
    return {part: (len(one), hashlib.sha256("\n".join(one).encode()).hexdigest()[:16]) for part, one in parts.items()}


@pytest.fixture
def small_iemocap(monkeypatch):
    """Let IEMOCAP be the two sessions of SIZES."""
    monkeypatch.setattr(report, "IEMOCAP_PARTS", parts_of(iemocap_ids(1) + iemocap_ids(2)))


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
    """Write one report on two seeds of IEMOCAP-like runs: (folder, text)."""
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
    folder, text = written
    _, true, predicted = decisions_of(folder)
    rows = {row[0]: row[1:] for row in tables(text)[0]}
    for found, (_, table) in zip(rows["Mean of folds"], metrics_of(folder).items()):
        std_folds, std_seeds = (np.std(table.mean(axis=axis), ddof=1) for axis in (0, 1))
        assert found == f"{table.mean():.2f} ± {std_folds:.2f} over folds ± {std_seeds:.2f} over seeds"
    scores = accuracy_score(true, predicted), balanced_accuracy_score(true, predicted)
    assert rows["Pooled over folds"] == percents(*scores)
    recalls = recall_score(true, predicted, labels=EMOTIONS, average=None)
    assert table_with(text, "Emotion")[1:] == [list(row) for row in zip(EMOTIONS, percents(*recalls))]
    saved = json.loads((folder / "report.json").read_text())
    assert saved["systems"][0]["pooled"]["confusion"] == confusion_matrix(true, predicted, labels=EMOTIONS).tolist()


def test_report_intervals_are_those_of_a_plain_bootstrap(written):
    folder, text = written
    ids, true, predicted = decisions_of(folder)
    units = {"utterances": ids, "speakers": np.array([utt_id[:5] + utt_id.split("_")[-1][0] for utt_id in ids])}
    rows = {row[0]: row[1:] for row in tables(text)[0]}
    for name, unit in units.items():
        members = [np.flatnonzero(unit == label) for label in np.unique(unit)]
        rng = np.random.default_rng(4)
        draws = [
            np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))]) for _ in range(2500)
        ]
        for found, measure in zip(
            rows[f"95% interval over {name}"],
            (
                lambda drawn: (true[drawn] == predicted[drawn]).mean(),
                lambda drawn: np.mean(
                    [(predicted[drawn] == emo)[true[drawn] == emo].mean() for emo in np.unique(true[drawn])]
                ),
            ),
        ):
            expected = np.percentile([100 * measure(drawn) for drawn in draws], [2.5, 97.5])
            np.testing.assert_allclose([float(bound) for bound in found.split(" to ")], expected, atol=2)


def test_report_tells_each_run(written):
    folder, text = written
    found = [json.loads(path.read_text()) for path in sorted(folder.rglob("test_metrics.json"))]
    assert table_with(text, "Fold")[1:] == [
        [str(run["seed"]), str(run["fold"]), f"Session{run['fold']}", str(run["n"]), "3 of 5"]
        + percents(run["WA"], run["UA"])
        for run in found
    ]
    assert "4 runs: folds 1, 2, seeds 1, 2; validation random; 32 test utterances of 4 speakers." in text


def test_report_parts_are_apart(written):
    folder, text = written
    ids, true, predicted = decisions_of(folder)
    rows = table_with(text, "Part")[1:]
    saved = json.loads((folder / "report.json").read_text())["systems"][0]["parts"]
    assert [row[:2] for row in rows] == [["improvised", "18"], ["scripted", "14"]]
    for row, part in zip(rows, ("impro", "script")):
        chosen = np.char.find(ids.astype(str), part) > 0
        scores = (accuracy_score, balanced_accuracy_score)
        assert [row[2], row[4]] == percents(*(score(true[chosen], predicted[chosen]) for score in scores))
        # The intervals are those of `summarise`, which has its own tests.
        intervals = saved["improvised" if part == "impro" else "scripted"]["over_speakers"]
        assert [row[3], row[5]] == [" to ".join(percents(*intervals[name])) for name in ("WA", "UA")]
        assert row[3] != row[5]


def test_report_parts_of_an_incomplete_set_count_each_utterance_once(tmp_path, quick_pictures):
    write_set(tmp_path, seeds=(1,))
    write_run(tmp_path / "seed2" / "fold1", iemocap_ids(1), seed=2, fold=1, n_folds=2)
    text = report.write_report([tmp_path], allow=["incomplete"])
    assert [row[:2] for row in table_with(text, "Part")[1:]] == [["improvised", "18"], ["scripted", "14"]]


def test_report_measures_the_leak(written):
    folder, text = written
    honest = [table.mean() for table in metrics_of(folder).values()]
    rows = table_with(text, "Epoch")[1:]
    assert rows[0] == ["selected on validation (the result above)", *(f"{value:.2f}" for value in honest)]
    assert rows[1] == ["selected on test (LEAK, no result)", "87.50", "75.00"]  # the first epoch with the best WA
    assert rows[2][1:] == [f"{leak - value:+.2f}" for leak, value in zip((87.5, 75), honest)]


def test_report_is_made_of_five_files_and_the_text_it_returns(written):
    folder, text = written
    assert sorted(path.name for path in folder.iterdir()) == [*FILES, "seed1", "seed2"]
    assert (folder / "report.md").read_text(encoding="utf-8") == text
    for name in ("confusion.png", "folds.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
        assert f"]({name})" in text


def test_report_holds_the_papers_table_and_its_numbers_as_the_papers_alone(written):
    _, text = written
    paper = get_corpus("iemocap").published
    *theirs, ours = table_with(text, "Method")[1:]
    assert theirs == [
        [f"{row.method} (the paper's number)", str(row.year), f"{row.WA:.2f}", f"{row.UA:.2f}"] for row in paper
    ]
    (line,) = (line for line in text.splitlines() if "75.37" in line or "76.04" in line)
    assert line.startswith("| Kang et al., label-adaptive mixup (the paper's number) | 2023 | 75.37 | 76.04 |")
    means = [row.split()[0] for row in tables(text)[0][1][1:]]
    assert ours[1:] == ["", *(f"**{value}**" for value in means)]
    assert ours[0].startswith("**This project, loso: ") and ours[0].endswith("mean of folds**")


def assert_says_that_it_is_not_iemocap(folder, text):
    """Check the top and our row, in the Markdown and on the page."""
    page = page_of(folder)
    for said in (text.split("\n\n")[1].strip("*"), page.texts["p"][0]):
        assert said.startswith("These utterances are not ") and "say nothing about IEMOCAP" in said
    assert "NOT IEMOCAP" in table_with(text, "Method")[-1][0]
    assert any("This project" in cell and "NOT IEMOCAP" in cell for cell in page.texts["td"])


def test_report_on_iemocap_does_not_say_that_it_is_not(tmp_path, small_iemocap, quick_pictures):
    text = report.write_report([write_set(tmp_path / "loso")])
    page = (tmp_path / "loso" / "report.html").read_text()
    assert "not IEMOCAP" not in text + page and "NOT IEMOCAP" not in text + page
    assert table_with(text, "Method")[-1][0] == "**This project, loso: mean of folds**"


def test_report_on_another_corpus_says_so(tmp_path, small_iemocap, quick_pictures):
    text = report.write_report([write_set(tmp_path / "a", ids_of=other_ids)])
    assert_says_that_it_is_not_iemocap(tmp_path / "a", text)
    # Their speakers are not known by their ids, and they have no parts.
    assert "16 test utterances of unknown speakers" in text
    assert tables(text)[0][-1] == ["95% interval over speakers", "-", "-"]
    assert "Part" not in [table[0][0] for table in tables(text)] and "leak" not in text


def test_report_on_a_corpus_with_names_like_iemocaps_says_so(tmp_path, small_iemocap, written, quick_pictures):
    assert_says_that_it_is_not_iemocap(*written)  # against the real digests
    renamed = write_set(tmp_path / "a", ids_of=lambda fold: [*iemocap_ids(fold)[:-1], f"Ses0{fold}F_script02_1_F000"])
    assert_says_that_it_is_not_iemocap(renamed, report.write_report([renamed]))


@pytest.mark.parametrize(
    ("ids", "n_folds", "allow", "whole"),
    [
        ({1: iemocap_ids(1), 2: iemocap_ids(2)}, 2, (), True),
        ({1: iemocap_ids(1)}, 2, ("incomplete",), True),  # the title says that fold 2 lacks
        ({1: iemocap_ids(1)}, 1, (), False),  # a corpus of one session
        ({1: iemocap_ids(1, ["impro"]), 2: iemocap_ids(2, ["impro"])}, 2, (), False),
        ({1: iemocap_ids(1), 2: iemocap_ids(2)[1:]}, 2, (), False),
        ({1: iemocap_ids(1), 2: other_ids(2)}, 2, (), False),
    ],
)
def test_is_iemocap_means_all_of_it(tmp_path, small_iemocap, ids, n_folds, allow, whole):
    for fold, members in ids.items():
        write_run(tmp_path / f"fold{fold}", members, fold=fold, n_folds=n_folds)
    assert report.is_iemocap(report.read_result_set(tmp_path, allow)) is whole


@pytest.mark.parametrize(
    ("utt_id", "part", "speaker"),
    [
        ("Ses01F_impro01_F000", "improvised", "Ses01_F"),
        ("Ses01F_script01_1_F000", "scripted", "Ses01_F"),
        ("Ses05M_script03_2b_F012", "scripted", "Ses05_F"),  # the turn's letter says who speaks
        ("clip1_0", None, None),
        ("xSes01F_impro01_F000", None, None),
        ("Ses01F_other01_F000", None, None),
    ],
)
def test_ids_name_part_and_speaker(utt_id, part, speaker):
    assert (report.part_of(utt_id), report.speaker_of(utt_id)) == (part, speaker)


def test_report_of_one_run_has_no_spread_and_no_intervals_without_units(tmp_path):
    folder = write_run(tmp_path / "one" / "run", ["clip"], validation="none", epochs=TRACKED[:1])
    text = report.write_report([folder.parent])
    assert tables(text)[0][1][0] == "Mean of folds" and "±" not in "".join(tables(text)[0][1])
    assert tables(text)[0][3] == ["95% interval over utterances", "-", "-"]
    assert [row[0] for row in table_with(text, "Epoch")[1:]][0] == "the last epoch (the result above)"
    (present,) = (emo for emo, recall in table_with(text, "Emotion")[1:] if recall != "-")
    absent = ", ".join(emo for emo in EMOTIONS if emo != present)
    assert f"No test utterance of {absent}: left out of UA." in text


def test_report_of_a_run_that_says_less_has_dashes(tmp_path, quick_pictures):
    unsaid = dict.fromkeys(("test_group", "validation", "tested_epoch", "n_epochs"))
    write_run(tmp_path / "run", other_ids(1), **unsaid)
    text = report.write_report([tmp_path])
    assert table_with(text, "Fold")[1][:5] == ["1", "1", "-", "8", "-"]
    assert "None" not in text and "validation unknown;" in text


def test_report_leaves_the_pictures_of_a_run_as_they_are(tmp_path):
    folder = write_run(tmp_path / "run", other_ids(1))
    (folder / "confusion.png").write_bytes(b"the run's own")
    report.write_report([folder])
    assert (folder / "confusion.png").read_bytes() == b"the run's own"


FAULTS = {
    "mixed": {"manifest": "b" * 64, "fold": 2},
    "duplicates": {"fold": 1},
    "incomplete": {"fold": 2, "n_folds": 3},
}


@pytest.mark.parametrize("word", FAULTS)
def test_report_refuses_and_writes_nothing_or_says_it_in_the_title(tmp_path, word, quick_pictures):
    change = FAULTS[word]
    write_run(tmp_path / "set" / "a", other_ids(1))
    write_run(tmp_path / "set" / "b", other_ids(change["fold"]), **change)
    before = files_below(tmp_path)
    assert f"--allow={word}" in refusal([tmp_path / "set"], tmp_path / "out")
    assert files_below(tmp_path) == before and not (tmp_path / "out").exists()

    text = report.write_report([tmp_path / "set"], tmp_path / "out", [word])
    page = page_of(tmp_path / "out")
    note = {"mixed": "2 corpora", "duplicates": "seed 1 fold 1 from a and not from b", "incomplete": "seed 1 lacks"}
    for heading in (text.splitlines()[0], *page.texts["h1"], *page.texts["title"]):
        assert f"{word.capitalize()}: {note[word]}" in heading
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    assert {path: content for path, content in files_below(tmp_path).items() if "out" not in path.parts} == before


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Write one report on three systems, two of whose folders have the same name: (folder, text)."""
    folder = tmp_path_factory.mktemp("compared")
    paths = [folder / "x" / "loso", folder / "y" / "loso", folder / "group"]
    for path, share, validation, seeds in zip(
        paths, (0.3, 0.9, 0.6), ("random", "none", "group"), ((1, 2), (1, 2), (2,))
    ):
        write_set(path, seeds, share=share, validation=validation, settings=str(share))
    return paths, report.write_report(paths)


def test_compared_folders_have_a_row_each_and_a_section_each(compared):
    paths, text = compared
    names = ["x/loso", "y/loso", "compared0/group"]
    rows = table_with(text, "Validation")[1:]
    assert [row[1:3] for row in rows] == [["random", "4"], ["none", "4"], ["group", "2"]]
    assert [row[0] for row in rows][:2] == names[:2] and rows[2][0].endswith("/group")
    for row, path in zip(rows, paths):
        means = metrics_of(path)
        assert [row[3].split()[0], row[5].split()[0]] == [f"{table.mean():.2f}" for table in means.values()]
    names = [row[0] for row in rows]
    assert text.startswith(f"# Side by side: {'; '.join(names)}\n")
    for i, name in enumerate(names):
        assert f"\n\n# Results of {name}\n\n" in text
        assert f"(folds_{i + 1}.png)" in text and f"(confusion_{i + 1}.png)" in text
    methods = [table for table in tables(text) if "Method" in table[0]]
    assert [f"This project, {name}:" in table[-1][0] for name, table in zip(names, methods)] == [True] * 3


def test_compared_folders_are_compared_with_the_first_by_hand(compared):
    paths, text = compared
    first, first_true, first_predicted = decisions_of(paths[0])
    sections = re.findall(r"^## (\S+) minus (\S+), pooled, on the same (\d+) utterances$", text, re.M)
    assert [(b, n) for _, b, n in sections] == [("x/loso", "32")] * 2
    assert [a.split("/")[0] for a, _, _ in sections][0] == "y"
    differences = [table for table in tables(text) if table[1][0] == "WA, difference (points)"]
    tests = [table for table in tables(text) if table[0][0] == "Seed" and "McNemar, exact p" in table[0]]
    for path, table, test, seeds in zip(paths[1:], differences, tests, (("1", "2"), ("2",))):
        ids, true, predicted = decisions_of(path)
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


def test_compared_pictures_are_each_its_own(compared):
    paths, _ = compared
    out = paths[0] / "comparison"
    pictures = sorted(out.glob("*.png"))
    assert [path.name for path in pictures] == [f"{name}_{i}.png" for name in ("confusion", "folds") for i in (1, 2, 3)]
    page = page_of(out)
    assert len(page.sources) == len(set(page.sources)) == 6
    assert not [path for folder in paths for path in folder.iterdir() if path.is_file()]


def test_compared_folders_of_different_corpora_are_refused_and_write_nothing(tmp_path):
    a, b = write_set(tmp_path / "a"), write_set(tmp_path / "b", manifest="b" * 64)
    before = files_below(tmp_path)
    message = refusal([a, b], allow=["incomplete", "duplicates"])
    assert message.startswith("a and b were run on different corpora (manifests aaaaaaaa, bbbbbbbb). ")
    other = write_set(tmp_path / "c", manifest="b" * 64, ids_of=other_ids)
    assert "have tested no utterance in common" in refusal([a, other], allow=["mixed"])
    assert {path for path in files_below(tmp_path) if "c" not in path.parts} == set(before)
    assert not (a / "comparison").exists()


def test_compared_folders_of_different_corpora_are_said_in_the_title_where_allowed(tmp_path, quick_pictures):
    a, b = write_set(tmp_path / "a", seeds=(1,)), write_set(tmp_path / "b", seeds=(1,), manifest="b" * 64)
    text = report.write_report([a, b], allow=["mixed"])
    page = page_of(a / "comparison")
    for heading in (text.splitlines()[0], page.texts["title"][0], page.texts["h1"][0]):
        assert "Mixed: " in heading and "aaaaaaaa, bbbbbbbb" in heading


def test_compared_folders_of_which_one_is_not_iemocap_say_so(tmp_path, small_iemocap, quick_pictures):
    whole = write_set(tmp_path / "whole", seeds=(1,))
    other = write_set(tmp_path / "other", seeds=(1,), ids_of=lambda fold: iemocap_ids(1) if fold == 1 else other_ids(2))
    text = report.write_report([whole, other])
    assert text.split("\n\n")[1].startswith("**These utterances are not ")
    rows = [table[-1][0] for table in tables(text) if "Method" in table[0]]
    assert rows == ["**This project, whole: mean of folds**", "**This project, other: NOT IEMOCAP, mean of folds**"]


def test_compared_folders_must_differ(tmp_path, monkeypatch):
    folder = write_set(tmp_path / "a", seeds=(1,))
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    for again in ("a", "./a/../a/", tmp_path / "link"):
        assert refusal([folder, again]).startswith(f"a folder is given twice: {folder}, ")
    assert not (folder / "comparison").exists()


def test_label_takes_as_much_of_the_paths_as_tells_them_apart():
    def label(*paths):
        return report.label([Path(path) for path in paths])

    assert label("/r/loso") == ["loso"]
    assert label("/r/a", "/r/b") == ["a", "b"]
    assert label("/a/loso", "/b/loso") == ["a/loso", "b/loso"]
    assert label("/a/x/loso", "/b/x/loso", "/b/x/group") == ["a/x/loso", "b/x/loso", "b/x/group"]


def assert_is_self_contained(page):
    """Check that nothing is fetched, linked or run."""
    assert page.sources and all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not page.links and not page.handlers
    assert not {"script", "link", "iframe", "object", "a", "base"} & set(page.seen)


def test_page_is_whole_and_self_contained(written, compared):
    for folder, text in (written, (compared[0][0] / "comparison", compared[1])):
        source = (folder / "report.html").read_text(encoding="utf-8")
        assert source.startswith("<!doctype html>") and not re.search(r"https?:|url\(|@import", source)
        page = Page(source)
        assert_is_self_contained(page)
        assert {"html", "head", "meta", "title", "style", "body", "h1", "h2", "table", "img"} <= set(page.seen)
        (heading, *_), (named,) = page.texts["h1"], page.texts["title"]
        assert heading == named == text.splitlines()[0].removeprefix("# ")
        # Each cell stands on the page, without Markdown's marks.
        cells = [cell.strip("*") for table in tables(text) for row in table for cell in row]
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
]


def test_hostile_names_of_folders_are_shown_as_they_are(tmp_path, quick_pictures):
    paths = [tmp_path / name for name in HOSTILE]
    for path in paths:
        write_run(path / "run", other_ids(1))
    text = report.write_report(paths, tmp_path / "out")
    assert not re.search(r"<[a-z!/]", text)
    assert all(len({len(row) for row in table}) == 1 for table in tables(text))
    page = page_of(tmp_path / "out")
    assert_is_self_contained(page)
    names = [" ".join(name.split()) for name in HOSTILE]
    assert page.texts["title"] == [f"Side by side: {'; '.join(names)}"]
    assert page.texts["h1"] == [f"Side by side: {'; '.join(names)}", *(f"Results of {name}" for name in names)]
    assert not {"em", "code", "del"} & set(page.seen)
    for name in names:
        assert name in page.texts["td"]  # side by side
        assert f"This project, {name}: NOT IEMOCAP, mean of folds" in page.texts["strong"]
        assert sum(heading.startswith(f"{name} minus {names[0]}, pooled") for heading in page.texts["h2"]) == (
            name != names[0]
        )


def test_hostile_words_in_the_results_are_shown_as_they_are(tmp_path):
    emotions = ["<b>ang</b>", "a|b", "*sad*", "$\\neu$"]
    folder = tmp_path / "*x*" / "a"
    write_run(folder, other_ids(1), emotions=emotions, test_group="![g](http:evil.png)", validation="<i>|none")
    report.write_report([tmp_path / "*x*"])
    page = page_of(tmp_path / "*x*")
    assert_is_self_contained(page)
    assert set(emotions) <= set(page.texts["td"]) and "![g](http:evil.png)" in page.texts["td"]
    assert "validation <i>|none; 8 test utterances" in page.texts["p"][1]


def test_command_prints_the_report(tmp_path, capsys, quick_pictures):
    write_run(tmp_path / "set" / "a", other_ids(1), n_folds=2)
    report.main([str(tmp_path / "set"), f"--out={tmp_path / 'out'}", "--allow=incomplete,duplicates"])
    said = capsys.readouterr().out
    assert said.strip() == (tmp_path / "out" / "report.md").read_text(encoding="utf-8").strip()
    assert said.startswith("# Results of set [Incomplete: seed 1 lacks fold 2]")


@pytest.mark.parametrize(("allow", "word"), [("all", "all"), ("mixed,x", "x")])
def test_command_refuses_an_unknown_allowance(tmp_path, allow, word):
    with pytest.raises(InputError, match=rf"--allow must be among incomplete, mixed, .*got {word!r}\.$"):
        report.main([str(write_run(tmp_path / "a", other_ids(1))), f"--allow={allow}"])
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["predictions.csv", "test_metrics.json"]


def test_command_on_a_wrong_folder_says_one_sentence(tmp_path, root):
    script = root / "recipes" / "IEMOCAP" / "report.py"
    done = subprocess.run([sys.executable, script, "nowhere"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == ("report.py: the folder nowhere does not exist. Give one that holds tested runs.\n")
    assert not list(tmp_path.iterdir())
