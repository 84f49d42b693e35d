"""What a user may give in place of a corpus's folder or CSV: nothing, a file, or what is still packed."""

import glob
from pathlib import Path

from speechbrain_ext.errors import InputError
from speechbrain_ext.storage import check_regular

ARCHIVES = (".tar", ".gz", ".tgz", ".bz2", ".xz", ".zip", ".7z", ".rar")


def read_bytes(path: Path) -> bytes:
    """Read a list; a named pipe is refused, unless the command line has opened it, as <(cut -f 1 list) does."""
    if path.parent != Path("/dev/fd"):
        check_regular(path)
    return path.read_bytes()


def read_text(path: Path, errors: str = "strict") -> str:
    """Read a list in UTF-8, with or without a byte order mark, with newlines alone."""
    return read_bytes(path).decode("utf-8-sig", errors).replace("\r\n", "\n").replace("\r", "\n")


def check_no_archive(path: Path) -> None:
    """Refuse a corpus that is still packed."""
    if is_archive(path):
        raise InputError(f"{path} is an archive. Unpack it first (tar xf, unzip), and give the folder that comes out.")


def check_data_folder(folder: Path, wanted: str, cure: str = "`make demo` makes a synthetic one") -> None:
    """Refuse a folder that does not exist, is a file, or is still packed; `wanted` says what it must hold."""
    if folder.is_dir():
        return
    check_no_archive(folder)
    if folder.exists():
        raise InputError(f"{folder} is a file, not a folder: give the folder that {wanted}.")
    hint = packed_in(folder.parent, f"{glob.escape(folder.name)}.*") or f" {cure}."
    raise InputError(f"the data folder {folder} does not exist. Give the folder that {wanted};{hint}")


def packed_in(folder: Path, pattern: str = "*.*") -> str:
    """Say that what is looked for may be in an archive; "" where there is none."""
    packed = next((path for path in sorted(folder.glob(pattern)) if is_archive(path)), None)
    return f" {packed} is still packed: unpack it first." if packed else ""


def is_archive(path: Path) -> bool:
    """Tell whether a path is a file that holds packed others, by its ending."""
    return path.is_file() and path.suffix.lower() in ARCHIVES
