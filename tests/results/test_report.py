"""The report: its numbers against scikit-learn and the hand, what it refuses, what it says loudly."""

import json
import re
import runpy
import sys
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, recall_score

from speechbrain_ext.commands import main as cli
from speechbrain_ext.corpora import get_corpus
from speechbrain_ext.results import report
from tests.results.report_files import (
    EMOTIONS,
    FILES,
    IEMOCAP,
    TRACKED,
    decisions_of,
    files_below,
    iemocap_ids,
    metrics_of,
    other_ids,
    page_of,
    percents,
    refusal,
    table_with,
    tables,
    write_run,
    write_set,
)


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
