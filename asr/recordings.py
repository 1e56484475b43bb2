"""Recordings are read ahead of the encoder: each becomes normalised features, held or streamed."""

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Full, Queue
from typing import Any, Protocol

from asr.audio import AudioStream, probe_audio, stream_audio
from asr.errors import AudioError
from asr.normalization import BlockNormalization
from asr.resampling import Samples

# Features of recordings up to this length stay in memory (8 MB a quarter of an hour and 20 bands);
# longer ones are decoded a second time, since every frame's normalisation needs all the others.
HELD_SECONDS = 900.0
_BLOCKS_AHEAD = 2
_FILES_AHEAD = 4
_POLL_SECONDS = 0.1

MIX = "mix"
SPLIT = "split"

# Features (T, F): a tensor where torch computes them, else an array. Here they are only cut.
Features = Any


class FeatureMaker(Protocol):
    """Computes a model's features, in whatever library the model runs."""

    @property
    def sample_rate(self) -> int:
        """Samples a second of the waveforms."""

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""

    def stream(self, blocks: Iterable[Samples]) -> Iterator[Features]:
        """Turn consecutive stretches ``(S_i,)`` of a waveform into log-mel frames ``(T_i, F)``."""

    def normalization(self) -> BlockNormalization[Features]:
        """Begin the normalisation of a recording."""

    def join(self, parts: Sequence[Features]) -> Features:
        """Put stretches ``(T_i, F)`` behind each other; none of them make ``(0, F)``."""


@dataclass(frozen=True)
class Recording:
    """One channel of a recording, or the mean of all, ready for the encoder.

    Attributes:
        index: which of the inputs.
        path: the audio file, or empty.
        channel: ``"mix"`` or the channel's number from 1.
        channels: how many recordings there are of the same input.
        frames: feature frames T.
        features: the normalised features ``(T, F)`` where they are held in memory.
        stream: where they are not, how to compute them again.
        duration_seconds: length that the file declares, or the decoded length if it declares none.
        decoded_seconds: length that could be decoded.
        declared_seconds: what the file's header says, None if nothing.
        warnings: what was off with the audio.
        error: why there are no features, or None.
        seconds_read: time spent on reading it.
    """

    index: int
    path: str
    channel: str = MIX
    channels: int = 1
    frames: int = 0
    features: Features | None = None
    stream: "FeatureStream | None" = None
    duration_seconds: float = 0.0
    decoded_seconds: float = 0.0
    declared_seconds: float | None = None
    warnings: tuple[str, ...] = ()
    error: str | None = None
    seconds_read: float = 0.0

    def blocks(self) -> Iterator[Features]:
        """Yield the normalised features in blocks ``(T_i, F)``."""
        if self.features is not None:
            yield self.features
        elif self.stream is not None:
            yield from self.stream.blocks()


class Loader:
    """Turns audio files into recordings, in threads, a bounded number ahead of who takes them.

    Args:
        paths: the files.
        features: computes the model's.
        channel: ``"mix"``, ``"split"``, or a channel's number from 1.
        workers: threads; 0 reads when a recording is taken.
    """

    def __init__(
        self,
        paths: Sequence[Path | str],
        features: FeatureMaker,
        *,
        channel: str = MIX,
        workers: int = 2,
    ) -> None:
        self._paths = paths
        self._reader = Reader(features)
        self._channel = channel
        self._pool = ThreadPoolExecutor(max(1, workers), thread_name_prefix="asr-loader")
        self._ahead = workers * _FILES_AHEAD
        self._pending: deque[Future[list[Recording]]] = deque()
        self._ready: deque[Recording] = deque()
        self._next = 0

    def take(self, wait: bool = True) -> Recording | None:
        """Take the next recording in the order of the files.

        Args:
            wait: whether to wait for it where it is not ready.

        Returns:
            The recording; None where there are no more, or, without waiting, none is ready.
        """
        while not self._ready:
            self._submit()
            if not self._pending or not (wait or self._pending[0].done()):
                return None
            self._ready.extend(self._pending.popleft().result())
        self._submit()
        return self._ready.popleft()

    def close(self) -> None:
        """Stop reading; what was not taken is dropped."""
        self._reader.stopped.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _submit(self) -> None:
        while self._next < len(self._paths) and len(self._pending) < max(1, self._ahead):
            path = self._paths[self._next]
            self._pending.append(
                self._pool.submit(self._reader.read, self._next, path, self._channel)
            )
            self._next += 1


