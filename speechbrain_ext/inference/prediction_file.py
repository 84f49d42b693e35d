"""PredictionFile: predictions as CSV, JSON or JSON lines, in a file that an interrupted run leaves whole."""

import contextlib
import csv
import io
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

import filelock

from speechbrain_ext.atomic_write import atomic_write
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.recordings import Prediction
from speechbrain_ext.json_reader import checksum
from speechbrain_ext.outside_text import escape_formula, printable, unescape_formula
from speechbrain_ext.storage import naming, reading

FORMATS = (".csv", ".json", ".jsonl")
SYNC_S = 5.0
HINT = "Give another --out, or delete that file."
ROUNDING = 1e-5  # of posteriors; those of an encoder in half precision are still computed in single precision
CHECKSUM = "checksum"  # the last column; files of earlier versions have none


class PredictionFile:
    """Collects predictions, keeps them where the process may be killed, and writes them in order at the end.

    Until the end they stand in `<path>.partial`, a line each. Opened again, predictions are kept, those in the file
    itself as well; errors and recordings that are newer than the file are not.

    Arguments
    ---------
    path
        The file; its ending says the format.
    recordings
        The recordings that it is to hold, in order.
    emotions
        The emotions, in the order of the posteriors.
    model
        What tells the model from others; it stands in every row.
    excel
        As in `format_predictions`.

    Raises
    ------
    InputError
        If the ending is unknown, or the file holds something else, such as predictions by another model, of other
        recordings, or a row that has been changed.
    """

    def __init__(
        self, path: str | Path, recordings: Sequence[str], emotions: Sequence[str], model: str, excel: bool = False
    ) -> None:
        self.path, self.excel = Path(path), excel
        check_format(path, excel)
        check_labels(emotions)
        self.recordings, self.emotions, self.model = list(recordings), list(emotions), model
        self._names = {_name(path): path for path in recordings}
        self._columns = list(_to_row(Prediction(""), self.emotions, model))
        self.partial = self.path.with_name(self.path.name + ".partial")
        self.predictions: dict[str, Prediction] = {}
        for source, rows in ((self.path, self._rows()), (self.partial, self._partial_rows())):
            for row in rows:
                prediction = self._from_row(row, source)
                if prediction.error is None and not _newer(prediction.path, source):
                    self.predictions[prediction.path] = prediction

    def __enter__(self) -> "PredictionFile":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = filelock.FileLock(self.path.with_name(f".{self.path.name}.lock"))
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise InputError(f"{self.path} is being written by another process. Wait, or give another --out.") from None
        with atomic_write(self.partial) as file:  # without rows that hold no longer, and no moment without the others
            file.writelines(map(self._line, self.predictions.values()))
        self._journal = open(self.partial, "a", encoding="utf-8")
        self._synced_s = time.monotonic()
        return self

    def __exit__(self, *exception: object) -> None:
        with contextlib.suppress(OSError):  # `add` has said what did not fit
            self._journal.close()
        Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()

    def add(self, prediction: Prediction) -> None:
        """Take one more prediction; it survives the process at once, and a power failure after `SYNC_S`."""
        self.predictions[prediction.path] = prediction
        with naming(self.partial):
            self._journal.write(self._line(prediction))
            self._journal.flush()
            if time.monotonic() - self._synced_s > SYNC_S:
                os.fsync(self._journal.fileno())
                self._synced_s = time.monotonic()

    def write(self) -> None:
        """Write the predictions of all recordings, in their order, and end."""
        self._journal.close()
        predictions = [self.predictions[path] for path in self.recordings]
        with atomic_write(self.path) as file:
            file.write(format_predictions(predictions, self.emotions, self.model, self.path.suffix, self.excel))
        self.partial.unlink()

    def _line(self, prediction: Prediction) -> str:
        return json.dumps(_to_row(prediction, self.emotions, self.model), ensure_ascii=False) + "\n"

    def _rows(self) -> list[dict]:
        """Read the rows of the file as it is."""
        if not self.path.exists():
            return []
        with reading(self.path, "holds something other than predictions", HINT, (ValueError, csv.Error, TypeError)):
            with open(self.path, encoding="utf-8-sig", newline="") as file:  # Excel's UTF-8 has a mark
                text = file.read()
            if self.path.suffix.lower() == ".csv":
                reader = csv.DictReader(io.StringIO(text, newline=""))
                shown = [escape_formula(name) if self.excel else name for name in self._columns]
                if text and reader.fieldnames not in (shown, shown[:-1]):
                    raise self._foreign(self.path, f"other columns ({', '.join(reader.fieldnames or ())})")
                reader.fieldnames = self._columns[: len(reader.fieldnames or ())]
                if not self.excel:
                    return list(reader)
                return [{key: value and unescape_formula(value) for key, value in row.items() if key} for row in reader]
            rows = _lines(text) if self.path.suffix.lower() == ".jsonl" else json.loads(text)
            if not isinstance(rows, list):
                raise self._foreign(self.path, "no list")
            return rows

    def _partial_rows(self) -> list[dict]:
        """Read what an interrupted run has left: its last line may be cut short, and lines may be damaged."""
        if not self.partial.exists():
            return []
        with reading(self.partial, "", HINT):
            lines = self.partial.read_bytes().split(b"\n")
        rows = []
        for line in lines:
            with contextlib.suppress(ValueError, RecursionError):
                rows.append(json.loads(line.decode()))
        if lines[1:] and not rows:
            raise self._foreign(self.partial, "something other than predictions")
        return rows

    def _from_row(self, row: dict, source: Path) -> Prediction:
        try:
            path, model, error, predicted = (row[key] for key in ("path", "model", "error", "predicted"))
            posteriors = None if error else tuple(float(row[emo]) for emo in self.emotions)
            duration_s = None if error else float(row["duration_s"])
            speech = None if row["speech"] in (None, "") else float(row["speech"])
            is_text = all(isinstance(one, str) for one in (path, model, error or ""))
            if not is_text or row.keys() | {CHECKSUM} != set(self._columns):
                raise ValueError("other columns, or no texts in them")
            if predicted not in (None, "", *self.emotions):
                raise ValueError(f"{predicted!r} is no emotion")
            if not all(0 <= share <= 1 for share in (*(posteriors or ()), speech or 0)):
                raise ValueError("a share is not from 0 to 1")
            if duration_s is not None and not 0 <= duration_s < float("inf"):
                raise ValueError("a duration is none")
            if posteriors and abs(sum(posteriors) - 1) > ROUNDING:
                raise ValueError("its posteriors do not add up to 1")
            if predicted and posteriors and max(posteriors) - posteriors[self.emotions.index(predicted)] > ROUNDING:
                raise ValueError(f"{predicted!r} is not its most probable emotion")
            path = self._names.get(path, path)
            prediction = Prediction(path, duration_s, predicted or None, posteriors, error or None, speech)
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            model = row.get("model") if isinstance(row, dict) else None
            if not model or model == self.model:
                raise self._foreign(source, f"a row that is no prediction ({error})") from error
        if model != self.model:
            raise self._foreign(source, f"predictions by another model, {model}")
        expected = _to_row(prediction, self.emotions, model)[CHECKSUM]
        if row.get(CHECKSUM, expected) != expected:
            raise self._foreign(
                source,
                f"a row of {path} that is not as it was written: its {CHECKSUM} differs. Delete that row to have the "
                "recording classified again, or use --excel if the file was written with it, and only then",
            )
        if _name(path) not in self._names:
            raise self._foreign(source, f"a prediction of {path}, which is not asked for now")
        return prediction

    @staticmethod
    def _foreign(source: Path, why: str) -> InputError:
        return InputError(f"{source} holds {why}. {HINT}")


