"""The registry of corpora, and what they are known to be."""

import pickle

import pytest

from speechbrain_ext.corpora import CORPORA, get_corpus, prepare_corpus
from speechbrain_ext.corpora.base import check_part
from speechbrain_ext.errors import InputError


@pytest.mark.parametrize("name", CORPORA)
def test_corpus_knows_its_name(name):
    corpus = get_corpus(name)
    assert corpus.name == name and corpus.title
    assert pickle.loads(pickle.dumps(corpus)) == corpus


def test_only_iemocap_has_published_results_and_only_the_demo_a_note():
    assert [name for name in CORPORA if get_corpus(name).published] == ["iemocap"]
    assert [name for name in CORPORA if get_corpus(name).note] == ["synthetic"]
    assert [name for name in CORPORA if not get_corpus(name).emotions] == ["csv"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("iemocaps", r"one of iemocap, synthetic, csv, .*, got 'iemocaps'\. Did you mean iemocap\?"),
        ("Synthetic", "Did you mean synthetic?"),
        ("aibo", "got 'aibo'. Your own recordings are read with csv."),
        (None, "got None"),
        (["csv"], r"got \['csv'\]"),
    ],
)
def test_unknown_corpus_is_refused(name, message):
    with pytest.raises(InputError, match=message):
        get_corpus(name)


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        (None, "empty or half made: run make_demo_corpus.py"),
        ("[1]", "not the synthetic corpus: it has no valid demo_corpus.json.*--corpus=iemocap"),
        ('{"complete": false}', "empty or half made"),
    ],
)
def test_folder_without_a_marker_is_not_the_demo_corpus(tmp_path, marker, message):
    if marker:
        (tmp_path / "demo_corpus.json").write_text(marker)
    with pytest.raises(InputError, match=message):
        prepare_corpus("synthetic", tmp_path)


def test_part_of_a_corpus_without_parts_is_refused():
    with pytest.raises(InputError, match="EmoDB has no parts, got corpus_part 'song': leave it out."):
        check_part(get_corpus("emodb"), "song")
    assert check_part(get_corpus("emodb"), "all") is None
