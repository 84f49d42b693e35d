"""A picture of a corpus: what is drawn and how it is called."""

import pytest

from speechbrain_ext.corpora.corpus_check import check_corpus
from speechbrain_ext.corpora.corpus_plot import check_picture_path, plot_corpus
from speechbrain_ext.errors import InputError
from tests.corpora.csv_files import write


def test_picture_shows_emotions_lengths_levels_speakers_and_folds(recordings, drawn):
    lines = ["a.wav,$fear$,s1", "b.wav,悲,s1", "c.wav,$fear$,s2", "deep/d.wav,悲,s2"]
    check = check_corpus("csv", write(recordings, "\n".join(["wav,emo,speaker", *lines])), "none", progress=False)
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        plot_corpus(check, recordings / f"p{suffix}", "mine")
        assert (recordings / f"p{suffix}").read_bytes().startswith(start)
    panels = {axes.get_title(): axes for axes in drawn[0].axes}
    assert list(panels) == [
        "clips of each emotion", "length", "level (root mean square)", "clips of each of 2 speakers",
        "test clips of each fold",
    ]  # fmt: skip
    assert [bar.get_height() for bar in panels["clips of each emotion"].patches] == [2, 2]
    assert [bar.get_height() for bar in panels["test clips of each fold"].patches] == [1, 1, 1, 1]
    assert panels["clips of each emotion"].get_xticklabels()[0].get_text() == "$fear$"
    assert [label.get_text() for label in panels["test clips of each fold"].get_xticklabels()] == ["s1", "s2"]


@pytest.mark.parametrize("name", ["p.txt", "p", ""])
def test_other_formats_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="--plot must name a .png, .pdf, .svg file to write, got"):
        check_picture_path(tmp_path / name)
