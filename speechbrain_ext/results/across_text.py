"""The sections of a report on other corpora than the own: one system's tests there, and the matrix of several."""

from collections.abc import Mapping, Sequence
from typing import Any

from speechbrain_ext.results.markdown_text import interval, listing, mean_and_std, percent, table
from speechbrain_ext.results.summary import NAMES

System = Mapping[str, Any]


def trained_apart(systems: Sequence[System]) -> bool:
    """Tell whether systems were trained on different corpora, and each was tested on another than its own."""
    corpora = {tuple(system["corpus"]) for system in systems}
    return len(corpora) > 1 and all(system["across"] for system in systems)


def across_sections(system: System) -> list[str]:
    """Write what one system says of other corpora; nothing where it was tested on its own alone.

    Arguments
    ---------
    system : dict
        As `summarise_system` returns it.
    """
    if not system["across"]:
        return []
    own = listing(system["corpus_titles"])
    rows = [
        [found["title"], ", ".join(found["emotions"]), found["n_utterances"], found["n_speakers"],
         *(_pooled(found, name) for name in NAMES),
         mean_and_std(**found["mean_of_runs"]["UA"]),
         _pooled(found["at_home"], "UA")]
        for found in system["across"]
    ]  # fmt: skip
    header = ["Tested on", "Emotions", "Utterances", "Speakers", "WA (%)", "UA (%)", "UA of each run (%)"]
    sections = [
        "## On other corpora",
        f"Each run's model, trained on {own}, was tested on all clips of the other corpus with an emotion that both "
        "have, and decided between these emotions alone. All decisions are pooled; in brackets, "
        f"95% intervals over speakers. The last column is about {own}'s own test folds, between the same emotions.",
        table([*header, f"UA on {own} (%)"], rows, "llrrllll"),
    ]
    for found in system["across"]:
        words = []
        if found["n_runs"] < len(system["runs"]):
            words.append(f"{found['n_runs']} of {len(system['runs'])} runs were tested on it.")
        if found["left_out"]:
            words.append(f"Left out: {', '.join(f'{n} clips of {emo}' for emo, n in found['left_out'].items())}.")
        if found["not_there"]:
            words.append(f"Never decided, because it does not have them: {', '.join(found['not_there'])}.")
        words += found["faults"]
        if words:
            sections.append(f"{found['title']}: {' '.join(words)}")
    return sections


def matrix_sections(systems: Sequence[System]) -> list[str]:
    """Write a matrix for each of UA and WA: trained on (rows), tested on (columns).

    Arguments
    ---------
    systems : list of dict
        As `summarise_system` returns them.
    """
    columns = dict.fromkeys(
        [title for system in systems for title in system["corpus_titles"]]
        + [found["title"] for system in systems for found in system["across"]]
    )
    sections = ["## Trained on (rows), tested on (columns)"]
    for name in reversed(NAMES):
        rows = []
        for system in systems:
            across = {found["title"]: found for found in system["across"]}
            row = [f"{listing(system['corpus_titles'])} ({system['name']})"]
            for title in columns:
                if system["corpus_titles"] == [title]:
                    row.append(f"**{_cell(system['pooled'], name, len(system['emotions']))}**")
                else:
                    row.append(_cell(across[title], name, len(across[title]["emotions"])) if title in across else "-")
            rows.append(row)
        sections.append(table([f"{name} (%)", *columns], rows, "l" * (len(columns) + 1)))
    sections.append(
        "Pooled decisions; in brackets, 95% intervals over speakers, and the number of emotions between which was "
        "decided: those that both corpora have. In bold, the own corpus's test folds with all of its emotions; between "
        "fewer emotions chance is higher, so compare a row's cells by the tables of each system below."
    )
    return sections


def _cell(found: Mapping[str, Any], name: str, n_emotions: int) -> str:
    return f"{_pooled(found, name)}, {n_emotions} emotions"


def _pooled(found: Mapping[str, Any], name: str) -> str:
    return f"{percent(found[name])} [{interval(found['over_speakers'], name)}]"
