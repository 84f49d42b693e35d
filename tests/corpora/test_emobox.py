"""EmoBox's metadata: read as they are, with the speakers that the names say, and refused where they contradict."""

import json
import pickle

import numpy as np
import pytest
import soundfile

from speechbrain_ext.corpora import get_corpus, prepare_corpus
from speechbrain_ext.corpora.emobox import read_metadata
from speechbrain_ext.dataio.folds import fold_names, make_fold
from speechbrain_ext.errors import InputError
from tests.corpora.emobox_folder import UTTERANCES, record, write_emobox, write_lines


@pytest.fixture
def folder(tmp_path):
    """Return EmoBox's folder for two actors of EmoDB."""
    return write_emobox(tmp_path / "EmoBox" / "data" / "emodb")


def write_recordings(root, names=tuple(utt for utt, *_ in UTTERANCES)):
    for i, name in enumerate(names):
        path = root / "downloads" / "emodb" / "wav" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.random.default_rng(i).uniform(-0.1, 0.1, 8000), 16000)
    return root


def test_metadata_say_the_folds_and_the_names_who_speaks(folder):
    rows = {row["id"]: row for row in read_metadata(folder)}
    assert {key: (row["parts"], row["speaker"]) for key, row in rows.items()} == {
        "emodb-03a01Wa": (["train", "test"], "03"),
        "emodb-03a01Nc": (["test", "train"], "03"),
        "emodb-08a01Wc": (["test", "train"], "08"),
        "emodb-08a01Na": (["train", "test"], "08"),
        "emodb-08a02Na": (["train", "train"], "08"),
    }
    assert rows["emodb-08a01Na"] == {
        "id": "emodb-08a01Na", "wav": "downloads/emodb/wav/08a01Na.wav", "emo": "Neutral", "speaker": "08",
        "group": "08", "gender": "female", "parts": ["train", "test"], "length": 0.5,
    }  # fmt: skip


def test_a_label_in_another_spelling_is_read_and_said(folder, caplog):
    assert [row["emo"] for row in read_metadata(folder)].count("Neutral") == 3
    (message,) = caplog.messages
    assert message.endswith("has 'Neutral' where 3 utterances are labelled 'neutral': it is read as the same.")


def test_labels_that_the_map_merges_are_one_emotion(tmp_path):
    lines = (("a", "hap", "train"), ("b", "exc", "test"), ("c", "neu", "train"))
    folder = write_emobox(tmp_path / "x", lines, {"hap": "Happy", "exc": "Happy", "neu": "Neutral"})
    assert [row["emo"] for row in read_metadata(folder)] == ["Happy", "Happy", "Neutral"]


def test_speakers_of_a_corpus_without_a_naming_scheme_are_not_known(tmp_path):
    folder = write_emobox(tmp_path / "aesdd")
    assert {(row["speaker"], row["group"]) for row in read_metadata(folder)} == {("unknown", "unknown")}


def test_segments_are_read_in_seconds(folder):
    others = {"start_time": 2, "end_time": 3.5}
    write_lines(folder / "emodb.jsonl", [record(utt, label, **others) for utt, label, *_ in UTTERANCES])
    assert {(row["start"], row["end"]) for row in read_metadata(folder)} == {(2.0, 3.5)}


def test_corpus_with_emobox_folds_is_trained_on_these(folder, tmp_path, capsys):
    root = write_recordings(tmp_path / "root")
    prepared = prepare_corpus(f"emobox:{folder}", root, progress=False)
    assert prepared.emotions == ["Angry", "Neutral"]
    assert len(fold_names(prepared.manifest)) == 2
    fold = make_fold(prepared.manifest, 1, "none", emotions=prepared.emotions)
    assert fold.test == ["emodb-03a01Nc", "emodb-08a01Wc"]
    assert fold.train == ["emodb-03a01Wa", "emodb-08a01Na", "emodb-08a02Na"]
    assert fold.cautions == ("Fold 1 is used as published, and it shares 2 of 2 test speakers with training (03, 08).",)


def test_recordings_that_are_not_as_long_as_emobox_lists_are_said(folder, tmp_path, capsys):
    root = write_recordings(tmp_path / "root")
    assert prepare_corpus(f"emobox:{folder}", root, progress=False).faults == []
    path = root / "downloads" / "emodb" / "wav" / "03a01Wa.wav"
    soundfile.write(path, np.random.default_rng(1).uniform(-0.1, 0.1, 16000), 16000)
    (fault,) = prepare_corpus(f"emobox:{folder}", root, progress=False).faults
    assert fault == "The recordings last 0.001 hours in all; expected are 0.001: they were altered."
    assert "length" not in next(iter(prepare_corpus(f"emobox:{folder}", root, progress=False).manifest.values()))


def test_recordings_under_two_ids_are_said_and_not_refused(folder, tmp_path, capsys):
    root = write_recordings(tmp_path / "root")
    wavs = root / "downloads" / "emodb" / "wav"
    (wavs / "08a01Wc.wav").write_bytes((wavs / "03a01Wa.wav").read_bytes())
    manifest = prepare_corpus(f"emobox:{folder}", root, progress=False).manifest
    assert make_fold(manifest, 1, "none").cautions[1] == (
        "Fold 1 is used as published, and 1 of 2 test recordings are also in training under another id "
        "(emodb-08a01Wc is emodb-03a01Wa)."
    )


