"""Split files become folds: by their names, by words before them, by columns, or by EmoBox's folders."""

import pytest

from speechbrain_ext.corpora.split_files import read_split
from speechbrain_ext.errors import InputError
from tests.corpora.emobox_folder import write_emobox


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_parts_are_told_by_the_names_of_files_or_by_words(tmp_path):
    words = [
        write(tmp_path / "my_train.txt", "a\nb\n"),
        f"valid={write(tmp_path / 'x.txt', 'c')}",
        f"test={write(tmp_path / 'train_y.txt', 'd')}",  # the word counts, not the name
    ]
    assert read_split(words).folds == [{"train": ["a", "b"], "valid": ["c"], "test": ["d"]}]


def test_folds_are_told_by_the_names_of_folders_and_files(tmp_path):
    for k, (train, test) in {1: ("b", "a"), 2: ("a", "b"), 10: ("ab", "c")}.items():
        write(tmp_path / f"fold_{k}" / "train.txt", "\n".join(train))
        write(tmp_path / f"fold_{k}" / "test.txt", test)
    write(tmp_path / "valid.txt", "v")  # of all folds
    assert read_split([str(tmp_path)]).folds == [
        {"train": ["b"], "valid": ["v"], "test": ["a"]},
        {"train": ["a"], "valid": ["v"], "test": ["b"]},
        {"train": ["a", "b"], "valid": ["v"], "test": ["c"]},
    ]


def test_a_column_may_name_the_part_or_the_fold(tmp_path):
    parts = write(tmp_path / "a.csv", "id,split\na,train\nb,Dev\nc,test\n")
    assert read_split([parts]).folds == [{"train": ["a"], "valid": ["b"], "test": ["c"]}]
    folds = write(tmp_path / "b.csv", "id,fold\na,1\nb,2\nc,10\n")
    assert [fold["test"] for fold in read_split([folds]).folds] == [["a"], ["b"], ["c"]]
    assert read_split([folds]).folds[0]["train"] == ["b", "c"]
    named = write(tmp_path / "d.csv", "id,fold,part\na,x,train\nb,x,test\na,y,test\nb,y,train\nc,,train\n")
    assert [(fold["train"], fold["test"]) for fold in read_split([named]).folds] == [
        (["a", "c"], ["b"]),
        (["b", "c"], ["a"]),
    ]
    both = write(tmp_path / "c.csv", "id,fold,part\na,1,train\nb,1,test\na,2,test\nb,2,train\n")
    assert [fold["test"] for fold in read_split([both]).folds] == [["b"], ["a"]]


def test_a_manifest_with_published_folds_is_read(tmp_path):
    text = (
        '{"a": {"wav": "{data_root}/a.wav", "parts": ["train", "test"]}, "b": {"wav": "b.wav", '
        '"parts": ["test", "train"]}, "c": {"wav": "c.wav", "parts": ["", "train"]}}'
    )
    split = read_split([write(tmp_path / "manifest.json", text)])
    assert split.folds == [
        {"train": ["a"], "valid": [], "test": ["b"]},
        {"train": ["b", "c"], "valid": [], "test": ["a"]},
    ]
    assert split.utterances["a"]["wav"] == "a.wav"


def test_a_folder_that_is_a_part_has_its_lists_of_other_parts_left_out(tmp_path):
    for name in ("a/train.txt", "a/test.txt", "b/train.txt", "b/dev.txt"):
        write(tmp_path / name, name[:4])
    split = read_split([f"test={tmp_path / 'a'}", f"train={tmp_path / 'b'}"])
    assert split.folds == [{"train": ["b/tr"], "valid": [], "test": ["a/te"]}]


def test_kaldi_folders_are_parts(tmp_path):
    for part, utt in (("train", "a"), ("test", "b")):
        write(tmp_path / "data" / part / "utt2spk", f"{utt} anna\n")
        write(tmp_path / "data" / part / "text", f"{utt} hello\n")
    split = read_split([str(tmp_path / "data")])
    assert split.folds == [{"train": ["a"], "valid": [], "test": ["b"]}]
    assert split.utterances["b"] == {"speaker": "anna", "text": "hello"}


def test_a_folder_of_emobox_says_its_corpus_and_who_speaks(tmp_path):
    folder = write_emobox(tmp_path / "EmoBox" / "data" / "emodb")
    split = read_split([str(folder)])
    assert split.corpus == "emodb"
    assert [len(fold["train"]) for fold in split.folds] == [3, 3]
    assert split.folds[0]["test"] == ["emodb-03a01Nc", "emodb-08a01Wc"]
    assert split.utterances["emodb-03a01Nc"]["speaker"] == "03"
    assert tmp_path / "EmoBox" in split.roots


def test_emobox_without_label_map_and_one_fold_of_it_are_known(tmp_path):
    folder = write_emobox(tmp_path / "emodb")
    (folder / "label_map.json").unlink()
    split = read_split([str(folder)])
    assert (split.corpus, len(split.folds)) == ("emodb", 2)
    assert split.utterances["emodb-03a01Wa"]["emo"] == "anger" and split.utterances["emodb-03a01Wa"]["speaker"] == "03"
    second = read_split([f"emobox:{folder / 'fold_2'}"])  # as --corpus writes it
    assert (second.corpus, second.folds) == ("emodb", [split.folds[1]])


def test_a_folder_of_emobox_contradicts_another_corpus(tmp_path):
    folder = write_emobox(tmp_path / "data" / "emodb")
    with pytest.raises(InputError, match="is EmoBox's folder of emodb, and the corpus is savee"):
        read_split([str(folder)], "savee")


