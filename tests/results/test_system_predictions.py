"""Predictions of any system: which tables are read, and which are refused."""

import pytest

from speechbrain_ext.errors import InputError
from speechbrain_ext.results.system_predictions import read_system
from tests.results.run_files import write_run

UTTERANCES = {"a": {"emo": "ang"}, "b": {"emo": "sad"}}


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "id,true,predicted\na,ang,ang\nb,sad,ang\n",
        "Utt_ID;hyp\na;ang\nb;ang\n",  # the truth is the lists'
        '{"key": "a", "pred": "ang", "label": "ang"}\n{"key": "b", "pred": "ang", "label": "sad"}\n',
    ],
)
def test_predictions_are_read_whatever_their_columns_are_called(tmp_path, text):
    system = read_system(write(tmp_path / "p.csv", text), UTTERANCES)
    assert (system.ids, system.labels) == (["a", "b"], ["ang", "sad"])
    assert (system.true.tolist(), system.predicted.tolist(), system.posteriors) == ([0, 1], [0, 0], None)


def test_posteriors_are_read_where_each_label_has_a_column(tmp_path):
    text = "id,predicted,SAD,ang\na,ang,0.25,0.75\nb,ang,0.4,0.6\n"
    assert read_system(write(tmp_path / "p.csv", text), UTTERANCES).posteriors.tolist() == [[0.75, 0.25], [0.6, 0.4]]
    text = "id,predicted,ang,sad,fea,seconds\na,ang,0.5,0.25,0.25,x\nb,ang,0.5,0.5,0,y\n"
    system = read_system(write(tmp_path / "p.csv", text), UTTERANCES)  # a class that nobody has
    assert (system.labels, system.posteriors.tolist()) == (["ang", "fea", "sad"], [[0.5, 0.25, 0.25], [0.5, 0, 0.5]])
    text = "id,predicted,ang,sad,seed\na,ang,0.5,0.5,0\nb,ang,0.5,0.5,0\n"  # nor one more, if the labels' are all
    assert read_system(write(tmp_path / "p.csv", text), UTTERANCES).labels == ["ang", "sad"]
    text = "id,predicted,ang\na,ang,0.75\nb,ang,0.6\n"
    assert read_system(write(tmp_path / "p.csv", text), UTTERANCES).posteriors is None


@pytest.mark.parametrize("path", ["x/a.wav", "/data/x/a.wav", "a.wav", "./x/a.wav", "x\\a.wav", "a", "x/a"])
def test_predictions_by_path_are_those_of_the_lists_ids(tmp_path, path):
    utterances = {"u1": {"emo": "ang", "wav": "x/a.wav"}, "u2": {"emo": "sad", "wav": "y/ba.wav"}}
    system = read_system(write(tmp_path / "p.csv", f"wav,predicted\n{path},sad\nu2,sad\n"), utterances)
    assert (system.ids, system.true.tolist()) == (["u1", "u2"], [0, 1])


def test_a_path_that_may_be_of_two_utterances_is_of_none(tmp_path):
    utterances = {"u1": {"emo": "ang", "wav": "x/a.wav"}, "u2": {"emo": "sad", "wav": "y/a.wav"}}
    with pytest.raises(InputError, match="row 2: a.wav has no .* none of their ids, such as u1, and none of their"):
        read_system(write(tmp_path / "p.csv", "wav,predicted\na.wav,sad\n"), utterances)


def test_a_folder_of_tested_runs_is_one_system(tmp_path):
    for fold in (1, 2):
        write_run(tmp_path / f"fold{fold}", fold=fold, labels=["ang", "hap", "neu", "sad"], true=[0, 0, 1, 3])
    system = read_system(tmp_path, {})
    assert system.ids == [f"f{fold}_{i}" for fold in (1, 2) for i in range(4)]
    assert [system.labels[i] for i in system.true] == ["ang", "ang", "hap", "sad"] * 2


def test_confusions_are_counted_by_cluster(tmp_path):
    system = read_system(write(tmp_path / "p.csv", "id,predicted\na,ang\nb,ang\n"), UTTERANCES)
    names, counts = system.confusions(["s2", "s1"])
    assert names == ["s1", "s2"]
    assert counts.tolist() == [[[0, 0], [1, 0]], [[1, 0], [0, 0]]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,emotion\na,ang\n", "a column 'predicted' is needed .*and it has name, emotion"),
        ("predicted\nang\n", "a column 'id' is needed"),
        ("id,predicted\n", "holds no prediction"),
        ("id,predicted\na,ang\na,sad\n", "a is predicted twice. Give the seeds of a system apart"),
        ("id,predicted\nz,ang\n", "row 2: z has no true label, neither here nor in the lists"),
        ("id,predicted\na,\n", "row 2: a is predicted as nothing"),
        ("id,predicted\na,0\nb,1\n", "the predictions are 0, 1, and the true labels are ang, sad. Call them alike"),
        ("id,predicted,ang,sad\na,ang,1.5,0\nb,ang,1,0\n", "the posteriors of a are 1.5, 0; they must be from 0"),
        ("id,predicted,ang,sad\na,ang,1,0\nb,ang,-0.2,1.2\n", "the posteriors of b are -0.2, 1.2"),
        ("id,predicted,ang,sad\na,ang,high,0\nb,ang,1,0\n", "the posteriors in the column 'ang' are not all numbers"),
        ("id,predicted\na\n", "p.csv: .*row 2"),
        ("id,predicted\n,ang\n", "p.csv, row 2 has no id. Add it, or leave the row out"),
        ('{"id": "a", "predicted": ["ang"]}', "line 1: 'predicted' is a list. Write the predicted as a text"),
        ('{"id": "b", "predicted": "ang"}\n{"id": "a"}', "line 2: a is predicted as nothing"),
        ("", "p.csv is empty; needed are the columns id and predicted"),
        (
            "id,predicted,ang,sad\na,ang,80,20\nb,ang,70,30\n",
            "a are 80, 20; .* They are percentages: divide them by 100",
        ),
        ("id,predicted,ang,sad\na,ang,-0.105,-2.303\nb,ang,-0.7,-0.69\n", "They are logarithms: apply exp"),
        ("id,predicted,ang,sad\na,ang,3,-1\nb,ang,1,0\n", "must be from 0 and add up to 1. Apply softmax"),
    ],
)
def test_predictions_that_cannot_be_used_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_system(write(tmp_path / "p.csv", text), UTTERANCES)


def test_a_folder_without_predictions_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no predictions.csv: give a file, or a folder of tested runs"):
        read_system(tmp_path, {})
