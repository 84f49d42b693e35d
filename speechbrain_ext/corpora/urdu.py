"""URDU: 400 utterances of 38 speakers from Urdu talk shows, in four emotions.

Latif, Qayyum, Usman and Qadir, "Cross Lingual Speech Emotion Recognition: Urdu vs. Western Languages", FIT 2018.
"""

from speechbrain_ext.corpora.file_names import NamedFiles, named_corpus
from speechbrain_ext.corpora.published_counts import PublishedCounts

NAMES = NamedFiles(
    "URDU",
    "SM1_F1_A01.wav",
    # SM1_F1_A01: speaker (M: male, F: female), the speaker's file in this emotion, emotion with number.
    pattern=r"(?P<id>(?P<speaker>S(?P<gender>[MF])\d+)_F\d+_(?P<emo>[AHNS])\d+)",
    labels={"A": "ang", "H": "hap", "N": "neu", "S": "sad"},
)
COUNTS = PublishedCounts(dict.fromkeys(NAMES.labels.values(), 100))

CORPUS = named_corpus(
    "urdu",
    NAMES,
    COUNTS,
    speaker="for instance SM1",
    language="ur",
    licence="URDU may be used for research only, as its authors say.",
    source="URDU is free for research at https://github.com/siddiquelatif/URDU-Dataset.",
    complete="400 utterances of four emotions by 38 speakers",
)
