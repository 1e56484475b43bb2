"""What the headers of audio files promise about their length, and whether to believe it."""

import re
from pathlib import Path

import soundfile

# libsndfile gives the largest integer where a header leaves the length open.
OPEN_LENGTH = 1 << 60
_CLIPPED_SIZE = r"(?:data|SSND|Data Size|riff)\s*: (\d+) \(should be (\d+)\)"
_SMALLEST_PLACEHOLDER = 0x7FFFF000
_XING_FRAMES, _XING_BYTES = 1, 2
_MP3_TRAILER_BYTES = 4096
_FLAC_TAIL_BYTES = 1 << 17
_OGG_LAST_PAGE, _LARGEST_OGG_PAGE = 4, 65307


def frames_in_header(path: Path, sound: soundfile.SoundFile) -> int:
    """Return the frames that the header promises, 0 if none; a cut file's own count is clipped."""
    if sound.format == "NIST":
        with path.open("rb") as stream:
            count = re.search(rb"sample_count -i (\d+)", stream.read(1024))
        return int(count[1]) if count else int(sound.frames)
    if sound.format in ("WAV", "WAVEX", "AIFF", "AU", "W64"):
        sizes = re.search(_CLIPPED_SIZE, sound.extra_info)
        if sizes:
            promised, present = int(sizes[1]), int(sizes[2])
            # Programs that write into a pipe leave such sizes where they do not know one.
            if promised >= _SMALLEST_PLACEHOLDER:
                return 0
            return int(sound.frames) * promised // max(1, present)
    return int(sound.frames) if sound.frames < OPEN_LENGTH else 0


def frames_in_fact(sound: soundfile.SoundFile) -> int:
    """Return the frames of sound in a compressed WAV file that ends within a block, else 0.

    Such a file is decoded in whole blocks; its ``fact`` chunk says where the sound ends.
    """
    fact = re.search(r"^fact : \d+\s+frames\s*: (\d+)", sound.extra_info, re.MULTILINE)
    block = re.search(r"^\s*Samples/Block\s*: (\d+)", sound.extra_info, re.MULTILINE)
    if not fact or not block:
        return 0
    frames = int(fact[1])
    # Some writers add a block that is nothing but filling.
    return frames if 0 < sound.frames - frames < 2 * int(block[1]) else 0


def bytes_behind_sound(sound: soundfile.SoundFile) -> int:
    """Return the bytes behind a WAV file's sound that belong to nothing, 0 if there are none.

    Where the header gives too short a length, they are the rest of the sound.
    """
    strange = re.search(r"Unknown chunk marker .* at position (\d+)", sound.extra_info)
    length = re.search(r"^Length : (\d+)", sound.extra_info, re.MULTILINE)
    if not sound.format.startswith("WAV") or not strange or not length:
        return 0
    return max(0, int(length[1]) - int(strange[1]))


def flac_frames_at_end(path: Path) -> int:
    """Return where the last frame of a FLAC file begins, in samples from the start; 0 if unknown.

    Source: RFC 9639, section 9.1, frame header.
    """
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _FLAC_TAIL_BYTES))
        tail = stream.read()
    at = len(tail)
    while (at := tail.rfind(b"\xff", 0, at)) >= 0:
        header = tail[at : at + 16]
        if len(header) >= 6 and header[1] in (0xF8, 0xF9) and (start := _flac_start(header)):
            return start
    return 0


def _flac_start(header: bytes) -> int:
    """Return the first sample of the frame with this header, 0 if it is none."""
    # The number is written as UTF-8 writes a character: leading ones count its bytes.
    first = header[4]
    ones = 8 - (first ^ 0xFF).bit_length()
    size = max(1, ones)
    code = header[2] >> 4
    blocks = {1: 192, **{k: 576 << (k - 2) for k in range(2, 6)}}
    blocks |= {k: 256 << (k - 8) for k in range(8, 16)}
    extra = {6: 1, 7: 2}.get(code, 0) + {12: 1, 13: 2, 14: 2}.get(header[2] & 15, 0)
    end = 4 + size + extra
    if ones in (1, 8) or len(header) <= end or _crc8(header[:end]) != header[end]:
        return 0
    number = first & (0x7F >> ones)
    for byte in header[5 : 4 + size]:
        number = number << 6 | byte & 0x3F
    # With blocks of one size the frames are counted, else the samples.
    return number if header[1] & 1 else number * blocks.get(code, 0)


def _crc8(data: bytes) -> int:
    remainder = 0
    for byte in data:
        remainder ^= byte
        for _ in range(8):
            remainder = (remainder << 1 ^ (0x07 if remainder & 0x80 else 0)) & 0xFF
    return remainder


def mp3_length_is_known(path: Path) -> bool:
    """Tell whether an MP3's first frame counts all its frames (Xing, Info or VBRI header).

    Without it libsndfile extrapolates the first frames' bit rate and stops there; so it does where
    files were joined and the header counts the first only.
    """
    with path.open("rb") as stream:
        head = stream.read(10)
        # ID3v2: four bytes of seven bits give the tag's size without its ten-byte header.
        tag = 0
        if head[:3] == b"ID3" and len(head) == 10:
            tag = 10 + sum(
                byte << shift for byte, shift in zip(head[6:], (21, 14, 7, 0), strict=True)
            )
        stream.seek(tag)
        frame = stream.read(2048)
    if b"VBRI" in frame:
        return True
    found = re.search(rb"(?:Xing|Info)\0\0\0(.)(.{8})", frame, re.DOTALL)
    if not found or not found[1][0] & _XING_FRAMES:
        return False
    if not found[1][0] & _XING_BYTES:
        return True
    promised = int.from_bytes(found[2][4:], "big")
    # Tags at the end may add a little; a second recording adds more.
    return path.stat().st_size - tag <= 1.02 * promised + _MP3_TRAILER_BYTES


def ogg_has_end(path: Path) -> bool:
    """Tell whether an Ogg file ends in a whole page that is marked as the stream's last."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 2 * _LARGEST_OGG_PAGE))
        tail = stream.read()
    start = tail.rfind(b"OggS")
    header = tail[start : start + 27]
    if start < 0 or len(header) < 27 or not header[5] & _OGG_LAST_PAGE:
        return False
    segments = tail[start + 27 : start + 27 + header[26]]
    return len(segments) == header[26] and start + 27 + len(segments) + sum(segments) <= len(tail)
