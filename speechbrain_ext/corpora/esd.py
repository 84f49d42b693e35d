"""ESD: ten speakers of English and ten of Mandarin say 350 sentences each, in five emotions.

Zhou, Sisman, Liu and Li, "Emotional voice conversion: Theory, databases and ESD", Speech Communication 137, 2022. Its
folders evaluation, test and train share all speakers, so that they are not used.
"""

from speechbrain_ext.corpora.file_names import NamedFiles, named_corpus
from speechbrain_ext.corpora.published_counts import PublishedCounts

SPEAKERS = tuple(f"{speaker:04}" for speaker in range(1, 21))
PARTS = {"mandarin": SPEAKERS[:10], "english": SPEAKERS[10:]}
NAMES = NamedFiles(
    "ESD",
    "0011/Angry/0011_000351.wav",
    # 0011/Angry/0011_000351, or with a folder evaluation, test or train below the emotion's.
    pattern=r"(?P<emo>Angry|Happy|Neutral|Sad|Surprise)/(?:(?:evaluation|test|train)/)?"
    r"(?P<id>(?P<speaker>00(?:0[1-9]|1\d|20))_\d{6})",
    labels={"Angry": "ang", "Happy": "hap", "Neutral": "neu", "Sad": "sad", "Surprise": "sur"},
    speakers={
        **dict.fromkeys(PARTS["mandarin"], {"language": "zh"}),
        **dict.fromkeys(PARTS["english"], {"language": "en"}),
    },
)
COUNTS = PublishedCounts(dict.fromkeys(NAMES.labels.values(), 7000), dict.fromkeys(SPEAKERS, 1750))
PART_COUNTS = {
    part: PublishedCounts(dict.fromkeys(NAMES.labels.values(), 3500), dict.fromkeys(speakers, 1750))
    for part, speakers in PARTS.items()
}


def part_of(utt_id: str) -> str:
    """Name the part that an utterance belongs to: mandarin or english."""
    return "mandarin" if utt_id[:4] in PARTS["mandarin"] else "english"


CORPUS = named_corpus(
    "esd",
    NAMES,
    COUNTS,
    speaker="0001 to 0010 (Mandarin), 0011 to 0020 (English)",
    licence="ESD may be used for research only, by those who send its authors the signed licence.",
    source="ESD is free for research at https://github.com/HLTSingapore/Emotional-Speech-Data.",
    complete="35000 utterances of five emotions by 20 speakers, half of them English and half Mandarin",
    part_of=part_of,
    part_counts=PART_COUNTS,
)
