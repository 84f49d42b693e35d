"""RAVDESS: names, speech and song."""

from itertools import product

import pytest

from speechbrain_ext.corpora import prepare_corpus, ravdess
from speechbrain_ext.errors import InputError
from tests.corpora.corpus_trees import describe_names, read_incomplete, write_tree


def all_names(channel):
    """List the published recordings: 8 emotions spoken, 6 sung (not by actor 18); neutral in one intensity."""
    emotions = range(1, 9 if channel == "01" else 7)
    for actor, emo, intensity, sentence, repetition in product(range(1, 25), emotions, (1, 2), (1, 2), (1, 2)):
        if (emo, intensity) != (1, 2) and (channel, actor) != ("02", 18):
            yield f"03-{channel}-{emo:02}-{intensity:02}-{sentence:02}-{repetition:02}-{actor:02}"


def test_name_says_emotion_and_actor(tmp_path):
    write_tree(tmp_path, ["Actor_12/03-01-06-01-02-01-12.wav", "Actor_01/03-01-08-02-01-01-01.WAV"])
    assert ravdess.NAMES(tmp_path) == [
        {"id": "03-01-08-02-01-01-01", "emo": "sur", "speaker": "01", "group": "01", "gender": "male",
         "wav": "Actor_01/03-01-08-02-01-01-01.WAV"},
        {"id": "03-01-06-01-02-01-12", "emo": "fea", "speaker": "12", "group": "12", "gender": "female",
         "wav": "Actor_12/03-01-06-01-02-01-12.wav"},
    ]  # fmt: skip


def test_complete_copies_have_the_published_counts():
    speech, song = (describe_names(ravdess, all_names(channel)) for channel in ("01", "02"))
    assert (len(speech), len(song)) == (1440, 1012)
    assert ravdess.CORPUS.part_counts["speech"](speech) == (True, [])
    assert ravdess.CORPUS.part_counts["song"](song) == (True, [])
    assert ravdess.CORPUS.compare(speech + song) == (True, [])


def test_speech_is_used_unless_more_is_asked_for(tmp_path):
    names = [f"03-{channel}-{emo}-01-01-01-{actor}.wav" for channel in ("01", "02") for emo in ("03", "04")
             for actor in ("01", "02")]  # fmt: skip
    write_tree(tmp_path, [f"Actor_{name[18:20]}/{name}" for name in [*names, "01-01-03-01-01-01-01.wav"]])
    assert list(read_incomplete("ravdess", tmp_path).manifest) == sorted(
        name[:-4] for name in names if name[3:5] == "01"
    )
    assert read_incomplete("ravdess", tmp_path).faults[0] == "4 utterances found, 1440 expected."
    both = read_incomplete("ravdess", tmp_path, part="all")
    assert (len(both.manifest), both.faults[0], both.limits) == (8, "8 utterances found, 2452 expected.", [])
    song = read_incomplete("ravdess", tmp_path, part="song")
    assert (len(song.manifest), song.limits) == (4, ["Only the song part is used."])
    assert song.emotions == ["neu", "cal", "hap", "sad", "ang", "fea"]  # nobody sings disgusted or surprised
    with pytest.raises(InputError, match="22 speakers are missing: 03, 04,"):
        prepare_corpus("ravdess", tmp_path, progress=False)


def test_copy_with_all_actors_twice_is_read_once(tmp_path):
    names = [f"Actor_0{i}/03-01-0{emo}-01-01-01-0{i}.wav" for i in (1, 2) for emo in (3, 4)]
    write_tree(tmp_path, [*names, *(f"audio_speech_actors_01-24/{name}" for name in names)])
    assert len(read_incomplete("ravdess", tmp_path).manifest) == 4
