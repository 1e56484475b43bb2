"""Audio files become mono float32 waveforms at the asked sample rate, and nowhere else."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from asr.channels import check_channel
from asr.errors import AudioError
from asr.files import atomic_write
from asr.media import (
    INSTALL_HINT,
    MediaSource,
    SoundFileSource,
    check_file,
    media_installed,
    open_source,
)
from asr.resampling import Samples, recut_blocks, resample_blocks, resampled_length
from asr.resampling import resample as resample

# Lossy codecs pad: an mp3 without gapless tags differs from its source by the encoder's delay (up
# to 1105 samples, 0.07 s at 16 kHz) and a frame (0.036 s). Less than this is no sign of damage.
TOLERANCE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What the header of an audio file says.

    Attributes:
        sample_rate: in Hz.
        channels: how many.
        frames: samples per channel; 0 if the header does not say.
        duration_seconds: ``frames / sample_rate``.
        format: the container, upper case, such as ``"FLAC"``.
    """

    sample_rate: int
    channels: int
    frames: int
    duration_seconds: float
    format: str


@dataclass(frozen=True, slots=True)
class Audio:
    """A decoded file.

    Attributes:
        waveform: (S,) float32, mono.
        sample_rate: of the waveform, in Hz.
        declared_seconds: duration that the file's header promises; None if it says nothing.
        decoded_seconds: duration that could be decoded.
        warnings: one sentence for each thing that is wrong with the file.
    """

    waveform: Samples
    sample_rate: int
    declared_seconds: float | None
    decoded_seconds: float
    warnings: tuple[str, ...]


def probe_audio(path: Path | str) -> AudioInfo:
    """Read the header of an audio file, without decoding it.

    Args:
        path: the file.

    Returns:
        Rate, channels, declared length and format.

    Raises:
        AudioError: missing, empty, no file, or nothing that can be read as audio.
    """
    source = open_source(Path(path))
    source.close()
    seconds = source.declared_seconds or 0.0
    frames = round(seconds * source.sample_rate)
    return AudioInfo(source.sample_rate, source.channels, frames, seconds, source.format)


def read_audio(path: Path | str, sample_rate: int | None = None) -> Audio:
    """Decode a file whole; a damaged one as far as it goes.

    Args:
        path: any format that soundfile or, where installed, PyAV reads.
        sample_rate: of the result in Hz; None keeps the file's own.

    Returns:
        The waveform and what is wrong with it. From N source samples come
        ``asr.resampling.resampled_length(N, file's rate, sample_rate)``.

    Raises:
        AudioError: missing, empty, unreadable, without samples, or with NaN or infinite ones.
    """
    return _collect(AudioStream(Path(path), sample_rate, None))


def load_waveform(path: Path | str, sample_rate: int) -> Samples:
    """Decode a file whole, or not at all if any of it is missing.

    Args:
        path: as for ``read_audio``.
        sample_rate: of the result in Hz.

    Returns:
        The waveform (S,) float32.

    Raises:
        AudioError: as ``read_audio``, and where the file is damaged or cut.
    """
    stream = AudioStream(Path(path), sample_rate, None)
    audio = _collect(stream)
    if stream.damaged:
        raise AudioError(audio.warnings[0])
    return audio.waveform


def stream_audio(
    path: Path | str, sample_rate: int, block_seconds: float = 30.0, channel: int | None = None
) -> "AudioStream":
    """Decode a file block by block in bounded memory; joined, they are ``read_audio``'s waveform.

    Args:
        path: as for ``read_audio``.
        sample_rate: of the blocks in Hz.
        block_seconds: length of every block but the last, rounded to whole samples.
        channel: the one to decode, counted from 1; None: the mean of all.

    Returns:
        An iterator of (S,) float32 blocks that tells what was wrong once it has run out.

    Raises:
        AudioError: as ``read_audio``, or there is no such channel; what only decoding shows is
            raised while iterating.
    """
    block_samples = round(block_seconds * sample_rate)
    if block_samples < 1:
        raise AudioError(f"block_seconds is {block_seconds}; expected one sample or more")
    return AudioStream(Path(path), sample_rate, block_samples, channel)


