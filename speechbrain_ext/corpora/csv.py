"""A corpus that somebody brings: recordings listed in a CSV with the columns id, wav, emo, speaker, group."""

import csv
from pathlib import Path

from speechbrain_ext.corpora.base import Corpus
from speechbrain_ext.dataio.manifest import COLUMNS, Row
from speechbrain_ext.errors import InputError


def read_corpus_csv(path: Path) -> list[Row]:
    """Read the rows of a corpus's CSV.

    Arguments
    ---------
    path : pathlib.Path
        The CSV file, UTF-8, with a header line. `group` is what a fold leaves out; paths are relative to the file.

    Returns
    -------
    list of dict
        Rows for `build_manifest`.

    Raises
    ------
    InputError
        If the file is missing or a column is.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{path}: the columns {missing} are missing; needed are {', '.join(COLUMNS)}.")
            return [{column: (row[column] or "").strip() for column in COLUMNS} for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the corpus CSV cannot be read: {error}. Give a UTF-8 file.") from error


CORPUS = Corpus(name="csv", title="a corpus listed in a CSV", read_rows=read_corpus_csv)
