"""What a clone without git LFS holds is named as such."""

import pytest

from speechbrain_ext.dataio.audio import probe_audio
from speechbrain_ext.dataio.lfs_pointer import is_lfs_pointer
from speechbrain_ext.errors import InputError


def test_recording_that_is_a_pointer_says_what_to_do(tmp_path):
    path = tmp_path / "1001_DFA_ANG_XX.wav"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 73\n")
    assert is_lfs_pointer(path)
    with pytest.raises(InputError, match="u1: .*1001_DFA_ANG_XX.wav is a git-LFS pointer: run `git lfs pull`"):
        probe_audio(path, "u1")


@pytest.mark.parametrize("content", [b"", b"version", b"RIFF\0\0\0\0WAVE"])
def test_other_files_are_no_pointers(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    assert not is_lfs_pointer(tmp_path / "a.wav")
