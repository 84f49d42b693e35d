import pytest
import torch

from speechbrain_ext.dataio.label_encoder import FixedLabelEncoder
from speechbrain_ext.errors import InputError


def test_labels_keep_the_given_order():
    encoder = FixedLabelEncoder(["sad", "ang", "neu"])
    assert [encoder.encode_label(label) for label in ("sad", "ang", "neu")] == [0, 1, 2]
    assert encoder.decode_torch(torch.tensor([2, 0])) == ["neu", "sad"]
    assert len(encoder) == 3


def test_unknown_label_is_an_error():
    with pytest.raises(KeyError):
        FixedLabelEncoder(["sad"]).encode_label("hap")


def test_length_is_known_without_a_warning(caplog):
    encoder = FixedLabelEncoder(["sad", "ang"])
    encoder.encode_label("ang")
    encoder.decode_torch(torch.tensor([1]))
    assert "expect_len" not in caplog.text


def test_label_that_stands_there_twice_is_an_error():
    with pytest.raises(InputError, match=r"labels must differ from one another, got \['sad', 'sad'\]"):
        FixedLabelEncoder(["sad", "sad"])
