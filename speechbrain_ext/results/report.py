"""A report on tested runs: report.md, report.json, report.html and pictures, for one folder of runs or several."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Optional

from speechbrain_ext import __version__
from speechbrain_ext.atomic_write import atomic_write, write_json
from speechbrain_ext.corpora import Corpus, get_corpus
from speechbrain_ext.errors import InputError
from speechbrain_ext.outside_text import escape_markdown
from speechbrain_ext.results.across_corpora import summarise_across
from speechbrain_ext.results.across_text import trained_apart
from speechbrain_ext.results.comparability import cautions, published_results
from speechbrain_ext.results.markdown_text import listing, to_html
from speechbrain_ext.results.plots import plot_confusion, plot_folds
from speechbrain_ext.results.report_text import name_and_notes, summary_lines, to_markdown
from speechbrain_ext.results.result_set import ResultSet, read_result_set
from speechbrain_ext.results.summary import compare, summarise
from speechbrain_ext.results.tested_run import METRICS_FILE, path_text


@dataclass(frozen=True)
class Report:
    """A report that was written.

    Attributes
    ----------
    page : pathlib.Path
        Its report.html.
    text : str
        The whole report, in Markdown.
    summary : str
        The result in two lines (with several systems, in one more for each).
    """

    page: Path
    text: str
    summary: str

    def __str__(self) -> str:
        """Return what a command prints: the summary, and the path of the page."""
        return f"{self.summary}\nReport: {path_text(self.page)}"


def write_report(
    folders: Iterable[str | Path],
    out: str | Path | None = None,
    allow: Sequence[str] = (),
    folds: Optional[Sequence[int]] = None,
) -> Report:
    """Summarise one or more folders of runs, and write the report.

    Arguments
    ---------
    folders : list of str or pathlib.Path
        Each holds the runs of one system; the second and further ones are compared with the first.
    out : str or pathlib.Path, optional
        Where the report is written; else the only folder, or "comparison" in the first.
    allow : sequence of str
        As in `read_result_set`.
    folds : sequence of int, optional
        The only folds to report on; the title says so where the corpus has more.

    Raises
    ------
    InputError
        If no honest report can be made of the runs; nothing is written then.
    """
    paths = [Path(folder) for folder in folders]
    place = Path(out) if out else paths[0] if len(paths) == 1 else paths[0] / "comparison"
    if (place / METRICS_FILE).exists():
        place = place / "report"  # the pictures of a run stay as they are
    sets = [read_result_set(folder, allow, folds) for folder in paths]
    names = unique_names(paths)
    systems = [summarise_system(result_set, name) for name, result_set in zip(names, sets)]
    if trained_apart(systems):
        note, comparisons = "", []  # systems trained on different corpora stand in a matrix
    else:
        note = check_same_corpus(sets, names, "mixed" in allow)
        comparisons = [
            {"a": name, "b": names[0], **compare(result_set, sets[0])} for name, result_set in zip(names[1:], sets[1:])
        ]
    files = []
    for i, system in enumerate(systems):
        suffix = f"_{i + 1}" if len(systems) > 1 else ""
        files.append({name: f"{name}{suffix}.png" for name in ("confusion", "folds")})
        title = f"{name_and_notes(system)} ({listing(system['corpus_titles'])})"
        plot_confusion(system["pooled"]["confusion"], system["emotions"], place / files[-1]["confusion"], title)
        plot_folds(system["runs"], place / files[-1]["folds"], title)
    made = f"Written on {date.today().isoformat()} by speechbrain_ext {__version__}."
    text = to_markdown(escape_markdown(systems), escape_markdown(comparisons), files, note, made)
    write_json({"version": __version__, "systems": systems, "comparisons": comparisons}, place / "report.json")
    with atomic_write(place / "report.md") as file:
        file.write(text)
    with atomic_write(place / "report.html") as file:
        file.write(to_html(text, place))
    return Report(place / "report.html", text, "\n".join(summary_lines(systems)))


def summarise_system(result_set: ResultSet, name: str) -> dict[str, Any]:
    """Summarise one system, with what is to be said of its corpus.

    Returns
    -------
    dict
        As `summarise` does, with "name", "corpus_titles" (list), "cautions" (list of texts), "published" (whether
        published results may be shown beside its own) and "across", see `summarise_across`.
    """
    corpora: dict[str, Corpus] = {}
    for run in result_set.runs:
        try:
            corpora[run.metrics["corpus"]] = get_corpus(run.metrics["corpus"])
        except InputError as error:
            raise InputError(f"{run.folder / METRICS_FILE}: {error}") from error
    (only,) = corpora.values() if len(corpora) == 1 else (None,)
    summary = summarise(result_set, only.part_of if only else None)
    faults, emotions = summary["corpus_faults"], summary["emotions"]
    return {
        "name": name,
        "corpus_titles": [corpus.title for corpus in corpora.values()],
        "cautions": cautions(list(corpora), faults) + summary["fold_cautions"],
        "published": bool(only and published_results(only.name, faults, emotions)),
        "across": summarise_across(result_set),
        **summary,
    }


def unique_names(folders: Sequence[Path]) -> list[str]:
    """Name each folder by as much of the end of its path as tells it from the others."""
    resolved = [folder.resolve() for folder in folders]
    if len(set(resolved)) < len(resolved):
        raise InputError(f"a folder is given twice: {listing(folders)}.")
    for depth in range(1, max(len(folder.parts) for folder in resolved) + 1):
        names = ["/".join(folder.parts[-depth:]) for folder in resolved]
        if len(set(names)) == len(names):
            break
    return list(map(path_text, names))


def check_same_corpus(sets: Sequence[ResultSet], names: Sequence[str], allowed: bool) -> str:
    """Refuse to lay results on different corpora side by side, or return a note for the title."""
    for key, what in (("corpus", "corpora ({})"), ("manifest", "versions of the corpus (manifests {})")):
        values = [{run.metrics[key] for run in result_set.runs} for result_set in sets]
        for name, other in zip(names[1:], values[1:]):
            if other == values[0]:
                continue
            which = listing(value[:8] if key == "manifest" else value for value in sorted(other | values[0]))
            text = f"different {what.format(which)}"
            if not allowed:
                raise InputError(
                    f"{names[0]} and {name} were run on {text}. Report on them apart, or set --allow=mixed."
                )
            return f" [Mixed: {escape_markdown(text)}]"
    return ""
