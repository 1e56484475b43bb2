"""Decoders of one file each: libsndfile through soundfile, and the optional PyAV for the rest."""

import importlib.util
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from asr.channels import channels_of, one_channel
from asr.errors import AudioError
from asr.headers import (
    OPEN_LENGTH,
    bytes_behind_sound,
    flac_frames_at_end,
    frames_in_fact,
    frames_in_header,
    mp3_length_is_known,
    ogg_has_end,
)
from asr.resampling import Samples

if TYPE_CHECKING:
    import av

INSTALL_HINT = "pip install av (the extra 'media')"
# FFmpeg guesses the length of these from file size and first bit rate: no declaration at all.
_WITHOUT_LENGTH = frozenset({"aac", "ac3", "eac3", "mp3"})
_MAX_FAILED_READS = 16
# A second or more of any usual rate: large enough to be fast, small enough to bound memory.
_BLOCK_FRAMES = 1 << 16


def media_installed() -> bool:
    """Tell whether PyAV, the extra ``media``, can be imported."""
    return importlib.util.find_spec("av") is not None


class _SequentialFile(soundfile.SoundFile):  # type: ignore[misc]  # soundfile ships no types
    """A sound file that is read onward only.

    SoundFile seeks to where it already is after each read, which upsets the MP3 decoder's state and
    so changes the samples at every block's edge; it does not where a file claims to be unseekable.
    """

    def seekable(self) -> bool:
        return False


