"""A picture of a corpus: its emotions, lengths, levels, speakers and folds."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from speechbrain_ext.atomic_write import atomic_write, check_writable
from speechbrain_ext.corpora.corpus_check import CorpusCheck
from speechbrain_ext.errors import InputError
from speechbrain_ext.fonts import escape_characters, fonts_for

FORMATS = (".png", ".pdf", ".svg")
NAMED = 40  # more bars than this are numbered, not named


def check_picture_path(path: str | Path) -> Path:
    """Return the path of a picture to write; refuse a format that is none."""
    path = Path(path).expanduser()
    if path.suffix.lower() not in FORMATS or path.is_dir():
        raise InputError(f"--plot must name a {', '.join(FORMATS)} file to write, got {path}.")
    check_writable(path, "--plot")
    return path


def plot_corpus(check: CorpusCheck, path: str | Path, title: str = "") -> None:
    """Draw a corpus that was checked.

    Arguments
    ---------
    check : CorpusCheck
        The corpus.
    path : str or pathlib.Path
        The picture, a PNG, PDF or SVG.
    title : str
        Stands above.
    """
    path, emotions, entries = check_picture_path(path), check.emotions, list(check.manifest.values())
    speakers = Counter(entry["speaker"] for entry in entries).most_common()
    folds = [fold for fold in check.folds if fold]
    texts = [title, *emotions, *(name for name, _ in speakers[:NAMED]), *(fold.test_group for fold in folds)]
    with fonts_for(texts) as missing:

        def named(names: list[str]) -> list[str]:
            return [escape_characters(name, missing) for name in names]

        figure = Figure(figsize=(12, 7), layout="constrained")
        panels = figure.subplot_mosaic([["emotions", "lengths", "levels"], ["speakers", "folds", "folds"]])
        counts = Counter(entry["emo"] for entry in entries)
        bars = panels["emotions"].bar(range(len(emotions)), [counts[emo] for emo in emotions], color="tab:blue")
        panels["emotions"].bar_label(bars, fontsize="small")
        panels["emotions"].set_xticks(range(len(emotions)), named(emotions), parse_math=False, rotation=45)
        panels["emotions"].set(title="clips of each emotion")
        lengths_s = [entry["duration"] for entry in entries]
        panels["lengths"].hist(lengths_s, bins=40, color="tab:green")
        panels["lengths"].set(title="length", xlabel="s", ylabel="clips")
        levels_db = [20 * np.log10(max(one.rms, 1e-5)) for one in check.measures.values()]
        panels["levels"].hist(levels_db, bins=40, color="tab:orange")
        panels["levels"].set(title="level (root mean square)", xlabel="dB of full scale", ylabel="clips")
        panels["speakers"].bar(range(1, len(speakers) + 1), [n for _, n in speakers], color="tab:purple")
        _name_bars(panels["speakers"], named([name for name, _ in speakers]))
        panels["speakers"].set(title=f"clips of each of {len(speakers)} speakers")
        tops = np.zeros(len(folds))
        for emo in emotions:
            heights = np.array([sum(check.manifest[utt_id]["emo"] == emo for utt_id in fold.test) for fold in folds])
            panels["folds"].bar(range(1, len(folds) + 1), heights, bottom=tops, label=escape_characters(emo, missing))
            tops += heights
        _name_bars(panels["folds"], named([fold.test_group for fold in folds]))
        panels["folds"].set(title="test clips of each fold")
        if folds:
            legend = figure.legend(fontsize="small", ncols=min(len(emotions), 10), loc="outside lower right")
            for text in legend.get_texts():
                text.set_parse_math(False)
        for name in ("emotions", "speakers", "folds"):
            panels[name].yaxis.set_major_locator(MaxNLocator(integer=True))
        figure.suptitle(escape_characters(title, missing), parse_math=False)
        with atomic_write(path, binary=True) as file:
            figure.savefig(file, format=path.suffix[1:].lower(), dpi=120)


def _name_bars(panel: Any, names: list[str]) -> None:
    """Write names below the bars, unless they are too many."""
    if len(names) <= NAMED:
        panel.set_xticks(range(1, len(names) + 1), names, parse_math=False, rotation=90, fontsize="small")
