"""The files of a checkpoint: on the disk before it is in place, and whole when they are read."""

from pathlib import Path
from typing import Any, Optional

import yaml
from speechbrain.utils.checkpoints import METAFNAME

from speechbrain_ext.atomic_write import sync
from speechbrain_ext.checksums import sha256_of

SUMS_FILE = "SHA256SUMS"  # as `sha256sum --check` reads it


def seal_checkpoint(folder: Path) -> None:
    """Write the SHA-256 of each file into `SHA256SUMS`, and wait until all of them are on the disk."""
    names = sorted(path.name for path in folder.iterdir())
    text = "".join(f"{sha256_of(folder / name)}  {name}\n" for name in names)
    (folder / SUMS_FILE).write_text(text, encoding="utf-8")
    for name in (*names, SUMS_FILE):
        sync(folder / name)
    sync(folder)


def read_meta(folder: Path) -> Optional[dict[str, Any]]:
    """Read what a checkpoint says of itself; None where that cannot be read."""
    try:
        meta = yaml.safe_load((folder / METAFNAME).read_bytes())
        return meta if {"unixtime", "end-of-epoch"} <= set(meta) else None
    except (OSError, ValueError, TypeError, yaml.YAMLError, RecursionError):
        return None


def find_damage(folder: Path) -> Optional[str]:
    """Say what is wrong with a checkpoint's files.

    Arguments
    ---------
    folder : pathlib.Path
        The checkpoint.

    Returns
    -------
    str, optional
        The file and its fault; None where all is as it was written. Checkpoints of earlier versions have no sums: of
        them, only what they say of themselves is checked.
    """
    if read_meta(folder) is None:
        return f"{METAFNAME} cannot be read"
    if not (folder / SUMS_FILE).exists():
        return None
    try:
        sums = (folder / SUMS_FILE).read_text(encoding="utf-8").splitlines()
        listed = {name: digest for digest, _, name in (line.partition("  ") for line in sums)}
    except (OSError, ValueError):
        listed = {}
    if not listed:
        return f"{SUMS_FILE} cannot be read"
    for name, digest in listed.items():
        path = folder / Path(name).name
        if not path.is_file():
            return f"{path.name} is missing"
        if sha256_of(path) != digest:
            return f"{path.name} is not as it was written (its SHA-256 differs)"
    return None
