"""CSVs of corpora: what the tests of their reading share."""

import pytest

from speechbrain_ext.corpora.csv import read_rows
from speechbrain_ext.errors import InputError


def write(folder, text, encoding="utf-8"):
    """Write a CSV, and return its path."""
    (folder / "c.csv").write_bytes(text.encode(encoding))
    return folder / "c.csv"


def refusal(path):
    """Return what is said on a CSV that is refused."""
    with pytest.raises(InputError) as error:
        read_rows(path)
    return str(error.value)
