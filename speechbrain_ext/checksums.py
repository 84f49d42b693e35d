"""SHA-256 of files: what tells a damaged copy from a whole one."""

import hashlib
import os

from speechbrain_ext.storage import check_regular


def sha256_of(path: str | os.PathLike) -> str:
    """Compute the SHA-256 of a file, as a hexadecimal number; refuse what is no regular file."""
    check_regular(path)
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
