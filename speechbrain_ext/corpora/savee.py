"""SAVEE: four men say 120 English sentences each, in seven emotions.

Haq and Jackson, "Speaker-Dependent Audio-Visual Emotion Recognition", AVSP 2009.
"""

from speechbrain_ext.corpora.file_names import MALE, NamedFiles, named_corpus
from speechbrain_ext.corpora.published_counts import PublishedCounts

NAMES = NamedFiles(
    "SAVEE",
    "DC/a01.wav or DC_a01.wav",
    # DC/sa01 in the original folders, DC_sa01 in copies: speaker, emotion, number.
    pattern=r"(?P<speaker>DC|JE|JK|KL)[/_](?P<rest>(?P<emo>sa|su|[adfhn])\d{2})",
    labels={"a": "ang", "d": "dis", "f": "fea", "h": "hap", "n": "neu", "sa": "sad", "su": "sur"},
    speakers=dict.fromkeys(("DC", "JE", "JK", "KL"), MALE),
)
COUNTS = PublishedCounts({**dict.fromkeys(NAMES.labels.values(), 60), "neu": 120}, dict.fromkeys(NAMES.speakers, 120))

CORPUS = named_corpus(
    "savee",
    NAMES,
    COUNTS,
    speaker="DC, JE, JK or KL",
    language="en",
    licence="SAVEE is free for research, to those who register with the University of Surrey.",
    source="SAVEE is free for research at http://kahlan.eps.surrey.ac.uk/savee/, after a registration.",
    complete="480 utterances of seven emotions by four speakers",
    hours=0.512,
)
