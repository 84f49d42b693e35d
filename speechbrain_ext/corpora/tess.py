"""TESS: a younger and an older woman say "Say the word ..." with 200 English words in seven emotions.

Pichora-Fuller and Dupuis, "Toronto emotional speech set (TESS)", University of Toronto, 2010, doi:10.5683/SP2/E8H2MF.
"""

from speechbrain_ext.corpora.file_names import FEMALE, NamedFiles, named_corpus
from speechbrain_ext.corpora.published_counts import PublishedCounts

LABELS = {
    "angry": "ang", "disgust": "dis", "fear": "fea", "happy": "hap", "neutral": "neu", "ps": "sur", "sad": "sad"
}  # fmt: skip
NAMES = NamedFiles(
    "TESS",
    "OAF_back_angry.wav",
    # OAF_back_angry: speaker, word, emotion ("ps": pleasant surprise). One file is called OA_bite_neutral.
    pattern=rf"(?P<speaker>OAF?|YAF)_(?P<rest>[A-Za-z]+_(?P<emo>{'|'.join(LABELS)}))",
    labels=LABELS,
    speakers={"OAF": FEMALE, "YAF": FEMALE},
)
COUNTS = PublishedCounts(dict.fromkeys(LABELS.values(), 400), {"OAF": 1400, "YAF": 1400})

CORPUS = named_corpus(
    "tess",
    NAMES,
    COUNTS,
    speaker="OAF or YAF (older, younger)",
    language="en",
    licence="TESS is licensed CC BY-NC-ND 4.0.",
    source="TESS is a free download at https://doi.org/10.5683/SP2/E8H2MF.",
    complete="2800 utterances of seven emotions by two speakers",
)