class SoundFileSource:
    """A file that libsndfile opens; decoded in order up to its first damage.

    Attributes:
        format, sample_rate, channels, declared_seconds, bad_packets, error: as ``MediaSource``'s.
        doubt: why the length in the header cannot be relied upon; None if it can.
        may_stop_early: whether libsndfile may leave out sound at the end, as if all were well.
    """

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            soundfile.LibsndfileError: libsndfile does not know what it is.
        """
        # As bytes: a name need not be text in the system's encoding.
        self._sound = _SequentialFile(os.fsencode(path))
        self.format: str = self._sound.format
        self.sample_rate: int = self._sound.samplerate
        self.channels: int = self._sound.channels
        self.bad_packets = 0
        self.error: str | None = None
        self.doubt: str | None = None
        self.may_stop_early = self.format == "MP3" and not mp3_length_is_known(path)
        frames: int = self._sound.frames
        self._readable = frames if frames < OPEN_LENGTH else None
        declared = frames_in_header(path, self._sound)
        if spoken := frames_in_fact(self._sound):
            # The rest of the last block of a compressed WAV file is no sound.
            self._readable = declared = spoken
        if self.may_stop_early:
            declared = 0
            self.doubt = (
                "is an MP3 without a trustworthy length in its header, where soundfile may stop "
                f"too soon; install PyAV, which reads it to its end: {INSTALL_HINT}"
            )
        elif self.format == "FLAC" and (last := flac_frames_at_end(path)) >= declared > 0:
            self.may_stop_early = True
            self.doubt = (
                f"says that it has {declared / self.sample_rate:.2f} s, but its last frame begins "
                f"at {last / self.sample_rate:.2f} s; soundfile stops too soon, install PyAV, "
                f"which reads it to its end: {INSTALL_HINT}"
            )
        elif declared and (strange := bytes_behind_sound(self._sound)):
            seconds = strange * declared / self.sample_rate / max(1, path.stat().st_size - strange)
            self.doubt = (
                f"says that it has {declared / self.sample_rate:.2f} s, behind which lie {strange} "
                f"bytes that belong to nothing: {seconds:.2f} s more, if they are sound; write the "
                "file anew"
            )
        elif self.format == "OGG" and not ogg_has_end(path):
            self.doubt = "lacks Ogg's last page: it was cut, and nothing says how much is missing"
        self.declared_seconds = declared / self.sample_rate if declared else None

    def blocks(self, channel: int | None = None) -> Iterator[Samples]:
        """Decode the file once, as ``MediaSource.blocks`` does; a failure ends it, in ``error``."""
        left = self._readable
        decoded = 0
        while left is None or left > 0:
            wanted = _BLOCK_FRAMES if left is None else min(left, _BLOCK_FRAMES)
            buffer = np.empty((wanted, self.channels), dtype=np.float32)
            try:
                block = self._sound.read(out=buffer)
            except soundfile.LibsndfileError as error:
                self.error = error.error_string or "unknown error"
                # What was decoded before the failure is in the buffer already.
                block = buffer[: max(0, self._position() - decoded)]
            decoded += len(block)
            if len(block):
                yield one_channel(block.T, channel)
            if self.error or len(block) < wanted:
                return
            left = None if left is None else left - len(block)

    def _position(self) -> int:
        try:
            return int(self._sound.tell())
        except soundfile.LibsndfileError:
            # GSM, for one, has no positions.
            return 0

    def close(self) -> None:
        """Close the file."""
        self._sound.close()


class MediaSource:
    """The first audio stream of a file, decoded packet by packet past the damaged ones.

    Attributes:
        format: the container's name, upper case.
        sample_rate: the file's own, in Hz.
        channels: before mixing down.
        declared_seconds: what the header says; None where it says nothing.
        bad_packets: packets that did not decode, counted while ``blocks`` runs.
        error: why decoding ended early; None while all is well.
    """

    def __init__(self, path: Path) -> None:
        """Open a file.

        Args:
            path: any local file.

        Raises:
            AudioError: PyAV is not installed, the file holds no audio, or none that it knows.
        """
        if not media_installed():
            raise AudioError(
                f"{path} cannot be read by soundfile{_first_bytes(path)}; if it is m4a, mp4, webm, "
                f"wma or the like, install PyAV: {INSTALL_HINT}"
            )
        import av

        self._ffmpeg_error = av.error.FFmpegError
        try:
            # A playlist or a file named `http:...` must not make FFmpeg open anything else.
            self._container = av.open(f"file:{path}", options={"protocol_whitelist": "file"})
        except (self._ffmpeg_error, ValueError) as error:
            raise AudioError(
                f"{path} is no audio that soundfile or PyAV can read{_first_bytes(path)}; "
                "expected wav, flac, mp3, ogg, m4a, webm or another common format, whole"
            ) from error
        streams = self._container.streams.audio
        if not streams or not getattr(streams[0].codec_context, "sample_rate", 0):
            self._container.close()
            raise AudioError(f"{path} holds no audio that can be decoded; expected a recording")
        self._stream = streams[0]
        self.format = self._container.format.name.split(",")[0].upper()
        self.sample_rate = int(self._stream.codec_context.sample_rate)
        self.channels = int(self._stream.codec_context.channels)
        self.declared_seconds = self._declared_seconds()
        self.bad_packets = 0
        self.error: str | None = None

    def _declared_seconds(self) -> float | None:
        container, stream = self._container, self._stream
        if container.format.name in _WITHOUT_LENGTH:
            return None
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        # The container's length is that of its longest stream: the audio's only when alone.
        if container.duration and len(container.streams) == 1:
            return container.duration / 1e6
        return None

    def blocks(self, channel: int | None = None) -> Iterator[Samples]:
        """Decode the stream once.

        Args:
            channel: the one to take, counted from 1; None: the mean of all.

        Yields:
            Mono samples (S,) float32, one codec frame each; without what fills up the last frame
            beyond the length that the file declares.
        """
        declared = round((self.declared_seconds or 0.0) * self.sample_rate)
        decoded = 0
        held: Samples | None = None
        for block in self._decoded(channel):
            if held is not None:
                yield held
            held, decoded = block, decoded + len(block)
        if held is not None:
            # Much more than declared is no filling but a header that is wrong.
            filling = decoded - declared if declared else 0
            yield held[: len(held) - filling] if 0 < filling < len(held) else held

    def _decoded(self, channel: int | None) -> Iterator[Samples]:
        least = channel or 1
        for packet in self._packets():
            try:
                frames = packet.decode()
            except self._ffmpeg_error:
                self.bad_packets += 1
                continue
            for frame in frames:
                # A change of rate in mid-stream cannot be joined to what came before.
                if frame.sample_rate != self.sample_rate or frame.layout.nb_channels < least:
                    self.bad_packets += 1
                elif frame.samples:
                    yield one_channel(channels_of(frame), channel)

    def _packets(self) -> Iterator["av.Packet[av.AudioStream]"]:
        packets = self._container.demux(self._stream)
        failed_reads = 0
        while failed_reads < _MAX_FAILED_READS:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except self._ffmpeg_error as error:
                self.bad_packets += 1
                failed_reads += 1
                self.error = str(error.strerror or error)
                packets = self._container.demux(self._stream)
            else:
                yield packet

    def close(self) -> None:
        """Close the file."""
        self._container.close()


def open_source(path: Path) -> SoundFileSource | MediaSource:
    """Open a file with soundfile, or with PyAV where soundfile cannot or would cut it.

    Raises:
        AudioError: missing, empty, unreadable, no regular file, headerless, or no known format.
    """
    check_file(path)
    if path.suffix.lower() == ".raw":
        raise AudioError(
            f"{path} is headerless, so that its sample rate is unknown; read it with "
            "asr.audio.read_raw_pcm, or `asr prepare an4` where it is AN4's"
        )
    try:
        source = SoundFileSource(path)
    except soundfile.LibsndfileError:
        return MediaSource(path)
    if source.may_stop_early and media_installed():
        try:
            media = MediaSource(path)
        except AudioError:
            return source
        source.close()
        return media
    return source


def check_file(path: Path) -> int:
    """Return the size of a readable, regular file that is not empty, in bytes.

    Raises:
        AudioError: it is none of these.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise AudioError(f"{path} is a directory; expected an audio file")
        if not stat.S_ISREG(status.st_mode):
            raise AudioError(f"{path} is no regular file; expected an audio file")
        path.open("rb").close()
    except FileNotFoundError as error:
        raise AudioError(f"{path} does not exist; expected an audio file") from error
    except OSError as error:
        raise AudioError(f"{path} cannot be read: {error.strerror}") from error
    if not status.st_size:
        raise AudioError(f"{path} is empty (0 bytes); expected an audio file")
    return status.st_size


def _first_bytes(path: Path) -> str:
    with path.open("rb") as stream:
        return f" (it begins with {stream.read(8)!r})"