def test_emobox_as_a_whole_names_its_corpora(tmp_path):
    (write_emobox(tmp_path / "emodb") / "fold_1").rename(tmp_path / "kept")
    (tmp_path / "emodb" / "fold_2").rename(tmp_path / "kept2")
    for file in [*tmp_path.glob("kept*/*")]:
        file.unlink()
    with pytest.raises(InputError, match="holds EmoBox's folders emodb: name one of them"):
        read_split([str(tmp_path)])


def test_an_empty_validation_list_is_said(tmp_path):
    words = [
        write(tmp_path / name, text)
        for name, text in (("train.csv", "id\na"), ("dev.csv", "id\n"), ("test.csv", "id\nb"))
    ]
    split = read_split(words)
    assert split.folds == [{"train": ["a"], "valid": [], "test": ["b"]}]
    assert split.notes == [f"{words[1]} lists no utterance: this validation part is empty."]
    with pytest.raises(InputError, match="dev.csv lists no utterance"):
        read_split([words[0], f"test={words[1]}"])


def test_shares_and_folds_that_may_be_data_sets_are_said(tmp_path):
    for name in "AB":
        write(tmp_path / name / "train.csv", f"id,emo:ang,emo:sad\na{name},2,1\n")
        write(tmp_path / name / "test.csv", f"id,emo\nb{name},sad\n")
    split = read_split([str(tmp_path)])
    assert [split.utterances[utt_id]["emo"] for utt_id in ("aA", "bA")] == ["ang", "sad"]
    assert split.notes[1:] == [
        "2 utterances have shares of several labels: the largest counts as the label.",
        "No utterance is in two of the folds. Are they data sets? If so, audit each by itself.",
    ]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train_{}.csv", "test_{}.csv"), ("train{}.csv", "test{}.csv"), ("{}/train.csv", "{}/test.csv"),
        ("session{}/train.csv", "session{}/test.csv"), ("split-{}-train.csv", "split-{}-test.csv"),
        ("anna{}x/train_v1.csv", "anna{}x/test_v1.csv"),
    ],
)  # fmt: skip
def test_lists_whose_names_pair_up_are_folds(tmp_path, train, test):
    for k in (1, 2, 10):
        write(tmp_path / "num" / train.format(k), f"id\na{k}\n")
        write(tmp_path / "num" / test.format(k), f"id\nb{k}\n")
    split = read_split([str(tmp_path / "num")])
    assert split.folds == [{"train": [f"a{k}"], "valid": [], "test": [f"b{k}"]} for k in (1, 2, 10)]
    assert split.notes[0].startswith("Read as 3 folds, as the lists' names pair up")


def test_a_named_corpus_says_who_speaks_where_the_lists_do_not(tmp_path):
    words = [write(tmp_path / "train.txt", "08a01Wa\n"), write(tmp_path / "test.csv", "id,speaker\n03a01Wa,me\n")]
    split = read_split(words, "emodb")
    assert split.utterances["08a01Wa"]["speaker"] == "08"
    assert split.utterances["03a01Wa"]["speaker"] == "me"
    assert split.utterances["08a01Wa"]["emo"] == "ang"
    assert read_split(words, "savee").notes == ["No utterance's name says anything by the naming scheme of savee."]


def test_labels_are_those_of_the_lists_where_these_have_any(tmp_path):
    words = [write(tmp_path / "train.txt", "08a01Wa\n"), write(tmp_path / "test.txt", "03a01Wa wut\n")]
    split = read_split(words, "emodb")
    assert split.utterances["03a01Wa"]["emo"] == "wut" and "emo" not in split.utterances["08a01Wa"]
    assert split.utterances["08a01Wa"]["named"]["emo"] == "ang"


def test_one_id_of_two_recordings_is_two_utterances(tmp_path):
    words = [
        write(tmp_path / "train.csv", "id,wav\ndia0,train/dia0.mp4\n"),
        write(tmp_path / "test.csv", "id,wav\ndia0,test/dia0.mp4\n"),
    ]
    assert read_split(words).folds == [{"train": ["dia0"], "valid": [], "test": ["dia0 [test/dia0.mp4]"]}]


def test_contradictions_between_lists_are_said(tmp_path):
    words = [
        write(tmp_path / "train.csv", "id,emo,speaker\na,sad,anna\n"),
        write(tmp_path / "test.csv", "id,emo,speaker\na,ang,anna\n"),
    ]
    assert read_split(words).faults == ["a: its emo is sad, and ang in test.csv."]


@pytest.mark.parametrize(
    ("files", "words", "message"),
    [
        ({}, ["nowhere.csv"], "nowhere.csv does not exist. Check the path"),
        ({}, ["tets=a.csv"], "'tets' is no part: write train=, valid= or test="),
        ({"a.csv": "id\nu\n"}, ["a.csv"], "a.csv: nothing says which part it is. Write train=.*a.csv, or valid= or"),
        ({"a.csv": "id,split\nu,unseen\n"}, ["a.csv"], "'unseen' is no part: train, valid, test are known"),
        ({"train.txt": "u\n"}, ["train.txt"], "the split has no test part. Give it as test=FILE"),
        ({"fold_1/test.txt": "u\n", "fold_1/a.md": ""}, ["."], "fold 1 has no train part"),
        ({"a.txt": "u\n"}, ["."], "holds no list whose name says train, valid, dev or test"),
    ],
)
def test_split_files_that_make_no_fold_are_refused(tmp_path, monkeypatch, files, words, message):
    for name, text in files.items():
        write(tmp_path / name, text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        read_split(words)


def test_an_unknown_corpus_is_refused(tmp_path):
    with pytest.raises(InputError, match="corpus must be one of .*got 'mine'"):
        read_split([write(tmp_path / "test.txt", "u")], "mine")
