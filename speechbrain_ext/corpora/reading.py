"""Reading: from a corpus's rows to its manifest, ended by the first thing that is wrong."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from speechbrain_ext.dataio.copies import find_copies
from speechbrain_ext.dataio.manifest import Manifest, build_manifest
from speechbrain_ext.dataio.rows import Row, check_rows, first_lines
from speechbrain_ext.errors import InputError


class Reading:
    """The steps of `prepare_corpus` that look at rows and recordings.

    An `Examination` takes the same steps, reads the recordings whole, and goes on where something is wrong.
    """

    def rows(self, read_rows: Callable[[Path], list[Row]], source: Path) -> list[Row]:
        """Read and check the rows."""
        rows = read_rows(source)
        check_rows(rows)
        return rows

    def manifest(self, rows: Sequence[Row], root: Path, sample_rate_hz: int, progress: bool) -> Manifest:
        """Make the manifest, see `build_manifest`."""
        return build_manifest(rows, root, sample_rate_hz, progress=progress)

    def copies(self, manifest: Manifest, root: Path) -> list[tuple[str, str]]:
        """Find recordings that are there twice, see `find_copies`."""
        return find_copies(manifest, root)

    def refuse(self, head: str, faults: Mapping[str, str]) -> None:
        """Refuse a corpus, if there are clips to name: {id: sentence}."""
        if faults:
            raise InputError(f"{head}:", *first_lines(list(faults.values())))