class Reader:
    """Reads recordings: waveforms to normalised features.

    Args:
        features: computes the model's.
    """

    def __init__(self, features: FeatureMaker) -> None:
        self._features = features
        self.stopped = threading.Event()

    def read(self, index: int, path: Path | str, channel: str = MIX) -> list[Recording]:
        """Read an audio file.

        Args:
            index: which of the inputs it is.
            path: the file.
            channel: ``"mix"``, ``"split"``, or a channel's number from 1.

        Returns:
            A recording, or one for each channel; what cannot be read carries its ``error``.
        """
        labels = [channel]
        try:
            if channel == SPLIT:
                labels = [str(number + 1) for number in range(probe_audio(path).channels)]
            return [self._read_channel(index, path, label, len(labels)) for label in labels]
        except AudioError as error:
            sentence = str(error)
        except Exception as error:
            # What a decoder stumbles over in one file must not stop the others.
            sentence = unforeseen(path, error)
        return [Recording(index, str(path), labels[0], error=sentence)]

    def from_waveform(self, waveform: Samples) -> Recording:
        """Make a recording of a waveform ``(S,)`` at the model's rate."""
        return self._collect(0, "", MIX, 1, iter([waveform]), None)

    def _read_channel(self, index: int, path: Path | str, channel: str, channels: int) -> Recording:
        stream = FeatureStream(path, channel, self._features, self.stopped)
        return self._collect(index, str(path), channel, channels, stream.waveform(), stream)

    def _collect(
        self,
        index: int,
        path: str,
        channel: str,
        channels: int,
        blocks: Iterator[Samples],
        stream: "FeatureStream | None",
    ) -> Recording:
        started = time.perf_counter()
        running = self._features.normalization()
        most = HELD_SECONDS * self._features.sample_rate / self._features.hop
        held: list[Features] | None = []
        for log_mel in self._features.stream(blocks):
            running.add(log_mel)
            if held is not None:
                held.append(log_mel)
            if stream is not None and running.frames > most:
                held = None
        if (finer := running.again()) is not None:
            seen = stream.log_mel() if stream is not None and held is None else held
            for log_mel in seen or ():
                finer.add(log_mel)
            running = finer
        features = None
        if held is not None:
            features = running.apply(self._features.join(held))
        if stream is None:
            spent = time.perf_counter() - started
            return Recording(
                index, path, channel, channels, running.frames, features, seconds_read=spent
            )
        stream.normalization = running
        audio = stream.audio
        declared, decoded = audio.declared_seconds, audio.decoded_seconds
        return Recording(
            index=index,
            path=path,
            channel=channel,
            channels=channels,
            frames=running.frames,
            features=features,
            stream=stream,
            duration_seconds=decoded if declared is None else declared,
            decoded_seconds=decoded,
            declared_seconds=declared,
            warnings=audio.warnings,
            seconds_read=time.perf_counter() - started,
        )


class FeatureStream:
    """Computes a long file's features in bounded memory, ahead of who takes them.

    Args:
        path: the file.
        channel: ``"mix"`` or a channel's number from 1.
        features: computes the model's.
        stopped: set by whoever wants the work to end.
    """

    def __init__(
        self,
        path: Path | str,
        channel: str,
        features: FeatureMaker,
        stopped: threading.Event,
    ) -> None:
        self._path = path
        self._channel = None if channel == MIX else int(channel)
        self.features = features
        self._stopped = stopped
        self.normalization = features.normalization()
        self.audio: AudioStream = self._open()

    def _open(self) -> AudioStream:
        return stream_audio(self._path, self.features.sample_rate, channel=self._channel)

    def waveform(self) -> Iterator[Samples]:
        """Decode the file once, in blocks ``(S_i,)``."""
        for block in self.audio:
            if self._stopped.is_set():
                raise AudioError(f"{self._path} was not read to its end: interrupted")
            yield block

    def log_mel(self) -> Iterator[Features]:
        """Decode the file once more, and yield its log-mel frames ``(T_i, F)``."""
        self.audio = self._open()
        yield from self.features.stream(self.waveform())

    def blocks(self) -> Iterator[Features]:
        """Yield the normalised features ``(T_i, F)``, computed in a thread."""
        queue: Queue[Features | BaseException | None] = Queue(_BLOCKS_AHEAD)
        thread = threading.Thread(target=self._fill, args=(queue,), daemon=True)
        thread.start()
        while True:
            item = queue.get()
            if item is None:
                return
            if isinstance(item, Exception) and not isinstance(item, AudioError):
                raise AudioError(unforeseen(self._path, item)) from item
            if isinstance(item, BaseException):
                raise item
            yield item

    def _fill(self, queue: "Queue[Features | BaseException | None]") -> None:
        try:
            for log_mel in self.log_mel():
                self._put(queue, self.normalization.apply(log_mel))
            self._put(queue, None)
        except BaseException as error:
            # Raised where the features are taken.
            self._put(queue, error)

    def _put(self, queue: "Queue[Features | BaseException | None]", item: Features) -> None:
        while not self._stopped.is_set():
            try:
                queue.put(item, timeout=_POLL_SECONDS)
                return
            except Full:
                continue


def unforeseen(path: Path | str, error: Exception) -> str:
    """Say in a sentence that reading a file failed as nobody foresaw."""
    reason = " ".join(str(error).split())
    return f"{path} cannot be read, {type(error).__name__}: {reason}; please report this"