def test_emobox_corpora_have_a_name_without_a_path(folder):
    corpus = get_corpus(f"emobox:{folder}")
    assert (corpus.name, corpus.title, corpus.metadata) == ("emobox:emodb", "EmoDB (EmoBox)", folder)
    assert get_corpus(corpus.name).title == corpus.title  # where results are read, there may be no such folder
    assert pickle.loads(pickle.dumps(corpus)) == corpus
    assert get_corpus("emobox:x/aesdd").source.startswith("EmoBox says where to get aesdd.")


def test_another_spelling_and_a_missing_folder_are_said(tmp_path):
    with pytest.raises(InputError, match="got 'EmoBox:x/emodb'. Did you mean emobox:x/emodb"):
        get_corpus("EmoBox:x/emodb")
    with pytest.raises(InputError, match="nope/emodb does not exist. .* such as EmoBox/data/emodb; check the path.$"):
        prepare_corpus(f"emobox:{tmp_path}/nope/emodb", tmp_path)


@pytest.mark.parametrize("name", ["emobox", "emobox:", "emobox:/"])
def test_emobox_without_a_folder_is_refused(name):
    with pytest.raises(InputError, match=f"got {name!r}. Name the folder: emobox:PATH/data/emodb."):
        get_corpus(name)


def test_missing_recordings_are_named_where_they_are_expected(folder, tmp_path):
    root = write_recordings(tmp_path / "root", ["03a01Wa"])
    with pytest.raises(InputError) as error:
        prepare_corpus(f"emobox:{folder}", root, progress=False)
    first, second, *_ = str(error.value).splitlines()
    assert first == (
        f"4 of the 5 recordings that {folder} lists are not where EmoBox expects them. Set --data_folder to the folder "
        "that holds downloads/emodb/wav/03a01Nc.wav."
    )
    assert second == f"emodb-03a01Nc: {root}/downloads/emodb/wav/03a01Nc.wav"
    write_recordings(root)
    with pytest.raises(InputError, match=rf"them\. Did you mean {root}\?"):
        prepare_corpus(f"emobox:{folder}", root / "downloads", progress=False)


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("emodb.jsonl", "{", "emodb.jsonl, line 1 is no JSON"),
        ("emodb.jsonl", "[]", "line 1 must be an object with the texts key, wav, emo"),
        ("emodb.jsonl", {"key": 3}, "line 1 must be an object with the texts"),
        ("emodb.jsonl", {"type": "feature"}, "line 1: emodb-x is of the type 'feature', and only recordings"),
        ("emodb.jsonl", {"start_time": "0:03"}, "line 1: start_time and end_time must be seconds"),
        ("fold_1/emodb_test_fold_1.jsonl", {"key": "emodb-03a01Wa"}, "emodb-03a01Wa is not the same in .*fold_1"),
        ("fold_2/emodb_train_fold_2.jsonl", record("03a01Wa", "anger"), "03a01Wa is in the parts .* of .*fold_2"),
        ("label_map.json", "{", "EmoBox's label map cannot be read"),
        ("label_map.json", "[1]", "must be an object that names an emotion for each label"),
        ("label_map.json", '{"anger": "Angry"}', "has no emotion for the label 'neutral' of 3 utterances. Add it"),
    ],
)
def test_faulty_metadata_are_refused(folder, path, content, message):
    text = content if isinstance(content, str) else json.dumps({**record("x", "anger"), **content})
    (folder / path).write_text(text)
    with pytest.raises(InputError, match=message):
        read_metadata(folder)


def test_an_utterance_that_stands_twice_is_refused(folder):
    write_lines(folder / "emodb.jsonl", [record("03a01Wa", "anger")] * 2)
    with pytest.raises(InputError, match="emodb.jsonl, line 2: emodb-03a01Wa stands twice"):
        read_metadata(folder)


def test_a_folder_that_is_none_of_emobox_is_refused(folder):
    with pytest.raises(InputError, match="holds no data.jsonl, .*It has the corpora emodb: name one of them"):
        read_metadata(folder.parent)
    with pytest.raises(InputError, match="nowhere does not exist"):
        read_metadata(folder.parent / "nowhere")
    (folder / "fold_1").rename(folder / "fold_3")
    with pytest.raises(InputError, match=r"must hold fold_1, fold_2, ... without a gap, and has \[2, 3\]"):
        read_metadata(folder)


def test_empty_lists_are_refused(folder):
    for path in folder.rglob("*.jsonl"):
        path.write_text("")
    with pytest.raises(InputError, match="emodb lists no utterance: get EmoBox's metadata again"):
        read_metadata(folder)


def test_a_fold_without_a_test_part_is_refused(folder):
    (folder / "fold_2" / "emodb_test_fold_2.jsonl").unlink()
    with pytest.raises(InputError, match=r"fold_2 must hold one file \*_test_fold_2.jsonl, and has 0"):
        read_metadata(folder)
