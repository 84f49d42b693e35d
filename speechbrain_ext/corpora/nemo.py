"""nEMO: nine actors say 90 Polish sentences in six emotions.

Christop, "nEMO: Dataset of Emotional Speech in Polish", LREC-COLING 2024.
"""

from speechbrain_ext.corpora.file_names import FEMALE, MALE, NamedFiles, named_corpus
from speechbrain_ext.corpora.published_counts import PublishedCounts

LABELS = {"anger": "ang", "fear": "fea", "happiness": "hap", "neutral": "neu", "sadness": "sad", "surprised": "sur"}
SPEAKERS = {
    **dict.fromkeys(("EB0", "IC0", "KD0", "MK0"), FEMALE),
    **dict.fromkeys(("KS0", "MP0", "SM0", "TP0", "WR0"), MALE),
}
NAMES = NamedFiles(
    "nEMO",
    "EB0_anger_1.wav",
    # EB0_anger_11: speaker, emotion, sentence.
    pattern=rf"(?P<id>(?P<speaker>{'|'.join(SPEAKERS)})_(?P<emo>{'|'.join(LABELS)})_\d+)",
    labels=LABELS,
    speakers=SPEAKERS,
)
COUNTS = PublishedCounts({"ang": 749, "fea": 736, "hap": 749, "neu": 809, "sad": 769, "sur": 669})

CORPUS = named_corpus(
    "nemo",
    NAMES,
    COUNTS,
    speaker="actor, for instance EB0",
    language="pl",
    licence="nEMO is licensed CC BY-NC-SA 4.0.",
    source="nEMO is free at https://github.com/amu-cai/nEMO and https://huggingface.co/datasets/amu-cai/nEMO.",
    complete="4481 utterances of six emotions by nine speakers",
)
