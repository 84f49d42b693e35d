"""The registry of corpora, and what they are known to be."""

import pickle

import numpy as np
import pytest
import soundfile

from speechbrain_ext.corpora import CORPORA, get_corpus, prepare_corpus
from speechbrain_ext.corpora.base import check_part, count_table
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


def test_demo_corpus_is_read_as_iemocap_is(demo_corpus, capsys):
    prepared = prepare_corpus("synthetic", demo_corpus, progress=False)
    assert (prepared.emotions, prepared.faults, prepared.copies) == (["ang", "hap", "sad", "neu"], [], [])
    assert "not IEMOCAP" not in capsys.readouterr().out
    assert prepared.manifest == prepare_corpus("iemocap", demo_corpus, progress=False).manifest


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


def test_emotion_that_is_read_as_another_says_so(demo_corpus):
    with pytest.raises(InputError, match="labelled 'excited'; it has ang .*exc counts as hap"):
        prepare_corpus("iemocap", demo_corpus, ["ang", "excited"], progress=False)


def test_table_of_many_groups_shows_the_first_and_the_last():
    manifest = {
        f"u{i}": {"group": f"g{i:02}", "speaker": "s", "emo": "ang" if i % 5 else "sad", "duration": 36.0}
        for i in range(50)
    }
    lines = [line.split() for line in count_table(manifest, ["ang", "sad"]).splitlines()]
    assert [line[0] for line in lines[9:14]] == ["g08", "g09", "...", "g40", "g41"]
    assert lines[22:] == [["total", "50", "40", "10"], ["1", "speakers,", "0.50", "hours."]]


@pytest.mark.parametrize("label", ["id", "true", "predicted", "speech", "model"])
def test_a_label_that_is_a_column_of_the_predictions_is_refused(tmp_path, label):
    for i in range(4):
        soundfile.write(tmp_path / f"{i}.wav", 0.1 * np.sin(np.arange(8000) * (i + 1)), 16000)
    rows = "".join(f"u{i},{i}.wav,{('sad', label)[i % 2]},s{i},g{i // 2}\n" for i in range(4))
    (tmp_path / "my.csv").write_text("id,wav,emo,speaker,group\n" + rows)
    with pytest.raises(InputError, match=f"my.csv: the label '{label}' is also a column of the files with predictions"):
        prepare_corpus("csv", tmp_path / "my.csv", progress=False)


def test_part_of_a_corpus_without_parts_is_refused():
    with pytest.raises(InputError, match="EmoDB has no parts, got corpus_part 'song': leave it out."):
        check_part(get_corpus("emodb"), "song")
    assert check_part(get_corpus("emodb"), "all") is None
