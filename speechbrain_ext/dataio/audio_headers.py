"""Whether a file holds all that its header announces: libsndfile reads a truncated file as a shorter one in silence."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Optional

from speechbrain_ext.errors import InputError
from speechbrain_ext.limits import MOST_BLOCKS, MOST_HEADER_PARTS


class _Chunks(NamedTuple):
    """How a container lays out its chunks."""

    first: int  # where the first chunk begins
    name_bytes: int
    size_format: str  # of struct
    counts_header: bool  # whether a chunk's size includes its own header
    alignment: int
    data: bytes  # the name of the chunk with the samples


CONTAINERS = {
    b"RIFF": _Chunks(12, 4, "<I", False, 2, b"data"),
    b"RIFX": _Chunks(12, 4, ">I", False, 2, b"data"),
    b"RF64": _Chunks(12, 4, "<I", False, 2, b"data"),
    b"BW64": _Chunks(12, 4, "<I", False, 2, b"data"),
    b"FORM": _Chunks(12, 4, ">I", False, 2, b"SSND"),  # AIFF
    b"caff": _Chunks(8, 4, ">q", False, 1, b"data"),
    b"riff": _Chunks(40, 16, "<Q", True, 8, b"data"),  # Wave64
}
EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"  # how WebM and Matroska begin, and what holds all the rest
OGG_PAGE = struct.Struct("<4sBBqIIIB")
FAR = 2**40  # where no file has anything; not all file systems let one seek further
BOS = 2  # the flag of a logical stream's first page
LARGEST_MP3_FRAME = 2881
MP3_KBITS = (
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),  # MPEG 2 and 2.5
    (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # MPEG 1
)


def missing_bytes(path: str | Path) -> int:
    """Count the bytes that a header announces and the file does not hold.

    Arguments
    ---------
    path
        The recording.

    Returns
    -------
    int
        Missing bytes of WAV, RF64, AIFF, AU, CAF, Wave64, Ogg, WebM, Matroska and MP3 files; 0 for other formats, and
        where the header announces no length, as that of a stream.

    Raises
    ------
    InputError
        If there are more headers than any recording has, such as millions of empty chunks.
    """
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        magic = file.read(4)
        if magic == b"OggS":
            return max(0, _walk_ogg(file)[1] - size)
        if magic == EBML:
            return max(0, _end_of_ebml(file) - size)
        if magic == b".snd":
            first, n_bytes = struct.unpack(">II", file.read(8).ljust(8, b"\0"))
            end = None if _is_placeholder(n_bytes) else first + n_bytes
        elif magic in CONTAINERS:
            end = _end_of_samples(file, CONTAINERS[magic])
        else:
            end = _end_by_index(file)
            if end is None:
                end = _end_of_frames(file)
            elif end - size <= LARGEST_MP3_FRAME:  # not all programs count the index itself
                end = None
        return max(0, (end or 0) - size)


def holds_indexed_mp3(path: str | Path) -> bool:
    """Tell whether an MP3 begins with an index (Xing, Info) of the whole file.

    libsndfile estimates the length of other MP3s from the first frame's bit rate, and reads no sample beyond.
    """
    with open(path, "rb") as file:
        end = _end_by_index(file)
        if end is None:
            return False
        file.seek(end)
        rest = file.read(4)
        return not (rest[:3] == b"ID3" or _mp3_frame_bytes(rest))  # another recording was appended


def holds_several_ogg_streams(path: str | Path) -> bool:
    """Tell whether an Ogg file holds several logical streams, of which libsndfile reads one."""
    with open(path, "rb") as file:
        return _walk_ogg(file)[0] > 1


def is_unfinished_wav(path: str | Path) -> bool:
    """Tell whether a WAV's header was never completed: its size stands as 0 or as a placeholder."""
    with open(path, "rb") as file:
        riff, n_bytes = struct.unpack("<4sI", file.read(8).ljust(8, b"\0"))
        return riff == b"RIFF" and _is_placeholder(n_bytes)


def _at_most(most: int) -> Iterator[None]:
    """Count headers that are gone through."""
    for _ in range(most):
        yield
    raise InputError(f"more than {most} headers follow one another, the most that are gone through.")


def _is_placeholder(n_bytes: int) -> bool:
    """Tell whether a size is one that programs write when they cannot seek back to correct it."""
    return n_bytes <= 0 or 0x7F000000 <= n_bytes <= 0x80000000 or 0xFFFFF000 <= n_bytes <= 0xFFFFFFFF


