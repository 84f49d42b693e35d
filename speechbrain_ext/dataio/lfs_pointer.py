"""Files that a clone without git LFS holds in place of large ones."""

from pathlib import Path

LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def is_lfs_pointer(path: str | Path) -> bool:
    """Tell whether a file is the short text that stands for a large file; `git lfs pull` puts the file in its place."""
    with open(path, "rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER
