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


MANY_HEADERS = {
    "chunks.wav": b"RIFF\xff\xff\0\0WAVE" + 300 * b"junk\0\0\0\0",
    "tags.mp3": 300 * b"ID3\x03\0\0\0\0\0\0",  # libmpg123 writes a line on each to the terminal
    "elements.webm": b"\x1a\x45\xdf\xa3\x80" + 300 * b"\xec\x80",
    "pages.ogg": 300 * (b"OggS" + bytes(23)),
    "frames.mp3": 300 * (b"\xff\xf3\x14\xc4" + bytes(20)),
}


@pytest.mark.parametrize("name", MANY_HEADERS)
def test_no_more_headers_are_gone_through_than_recordings_have(tmp_path, monkeypatch, capfd, name):
    monkeypatch.setattr(audio_headers, "MOST_BLOCKS", 256)
    (tmp_path / name).write_bytes(MANY_HEADERS[name])
    with pytest.raises(InputError, match=f"^u: .*{name} cannot be read as audio: more than 256 headers follow one ano"):
        probe_audio(tmp_path / name, "u")
    assert capfd.readouterr().err == ""
