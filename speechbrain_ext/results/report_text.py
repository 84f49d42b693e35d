"""The text of a report: from summaries of systems and comparisons between them to Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from speechbrain_ext.corpora import get_corpus
from speechbrain_ext.results import markdown_text
from speechbrain_ext.results.across_text import across_sections, matrix_sections, trained_apart
from speechbrain_ext.results.markdown_text import interval, listing, mean_and_std, percent, setting_text, table
from speechbrain_ext.results.summary import NAMES

System = Mapping[str, Any]
# The settings that say what was trained; others are shown where systems differ.
MAIN_SETTINGS = (
    "encoder_source",
    "num_layers",
    "feature_reduction",
    "mixup_method",
    "mixup_prob",
    "mixup_lam",
    "augmentations",
    "augment_prob",
    "lambda_c",
    "validation",
    "tested_weights",
    "batch_size",
    "sort_window",
    "number_of_epochs",
    "patience",
    "lr",
    "precision",
)
EXPLANATIONS = (
    "WA: share of correct decisions. UA: mean recall of the emotions. Mean of folds: WA and UA of each fold, averaged, "
    "as papers report them. Pooled: the decisions of all folds as one test set. ±: standard deviation (n - 1).",
    "Intervals: 95%, percentile bootstrap of the pooled values, 9999 resamples of utterances, or of speakers with all "
    "their utterances; with several seeds an utterance brings all its decisions. A new test would have other speakers, "
    "so the interval over speakers is the one to report. Intervals and p are about these trained models: what another "
    "seed would change is not in them, so two seeds of one system may differ significantly. McNemar's test takes "
    "utterances as independent.",
)


def name_and_notes(system: System) -> str:
    """Name a system, with the folds that were asked for and every note on its runs."""
    subset = f", {system['subset']}" if system["subset"] else ""
    return system["name"] + subset + "".join(f" [{note[0].upper() + note[1:]}]" for note in system["notes"])


def summary_lines(systems: Sequence[System]) -> list[str]:
    """Write the result in plain text: two lines for one system, one more for each further system."""
    lines = [
        f"{name_and_notes(system)}: WA {_short(system, 'WA')}, UA {_short(system, 'UA')}"
        for system in systems
    ]  # fmt: skip
    corpora = listing(dict.fromkeys(title for system in systems for title in system["corpus_titles"]))
    n_runs = sum(len(system["runs"]) for system in systems)
    spread = "; mean of folds, ± standard deviation over folds" * any(len(system["folds"]) > 1 for system in systems)
    return [*lines, f"{_count(n_runs, 'run')} on {corpora}{spread}."]


def to_markdown(
    systems: Sequence[System],
    comparisons: Sequence[Mapping[str, Any]],
    files: Sequence[Mapping[str, str]],
    note: str,
    made: str,
) -> str:
    """Write the whole report.

    Arguments
    ---------
    systems : list of dict
        As `summarise` returns them, with "name", "corpus_titles", "cautions" and "published".
    comparisons : list of dict
        As `compare` returns them, with the names "a" and "b".
    files : list of dict
        The names of each system's pictures: "confusion" and "folds".
    note : str
        What was accepted between the systems, for the title.
    made : str
        When and with what the report was made.
    """
    names = [name_and_notes(system) for system in systems]
    one = len(systems) == 1
    parts = [f"# Results of {names[0]}" if one else f"# Side by side: {'; '.join(names)}{note}"]
    parts += [f"**{caution}**" for caution in dict.fromkeys(text for system in systems for text in system["cautions"])]
    if trained_apart(systems):
        parts += matrix_sections(systems)
    if not one:
        parts += _side_by_side(systems) + [section for found in comparisons for section in _comparison(found)]
    for system, name, pictures in zip(systems, names, files):
        parts += ([] if one else [f"# Results of {name}"]) + _system_sections(system, pictures)
    parts += _settings(systems)
    parts += ["## How to read this", *EXPLANATIONS, made]
    return "\n\n".join(parts) + "\n"


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _short(system: System, name: str) -> str:
    found = system["mean_of_folds"][name]
    return f"{mean_and_std(found['mean'], found['std_folds'])}%"


def _mean_and_spread(system: System, name: str) -> str:
    """Write the mean of folds with its spreads, in percent."""
    found = system["mean_of_folds"][name]
    spreads = [
        f"± {percent(found[f'std_{what}'])} over {what}"
        for what in ("folds", "seeds")
        if found[f"std_{what}"] is not None
    ]
    return " ".join([percent(found["mean"]), *spreads])


def _system_sections(system: System, files: Mapping[str, str]) -> list[str]:
    """Write one system's sections."""
    pooled, n_runs = system["pooled"], len(system["runs"])
    several = {key: key if len(system[key]) > 1 else key[:-1] for key in ("folds", "seeds")}
    sections = [
        f"{_count(n_runs, 'run')} on {listing(system['corpus_titles'])}: {several['folds']} {listing(system['folds'])}"
        f", {several['seeds']} {listing(system['seeds'])}; validation {listing(system['validation'])}; "
        f"{_count(system['n_utterances'], 'test utterance')} of {_count(system['n_speakers'], 'speaker')}.",
        table(
            ["", "WA (%)", "UA (%)"],
            [
                ["Mean of folds", *(_mean_and_spread(system, name) for name in NAMES)],
                ["Pooled over folds", *(percent(pooled[name]) for name in NAMES)],
                *(
                    [f"95% interval over {what}", *(interval(pooled[f"over_{what}"], name) for name in NAMES)]
                    for what in ("utterances", "speakers")
                ),
            ],
        ),
    ]
    sections += markdown_text.few_speakers(system["n_speakers"])
    if system["published"]:
        sections += _published(system)
    sections += [
        "## Each run",
        table(
            ["Seed", "Fold", "WA (%)", "UA (%)", "Test group", "Utterances", "Tested epoch"],
            [
                [run["seed"], run["fold"], percent(run["WA"]), percent(run["UA"]), run["test_group"], run["n"],
                 f"{run['tested_epoch']} of {run['n_epochs']}"]
                for run in system["runs"]
            ],
            "rrrrlrr",
        ),
        f"![WA and UA of each fold]({files['folds']})",
        "Each dot is one run. A bar is the mean over the seeds of its fold, a broken line the mean of all folds.",
        "## Each emotion, pooled",
        table(["Emotion", "Recall (%)"], [[emo, percent(pooled["recall"][emo])] for emo in system["emotions"]]),
    ]  # fmt: skip
    if pooled["absent"]:
        sections.append(f"No test utterance of {listing(pooled['absent'])}: left out of UA.")
    sections += [
        f"![Confusion matrix, pooled over all runs]({files['confusion']})",
        "A row is the true emotion, a column the decision: the number of utterances, and their share of the row.",
    ]
    if system["parts"]:
        rows = [
            [part, found["n_utterances"], percent(found["WA"]), interval(found["over_speakers"], "WA"),
             percent(found["UA"]), interval(found["over_speakers"], "UA")]
            for part, found in system["parts"].items()
        ]  # fmt: skip
        header = ["Part", "Utterances", "WA (%)", "95% over speakers", "UA (%)", "95% over speakers"]
        sections += ["## Parts of the corpus, pooled", table(header, rows)]
    if system["selection"]:
        sections += _leak(system)
    return sections + across_sections(system)


