"""Recordings of pipes, recorders and phones: all of the clip or a sentence, never a part of it."""

import os
import struct
import sys

import numpy as np
import pytest
import soundfile as sf

from speechbrain_ext.dataio.audio import probe_audio, read_audio
from speechbrain_ext.dataio.audio_stream import read_mono_blocks
from speechbrain_ext.errors import InputError
from tests.dataio.audio_files import (
    BY_PYAV,
    N_SAMPLES,
    NO_INDEX,
    RATE_HZ,
    encode,
    make_wave,
    without_length,
    write_pipe_flac,
)

pytest.importorskip("av")


@pytest.fixture(scope="module")
def by_pyav(tmp_path_factory):
    """Return the path of each file of `BY_PYAV`, written once."""
    folder = tmp_path_factory.mktemp("by_pyav")
    return {name: write(folder / name) for name, (write, _, _) in BY_PYAV.items()}


@pytest.mark.parametrize("name", BY_PYAV)
def test_what_libsndfile_does_not_read_whole_is_read_whole(by_pyav, name):
    _, rate_hz, padding = BY_PYAV[name]
    header = probe_audio(by_pyav[name], name)
    n_true = round(N_SAMPLES * rate_hz / RATE_HZ)
    assert (header.sample_rate_hz, header.n_channels) == (rate_hz, 1)
    assert n_true <= header.n_frames <= n_true + padding
    assert probe_audio(by_pyav[name], name, check_samples=False) == header
    wav = read_audio(by_pyav[name], name, rate_hz)
    assert len(wav) == header.n_frames
    assert (np.concatenate(list(read_mono_blocks(by_pyav[name], n_frames=4000))) == wav).all()
    # Its end is the original's, as far as the codec lets it through, at most its delay later.
    wav, end = read_audio(by_pyav[name], name, RATE_HZ), make_wave()[-8000:]
    found = np.correlate(wav[N_SAMPLES - 8200 :], end, "valid") / np.linalg.norm(end) ** 2
    assert found.max() > 0.9
    assert read_audio(by_pyav[name], name, RATE_HZ, max_s=0.5).shape == (RATE_HZ // 2,)
    first, n_samples = round(1.2 * rate_hz), round(0.5 * rate_hz)
    segment = read_audio(by_pyav[name], name, rate_hz, segment=(1.2, 0.5))
    np.testing.assert_array_equal(segment, read_audio(by_pyav[name], name, rate_hz)[first : first + n_samples])


@pytest.mark.parametrize("name", BY_PYAV)
def test_a_part_of_a_file_is_refused_at_preparation(by_pyav, tmp_path, name):
    data = by_pyav[name].read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(InputError, match=f"^clip: .*{name}.* (truncated|its index is missing)"):
        probe_audio(tmp_path / name, "clip")


@pytest.mark.parametrize("name", ["pipe.flac", "vbr_without_index.mp3", "phone.m4a", "phone.amr", "browser.webm"])
def test_without_pyav_a_sentence_says_how_to_get_it(by_pyav, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "av", None)
    for read in (lambda: probe_audio(by_pyav[name], "clip"), lambda: read_audio(by_pyav[name], "clip", 16000)):
        with pytest.raises(InputError, match=f"^clip: .*{name} cannot be read as audio: .*pip install av$"):
            read()


# ---- what libsndfile reads


def wav_bytes(data_bytes, riff_bytes=None, samples=None):
    """Write a 16 kHz mono 16-bit WAV by hand, with sizes of its own."""
    samples = make_wave() if samples is None else samples
    data = (samples * 32767).astype("<i2").tobytes()
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    return (
        struct.pack("<4sI4s", b"RIFF", riff_bytes or data_bytes, b"WAVE")
        + fmt
        + b"data"
        + struct.pack("<I", data_bytes)
        + data
    )


def au_bytes(data_bytes):
    data = (make_wave() * 32767).astype(">i2").tobytes()
    return struct.pack(">4sIIIII", b".snd", 24, data_bytes, 3, RATE_HZ, 1) + data


def rf64_bytes(data_bytes):
    data = (make_wave() * 32767).astype("<i2").tobytes()
    ds64 = struct.pack("<4sIQQQI", b"ds64", 28, len(data) + 72, data_bytes, N_SAMPLES, 0)
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    return struct.pack("<4sI4s", b"RF64", 0xFFFFFFFF, b"WAVE") + ds64 + fmt + b"data\xff\xff\xff\xff" + data


FROM_PIPES = {
    "ffmpeg.wav": wav_bytes(0xFFFFFFFF),
    "sox.wav": wav_bytes(0x7FFFF000 - 36, 0x7FFFF000),
    "arecord.wav": wav_bytes(0x80000000, 0x80000024),
    "never_closed.wav": wav_bytes(0),
    "stream.au": au_bytes(0xFFFFFFFF),
    "long.rf64": rf64_bytes(2 * N_SAMPLES),
    "id3_before.flac": None,
    "junk_behind.wav": wav_bytes(2 * N_SAMPLES) + b"junk" * 5000,
}


@pytest.mark.parametrize("name", FROM_PIPES)
def test_headers_with_a_placeholder_or_more_around_the_samples(tmp_path, name):
    content = FROM_PIPES[name]
    if content is None:
        sf.write(tmp_path / name, make_wave(), RATE_HZ, format="FLAC")
        content = b"ID3\x04\0\0\0\0\1\0" + bytes(128) + (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content)
    header = probe_audio(tmp_path / name, "clip")
    wav = read_audio(tmp_path / name, "clip", RATE_HZ)
    assert len(wav) == header.n_frames and header.n_frames - N_SAMPLES == 0
    np.testing.assert_allclose(wav, make_wave(), atol=1e-4)


WRITTEN = {
    # name: (format, subtype)
    "a.aiff": ("AIFF", None),
    "a.au": ("AU", None),
    "a.w64": ("W64", None),
    "a.caf": ("CAF", None),
    "a.rf64": ("RF64", None),
    "a.rifx": ("WAV", "PCM_16"),
    "a.flac": ("FLAC", None),
    "a.ogg": ("OGG", "VORBIS"),
    "a.opus": ("OGG", "OPUS"),
    "a.mp3": ("MP3", None),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_truncated_file_of_each_format_is_refused(tmp_path, name):
    path, (file_format, subtype) = tmp_path / name, WRITTEN[name]
    endian = "BIG" if name == "a.rifx" else None
    noise = 0.1 * np.random.default_rng(0).standard_normal(8 * RATE_HZ)
    sf.write(path, noise, RATE_HZ, format=file_format, subtype=subtype, endian=endian)
    assert probe_audio(path, "clip").n_frames == len(noise) * (3 if name == "a.opus" else 1) or name == "a.opus"
    assert abs(probe_audio(path, "clip").duration_s - 8) < 1e-3
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(InputError, match="^clip: .* truncated"):
        probe_audio(path, "clip")
    with pytest.raises(InputError, match="^clip: .* truncated"):
        read_audio(path, "clip", RATE_HZ)


def test_appended_recordings_are_read_or_refused_as_a_whole(tmp_path):
    sf.write(tmp_path / "a.ogg", make_wave(), RATE_HZ)
    (tmp_path / "two.ogg").write_bytes(2 * (tmp_path / "a.ogg").read_bytes())
    assert probe_audio(tmp_path / "two.ogg", "clip").duration_s == pytest.approx(2 * N_SAMPLES / RATE_HZ, abs=0.05)
    encode(tmp_path / "a.mp3", "libmp3lame", muxer={"id3v2_version": "0"})
    assert probe_audio(tmp_path / "a.mp3", "clip").n_frames == N_SAMPLES  # by its index
    (tmp_path / "two.mp3").write_bytes(2 * (tmp_path / "a.mp3").read_bytes())
    assert probe_audio(tmp_path / "two.mp3", "clip").duration_s == pytest.approx(2 * N_SAMPLES / RATE_HZ, abs=0.3)


def test_tags_around_an_mp3_leave_it_as_it_is(tmp_path):
    encode(tmp_path / "a.mp3", "libmp3lame", muxer={"id3v2_version": "4"})
    plain = read_audio(tmp_path / "a.mp3", "a", RATE_HZ)
    (tmp_path / "b.mp3").write_bytes((tmp_path / "a.mp3").read_bytes() + b"TAG" + b"title".ljust(125, b"\0"))
    assert (read_audio(tmp_path / "b.mp3", "b", RATE_HZ) == plain).all() and len(plain) == N_SAMPLES


@pytest.mark.parametrize("name", ["a.wav", "a.au", "a.gsm", "a.vox", "a"])
def test_the_ending_decides_nothing(by_pyav, tmp_path, name):
    (tmp_path / name).write_bytes(by_pyav["phone.m4a"].read_bytes())
    assert probe_audio(tmp_path / name, "clip") == probe_audio(by_pyav["phone.m4a"], "clip")
    (tmp_path / name).write_bytes(
        np.random.default_rng(0).bytes(5000)
    )  # libsndfile takes it for GSM or VOX by its name
    with pytest.raises(InputError, match="cannot be read as audio"):
        probe_audio(tmp_path / name, "clip")


def test_a_playlist_opens_no_other_file(tmp_path):
    sf.write(tmp_path / "private.wav", make_wave(), RATE_HZ)
    for name, text in {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{tmp_path}/private.wav\n#EXT-X-ENDLIST\n",
        "list.ffconcat": f"ffconcat version 1.0\nfile '{tmp_path}/private.wav'\n",
        "list.wav": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match="cannot be read as audio: Format not recognised"):
            probe_audio(tmp_path / name, "clip")


def test_a_film_without_sound_is_refused(tmp_path):
    import av

    with av.open(str(tmp_path / "film.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        file.mux(stream.encode(None))
    with pytest.raises(InputError, match="film.mp4 cannot be read as audio: it holds no sound. Replace the file"):
        probe_audio(tmp_path / "film.mp4", "clip")


def test_a_rate_that_no_recorder_has_is_refused(tmp_path):
    sf.write(tmp_path / "a.flac", np.zeros((100_000, 8), np.int16), 655_350)
    with pytest.raises(InputError, match="has 655350 Hz of sample rate, and at most 384000 are read. Convert it"):
        probe_audio(tmp_path / "a.flac", "clip")


def test_the_index_of_an_mp3_has_to_cover_the_file(tmp_path):
    from speechbrain_ext.dataio.audio_headers import holds_indexed_mp3

    assert holds_indexed_mp3(encode(tmp_path / "a.mp3", "libmp3lame"))
    assert not holds_indexed_mp3(encode(tmp_path / "b.mp3", "libmp3lame", muxer=NO_INDEX))
    assert not holds_indexed_mp3(write_pipe_flac(tmp_path / "c.mp3"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    for name in ("pipe.wav", "folder.wav"):
        with pytest.raises(InputError, match=f"^utt7: .*{name} is no regular file. Leave it out"):
            probe_audio(tmp_path / name, "utt7")


@pytest.mark.parametrize("n_channels", [3, 8])  # PyAV's arrays of planes end with a null after 1 to 7 planes only
def test_all_channels_of_a_flac_without_a_length_are_read(tmp_path, n_channels):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (16_000, n_channels))
    sf.write(tmp_path / "a.flac", samples, RATE_HZ)
    expected = sf.read(tmp_path / "a.flac", dtype="float32")[0].mean(axis=1)
    without_length(tmp_path / "a.flac")
    np.testing.assert_allclose(read_audio(tmp_path / "a.flac", "utt7", RATE_HZ), expected, atol=1e-7)


def test_more_channels_than_a_recorder_has_are_refused(tmp_path):
    sf.write(tmp_path / "many.wav", np.zeros((800, 65), "int16"), 16000)
    with pytest.raises(InputError, match="many.wav has 65 channels, and at most 64 are read. Convert it"):
        read_audio(tmp_path / "many.wav", "utt7", 16000)


CANNOT_SEEK = [("a.wav", "GSM610"), ("a.au", "G721_32"), ("a.au", "G723_24"), ("a.wav", "NMS_ADPCM_32")]


@pytest.mark.parametrize(("name", "subtype"), CANNOT_SEEK)
def test_codecs_that_cannot_seek_are_read_whole_and_in_segments(tmp_path, name, subtype):
    sf.write(tmp_path / name, make_wave(), RATE_HZ, subtype=subtype)
    n_frames = probe_audio(tmp_path / name, "a").n_frames
    assert N_SAMPLES <= n_frames < N_SAMPLES + 640  # whole blocks of the codec
    wav = read_audio(tmp_path / name, "a", RATE_HZ)
    assert len(wav) == n_frames and np.abs(wav).max() > 0.1
    part = read_audio(tmp_path / name, "a", RATE_HZ, segment=(0.5, 0.25))
    assert (part == wav[RATE_HZ // 2 : 3 * RATE_HZ // 4]).all()
