"""The page without a browser: what it fetches and what it says."""

from types import SimpleNamespace

from speechbrain_ext.web.page import build_page, page_style


def test_page_style_fetches_nothing():
    style = page_style(max_mb=2.5)
    assert style["theme"]._stylesheets == [] and "@font-face" not in style["theme"]._get_theme_css()
    assert not any("http" in style[name] or "url(" in style[name] for name in ("css", "js"))
    assert "MAX_MB" not in style["js"] and "2.5 * 1e6" in style["js"]


def test_build_page_says_its_limits_and_names_its_examples():
    page = build_page(None, max_mb=7, examples=["/far/away/hello.wav"])
    values = [getattr(block, "value", None) for block in page.blocks.values()]
    assert any("do not judge people by it" in str(value) for value in values)
    assert any("at most 7 MB and 30 minutes" in str(value) for value in values)
    assert "hello.wav" in values and not any("/far/away" in str(value) for value in values)


def test_page_names_the_model_that_it_serves():
    bundle = SimpleNamespace(about={"corpus_title": "A & B"})
    hparams = SimpleNamespace(emotions=["hap", "boredom"], sample_rate=8000)
    classifier = SimpleNamespace(bundle=bundle, hparams=hparams, device="cpu")
    page = build_page(classifier, model="user/<name>")
    values = [str(getattr(block, "value", None)) for block in page.blocks.values()]
    assert (
        "<p>Model: <b>user/&lt;name&gt;</b>, trained on A &amp; B. It tells apart: happiness (hap), boredom.</p>"
        in values
    )
