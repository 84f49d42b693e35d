"""Preparation: what is read of a copy of a corpus, and what is refused."""

import numpy as np
import pytest
import soundfile

from speechbrain_ext.corpora.preparation import count_table, prepare_corpus
from speechbrain_ext.errors import InputError


def test_demo_corpus_is_read_as_iemocap_is(demo_corpus, capsys):
    prepared = prepare_corpus("synthetic", demo_corpus, progress=False)
    assert (prepared.emotions, prepared.faults, prepared.copies) == (["ang", "hap", "sad", "neu"], [], [])
    assert "not IEMOCAP" not in capsys.readouterr().out
    assert prepared.manifest == prepare_corpus("iemocap", demo_corpus, progress=False).manifest


def test_table_of_many_groups_shows_the_first_and_the_last():
    manifest = {
        f"u{i}": {"group": f"g{i:02}", "speaker": "s", "emo": "ang" if i % 5 else "sad", "duration": 36.0}
        for i in range(50)
    }
    lines = [line.split() for line in count_table(manifest, ["ang", "sad"]).splitlines()]
    assert [line[0] for line in lines[9:14]] == ["g08", "g09", "...", "g40", "g41"]
    assert lines[22:] == [["total", "50", "40", "10"], ["1", "speakers,", "0.50", "hours."]]


def test_a_label_that_is_a_column_of_the_predictions_is_refused(tmp_path):
    for i in range(4):
        soundfile.write(tmp_path / f"{i}.wav", 0.1 * np.sin(np.arange(8000) * (i + 1)), 16000)
    rows = "".join(f"u{i},{i}.wav,{('sad', 'model')[i % 2]},s{i},g{i // 2}\n" for i in range(4))
    (tmp_path / "my.csv").write_text("id,wav,emo,speaker,group\n" + rows)
    with pytest.raises(InputError, match="my.csv: the label 'model' is also a column of the files with predictions"):
        prepare_corpus("csv", tmp_path / "my.csv", progress=False)
