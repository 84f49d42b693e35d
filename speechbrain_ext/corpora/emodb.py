"""EmoDB, the Berlin Database of Emotional Speech: ten actors say ten German sentences in seven emotions.

Burkhardt, Paeschke, Rolfes, Sendlmeier and Weiss, "A Database of German Emotional Speech", Interspeech 2005.
"""

from speechbrain_ext.corpora.file_names import FEMALE, MALE, NamedFiles, named_corpus
from speechbrain_ext.corpora.published_counts import PublishedCounts

NAMES = NamedFiles(
    "EmoDB",
    "03a01Wa.wav",
    # 03a01Wa: speaker, text, emotion (the German word's first letter), version.
    pattern=r"(?P<id>(?P<speaker>\d{2})[ab]\d{2}(?P<emo>[WLEAFTN])[a-z]?)",
    labels={"W": "ang", "L": "bor", "E": "dis", "A": "fea", "F": "hap", "N": "neu", "T": "sad"},
    speakers={
        **dict.fromkeys(("03", "10", "11", "12", "15"), MALE),
        **dict.fromkeys(("08", "09", "13", "14", "16"), FEMALE),
    },
)
COUNTS = PublishedCounts(
    emotions={"ang": 127, "bor": 81, "dis": 46, "fea": 69, "hap": 71, "neu": 79, "sad": 62},
    speakers={
        "03": 49, "08": 58, "09": 43, "10": 38, "11": 55, "12": 35, "13": 61, "14": 69, "15": 56, "16": 71
    },
)  # fmt: skip

CORPUS = named_corpus(
    "emodb",
    NAMES,
    COUNTS,
    speaker="actor, for instance 03",
    language="de",
    licence="EmoDB is offered by its authors for free use; cite their paper of 2005 (http://emodb.bilderbar.info).",
    source="EmoDB is a free download at http://emodb.bilderbar.info.",
    complete="535 utterances of seven emotions by ten speakers",
    hours=0.413,
)
