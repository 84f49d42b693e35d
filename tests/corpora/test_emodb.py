"""EmoDB: names, and a copy whose recordings are not the published ones."""

from collections import Counter
from dataclasses import replace

import pytest
import soundfile

from speechbrain_ext.corpora import emodb, prepare_corpus
from speechbrain_ext.errors import InputError
from tests.corpora.corpus_trees import read_incomplete, write_tree

LETTERS = {emo: letter for letter, emo in emodb.NAMES.labels.items()}


def complete_tree(folder):
    """Write 535 recordings with the published numbers of each speaker and of each emotion."""
    emotions = Counter(emodb.COUNTS.emotions).elements()
    speakers = Counter(emodb.COUNTS.speakers).elements()
    names = [
        f"wav/{speaker}a{i // 26:02}{LETTERS[emo]}{chr(ord('a') + i % 26)}.wav"
        for i, (emo, speaker) in enumerate(zip(emotions, speakers))
    ]
    return write_tree(folder, names)


def test_name_says_speaker_emotion_and_gender(tmp_path):
    write_tree(tmp_path, ["wav/03a01Wa.wav", "wav/16b10Ld.wav"])
    assert emodb.NAMES(tmp_path) == [
        {"id": "03a01Wa", "emo": "ang", "speaker": "03", "group": "03", "gender": "male", "wav": "wav/03a01Wa.wav"},
        {"id": "16b10Ld", "emo": "bor", "speaker": "16", "group": "16", "gender": "female", "wav": "wav/16b10Ld.wav"},
    ]


def test_names_in_capitals_are_read(tmp_path):
    write_tree(tmp_path, ["WAV/03A01FA.WAV"])
    assert [(row["emo"], row["speaker"]) for row in emodb.NAMES(tmp_path)] == [("hap", "03")]


def test_incomplete_copy_is_refused_with_what_is_missing(tmp_path):
    write_tree(tmp_path, ["03a01Wa.wav", "08a01Fa.wav"])
    with pytest.raises(InputError, match="EmoDB, but not all of it. 2 utterances found, 535 expected. 1 of ang"):
        prepare_corpus("emodb", tmp_path, progress=False)
    assert "8 speakers are missing: 09, 10, 11, 12, 13, 14, 15, 16." in read_incomplete("emodb", tmp_path).faults


def test_complete_copy_of_other_recordings_is_said(tmp_path, monkeypatch, capsys):
    complete_tree(tmp_path)
    fault = "The recordings last 0.015 hours in all, each 0.10 s; expected are 0.413: they were altered."
    assert prepare_corpus("emodb", tmp_path, progress=False).faults == [fault]
    assert f"WARNING: These are EmoDB's utterances, but not its recordings. {fault}" in capsys.readouterr().out
    assert prepare_corpus("emodb", tmp_path, ["ang", "sad"], progress=False).faults == []  # published for all seven
    monkeypatch.setattr(emodb, "CORPUS", replace(emodb.CORPUS, hours=535 * 0.1 / 3600))
    assert prepare_corpus("emodb", tmp_path, progress=False).faults == []


def test_a_recording_under_two_names_is_said_and_not_refused(tmp_path, capsys):
    """It may be the publisher's; or a copy went wrong."""
    write_tree(tmp_path, ["03a01Wa.wav", "08a01Fa.wav"])
    for name in ("03a01Wa.wav", "08a01Fa.wav"):
        soundfile.write(tmp_path / name, [0.0, 0.5] * 800, 16000)
    assert read_incomplete("emodb", tmp_path).copies == []
    assert (
        "Twice in the corpus, as published or by a wrong copy:\n"
        "03a01Wa and 08a01Fa are one recording (03a01Wa.wav and 08a01Fa.wav), in the groups 03 and 08.\n"
    ) in capsys.readouterr().out
