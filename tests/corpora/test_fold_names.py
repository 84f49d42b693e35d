"""Which fold a list is of."""

import pytest

from speechbrain_ext.corpora.fold_names import ListPlace, name_folds, part_of_path
from speechbrain_ext.errors import InputError


def places(*paths, by_user=False):
    return [ListPlace(path, part_of_path(path), by_user) for path in paths]


def test_a_validation_list_of_no_fold_is_of_all():
    folds, _ = name_folds(places("a/train.csv", "a/test.csv", "b/train.csv", "b/test.csv", "dev.csv"))
    assert folds == ["a/*", "a/*", "b/*", "b/*", None]


def test_several_lists_of_one_part_are_taken_together_and_said():
    folds, notes = name_folds(places("train.csv", "test1.csv", "test2.csv"))
    assert folds == [None] * 3
    assert notes == ["2 lists are taken together as the test part: test1.csv, test2.csv."]
    folds, notes = name_folds(places("a_train.csv", "b_train.csv", "c_test.csv", "d_test.csv", by_user=True))
    assert folds == [None] * 4 and len(notes) == 2


@pytest.mark.parametrize(
    "paths",
    [
        ("train_1.csv", "train_2.csv", "train_3.csv", "test_1.csv", "test_2.csv"),
        ("a_train.csv", "b_train.csv", "c_test.csv", "d_test.csv"),
    ],
)
def test_lists_that_do_not_pair_up_are_refused(paths):
    with pytest.raises(InputError, match="whose names do not pair up: which of them are one fold"):
        name_folds(places(*paths))


def test_a_test_list_without_a_fold_beside_others_is_refused():
    lists = places("train_fold_1.csv", "test_fold_1.csv", "training_test_3.csv")
    with pytest.raises(InputError, match="training_test_3.csv is a test list whose name says no fold, and test_fold_1"):
        name_folds(lists)


def test_a_training_list_without_a_fold_is_in_all_folds_and_is_said():
    folds, notes = name_folds(places("train_fold_1.csv", "test_fold_1.csv", "train_more.csv"))
    assert folds == ["1", "1", None]
    assert notes == ["train_more.csv says no fold: it is in the train part of all folds."]
