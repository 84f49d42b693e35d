"""Fonts for any script: found among those that matplotlib brings, so that no font of this machine matters."""

import pytest
from matplotlib import font_manager, rcParams

from speechbrain_ext.fonts import escape_characters, fonts_for

SUM = "\u2211"  # in DejaVu Sans
SCRIPT = "\U0001d49e"  # a script capital C: in STIX, not in DejaVu Sans
NOWHERE = "\U0010ffff"  # no character


@pytest.fixture
def fonts(monkeypatch):
    """Let the fonts that matplotlib brings, and a file that is none, be all that are installed."""

    def install(*names):
        entries = [font for font in font_manager.fontManager.ttflist if font.name in ("DejaVu Sans", *names)]
        own = [font for font in entries if "mpl-data" in str(font.fname)]
        broken = font_manager.FontEntry(fname=__file__, name="Broken")
        monkeypatch.setattr(font_manager.fontManager, "ttflist", [*own, broken])
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [__file__])
        font_manager.fontManager._findfont_cached.cache_clear()

    yield install
    font_manager.fontManager._findfont_cached.cache_clear()


def test_fonts_are_added_where_the_first_lacks_a_character(fonts):
    fonts("STIXGeneral")
    before = list(rcParams["font.family"])
    with fonts_for(["ang", f"{SCRIPT}\n{SUM}", NOWHERE]) as missing:
        assert missing == {NOWHERE}
        assert rcParams["font.family"] == [*before, "STIXGeneral"]
    assert rcParams["font.family"] == before


def test_fonts_that_were_installed_since_are_found(fonts, monkeypatch):
    (path,) = {font.fname for font in font_manager.fontManager.ttflist if font.name == "cmmi10"}
    fonts()
    with fonts_for(["\u2a0a", SCRIPT]) as missing:
        assert missing == {"\u2a0a", SCRIPT}
    stix = font_manager.get_font(path).fname.replace("cmmi10", "STIXGeneral")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [__file__, stix])
    with fonts_for(["\u2a0a", SCRIPT]) as missing:
        assert missing == set()


def test_fonts_that_no_text_needs_are_not_looked_for(monkeypatch):
    with fonts_for([]):
        pass  # the first font is found once
    monkeypatch.setattr(font_manager.fontManager, "ttflist", None)
    with fonts_for(["ang", "traurig \n", "радость", SUM]) as missing:
        assert missing == set()


def test_characters_are_missing_where_no_font_has_them(fonts):
    fonts()
    with fonts_for([SCRIPT]) as missing:
        assert missing == {SCRIPT}
        assert escape_characters(f"a{SCRIPT}b", missing) == "a\\U0001d49eb"
    assert escape_characters("\ue000", {"\ue000"}) == "\\ue000"
