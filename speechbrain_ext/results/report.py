"""Report on tested runs: means and spreads, pooled accuracies with intervals, pictures; compare several folders.

    python recipes/IEMOCAP/report.py results/loso
    python recipes/IEMOCAP/report.py results/loso results/loso_group results/loso_none    # side by side
    python recipes/IEMOCAP/report.py results/loso --allow=incomplete                      # what is there so far

Reads test_metrics.json and predictions.csv of every run below a folder; writes report.md, report.json, report.html,
confusion.png and folds.png there (with several folders, into the first one's "comparison").
"""

import argparse
import base64
import hashlib
import html
import re
from collections import defaultdict
from pathlib import Path

import markdown

from speechbrain_ext import __version__
from speechbrain_ext.atomic_write import atomic_write, write_json
from speechbrain_ext.corpora.base import get_corpus
from speechbrain_ext.corpora.iemocap import IEMOCAP_PARTS, PART_NAMES, UTT_ID
from speechbrain_ext.errors import InputError
from speechbrain_ext.results.plots import plot_confusion, plot_folds
from speechbrain_ext.results.result_set import ALLOWANCES, METRICS_FILE, read_result_set
from speechbrain_ext.results.summary import NAMES, compare, summarise

MARKS = r"""[&<>"'`*\[\]\\|#~$]|(?<![^\W_])_|_(?![^\W_])"""  # what Markdown would take for its own
NOT_IEMOCAP = (
    "**These utterances are not IEMOCAP's, or not all of them: the numbers say nothing about IEMOCAP as a whole, and "
    "the paper's rows are there for the form of the table only.**"
)
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.25; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; }
h2 { font-size: 1.25rem; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #8886; text-align: left; }
td:first-child:not([style]) { overflow-wrap: anywhere; min-width: 9rem; }
td[style*="right"], th[style*="right"] { font-variant-numeric: tabular-nums; }
tbody tr:has(strong) { background: #8882; }
img { max-width: 100%; background: white; }
code { font-size: .9em; }
"""


def part_of(utt_id):
    """Name the part of IEMOCAP that an utterance belongs to: improvised or scripted; None for other ids."""
    found = UTT_ID.match(utt_id)
    return PART_NAMES[found["part"]] if found else None


def speaker_of(utt_id):
    """Name the speaker of an IEMOCAP utterance as its manifest does; None for other ids."""
    found = UTT_ID.match(utt_id)
    return f"Ses{found['session']}_{found['speaker']}" if found else None


def are_iemocap(utt_ids):
    """Tell whether these are IEMOCAP's four-class utterances: those of whole sessions, improvised and scripted."""
    parts = defaultdict(list)
    for utt_id in sorted(utt_ids):
        found = UTT_ID.match(utt_id)
        if not found:
            return False
        parts[int(found["session"]), found["part"]].append(utt_id)
    digests = {
        part: (len(ids), hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]) for part, ids in parts.items()
    }
    sessions = {session for session, _ in parts}
    return digests == {part: known for part, known in IEMOCAP_PARTS.items() if part[0] in sessions}


def write_report(folders, out=None, allow=()):
    """Summarise one or more folders of runs, and write the report.

    Arguments
    ---------
    folders : list of str or pathlib.Path
        Each holds the runs of one system; the second and further ones are compared with the first.
    out : str or pathlib.Path, optional
        Where the report is written; else the only folder, or "comparison" in the first.
    allow : tuple of str
        As in `read_result_set`.

    Returns
    -------
    str
        The report, in Markdown.

    Raises
    ------
    InputError
        If no honest report can be made of the runs; nothing is written then.
    """
    folders = [Path(folder) for folder in folders]
    out = Path(out) if out else folders[0] if len(folders) == 1 else folders[0] / "comparison"
    if (out / METRICS_FILE).exists():
        out = out / "report"  # the pictures of a run stay as they are
    sets = [read_result_set(folder, allow, speaker_of) for folder in folders]
    names = unique_names(folders)
    note = check_same_corpus(sets, names, "mixed" in allow)
    systems = [
        {"name": name, "is_iemocap": is_iemocap(result_set), **summarise(result_set, part_of)}
        for name, result_set in zip(names, sets)
    ]
    comparisons = [
        {"a": name, "b": names[0], **compare(result_set, sets[0])} for name, result_set in zip(names[1:], sets[1:])
    ]
    files = []
    for i, system in enumerate(systems):
        suffix = f"_{i + 1}" if len(systems) > 1 else ""
        files.append({"confusion": f"confusion{suffix}.png", "folds": f"folds{suffix}.png"})
        title = name_and_notes(system) + ("" if system["is_iemocap"] else " (not IEMOCAP)")
        plot_confusion(system["pooled"]["confusion"], system["emotions"], out / f"confusion{suffix}.png", title)
        plot_folds(system["runs"], out / f"folds{suffix}.png", title)
    text = to_markdown(escape_markdown(systems), escape_markdown(comparisons), files, note)
    write_json({"version": __version__, "systems": systems, "comparisons": comparisons}, out / "report.json")
    with atomic_write(out / "report.md") as file:
        file.write(text)
    with atomic_write(out / "report.html") as file:
        file.write(to_html(text, out))
    return text


def is_iemocap(result_set):
    """Tell whether a set of runs tests IEMOCAP, all of it but for folds whose lack the notes tell, by its ids."""
    n_sessions = len({session for session, _ in IEMOCAP_PARTS})
    of_all = all(run.metrics["n_folds"] in (None, n_sessions) for run in result_set.runs)
    return of_all and are_iemocap({utt_id for run in result_set.runs for utt_id in run.ids})


def unique_names(folders):
    """Name each folder by as much of the end of its path as tells it from the others."""
    resolved = [folder.resolve() for folder in folders]
    if len(set(resolved)) < len(resolved):
        raise InputError(f"a folder is given twice: {', '.join(map(str, folders))}.")
    for depth in range(1, max(len(folder.parts) for folder in resolved) + 1):
        names = ["/".join(folder.parts[-depth:]) for folder in resolved]
        if len(set(names)) == len(names):
            break
    return names


def check_same_corpus(sets, names, allowed):
    """Refuse to lay results on different corpora side by side, or return a note on it."""
    manifests = [{run.metrics["manifest"] for run in result_set.runs} for result_set in sets]
    for name, manifest in zip(names[1:], manifests[1:]):
        if manifest != manifests[0]:
            which = f"different corpora (manifests {listing(m[:8] for m in sorted(set.union(*manifests)))})"
            if not allowed:
                raise InputError(
                    f"{names[0]} and {name} were run on {which}. Report on them apart, or set --allow=mixed."
                )
            return f" [Mixed: {which}]"
    return ""


def name_and_notes(system):
    """Say what a system's numbers are, and loudly what they are not."""
    return system["name"] + "".join(f" [{note[0].upper() + note[1:]}]" for note in system["notes"])


def escape_markdown(value):
    """Write all texts in nested data so that Markdown shows them as they are: names come from outside."""
    if isinstance(value, dict):
        return {escape_markdown(key): escape_markdown(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [escape_markdown(one) for one in value]
    if not isinstance(value, str):
        return value
    return re.sub(MARKS, lambda found: f"&#{ord(found[0])};", " ".join(value.split()))


def percent(value, digits=2):
    """Write a fraction in percent; a dash for None."""
    return "-" if value is None else f"{100 * value:.{digits}f}"


def interval(found, name):
    """Write an interval in percent; a dash for None."""
    return "-" if not found else f"{percent(found[name][0])} to {percent(found[name][1])}"


def table(header, rows, align=""):
    """Write a Markdown table; `align` has one letter a column, l or r."""
    marks = {"l": "---", "r": "---:"}
    lines = [header, [marks[letter] for letter in align or "l" + "r" * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def mean_and_spread(system, name):
    """Write the mean of folds with its spreads, in percent."""
    found = system["mean_of_folds"][name]
    spreads = [
        f"± {percent(found[f'std_{what}'])} over {what}"
        for what in ("folds", "seeds")
        if found[f"std_{what}"] is not None
    ]
    return " ".join([percent(found["mean"]), *spreads])


def to_markdown(systems, comparisons, files, note):
    """Write the whole report in Markdown."""
    names = [name_and_notes(system) for system in systems]
    parts = [f"# Results of {names[0]}" if len(systems) == 1 else f"# Side by side: {'; '.join(names)}{note}"]
    if not all(system["is_iemocap"] for system in systems):
        parts.append(NOT_IEMOCAP)
    if len(systems) > 1:
        parts += side_by_side(systems) + [section for found in comparisons for section in comparison(found)]
    for system, name, pictures in zip(systems, names, files):
        parts += ([f"# Results of {name}"] if len(systems) > 1 else []) + system_sections(system, pictures)
    parts.append(
        "WA: correct decisions of all. UA: mean recall of the emotions. Mean of folds: WA and UA of each fold, "
        "averaged; the paper's numbers are such means. Pooled: the decisions of all folds as one test set. ±: standard "
        "deviation (n - 1). Intervals: 95%, percentile bootstrap of the pooled values, 9999 draws of utterances, or of "
        "speakers with all their utterances; with several seeds an utterance brings all its decisions. Speakers are "
        "what a new test would draw anew, so their interval is the honest one. Intervals and p are about these trained "
        "models: what another seed would change is not in them, so two seeds of one system may differ significantly. "
        "McNemar's test takes utterances as independent."
    )
    return "\n\n".join(parts) + "\n"


def system_sections(system, files):
    """Write one system's sections."""
    pooled, n_runs = system["pooled"], len(system["runs"])
    paper = get_corpus("iemocap").published
    ours = f"**This project, {system['name']}: {'' if system['is_iemocap'] else 'NOT IEMOCAP, '}mean of folds**"
    speakers = "unknown speakers" if system["n_speakers"] is None else f"{system['n_speakers']} speakers"
    is_thin = system["n_speakers"] is not None and 2 <= system["n_speakers"] < 5
    few = ["Fewer than five speakers: the interval over them says little."] if is_thin else []
    sections = [
        f"{n_runs} runs: folds {listing(system['folds'])}, seeds {listing(system['seeds'])}; validation "
        f"{listing(system['validation']) or 'unknown'}; {system['n_utterances']} test utterances of {speakers}.",
        table(
            ["", "WA (%)", "UA (%)"],
            [
                ["Mean of folds", *(mean_and_spread(system, name) for name in NAMES)],
                ["Pooled over folds", *(percent(pooled[name]) for name in NAMES)],
                ["95% interval over utterances", *(interval(pooled["over_utterances"], name) for name in NAMES)],
                ["95% interval over speakers", *(interval(pooled["over_speakers"], name) for name in NAMES)],
            ],
        ),
        *few,
        "## Beside the paper's Table 3 (IEMOCAP, LOSO)",
        table(
            ["Method", "Year", "WA (%)", "UA (%)"],
            [
                *([f"{row.method} (the paper's number)", row.year, f"{row.WA:.2f}", f"{row.UA:.2f}"] for row in paper),
                [ours, "", *(f"**{percent(system['mean_of_folds'][name]['mean'])}**" for name in NAMES)],
            ],
            "lrrr",
        ),
        "## Each run",
        table(
            ["Seed", "Fold", "Test group", "Utterances", "Tested epoch", "WA (%)", "UA (%)"],
            [
                [run["seed"], run["fold"], run["test_group"] or "-", run["n"],
                 f"{run['tested_epoch']} of {run['n_epochs']}" if run["tested_epoch"] else "-",
                 percent(run["WA"]), percent(run["UA"])]
                for run in system["runs"]
            ],
            "rrlrrrr",
        ),
        f"![WA and UA of each fold]({files['folds']})",
        "## Each emotion, pooled",
        table(["Emotion", "Recall (%)"], [[emo, percent(pooled["recall"][emo])] for emo in system["emotions"]]),
    ]  # fmt: skip
    if pooled["absent"]:
        sections.append(f"No test utterance of {listing(pooled['absent'])}: left out of UA.")
    sections.append(f"![Confusion matrix, pooled over all runs]({files['confusion']})")
    if system["parts"]:
        rows = [
            [part, found["n_utterances"], percent(found["WA"]), interval(found["over_speakers"], "WA"),
             percent(found["UA"]), interval(found["over_speakers"], "UA")]
            for part, found in system["parts"].items()
        ]  # fmt: skip
        header = ["Part", "Utterances", "WA (%)", "95% over speakers", "UA (%)", "95% over speakers"]
        sections += ["## Improvised and scripted, pooled", table(header, rows)]
    if system["selection"]:
        honest, leak = system["selection"]["by_protocol"], system["selection"]["on_test"]
        known = system["tested_weights"] or ["last" if way == "none" else "best" for way in system["validation"]]
        ways = {"best": "selected on validation", "last": "the last epoch"}
        chosen = " or ".join(sorted({ways.get(way, way) for way in known})) or "the tested epoch"
        rows = [
            [f"{chosen} (the result above)", *(percent(honest[name]) for name in NAMES)],
            ["selected on test (LEAK, no result)", *(percent(leak[name]) for name in NAMES)],
            ["what the leak would add", *(f"{100 * (leak[name] - honest[name]):+.2f}" for name in NAMES)],
        ]
        sections += [
            "## The leak, measured",
            "Each run's test fold was measured after every epoch; nothing in the run depended on it. Read at the epoch "
            "with the best test WA, the runs would have given the second row.",
            table(["Epoch", "WA (%)", "UA (%)"], rows),
        ]
    return sections


def side_by_side(systems):
    """Write one row a system."""
    rows = [
        [name_and_notes(system), listing(system["validation"]) or "unknown", len(system["runs"])]
        + [
            cell
            for name in NAMES
            for cell in (mean_and_spread(system, name), interval(system["pooled"]["over_speakers"], name))
        ]
        for system in systems
    ]
    header = ["", "Validation", "Runs", "WA, mean of folds (%)", "95% pooled, over speakers"]
    return [table([*header, "UA, mean of folds (%)", "95% pooled, over speakers"], rows, "llrrrrr")]


def comparison(found):
    """Write the paired comparison of two systems."""
    rows = [
        [name, f"{100 * over['difference']:+.2f}", difference_interval(over),
         difference_interval(found["over_speakers"] and found["over_speakers"][name])]
        for name, over in found["over_utterances"].items()
    ]  # fmt: skip
    sections = [
        f"## {found['a']} minus {found['b']}, pooled, on the same {found['n_utterances']} utterances",
        table(["", "Difference (points)", "95% over utterances", "95% over speakers"], rows),
    ]
    if found["mcnemar"]:
        tests = [
            [test["seed"], test["only_a"], test["only_b"], f"{test['p']:.4f}" if test["p"] >= 1e-4 else "< 0.0001"]
            for test in found["mcnemar"]
        ]
        header = ["Seed", f"right in {found['a']} alone", f"right in {found['b']} alone", "McNemar, exact p"]
        sections.append(table(header, tests, "rrrr"))
    else:
        sections.append("No seed was run in both over all these utterances: no McNemar test.")
    return sections


def difference_interval(found):
    """Write the interval of a difference in percentage points; a dash for None."""
    if not found or not found["interval"]:
        return "-"
    return " to ".join(f"{100 * bound:+.2f}" for bound in found["interval"])


def listing(items):
    """Join with commas."""
    return ", ".join(map(str, items))


def to_html(text, folder):
    """Turn the Markdown into one self-contained page, with the pictures inside."""
    body = markdown.markdown(text, extensions=["tables"])
    for together in (r"± \S+ over \w+", r"\d to [-+\d]"):  # what stays on one line of a narrow cell
        body = re.sub(together, lambda found: found[0].replace(" ", "&nbsp;"), body)
    for picture in sorted(folder.glob("*.png")):
        data = base64.b64encode(picture.read_bytes()).decode()
        body = body.replace(f'src="{picture.name}"', f'src="data:image/png;base64,{data}"')
    heading = html.escape(html.unescape(text.splitlines()[0].removeprefix("# ")))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{heading}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def parse_allow(text):
    """Read the option --allow: words joined by commas."""
    words = tuple(word for word in text.split(",") if word)
    for word in words:
        if word not in ALLOWANCES:
            raise InputError(f"--allow must be among {', '.join(ALLOWANCES)} (joined by commas), got {word!r}.")
    return words


def main(argv):
    """Write and print a report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("folders", nargs="+", metavar="RESULTS_DIR", help="folder with the runs of one system")
    parser.add_argument("--out", help="where the report is written")
    parser.add_argument("--allow", default="", help=f"what may pass, said in the title: {', '.join(ALLOWANCES)}")
    options = parser.parse_args(argv)
    print(write_report(options.folders, options.out, parse_allow(options.allow)))