def _end_of_samples(file: BinaryIO, chunks: _Chunks) -> Optional[int]:
    """Return where the samples end by the header; None if it does not tell."""
    file.seek(chunks.first)
    n_header = chunks.name_bytes + struct.calcsize(chunks.size_format)
    wide = 0  # RF64: the size of the data in 64 bits
    for _ in _at_most(MOST_HEADER_PARTS):
        header = file.read(n_header)
        if len(header) < n_header:
            break
        name = header[:4]
        (n_bytes,) = struct.unpack(chunks.size_format, header[chunks.name_bytes :])
        if chunks.counts_header:
            n_bytes -= n_header
        if name == chunks.data:
            n_bytes = wide or n_bytes
            return None if _is_placeholder(n_bytes) or n_bytes >= 2**62 else file.tell() + n_bytes
        if n_bytes < 0:
            return None
        start = file.tell()
        if name == b"ds64":
            wide = struct.unpack("<QQ", file.read(16).ljust(16, b"\0"))[1]
        file.seek(min(start + n_bytes + -n_bytes % chunks.alignment, FAR))
    return None


def _walk_ogg(file: BinaryIO) -> tuple[int, int]:
    """Return how many logical streams there are, and where the last page ends."""
    n_streams = end = 0
    for _ in _at_most(MOST_BLOCKS):
        file.seek(end)
        header = file.read(OGG_PAGE.size)
        if header[:4] != b"OggS"[: len(header)] or not header:
            return n_streams, end
        if len(header) < OGG_PAGE.size:
            return n_streams, end + OGG_PAGE.size
        _, _, flags, _, _, _, _, n_segments = OGG_PAGE.unpack(header)
        segments = file.read(n_segments)
        n_streams += bool(flags & BOS)
        end += OGG_PAGE.size + n_segments + sum(segments)
        if len(segments) < n_segments:
            break
    return n_streams, end


def _end_of_ebml(file: BinaryIO) -> int:
    """Return where the last element of a WebM or Matroska file ends; elements of unknown length are gone into."""
    position = end = 0
    for _ in _at_most(MOST_BLOCKS):
        file.seek(min(position, FAR))
        header = file.read(12)
        n_name = 9 - header[0].bit_length() if header else 5
        if n_name > 4:  # the end, or no element
            break
        n_size = 9 - header[n_name].bit_length() if len(header) > n_name else 1
        position += n_name + n_size
        if len(header) < n_name + n_size:
            return position
        unknown = (1 << 7 * n_size) - 1
        n_bytes = int.from_bytes(header[n_name : n_name + n_size], "big") & unknown
        if n_bytes != unknown:
            end = max(end, position + n_bytes)
            position += 0 if header[:n_name] == SEGMENT else n_bytes
    return max(position, end)


def _mp3_frame_bytes(header: bytes) -> int:
    """Return the length of the MPEG audio frame of layer III that begins with four bytes; 0 if none does."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:  # synchronisation, layer III
        return 0
    version, bit_rate, rate, padding = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or bit_rate in (0, 15) or rate == 3:  # reserved, or of any length
        return 0
    is_1 = version == 3
    rate_hz = (44100, 48000, 32000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    return (144 if is_1 else 72) * 1000 * MP3_KBITS[is_1][bit_rate - 1] // rate_hz + padding


def _start_of_mp3(file: BinaryIO) -> int:
    """Return where the ID3 tags before the first frame end."""
    start = 0
    file.seek(0)
    for _ in _at_most(MOST_HEADER_PARTS):
        tag = file.read(10)
        if tag[:3] != b"ID3" or len(tag) < 10:
            break
        size = tag[6] << 21 | tag[7] << 14 | tag[8] << 7 | tag[9]
        start += 10 + size + (10 if tag[5] & 0x10 else 0)
        file.seek(start)
    return start


def _end_of_frames(file: BinaryIO) -> Optional[int]:
    """Return where the last frame of an MP3 ends by its header; None if the file is none."""
    start = end = _start_of_mp3(file)
    file.seek(end)
    for _ in _at_most(MOST_BLOCKS):
        n_bytes = _mp3_frame_bytes(file.read(4))
        if not n_bytes:
            break
        end += n_bytes
        file.seek(end)
    return end if end > start else None


def _end_by_index(file: BinaryIO) -> Optional[int]:
    """Return where an MP3's frames end by its index; None if it has none."""
    start = _start_of_mp3(file)
    file.seek(start)
    frame = file.read(192)
    if not _mp3_frame_bytes(frame):
        return None
    is_mono, is_1 = frame[3] >> 6 == 3, frame[1] & 0x18 == 0x18
    index = 4 + ((17 if is_mono else 32) if is_1 else (9 if is_mono else 17))  # after the side information
    if frame[index : index + 4] not in (b"Xing", b"Info"):
        return None
    flags, _, n_bytes = struct.unpack(">III", frame[index + 4 : index + 16].ljust(12, b"\0"))
    return start + n_bytes if flags & 3 == 3 else None  # the number of frames, and that of bytes
