"""Markdown tables and numbers, by hand; and the page of a text."""

import re

import pytest

from speechbrain_ext.results.markdown_text import (
    difference_table,
    few_speakers,
    p_text,
    percent,
    percent_range,
    table,
    to_html,
)


def test_numbers_are_in_percent_and_unknown_ones_are_dashes():
    assert (percent(0.12346), percent(None)) == ("12.35", "-")
    assert (percent_range((-0.1, 0.25)), percent_range((-0.1, 0.25), "+")) == ("-10.00 to 25.00", "-10.00 to +25.00")
    assert percent_range(None) == "-"
    assert (p_text(0.04996), p_text(0.0001), p_text(0.00009)) == ("0.0500", "0.0001", "< 0.0001")


def test_a_table_has_a_first_column_of_texts_unless_it_is_told():
    assert table(["", "n"], [["a", 1], ["b", 20]]) == "|  | n |\n| --- | ---: |\n| a | 1 |\n| b | 20 |"
    assert table(["x", "y"], [], "rl").splitlines()[1] == "| ---: | --- |"


def test_a_difference_has_its_intervals_where_there_are_some():
    over = {"WA": {"difference": 0.015, "interval": (-0.01, 0.04)}, "UA": {"difference": -0.02, "interval": None}}
    assert difference_table({"over_utterances": over, "over_speakers": None})[1] == [
        ["WA", "+1.50", "-1.00 to +4.00", "-"],
        ["UA", "-2.00", "-", "-"],
    ]
    assert difference_table({"over_utterances": over, "over_speakers": over})[1][0][3] == "-1.00 to +4.00"


@pytest.mark.parametrize(("n_speakers", "is_said"), [(None, False), (1, False), (2, True), (4, True), (5, False)])
def test_an_interval_over_a_few_speakers_is_said_to_be_one(n_speakers, is_said):
    assert bool(few_speakers(n_speakers)) is is_said


def test_a_page_has_its_heading_as_its_title_and_its_pictures_in_it(tmp_path):
    (tmp_path / "folds.png").write_bytes(b"\x89PNG")
    page = to_html("# A &#60;b&#62;\n\n![folds](folds.png)\n\n75.00 ± 1.00, 70 to 80\n", tmp_path)
    assert "<title>A &lt;b&gt;</title>" in page and "<b>" not in page
    assert 'src="data:image/png;base64,iVBORw=="' in page
    assert re.search(r"75.00 ±&nbsp;1.00, 70&nbsp;to&nbsp;80", page)  # stays on one line