def _published(system: System) -> list[str]:
    (name,) = system["corpus"]
    corpus = get_corpus(name)
    ours = f"**This project, {system['name']}: mean of {system['subset'] or 'folds'}**"
    rows = [
        *([row.method + " (published)", row.year, f"{row.WA:.2f}", f"{row.UA:.2f}"] for row in corpus.published),
        [ours, "", *(f"**{percent(system['mean_of_folds'][name]['mean'])}**" for name in NAMES)],
    ]
    return [
        f"## Beside published results ({corpus.title}, one {corpus.group} left out)",
        table(["Method", "Year", "WA (%)", "UA (%)"], rows, "lrrr"),
    ]


def _leak(system: System) -> list[str]:
    honest, leak = system["selection"]["by_protocol"], system["selection"]["on_test"]
    ways = {"best": "selected on validation", "last": "the last epoch"}
    chosen = " or ".join(sorted({ways.get(way, way) for way in system["tested_weights"]}))
    rows = [
        [f"{chosen} (the result above)", *(percent(honest[name]) for name in NAMES)],
        ["selected on test (LEAK, no result)", *(percent(leak[name]) for name in NAMES)],
        ["what the leak would add", *(f"{100 * (leak[name] - honest[name]):+.2f}" for name in NAMES)],
    ]
    return [
        "## The leak, measured",
        "Each run's test fold was measured after every epoch; nothing in the run depended on it. At the epoch with the "
        "best test WA, the runs would have given the second row.",
        table(["Epoch", "WA (%)", "UA (%)"], rows),
    ]


def _side_by_side(systems: Sequence[System]) -> list[str]:
    """Write one row a system."""
    rows = [
        [name_and_notes(system)]
        + [_mean_and_spread(system, name) for name in NAMES]
        + [interval(system["pooled"]["over_speakers"], name) for name in NAMES]
        + [listing(system["validation"]), len(system["runs"])]
        for system in systems
    ]
    header = [f"{name}{what}" for what in (", mean of folds (%)", " pooled, 95% over speakers") for name in NAMES]
    return [table(["", *header, "Validation", "Runs"], rows, "lrrrrlr")]


def _comparison(found: Mapping[str, Any]) -> list[str]:
    """Write the paired comparison of two systems."""
    sections = [
        f"## {found['a']} minus {found['b']}, pooled, on the same {found['n_utterances']} utterances",
        table(*markdown_text.difference_table(found)),
    ]
    if not found["mcnemar"]:
        return [*sections, "No seed was run in both over all these utterances: no McNemar test."]
    tests = [
        [test["seed"], test["only_a"], test["only_b"], markdown_text.p_text(test["p"])] for test in found["mcnemar"]
    ]
    header = ["Seed", f"right in {found['a']} alone", f"right in {found['b']} alone", "McNemar, exact p"]
    return [*sections, table(header, tests, "rrrr")]


def _settings(systems: Sequence[System]) -> list[str]:
    """Write the main settings and all that differ, and the versions."""
    sections = []
    for title, kind, what in (("Settings", "hyperparameters", "Setting"), ("Versions", "versions", "Package")):
        found = [system[kind] for system in systems]
        keys = dict.fromkeys(key for one in found for key in one)
        differing = [
            key for key in keys if any(one.get(key) != found[0].get(key) or len(one[key]) > 1 for one in found)
        ]
        shown = [key for key in keys if key in differing or key in MAIN_SETTINGS or kind == "versions"]
        rows = [[key, *(" or ".join(map(setting_text, one.get(key, ["-"]))) for one in found)] for key in shown]
        if rows:
            header = [what, *(system["name"] for system in systems)] if len(systems) > 1 else [what, "Value"]
            sections += [f"## {title}", table(header, rows, "l" * len(header))]
    return sections
