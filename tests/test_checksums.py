"""The SHA-256 of files."""

import hashlib
import os

from speechbrain_ext.checksums import sha256_of


def test_sha256_is_that_of_hashlib(tmp_path):
    data = os.urandom((1 << 20) + 7)  # more than a block
    (tmp_path / "file").write_bytes(data)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(data).hexdigest()
