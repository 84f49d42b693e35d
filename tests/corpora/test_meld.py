"""MELD: lists, clips in mp4, its own split, and what is broken in every copy."""

import av
import numpy as np
import pytest

from speechbrain_ext.corpora import meld, prepare_corpus
from speechbrain_ext.dataio.audio import read_audio
from speechbrain_ext.errors import InputError
from tests.corpora.corpus_trees import read_incomplete, tiny_wav

HEADER = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
FOLDERS = {"train": "train/train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}


def write_mp4(path):
    """Write half a second of stereo sound in AAC at 48 kHz, in an mp4."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="stereo")
        samples = (0.2 * np.sin(np.arange(24000) / 20)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([samples, samples]), format="fltp", layout="stereo")
        frame.sample_rate = 48000
        container.mux([*stream.encode(frame), *stream.encode(None)])


@pytest.fixture
def tree(tmp_path):
    """Write the three lists, a clip for each line but the broken ones, and what else lies in a copy."""
    lines = {
        "train": [
            '"Oh my God, he\x92s lost it.",Phoebe,sadness,0,0',
            '"What?, she said",Monica,surprise,0,1',
            "a,Ross,joy,125,3",
        ],
        "dev": ["b,Ross,neutral,0,0", "c,Phoebe,fear,110,7"],
        "test": ["d,Rachel,anger,0,0", "e,Ross,disgust,0,1"],
    }
    for part, folder in FOLDERS.items():
        text = HEADER
        for i, line in enumerate(lines[part]):
            words, speaker, emo, dialogue, utterance = line.rsplit(",", 4)
            text += f'{i},{words},{speaker},{emo},negative,{dialogue},{utterance},4,7,"00:20:57,256","00:21:00,049"\n'
            if dialogue == "0":
                write_mp4(tmp_path / folder / f"dia0_utt{utterance}.mp4")
        (tmp_path / f"{part}_sent_emo.csv").write_bytes(text.encode("latin-1"))
    write_mp4(tmp_path / FOLDERS["test"] / "final_videos_testdia0_utt0.mp4")
    (tmp_path / FOLDERS["test"] / "._dia0_utt0.mp4").write_bytes(b"\0\5")
    return tmp_path


def test_clips_keep_the_publishers_split_and_their_speakers(tree, caplog):
    found = read_incomplete("meld", tree)
    manifest = found.manifest
    fields = ("emo", "speaker", "group", "parts")
    assert {utt_id: tuple(entry[field] for field in fields) for utt_id, entry in manifest.items()} == {
        "dev_dia0_utt0": ("neu", "Ross", "dev_dia0", ["valid"]),
        "test_dia0_utt0": ("ang", "Rachel", "test_dia0", ["test"]),
        "test_dia0_utt1": ("dis", "Ross", "test_dia0", ["test"]),
        "train_dia0_utt0": ("sad", "Phoebe", "train_dia0", ["train"]),
        "train_dia0_utt1": ("sur", "Monica", "train_dia0", ["train"]),
    }  # fmt: skip
    assert manifest["train_dia0_utt1"]["text"] == "What?, she said"
    assert found.faults[0] == "5 utterances found, 13706 expected."
    left_out = [message for message in caplog.messages if "broken in every copy" in message]
    assert [message.split()[0] for message in left_out] == ["train_dia125_utt3", "dev_dia110_utt7"]


def test_sound_of_an_mp4_is_read(tree):
    entry = read_incomplete("meld", tree).manifest["train_dia0_utt0"]
    assert entry["wav"].endswith("train/train_splits/dia0_utt0.mp4") and entry["duration"] == pytest.approx(
        0.5, abs=0.05
    )
    samples = read_audio(tree / "train/train_splits/dia0_utt0.mp4", "dia0_utt0", 16000)
    assert samples.ndim == 1 and abs(len(samples) - 8000) < 800


def test_sound_beside_a_clip_is_taken_in_place_of_it(tree):
    (tree / FOLDERS["dev"] / "dia0_utt0.wav").write_bytes(tiny_wav())
    assert read_incomplete("meld", tree).manifest["dev_dia0_utt0"]["wav"].endswith("dev_splits_complete/dia0_utt0.wav")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: (tree / "dev_sent_emo.csv").unlink(), "holds no dev_sent_emo.csv, which lists a part of MELD"),
        (lambda tree: [path.unlink() for path in tree.glob("**/*.mp4")], "holds no clip of MELD"),
        (
            lambda tree: (tree / "dev_sent_emo.csv").write_text(HEADER + "1,a,Ross,angst,neutral,0,0,4,7,0,0\n"),
            "dev_sent_emo.csv, row 2 is no line of MELD's: KeyError\\('angst'\\)",
        ),
        (lambda tree: (tree / "dev_sent_emo.csv").write_text("a,b\n1,2\n"), "row 2 is no line of MELD's: KeyError"),
    ],
)
def test_what_is_missing_is_named(tree, change, message):
    change(tree)
    with pytest.raises(InputError, match=message):
        prepare_corpus("meld", tree, progress=False)


def test_published_counts_are_those_of_the_lists_without_the_broken_clips():
    """13,708 lines: 9989 to train, 1109 to validate, 2610 to test."""
    assert sum(meld.COUNTS.emotions.values()) == 9989 + 1109 + 2610 - 2
