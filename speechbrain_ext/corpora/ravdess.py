"""RAVDESS: 24 actors say, and 23 of them sing, two English sentences in eight emotions.

Livingstone and Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS)", PLoS ONE 13(5), 2018.
"""

from speechbrain_ext.corpora.file_names import FEMALE, MALE, NamedFiles, named_corpus
from speechbrain_ext.corpora.published_counts import PublishedCounts

NAMES = NamedFiles(
    "RAVDESS",
    "03-01-06-01-02-01-12.wav",
    # 03-01-06-01-02-01-12: modality (03: audio only), channel, emotion, intensity, sentence, repetition, actor.
    pattern=r"(?P<id>03-0[12]-(?P<emo>0[1-8])-0[12]-0[12]-0[12]-(?P<speaker>0[1-9]|1\d|2[0-4]))",
    labels={"01": "neu", "02": "cal", "03": "hap", "04": "sad", "05": "ang", "06": "fea", "07": "dis", "08": "sur"},
    speakers={f"{actor:02}": MALE if actor % 2 else FEMALE for actor in range(1, 25)},
)
PARTS = {"01": "speech", "02": "song"}
SPEECH = PublishedCounts(
    {"neu": 96, **dict.fromkeys(("cal", "hap", "sad", "ang", "fea", "dis", "sur"), 192)},
    dict.fromkeys(NAMES.speakers, 60),
)
SONG = PublishedCounts(
    {"neu": 92, **dict.fromkeys(("cal", "hap", "sad", "ang", "fea"), 184)},
    {actor: 44 for actor in NAMES.speakers if actor != "18"},
)
COUNTS = PublishedCounts({emo: n + SONG.emotions.get(emo, 0) for emo, n in SPEECH.emotions.items()})


def part_of(utt_id: str) -> str:
    """Name the part that an utterance belongs to: speech or song."""
    return PARTS[utt_id[3:5]]


CORPUS = named_corpus(
    "ravdess",
    NAMES,
    COUNTS,
    speaker="actor, for instance 12",
    language="en",
    licence="RAVDESS is licensed CC BY-NC-SA 4.0; a licence for commercial use is sold by its authors.",
    source="RAVDESS is a free download at https://zenodo.org/records/1188976; Audio_Speech_Actors_01-24.zip is enough.",
    complete="1440 spoken utterances of eight emotions by 24 speakers (and 1012 sung ones, which are another part)",
    part_of=part_of,
    part="speech",
    part_counts={"speech": SPEECH, "song": SONG},
)