def check_labels(emotions: Sequence[str]) -> None:
    """Refuse emotions that are called as a column of the file is."""
    columns = list(_to_row(Prediction(""), [], ""))
    for emotion in emotions:
        if emotion in columns:
            raise InputError(
                f"the label {emotion!r} is a column of the file ({', '.join(columns)}): call it otherwise."
            )


def check_format(path: str | Path, excel: bool = False) -> None:
    """Refuse a file whose ending names no format, or no format of spreadsheets."""
    if Path(path).suffix.lower() not in FORMATS:
        raise InputError(f"--out must end in {', '.join(FORMATS)}, got {str(path)!r}.")
    if excel and Path(path).suffix.lower() != ".csv":
        raise InputError(f"--excel writes .csv, and --out is {str(path)!r}. Leave one of them out.")


def format_predictions(
    predictions: Sequence[Prediction], emotions: Sequence[str], model: str, ending: str, excel: bool = False
) -> str:
    """Write predictions as text.

    Arguments
    ---------
    predictions
        The predictions.
    emotions
        The emotions, in the order of the posteriors.
    model
        What tells the model from others.
    ending
        ".csv", ".json" or ".jsonl".
    excel
        Whether a spreadsheet may open the CSV: texts that it would take for formulas get an apostrophe.

    Returns
    -------
    str
        The text. In CSV what there is not is empty, in JSON it is null.
    """
    rows = [_to_row(prediction, emotions, model) for prediction in predictions]
    if ending.lower() == ".json":
        return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    if ending.lower() == ".jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    stream = io.StringIO()
    header = {column: column for column in _to_row(Prediction(""), emotions, model)}
    writer = csv.writer(stream, lineterminator="\n")
    for row in (header, *rows):
        writer.writerow(map(escape_formula, row.values()) if excel else row.values())
    return stream.getvalue()


def _lines(text: str) -> list[dict]:
    """Parse JSON lines; other line separators may stand in a name."""
    return [json.loads(line) for line in text.split("\n") if line]


def _name(path: str) -> str:
    """Write a path as text that every file can hold and give back, and that is safe to look at."""
    return printable(path, "\n\t")


def _to_row(prediction: Prediction, emotions: Sequence[str], model: str) -> dict:
    row = {
        "path": _name(prediction.path),
        "predicted": prediction.predicted,
        **{emo: _round(p, 8) for emo, p in zip(emotions, prediction.posteriors or (None,) * len(emotions))},
        "speech": _round(prediction.speech, 3),
        "duration_s": _round(prediction.duration_s, 3),
        "model": model,
        "error": prediction.error and printable(prediction.error, "\n\t"),
    }
    return {**row, CHECKSUM: f"x{checksum(row)[:12]}"}  # by the letter no spreadsheet takes it for a number


def _round(value: Optional[float], n_digits: int) -> Optional[float]:
    return None if value is None else round(float(value), n_digits)


def _newer(path: str, than: Path) -> bool:
    """Tell whether a recording was written after a file, or is not there any more."""
    try:
        return Path(path).stat().st_mtime > than.stat().st_mtime
    except OSError:
        return True
