"""CREMA-D: 91 actors say twelve English sentences in six emotions, one of them at several intensities.

Cao, Cooper, Keutmann, Gur, Nenkova and Verma, "CREMA-D: Crowd-Sourced Emotional Multimodal Actors Dataset", IEEE
Transactions on Affective Computing 5(4), 2014. The labels are the intended emotions: the files' names say them.
"""

from speechbrain_ext.corpora.file_names import NamedFiles, named_corpus
from speechbrain_ext.corpora.published_counts import PublishedCounts

COUNTS = PublishedCounts(
    {"ang": 1271, "dis": 1271, "fea": 1271, "hap": 1271, "neu": 1087, "sad": 1271},
    {
        **dict.fromkeys(map(str, range(1001, 1092)), 82),
        **dict.fromkeys(("1002", "1076"), 81),
        **dict.fromkeys(("1008", "1009", "1019"), 76),
    },
)
NAMES = NamedFiles(
    "CREMA-D",
    "1001_DFA_ANG_XX.wav",
    # 1001_DFA_ANG_XX: actor, sentence, emotion, intensity.
    pattern=r"(?P<id>(?P<speaker>10\d{2})_[A-Z]{3}_(?P<emo>ANG|DIS|FEA|HAP|NEU|SAD)_(?:LO|MD|HI|XX?))",
    labels={emo.upper(): emo for emo in COUNTS.emotions},
)

CORPUS = named_corpus(
    "cremad",
    NAMES,
    COUNTS,
    speaker="actor, for instance 1001",
    language="en",
    licence="CREMA-D is available under the Open Database License 1.0 and the Database Contents License 1.0.",
    source="CREMA-D is free at https://github.com/CheyneyComputerScience/CREMA-D; its folder AudioWAV is enough.",
    complete="7442 utterances of six emotions by 91 speakers",
    hours=5.257,
)
