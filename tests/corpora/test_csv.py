"""CSV corpora: what is read, and what is refused with which words."""

import pytest

from speechbrain_ext.corpora.csv import read_corpus_csv
from speechbrain_ext.dataio.manifest import build_manifest
from speechbrain_ext.errors import InputError


def test_read_corpus_csv_takes_what_a_spreadsheet_writes(tmp_path):
    text = '\ufeffspeaker,id,note,wav,emo,group\r\n s1 ,a,"x, y","deep/a, 1.wav",sad,g1\r\ns2,b,,b.wav,ang,g2\r\n'
    (tmp_path / "c.csv").write_bytes(text.encode("utf-8"))
    assert read_corpus_csv(tmp_path / "c.csv") == [
        {"id": "a", "wav": "deep/a, 1.wav", "emo": "sad", "speaker": "s1", "group": "g1"},
        {"id": "b", "wav": "b.wav", "emo": "ang", "speaker": "s2", "group": "g2"},
    ]


@pytest.mark.parametrize(
    ("text", "missing"), [("id,wav,emo\na,b,c\n", "'speaker', 'group'"), ("", "'id', 'wav', 'emo', 'speaker', 'group'")]
)
def test_read_corpus_csv_names_missing_columns(tmp_path, text, missing):
    (tmp_path / "c.csv").write_text(text)
    message = rf"c\.csv: the columns \[{missing}\] are missing; needed are id, wav, emo, speaker, group"
    with pytest.raises(InputError, match=message):
        read_corpus_csv(tmp_path / "c.csv")


def test_read_corpus_csv_short_line_is_an_empty_field(tmp_path):
    (tmp_path / "c.csv").write_text("id,wav,emo,speaker,group\na,a.wav,sad\n")
    with pytest.raises(InputError, match="^a: the field 'speaker' is empty"):
        build_manifest(read_corpus_csv(tmp_path / "c.csv"), tmp_path)


def test_read_corpus_csv_refuses_missing_file_and_other_encoding(tmp_path):
    with pytest.raises(InputError, match=r"corpus CSV cannot be read: .*nowhere\.csv"):
        read_corpus_csv(tmp_path / "nowhere.csv")
    (tmp_path / "c.csv").write_bytes("id,wav,emo,speaker,group\na,a.wav,sad,Zoë,g\n".encode("latin-1"))
    with pytest.raises(InputError, match="corpus CSV cannot be read: .*utf-8"):
        read_corpus_csv(tmp_path / "c.csv")
