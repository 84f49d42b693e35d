"""A recording in the formats that corpora, pipes, recorders and phones give: what the tests of reading share."""

from fractions import Fraction

import numpy as np
import soundfile as sf

RATE_HZ = 16000
N_SAMPLES = 2 * RATE_HZ + 77  # ends within a codec's frame


def make_wave():
    """Return a glide with a swelling loudness, [N_SAMPLES] at 16 kHz: no stretch of it is like another."""
    times_s = np.arange(N_SAMPLES) / RATE_HZ
    wav = 0.4 * np.sin(2 * np.pi * (300 + 200 * times_s) * times_s) * (0.2 + times_s / 3)
    return (wav + 0.01 * np.random.default_rng(0).standard_normal(N_SAMPLES)).astype(np.float32)


def encode(path, codec, rate_hz=RATE_HZ, container=None, muxer=None, codec_options=None, bit_rate=None):
    """Write `make_wave()` with FFmpeg, as it is or resampled to another rate."""
    import av

    with av.open(str(path), "w", format=container, options=muxer or {}) as file:
        stream = file.add_stream(codec, rate=rate_hz, layout="mono", options=codec_options or {})
        if bit_rate:
            stream.bit_rate = bit_rate
        frame = av.AudioFrame.from_ndarray(make_wave()[np.newaxis], format="fltp", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = RATE_HZ, Fraction(1, RATE_HZ), 0
        sample_format = stream.codec_context.codec.audio_formats[0].name
        resampler = av.AudioResampler(sample_format, "mono", rate_hz, stream.codec_context.frame_size or 1024)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return path


def write_pipe_flac(path):
    """Write a FLAC whose header holds 0 for the number of samples, as one that was made through a pipe."""
    sf.write(path, make_wave(), RATE_HZ, format="FLAC")
    return without_length(path)


def without_length(path):
    """Set the number of samples in a FLAC's header and its MD5 to 0, as a pipe leaves them."""
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the number of samples: 36 bits, from the low half of this byte on
    data[22:42] = bytes(20)
    path.write_bytes(data)
    return path


NO_INDEX = {"write_xing": "0", "id3v2_version": "0"}
# What libsndfile reads in part or not at all: name -> (how it is written, rate, padding of the codec in samples).
BY_PYAV = {
    "pipe.flac": (write_pipe_flac, RATE_HZ, 0),
    "vbr_without_index.mp3": (
        lambda path: encode(path, "libmp3lame", muxer=NO_INDEX, codec_options={"flags": "+qscale", "q": "4"}),
        RATE_HZ,
        2304,
    ),
    "cbr_without_index.mp3": (lambda path: encode(path, "libmp3lame", muxer=NO_INDEX, bit_rate=64000), RATE_HZ, 2304),
    "phone.m4a": (lambda path: encode(path, "aac"), RATE_HZ, 1024),
    "film.mp4": (lambda path: encode(path, "aac", 44100), 44100, 1024),
    "stream.aac": (lambda path: encode(path, "aac", container="adts"), RATE_HZ, 2048),
    "browser.webm": (lambda path: encode(path, "libopus", 48000), 48000, 960),
    "stream.webm": (lambda path: encode(path, "libopus", 48000, muxer={"live": "1"}), 48000, 960),
    "phone.amr": (lambda path: encode(path, "libopencore_amrnb", 8000, bit_rate=12200), 8000, 320),
    "phone.3gp": (lambda path: encode(path, "libopencore_amrnb", 8000, bit_rate=12200), 8000, 320),
    "lossless.m4a": (lambda path: encode(path, "alac"), RATE_HZ, 0),
}
