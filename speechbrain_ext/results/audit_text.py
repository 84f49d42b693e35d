"""What an audit found, as sections of sentences and tables: for a terminal, and as Markdown."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from speechbrain_ext.outside_text import escape_markdown, printable
from speechbrain_ext.results import markdown_text
from speechbrain_ext.results.markdown_text import listing, percent, percent_range

SIZES = ("train", "valid", "test")
SHOWN = 10
WIDTH = 110  # of a sentence on a terminal; tables may be wider


@dataclass
class Section:
    """One section: its heading, its sentences, and a table of a header and rows (empty for none)."""

    title: str
    sentences: list[str] = field(default_factory=list)
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


def sections_of(found: Mapping[str, Any]) -> list[Section]:
    """Put an audit into words.

    Arguments
    ---------
    found : dict
        "split" (as `audit_split` returns it, or None), "systems" (list of what `audit_system` returns, with "coverage")
        and "comparisons" (list of what `compare_systems` returns).

    Returns
    -------
    list of Section
        The first one says whether there is a leak.
    """
    split = found["split"]
    verdict = [] if split is None else [_verdict(split)]  # said even where nothing is to be added
    sections = [] if split is None else [_folds(split), _labels(split), _corpus(split)]
    for system in found["systems"]:
        sections += _system(system)
    sections += [_comparison(one) for one in found["comparisons"]]
    return verdict + [section for section in sections if section.sentences or section.rows]


def to_terminal(sections: Sequence[Section]) -> str:
    """Write sections as plain text, in which nothing from a file can move the cursor or turn the letters around."""
    parts = []
    for section in sections:
        lines = [printable(section.title)]
        for text in section.sentences:
            lines += textwrap.wrap(printable(text), WIDTH, initial_indent="  ", subsequent_indent="    ")
        if section.rows:
            cells = [[printable(str(cell)) for cell in row] for row in [section.header, *section.rows]]
            widths = [max(len(row[i]) for row in cells) for i in range(len(section.header))]
            for row in cells:
                first, *others = (
                    cell.ljust(width) if i == 0 else cell.rjust(width)
                    for i, (cell, width) in enumerate(zip(row, widths))
                )
                lines.append("  " + "  ".join([first, *others]).rstrip())
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def to_markdown(sections: Sequence[Section], title: str, made: str) -> str:
    """Write sections as Markdown that shows every text as it is."""
    parts = [f"# {escape_markdown(title)}"]
    for section in sections:
        parts += [f"## {escape_markdown(section.title)}"]
        parts += [escape_markdown(text) for text in section.sentences]
        if section.rows:
            cells = [[escape_markdown(str(cell)) for cell in row] for row in [section.header, *section.rows]]
            parts.append(markdown_text.table(cells[0], cells[1:]))
    return "\n\n".join([*parts, made]) + "\n"


def _verdict(split: Mapping[str, Any]) -> Section:
    leaks: dict[str, list[int]] = {}
    cautions: dict[str, list[int]] = {}
    for fold in split["folds"]:
        for one in fold["shared"]:
            if one["n"]:
                (leaks if one["leak"] else cautions).setdefault(f"{_shared(one)}.", []).append(fold["fold"])
        for text in fold["cautions"]:
            cautions.setdefault(text, []).append(fold["fold"])
    n_folds = len(split["folds"])
    n_leaking = len({fold for of in leaks.values() for fold in of})
    unknown = ""
    if not split["known"]["speaker"]:
        unknown = ", but nothing says who speaks"
    elif any(n for fold in split["folds"] for n in fold["unknown_speakers"].values()):
        unknown = ", but not all speakers are known"
    title = f"LEAK in {n_leaking} of {n_folds} folds" if leaks else f"No leak found{unknown}"
    return Section(
        title, _by_fold(leaks, n_folds) + _by_fold(cautions, n_folds) + split["notes"][:SHOWN] + split["faults"][:SHOWN]
    )


def _by_fold(texts: Mapping[str, Sequence[int]], n_folds: int) -> list[str]:
    """Say of which folds each text is; the first texts, and how many more there are."""
    said = [text if len(of) == n_folds else f"Fold {listing(of)}: {text}" for text, of in texts.items()]
    return [*said[:SHOWN], *([f"... and {len(said) - SHOWN} more."] if len(said) > SHOWN else [])]


def _shared(one: Mapping[str, Any]) -> str:
    a, b = one["between"]
    names = listing(one["names"]) + ", ..." * (one["n"] > len(one["names"]))
    what = one["what"] + "," * ("," in one["what"])
    alike = f"; written otherwise there: {listing(one['alike'])}" if one["alike"] else ""
    return f"{one['n']} of {one['of']} {a} {what} are also in {b} ({names}{alike})"


def _folds(split: Mapping[str, Any]) -> Section:
    keys = list(dict.fromkeys(one["key"] for fold in split["folds"] for one in fold["shared"]))
    what = {one["key"]: one["what"] for fold in split["folds"] for one in fold["shared"]}
    rows = []
    for fold in split["folds"]:
        of_test = {one["key"]: one for one in fold["shared"] if one["between"][0] == "test"}
        rows.append(
            [str(fold["fold"]), *(str(fold["sizes"][part]) for part in SIZES)]
            + [f"{of_test[key]['n']} of {of_test[key]['of']}" if key in of_test else "-" for key in keys]
        )
    header = ["Fold", "Train", "Valid", "Test", *(f"shared {what[key].split(',')[0]}" for key in keys)]
    header = [f"{name} (samples)" if key == "content" else f"{name} (paths)" if key == "wav" else name
              for name, key in zip(header, ["", "", "", "", *keys])]  # fmt: skip
    audio = split["audio"]
    said = ["Shared: of the test part, with what is trained or validated on."]
    if audio["found"]:
        n, n_found, n_listed = audio["compared"], audio["found"], audio["listed"]
        said.append(f"{n_found} of {n_listed} listed recordings are here, and {n} were compared by their samples.")
    elif audio["listed"] and not audio["unused"]:
        said.append("No recording is here: recordings were not compared by their samples (see --audio).")
    said += [f"None of the {audio['listed']} listed recordings is under {folder} (--audio): their paths must continue "
             "from there." for folder in audio["unused"] if audio["listed"]]  # fmt: skip
    if audio["altered"]:
        said.append(f"{len(audio['altered'])} of them are not as long as listed: {audio['altered'][0]}.")
    if audio["unreadable"]:
        said.append(f"{len(audio['unreadable'])} of them cannot be read: {audio['unreadable'][0]}")
    missing = [key for key in ("speaker", "emo") if not split["known"][key]]
    if missing:
        names = {"speaker": "who speaks", "emo": "how an utterance is labelled"}
        cure = "" if split["corpus"] else " (see --corpus)"
        said.append(f"No list says {' or '.join(names[key] for key in missing)}{cure}.")
    return Section("Folds", said, header, rows)


def _labels(split: Mapping[str, Any]) -> Section:
    rows = []
    for fold in split["folds"]:
        shift = fold["label_shift"]
        if shift:
            rows.append(
                [str(fold["fold"]), markdown_text.p_text(shift["p"]), f"{shift['cramers_v']:.2f}", shift["largest"],
                 f"{100 * shift['points']:+.1f}"]
            )  # fmt: skip
    if not rows:
        return Section("Labels")
    counts = listing(f"{label} {n}" for label, n in split["labels"].items())
    said = [
        f"{counts}.",
        "Do the parts have the same shares of the labels? p of the chi-squared test, which takes utterances as "
        "independent; Cramér's V from 0, the same, to 1; the label whose share differs most from training to test, in "
        "points.",
    ]
    return Section("Labels", said, ["Fold", "p", "Cramér's V", "Largest", "Points"], rows)


def _corpus(split: Mapping[str, Any]) -> Section:
    found = split["published"]
    if not found:
        return Section("Corpus")
    if found["complete"]:
        text = f"The lists hold all of {split['corpus']}: {found['holds']}."
    else:
        differences = "; ".join(found["differences"][:SHOWN])
        text = f"Not all of {split['corpus']} as published, {found['holds']}: {differences}."
    return Section("The corpus as published", [text])


def _system(system: Mapping[str, Any]) -> list[Section]:
    speakers = "unknown speakers" if system["n_speakers"] is None else f"{system['n_speakers']} speakers"
    said = [f"{system['n_utterances']} utterances of {speakers}. Intervals: 95%, percentile bootstrap."]
    said += markdown_text.few_speakers(system["n_speakers"])
    places = system.get("coverage") or {}
    texts = {
        "not_listed": "predicted utterances are in no list, and are left out",
        "not_tested": "predicted utterances are in no test part, and are left out",
        "other_label": "utterances have another true label here than in the lists; the one here counts",
        "missing": "tested utterances have no prediction",
    }
    said += [f"{places[key]['n']} {text} (the first is {places[key]['first']})." for key, text in texts.items()
             if places.get(key, {}).get("n")]  # fmt: skip
    rows = [
        [{"macro_F1": "macro-F1"}.get(name, name), percent(one["value"]), percent_range(one["over_utterances"]),
         percent_range(one["over_speakers"])]
        for name, one in system["metrics"].items()
    ]  # fmt: skip
    found = system["calibration"]
    if found:
        said.append(
            f"Calibration: expected error {percent(found['ECE'])} points; mean posterior of the decision "
            f"{percent(found['confidence'])}%, right are {percent(found['WA'])}%."
        )
    sections = [
        Section(f"Predictions: {system['name']}", said, ["%", "Value", "Over utterances", "Over speakers"], rows)
    ]
    for key, groups in system["groups"].items():
        rows = []
        for group in groups:
            over = group["gap"]
            rows.append(
                [group["value"], str(group["n_utterances"]), percent(group["WA"]), percent(group["UA"]),
                 f"{100 * over['over_utterances']['UA']['difference']:+.2f}", _interval(over["over_utterances"]),
                 _interval(over["over_speakers"])]
            )  # fmt: skip
        header = [key.capitalize(), "Utterances", "WA (%)", "UA (%)", "UA minus the others'", "95% over utterances",
                  "95% over speakers"]  # fmt: skip
        sections.append(Section(f"Groups: {key}, {system['name']}", [], header, rows))
    return sections


def _comparison(found: Mapping[str, Any]) -> Section:
    test = found["mcnemar"]
    said = [
        f"On {found['n_utterances']} utterances that both have. Right in {found['a']} alone: {test['only_a']}, in "
        f"{found['b']} alone: {test['only_b']}; McNemar's exact p: {markdown_text.p_text(test['p'])}."
    ]
    return Section(f"{found['a']} minus {found['b']}", said, *markdown_text.difference_table(found))


def _interval(over: Optional[Mapping[str, Any]]) -> str:
    return percent_range(over["UA"]["interval"], "+") if over else "-"