def write_flac(path: Path | str, waveform: Samples, sample_rate: int) -> None:
    """Write a 16-bit FLAC file whole or not at all.

    Samples that came from 16-bit audio return exactly; values beyond ±1 are clipped.

    Args:
        path: the file to make or replace.
        waveform: (S,) float32 within ±1.
        sample_rate: in Hz.

    Raises:
        AudioError: the waveform is empty, not one-dimensional, or holds NaN or infinite samples.
        OSError: the file cannot be written; an older one stays as it was.
    """
    if waveform.ndim != 1 or not waveform.size:
        raise AudioError(f"{path}: a waveform of shape {waveform.shape}; expected (S,) with S > 0")
    if not np.isfinite(waveform).all():
        raise AudioError(f"{path}: the waveform holds NaN or infinite samples; nothing written")
    # libsndfile's own conversion scales by 32767 on the way out but 32768 on the way in.
    scaled = np.rint(waveform * np.float32(32768))
    integers = np.clip(scaled, -32768, 32767).astype(np.int16)
    # A full disk while libsndfile writes would print tracebacks out of its callbacks.
    encoded = io.BytesIO()
    soundfile.write(encoded, integers, sample_rate, format="FLAC", subtype="PCM_16")
    with atomic_write(path, "wb") as stream:
        stream.write(encoded.getbuffer())


def read_raw_pcm(
    path: Path | str, sample_rate: int = 16000, byte_order: Literal["big", "little"] = "big"
) -> Samples:
    """Read headerless 16-bit mono samples, as AN4 ships them.

    Args:
        path: the file.
        sample_rate: the rate it was recorded at, in Hz; the file cannot say, so that the caller
            must, and only messages use it.
        byte_order: ``"big"`` or ``"little"``.

    Returns:
        The waveform (S,) float32 at the recorded rate.

    Raises:
        AudioError: missing, empty, or an odd number of bytes.
    """
    size = check_file(Path(path))
    if size % 2:
        raise AudioError(
            f"{path} is {size} bytes ({size / 2 / sample_rate:.2f} s at {sample_rate} Hz); "
            "expected 16-bit samples, an even number: it was cut, or is not headerless PCM"
        )
    integers = np.fromfile(path, dtype=">i2" if byte_order == "big" else "<i2")
    return integers.astype(np.float32) / np.float32(32768)


