"""An examination goes on where a reading ends."""

import pytest
import soundfile as sf

from speechbrain_ext.corpora import prepare_corpus
from speechbrain_ext.corpora.examination import Examination
from speechbrain_ext.errors import InputError
from tests.corpora.csv_files import write

LINES = ["wav,emo,speaker,text", "a.wav,ang,s1,", "b.wav,sad,s2,", "gone.wav,sad,s2,", "c.wav,ang,s1,a,b"]
LINES += ["c.wav,sad,,", "copy.wav,sad,s2,", "deep/d.wav,sad,s2,"]


def test_examination_has_the_faults_of_rows_and_recordings_in_their_order(recordings):
    sf.write(recordings / "copy.wav", *sf.read(recordings / "a.wav"))
    path, examination = write(recordings, "\n".join(LINES)), Examination()
    with pytest.raises(InputError, match="2 of 7 rows cannot be used"):  # what cannot be read is not looked at
        prepare_corpus("csv", path, progress=False)
    prepared = prepare_corpus("csv", path, progress=False, reading=examination)
    assert list(prepared.manifest) == ["a", "b", "copy", "deep/d"] == sorted(examination.measures)
    assert [fault[:12] for fault in examination.faults] == [f"c.csv, row {n}"[:12] for n in (4, 5, 6, 7)]
    assert examination.n_faulty == 3  # the copy can be used
    assert examination.faults[3].endswith("a and copy are one recording (a.wav and copy.wav), in the groups s1 and s2.")


def test_examination_makes_the_manifest_of_a_reading(recordings):
    path = write(recordings, "wav,emo,speaker,start,end\na.wav,ang,s1,,\nb.wav,sad,s2,0.25,0.5\nb.wav,ang,s2,0.5,\n")
    found = prepare_corpus("csv", path, progress=False, reading=Examination()).manifest
    assert found == prepare_corpus("csv", path, progress=False).manifest
    assert list(found) == ["a", "b_0.25-0.5", "b_0.5-"]


def test_examination_reads_each_recording_once(recordings, monkeypatch):
    opened = []
    monkeypatch.setattr(
        "speechbrain_ext.corpora.examination.measure_recording",
        lambda rows, root: opened.append(rows[0]["wav"]) or [f"{row['id']}: bad" for row in rows],
    )
    path = write(recordings, "wav,emo,speaker,start,end\na.wav,ang,s1,,\nb.wav,sad,s2,0,0.5\nb.wav,ang,s2,0.5,\n")
    with pytest.raises(InputError, match="No clip can be used:\na: bad\nb_0-0.5: bad\nb_0.5-: bad"):
        prepare_corpus("csv", path, progress=False, reading=Examination())
    assert opened == ["a.wav", "b.wav"]
