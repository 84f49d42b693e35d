"""The text of a report: systems side by side, the page, and words from outside."""

import os
import re

import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from speechbrain_ext.results import report
from tests.results.report_files import (
    Page,
    decisions_of,
    files_below,
    metrics_of,
    other_ids,
    page_of,
    refusal,
    table_with,
    tables,
    write_run,
    write_set,
)


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


def test_names_of_corpora_are_no_html(tmp_path, quick_pictures):
    a = write_set(tmp_path / "a", seeds=(1,))
    b = write_set(tmp_path / "b", seeds=(1,), manifest="<b>x</b>" + "b" * 56)
    report.write_report([a, b], allow=["mixed"])
    page = (a / "comparison" / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;x&lt;/b&gt;" in page and "<b>" not in page


def test_compared_folders_must_differ(tmp_path, monkeypatch):
    folder = write_set(tmp_path / "a", seeds=(1,))
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    for again in ("a", "./a/../a/", tmp_path / "link"):
        assert refusal([folder, again]).startswith(f"a folder is given twice: {folder}, ")
    assert not (folder / "comparison").exists()


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
