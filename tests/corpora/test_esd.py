"""ESD: names, with and without the folders of its split, and its two languages."""

from speechbrain_ext.corpora import esd
from tests.corpora.corpus_trees import describe_names, read_incomplete, write_tree


def test_path_says_speaker_emotion_and_language(tmp_path):
    write_tree(
        tmp_path,
        ["0011/Angry/0011_000351.wav", "0001/Surprise/evaluation/0001_001401.wav", "0002/Sad/train/0002_001051.wav"],
    )
    assert esd.NAMES(tmp_path)[::2] == [
        {"id": "0001_001401", "emo": "sur", "speaker": "0001", "group": "0001", "language": "zh",
         "wav": "0001/Surprise/evaluation/0001_001401.wav"},
        {"id": "0011_000351", "emo": "ang", "speaker": "0011", "group": "0011", "language": "en",
         "wav": "0011/Angry/0011_000351.wav"},
    ]  # fmt: skip
    english = read_incomplete("esd", tmp_path, part="english")
    assert (list(english.manifest), english.limits) == (["0011_000351"], ["Only the english part is used."])
    assert "9 speakers are missing: 0012, 0013," in " ".join(english.faults)


def test_complete_copy_has_the_published_counts():
    emotions = ("Neutral", "Angry", "Happy", "Sad", "Surprise")
    rows = describe_names(
        esd,
        [
            f"{s:04}/{emo}/{s:04}_{350 * k + i:06}"
            for s in range(1, 21)
            for k, emo in enumerate(emotions)
            for i in range(1, 351)
        ],
    )
    assert len(rows) == 35000 and esd.COUNTS(rows) == (True, [])
    for part, counts in esd.PART_COUNTS.items():
        assert counts([row for row in rows if esd.part_of(row["id"]) == part]) == (True, [])
