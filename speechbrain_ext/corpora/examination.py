"""Examination: a corpus read whole, with everything that is wrong with it named at once."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from speechbrain_ext.corpora.reading import Reading
from speechbrain_ext.dataio.clip_measures import ClipMeasures, measure_recording
from speechbrain_ext.dataio.copies import group_equal
from speechbrain_ext.dataio.manifest import Manifest, NearNames
from speechbrain_ext.dataio.rows import Row, RowErrors, check_rows


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
    """

    def __init__(self, n_threads: int = 8):
        self.n_threads = n_threads
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
        root = root.absolute()
        near = NearNames()
        recordings: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            recordings[row["wav"]].append(row)
            self._places[row["id"]] = row.get("number", 0), row.get("place", "")
        manifest: Manifest = {}
        bar = tqdm(total=len(rows), desc="recordings", disable=not progress)
        with ThreadPoolExecutor(self.n_threads) as pool, bar:
            results = pool.map(lambda group: measure_recording(group, root), recordings.values())
            for group, found in zip(recordings.values(), results):
                bar.update(len(group))
                for row, one in zip(group, found):
                    if isinstance(one, tuple):
                        manifest[row["id"]], self.measures[row["id"]] = one
                        continue
                    self.n_faulty += 1
                    if one:
                        self._found.append((row.get("number", 0), one + near.ask(root / row["wav"])))
        if not manifest:
            raise RowErrors("No clip can be used:", self.faults)
        return dict(sorted(manifest.items()))

    def copies(self, manifest: Manifest, root: Path) -> list[tuple[str, str]]:
        """Find clips that hold the same samples, by what was read."""
        # Of silence only the file itself is the same recording.
        keys = [
            self.measures[utt_id].digest or (entry["wav"], entry.get("start"), entry["duration"])
            for utt_id, entry in manifest.items()
        ]
        return [(first, other) for first, *others in group_equal(list(manifest), keys) for other in others]

    def refuse(self, head: str, faults: Mapping[str, str]) -> None:
        """Keep what is wrong with clips that are otherwise usable."""
        for utt_id, text in faults.items():
            number, place = self._places[utt_id]
            self._found.append((number, f"{place}: {text}" if place else text))
