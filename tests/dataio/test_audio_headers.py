"""Headers that claim what no file holds: counted as missing, or left to the readers, and never an error."""

import struct

import pytest

from speechbrain_ext.dataio import audio_headers
from speechbrain_ext.dataio.audio import probe_audio
from speechbrain_ext.errors import InputError

MP3_FRAME = b"\xff\xfb\x90\xc4"
FAR_CHUNKS = {
    "caf": b"caff\0\1\0\0" + b"free" + struct.pack(">q", 2**62),
    "wave64": b"riff" + bytes(36) + b"junk" + bytes(12) + struct.pack("<Q", 2**64 - 1),
    "webm": b"\x1a\x45\xdf\xa3\x81\0" + b"\xec\x01" + b"\x7f" * 7,
    "cut index": MP3_FRAME + bytes(17) + b"Xing" + struct.pack(">I", 3),
}


@pytest.mark.parametrize("name", FAR_CHUNKS)
def test_headers_that_lead_out_of_the_file_are_read_or_refused(tmp_path, name):
    path = tmp_path / "x.wav"
    path.write_bytes(FAR_CHUNKS[name])
    assert audio_headers.missing_bytes(path) >= 0
    for tell in (
        audio_headers.holds_indexed_mp3, audio_headers.holds_several_ogg_streams, audio_headers.is_unfinished_wav,
    ):  # fmt: skip
        assert tell(path) in (True, False)
    with pytest.raises(InputError, match="x.wav (cannot be read as audio|is truncated)"):
        probe_audio(path, "u")
