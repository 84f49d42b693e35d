"""Markdown tables, numbers in percent, and the page that a Markdown text becomes."""

import base64
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import markdown

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, p { overflow-wrap: anywhere; }
h1, h2 { line-height: 1.25; }
h1 { font-size: 1.6rem; }
h2 { font-size: 1.25rem; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid #8886; text-align: left; }
td:first-child:not([style]) { overflow-wrap: anywhere; min-width: 9rem; }
td[style*="right"], th[style*="right"] { font-variant-numeric: tabular-nums; }
tbody tr:has(strong) { background: #8882; }
img { max-width: 100%; background: white; }
code { font-size: .9em; }
@media (max-width: 40rem) {
  body { margin: 1rem auto; padding: 0 .75rem; }
  h1 { font-size: 1.3rem; }
  h2 { font-size: 1.1rem; }
  table { font-size: .8125rem; }
  th, td { padding: .25rem .35rem; }
  td:first-child:not([style]) { min-width: 8.5rem; }
}
"""


def percent(value: Optional[float]) -> str:
    """Write a fraction in percent; a dash for None."""
    return "-" if value is None else f"{100 * value:.2f}"


def percent_range(bounds: Optional[Sequence[float]], sign: str = "") -> str:
    """Write an interval in percent, with plus signs where `sign` is "+"; a dash for None."""
    return " to ".join(f"{100 * bound:{sign}.2f}" for bound in bounds) if bounds else "-"


def interval(over: Optional[Mapping[str, Sequence[float]]], name: str) -> str:
    """Write one of several intervals in percent; a dash where there are none."""
    return percent_range(over[name] if over else None)


def mean_and_std(mean: Optional[float], std: Optional[float]) -> str:
    """Write a mean in percent with its standard deviation, if there is one; a dash for None."""
    return percent(mean) + ("" if std is None else f" ± {percent(std)}")


def p_text(p: float) -> str:
    """Write the p of a test."""
    return f"{p:.4f}" if p >= 1e-4 else "< 0.0001"


def difference_table(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Lay out a difference with its intervals "over_utterances" and "over_speakers" (or None): header and rows."""
    over_speakers = found["over_speakers"] or {}
    rows = [
        [name, f"{100 * over['difference']:+.2f}", percent_range(over["interval"], "+"),
         percent_range(over_speakers.get(name, {}).get("interval"), "+")]
        for name, over in found["over_utterances"].items()
    ]  # fmt: skip
    return ["", "Difference (points)", "95% over utterances", "95% over speakers"], rows


def few_speakers(n_speakers: Optional[int]) -> list[str]:
    """Say it where an interval over speakers is over a few."""
    is_few = n_speakers is not None and 2 <= n_speakers < 5
    return ["Fewer than five speakers: the interval over them says little."] * is_few


def listing(items: Iterable[Any]) -> str:
    """Join with commas."""
    return ", ".join(map(str, items))


def table(header: Sequence[Any], rows: Sequence[Sequence[Any]], align: str = "") -> str:
    """Write a Markdown table; `align` has one letter a column, l or r."""
    marks = {"l": "---", "r": "---:"}
    lines = [header, [marks[letter] for letter in align or "l" + "r" * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def to_html(text: str, folder: Optional[Path] = None) -> str:
    """Turn the Markdown into one self-contained page, with the folder's pictures in it, if a folder is given."""
    body = markdown.markdown(text, extensions=["tables"])
    for together in (r"± \d", r"over \w+", r"\d to [-+\d]"):  # what stays on one line of a narrow cell
        body = re.sub(together, lambda found: found[0].replace(" ", "&nbsp;"), body)
    for picture in sorted(folder.glob("*.png")) if folder else ():
        data = base64.b64encode(picture.read_bytes()).decode()
        body = body.replace(f'src="{picture.name}"', f'src="data:image/png;base64,{data}"')
    heading = html.escape(html.unescape(text.splitlines()[0].removeprefix("# ")))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{heading}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def setting_text(value: Any) -> str:
    """Write a setting's value: an object of a YAML tag as a call, all else as YAML would.

    Example
    -------
    >>> setting_text([{"!new:audiomentations.Gain": {"p": 0.5}}, {"!name:torch.relu": None}, None, True, 2.0])
    '[Gain(p=0.5), relu(), null, True, 2.0]'
    >>> setting_text({"a": ["x"], "b": {}})
    '{a: [x], b: {}}'
    """
    if isinstance(value, Mapping):
        (first, *others) = value.items() or [("", None)]
        if not others and str(first[0]).startswith("!"):
            given = first[1] if isinstance(first[1], Mapping) else {}
            call = ", ".join(f"{key}={setting_text(one)}" for key, one in given.items())
            return f"{first[0].rpartition(':')[2].rpartition('.')[2]}({call})"
        return "{" + ", ".join(f"{key}: {setting_text(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(setting_text, value))}]"
    return "null" if value is None else str(value)