class AudioStream(Iterator[Samples]):
    """Blocks of one file; made by ``stream_audio``, and spent after one pass.

    Attributes:
        sample_rate: of the blocks, in Hz.
        declared_seconds: duration that the file's header promises; None if it says nothing.
        decoded_seconds: duration decoded so far.
        warnings: one sentence for each thing found wrong so far; whole once the stream is spent.
        damaged: whether audio is known, or must be feared, to be missing.
    """

    def __init__(
        self,
        path: Path,
        sample_rate: int | None,
        block_samples: int | None,
        channel: int | None = None,
    ) -> None:
        """Open a file; blocks come as decoding gives them where ``block_samples`` is None."""
        if sample_rate is not None and sample_rate < 1:
            raise AudioError(f"sample_rate is {sample_rate}; expected Hz, 1 or more")
        self._path = path
        self._source = open_source(path)
        self._channel = channel
        check_channel(path, self._source.channels, channel)
        self._frames = 0
        self.sample_rate = sample_rate or self._source.sample_rate
        self.declared_seconds = self._source.declared_seconds
        self.warnings: tuple[str, ...] = ()
        self.damaged = False
        blocks = resample_blocks(self._decode(), self._source.sample_rate, self.sample_rate)
        self._blocks = blocks if block_samples is None else recut_blocks(blocks, block_samples)

    @property
    def decoded_seconds(self) -> float:
        return self._frames / self._source.sample_rate

    def __next__(self) -> Samples:
        return next(self._blocks)

    def _decode(self) -> Iterator[Samples]:
        """Yield mono blocks at the file's rate, then conclude what is missing."""
        source = self._source
        yield from self._checked(source.blocks(self._channel))
        source.close()
        rescued = None
        if isinstance(source, SoundFileSource) and self._falls_short() and media_installed():
            try:
                rescued = MediaSource(self._path)
            except AudioError:
                rescued = None
        if rescued:
            yield from self._rescue(rescued)
        if not resampled_length(self._frames, source.sample_rate, self.sample_rate):
            raise AudioError(
                f"{self._path} holds {self._frames} audio samples behind its {source.format} header"
                f"; expected enough for one at {self.sample_rate} Hz"
            )
        self._conclude(source, rescued)

    def _checked(self, blocks: Iterable[Samples]) -> Iterator[Samples]:
        for block in blocks:
            if not np.isfinite(block).all():
                at = (self._frames + int(np.argmin(np.isfinite(block)))) / self._source.sample_rate
                raise AudioError(
                    f"{self._path} holds a NaN or infinite sample at {at:.3f} s; expected finite "
                    "samples: write the file anew"
                )
            self._frames += len(block)
            yield block

    def _falls_short(self) -> bool:
        missing = (self.declared_seconds or 0.0) - self.decoded_seconds
        return bool(self._source.error) or missing > TOLERANCE_SECONDS or not self._frames

    def _rescue(self, media: MediaSource) -> Iterator[Samples]:
        """Yield what PyAV decodes beyond the samples that soundfile gave before it gave up."""
        if self.declared_seconds is None:
            self.declared_seconds = media.declared_seconds
        found = media.blocks(self._channel)
        blocks = resample_blocks(found, media.sample_rate, self._source.sample_rate)
        known = self._frames
        for block in blocks:
            if known < len(block):
                yield from self._checked([block[known:]])
            known = max(0, known - len(block))
        media.close()

    def _conclude(self, source: SoundFileSource | MediaSource, rescued: MediaSource | None) -> None:
        last = rescued or source
        reasons = [f"bad packets skipped: {last.bad_packets}"] if last.bad_packets else []
        error = source.error or last.error
        if error:
            reasons.append(f"the decoder says: {error.removeprefix('Error : ').rstrip('. ')}")
        why = f" ({'; '.join(reasons)})" if reasons else ""
        remedy = "" if media_installed() else f"; PyAV may recover more: {INSTALL_HINT}"
        missing = (self.declared_seconds or 0.0) - self.decoded_seconds
        if missing > TOLERANCE_SECONDS:
            self._warn(
                f"lacks {missing:.2f} of its {self.declared_seconds:.2f} s: it is damaged or was "
                f"cut{why}{remedy}"
            )
        elif self.declared_seconds is None and reasons:
            self._warn(
                f"is damaged: {self.decoded_seconds:.2f} s could be decoded and its header does "
                f"not say how much there was{why}{remedy}"
            )
        elif self.declared_seconds and -missing > TOLERANCE_SECONDS:
            self._warn(
                f"holds {-missing:.2f} s more than the {self.declared_seconds:.2f} s that its "
                f"header promises; all of it was decoded{why}",
                damaged=False,
            )
        elif reasons:
            self._warn(f"is damaged, though its full length was decoded{why}", damaged=False)
        elif isinstance(source, SoundFileSource) and source.doubt:
            self._warn(source.doubt)

    def _warn(self, finding: str, damaged: bool = True) -> None:
        self.warnings += (f"{self._path} {finding}",)
        self.damaged |= damaged


def _collect(stream: AudioStream) -> Audio:
    return Audio(
        _join(stream),
        stream.sample_rate,
        stream.declared_seconds,
        stream.decoded_seconds,
        stream.warnings,
    )


def _join(blocks: Iterable[Samples]) -> Samples:
    joined = list(blocks)
    return joined[0] if len(joined) == 1 else np.concatenate(joined)
