"""The epochs' numbers through SpeechBrain's checkpoints."""

import pytest
from speechbrain.utils.checkpoints import Checkpointer

from speechbrain_ext.errors import InputError
from speechbrain_ext.training.history import EpochHistory, check_epochs, read_epochs, write_epochs


def test_history_is_saved_and_recovered_with_a_checkpoint(tmp_path):
    history = EpochHistory()
    history.add(epoch=1, train_loss=1.25, valid_WA=0.5)
    history.add(epoch=2, train_loss=0.1 + 0.2, valid_WA=0.75)
    Checkpointer(tmp_path, {"history": history}).save_checkpoint()

    recovered = EpochHistory()
    Checkpointer(tmp_path, {"history": recovered}).recover_if_possible()
    assert recovered.epochs == [
        {"epoch": 1, "train_loss": 1.25, "valid_WA": 0.5},
        {"epoch": 2, "train_loss": 0.30000000000000004, "valid_WA": 0.75},
    ]
    recovered.add(epoch=3)
    assert [entry["epoch"] for entry in recovered.epochs] == [1, 2, 3]


def test_history_goes_back_to_the_epoch_of_an_earlier_checkpoint(tmp_path):
    history = EpochHistory()
    checkpointer = Checkpointer(tmp_path, {"history": history})
    for epoch in (1, 2):
        history.add(epoch=epoch)
        checkpointer.save_checkpoint(meta={"epoch": epoch})
    checkpointer.recover_if_possible(min_key="epoch")
    assert history.epochs == [{"epoch": 1}]


def test_history_of_a_checkpoint_within_the_first_epoch_is_empty(tmp_path):
    Checkpointer(tmp_path, {"history": EpochHistory()}).save_checkpoint(end_of_epoch=False)
    recovered = EpochHistory()
    recovered.add(epoch=1)
    Checkpointer(tmp_path, {"history": recovered}).recover_if_possible()
    assert recovered.epochs == []


def test_histories_are_independent():
    EpochHistory().add(epoch=1)
    assert EpochHistory().epochs == []


def test_epochs_of_a_folder_come_back(tmp_path):
    write_epochs(tmp_path, [{"epoch": 1, "train_loss": 0.5}])
    assert read_epochs(tmp_path / "epochs.json") == [{"epoch": 1, "train_loss": 0.5}]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[{"epoch": 1', "is no JSON"),
        ("null", "holds None, not a list"),
        ("[1]", "holds an epoch that is no object of numbers: 1"),
        ('[{"epoch": true}]', "holds an epoch that is no object of numbers: {'epoch': True}"),
        (100_000 * "[", "is nested too deeply"),
    ],
)
def test_broken_epochs_are_refused(tmp_path, text, fault):
    (tmp_path / "epochs.json").write_text(text)
    with pytest.raises(InputError, match=rf"epochs\.json {fault}.* Resume the run"):
        read_epochs(tmp_path / "epochs.json")


def test_epochs_of_a_run_are_counted_by_its_checkpoints(tmp_path):
    checkpointer = Checkpointer(tmp_path / "save", {"history": EpochHistory()})
    for epoch in (1, 2):
        checkpointer.save_checkpoint(meta={"epoch": epoch})
    checkpointer.save_checkpoint(end_of_epoch=False)
    (tmp_path / "epochs.json").write_text("[")  # it is for people
    check_epochs(tmp_path, 2)
    with pytest.raises(InputError, match="has been trained for 2 epochs, more than number_of_epochs"):
        check_epochs(tmp_path, 1)
