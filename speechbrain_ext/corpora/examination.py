"""Examination: a corpus read whole, with everything that is wrong with it named at once."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

from tqdm import tqdm

from speechbrain_ext.corpora.reading import Reading
from speechbrain_ext.dataio.clip_measures import READERS, ClipMeasures, Measured, measure_recording
from speechbrain_ext.dataio.manifest import Manifest, NearNames, describe_row
from speechbrain_ext.dataio.rows import Row, RowErrors, check_rows
from speechbrain_ext.errors import InputError


class Examination(Reading):
    """Takes the steps of `prepare_corpus` for all rows that can be used, and collects what is wrong with the others.

    Attributes
    ----------
    faults : list of str
        A sentence for each fault, in the order of the rows where these are numbered.
    n_faulty : int
        How many rows, or recordings, are left out because of faults.
    measures : dict
        ClipMeasures of each clip, by id.
    root : pathlib.Path
        The folder that paths are relative to, once the recordings have been read.
    """

    root: Path

    def __init__(self) -> None:
        self.measures: dict[str, ClipMeasures] = {}
        self.n_faulty = 0
        self._found: list[tuple[int, str]] = []
        self._places: dict[str, tuple[int, str]] = {}

    @property
    def faults(self) -> list[str]:
        """Sentences, those with a row's number first."""
        return [text for _, text in sorted(self._found, key=lambda fault: fault[0])]

    def rows(self, read_rows: Callable[[Path], list[Row]], source: Path) -> list[Row]:
        """Read the rows; those that cannot be used are left out."""
        try:
            rows = read_rows(source)
            check_rows(rows)
            return rows
        except RowErrors as error:
            if not error.rows:
                raise
            numbers = [*error.numbers, *[0] * len(error.faults)]
            self._found += zip(numbers, error.faults)
            self.n_faulty += error.n_faulty
            return error.rows

    def manifest(self, rows: Sequence[Row], root: Path, sample_rate_hz: int, progress: bool) -> Manifest:
        """Read all recordings once, and make the manifest of the clips that can be used."""
        self.root = root = root.absolute()
        near = NearNames()
        recordings: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            recordings[row["wav"]].append(row)
            self._places[row["id"]] = row.get("number", 0), row.get("place", "")
        manifest: Manifest = {}
        bar = tqdm(total=len(rows), desc="recordings", disable=not progress)
        with ThreadPoolExecutor(READERS) as pool, bar:
            for group, found in zip(recordings.values(), pool.map(self._measure, recordings.values(), repeat(root))):
                bar.update(len(group))
                for row, one in zip(group, found):
                    if isinstance(one, tuple):
                        manifest[row["id"]], self.measures[row["id"]] = describe_row(row, one[0], root), one[1]
                        continue
                    self.n_faulty += 1
                    if one:
                        self._found.append((row.get("number", 0), one + near.ask(root / row["wav"])))
        if not manifest:
            raise RowErrors("No clip can be used:", self.faults)
        return dict(sorted(manifest.items()))

    def refuse(self, head: str, faults: Mapping[str, str]) -> None:
        """Keep what is wrong with clips that are otherwise usable."""
        for utt_id, text in faults.items():
            number, place = self._places[utt_id]
            self._found.append((number, f"{place}: {text}" if place else text))

    @staticmethod
    def _measure(group: list[Row], root: Path) -> Sequence[Measured | str]:
        """Measure a recording; one that cannot be used is said once, for the first row."""
        try:
            return measure_recording(group, root)
        except InputError as error:
            return [str(error), *[""] * (len(group) - 1)]
