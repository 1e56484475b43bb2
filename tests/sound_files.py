"""The same sound in every format that people keep recordings in, as far as it is encoded here."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATES = (8000, 16000, 22050, 44100, 48000)
CHANNELS = (1, 2, 6)
FRAME_SAMPLES = 4096
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1"}

# Endings of what libsndfile writes, its container and subtype.
SOUNDFILE: dict[str, tuple[str, str]] = {
    "u8.wav": ("WAV", "PCM_U8"),
    "16.wav": ("WAV", "PCM_16"),
    "24.wav": ("WAV", "PCM_24"),
    "32.wav": ("WAV", "PCM_32"),
    "float.wav": ("WAV", "FLOAT"),
    "ulaw.wav": ("WAV", "ULAW"),
    "ima.wav": ("WAV", "IMA_ADPCM"),
    "ms.wav": ("WAV", "MS_ADPCM"),
    "gsm.wav": ("WAV", "GSM610"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "aiff": ("AIFF", "PCM_16"),
    "sph": ("NIST", "PCM_16"),
}
# Endings of what FFmpeg writes, its container and codec; a video besides where marked.
MEDIA: dict[str, tuple[str, str, bool]] = {
    "aac.m4a": ("ipod", "aac", False),
    "alac.m4a": ("ipod", "alac", False),
    "webm": ("webm", "libopus", False),
    "mkv": ("matroska", "pcm_s16le", False),
    "mp4": ("mp4", "aac", True),
    "wma": ("asf", "wmav2", False),
}
LOSSLESS = ("16.wav", "24.wav", "32.wav", "float.wav", "flac", "aiff", "sph", "alac.m4a", "mkv")
FORMATS = (*SOUNDFILE, *MEDIA)


class CannotEncodeError(Exception):
    """This machine's libraries do not write that format at that rate and number of channels."""


def encode_file(path: Path, waveform: np.ndarray, rate: int, channels: int, kind: str) -> None:
    """Write a waveform, the same in all channels.

    Args:
        path: the file to make.
        waveform: ``(S,)`` or ``(S, C)`` within ±1 at ``rate``.
        rate: in Hz.
        channels: how many.
        kind: one of ``FORMATS``.

    Raises:
        CannotEncodeError: with the library's reason.
    """
    if kind in SOUNDFILE:
        container, subtype = SOUNDFILE[kind]
        try:
            soundfile.write(
                path, np.stack([waveform] * channels, 1), rate, subtype, format=container
            )
        except (soundfile.LibsndfileError, ValueError) as error:
            raise CannotEncodeError(f"libsndfile: {error}") from error
        if subtype == "IMA_ADPCM":
            # libsndfile counts the filling of the last block as sound; Windows' encoder does not.
            data = path.read_bytes()
            at = data.index(b"fact") + 8
            path.write_bytes(data[:at] + len(waveform).to_bytes(4, "little") + data[at + 4 :])
        return
    import av

    container, codec, video = MEDIA[kind]
    try:
        encode_media(path, waveform, rate, channels, container, codec, video)
    except (av.error.FFmpegError, ValueError) as error:
        raise CannotEncodeError(f"FFmpeg: {error}") from error


def encode_media(
    path: Path,
    waveform: np.ndarray,
    rate: int,
    channels: int,
    container: str,
    codec: str,
    video: bool = False,
    sound: bool = True,
) -> None:
    """Write a waveform with FFmpeg, with a short video beside it or instead of it if wanted."""
    import av

    with av.open(str(path), "w", format=container) as target:
        picture: Any = None
        if video:
            picture = target.add_stream("mpeg4", rate=5)
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        streams: list[tuple[Any, Callable[[], Any]]] = []
        if sound:
            # FFmpeg's better coder takes seconds.
            options = {"aac_coder": "fast"} if codec == "aac" else {}
            stream = target.add_stream(codec, rate=rate, layout=LAYOUTS[channels], options=options)
            stream.bit_rate = 64000 * channels
            pcm = np.clip(np.rint(waveform * 32768), -32768, 32767).astype(np.int16)
            if pcm.ndim == 1:
                pcm = np.stack([pcm] * channels, 1)
            streams.append((stream, lambda: [*audio_frames(pcm, rate), None]))
        if picture is not None:
            count = 1 + 5 * len(waveform) // rate
            still = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            streams.append((picture, lambda: [still] * count + [None]))
        for stream, frames in streams:
            for number, each in enumerate(frames()):
                if each is not None and stream is picture:
                    each.pts = number
                for packet in stream.encode(each):
                    target.mux(packet)


def audio_frames(pcm: np.ndarray, rate: int) -> Iterator[Any]:
    """Yield 16-bit samples ``(S, C)`` in FFmpeg's frames."""
    import av

    for start in range(0, len(pcm), FRAME_SAMPLES):
        block = np.ascontiguousarray(pcm[start : start + FRAME_SAMPLES]).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(block, format="s16", layout=LAYOUTS[pcm.shape[1]])
        frame.sample_rate = rate
        # Without a time the encoder's delay is not written into the file.
        frame.pts, frame.time_base = start, Fraction(1, rate)
        yield frame
