"""Windows of many recordings are encoded together, and each recording's frames given back."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import asr.windows
from asr.cutting import FeatureCutter
from asr.errors import AsrError, AudioError
from asr.recordings import FeatureMaker, Features, Recording
from asr.windows import (
    Chunking,
    Framing,
    Joiner,
    Window,
    cut_stretches,
    cut_windows,
    encoder_frame_seconds,
)

# Windows of similar length are batched out of so many batches' worth of them.
_BATCHES_AHEAD = 8

LogProbs = NDArray[np.float32]


class Carrier(Protocol):
    """Reads a recording's windows one after another, its states carried on."""

    def start(self) -> Any:
        """Give the state before the first window."""

    def classify_next(
        self, features: Sequence[Features], kept: Sequence[slice], states: Sequence[Any]
    ) -> tuple[list[LogProbs], list[Any]]:
        """Do as ``classify`` from given states, keep the frames asked for, give the states after.

        Raises:
            MemoryError: they are too many at once.
        """


class AcousticModel(Framing, Protocol):
    """What encodes: a model of torch, or an exported one in some runtime."""

    @property
    def features(self) -> FeatureMaker:
        """Computes what the model reads."""

    @property
    def vocabulary_size(self) -> int:
        """Token ids V, the blank included."""

    @property
    def carrier(self) -> Carrier | None:
        """What reads recordings window after window; None where windows stand for themselves."""

    def sweeps(self, chunking: Chunking) -> bool:
        """Tell whether recordings longer than a chunk are read by ``encode_long``."""

    def classify(self, features: Sequence[Features]) -> list[LogProbs]:
        """Turn the features ``(T_i, F)`` of several windows into log-probabilities ``(U_i, V)``.

        Raises:
            MemoryError: they are too many at once.
        """

    def encode_long(
        self, recording: Recording, chunking: Chunking, progress: Callable[[float], None]
    ) -> Iterator[LogProbs]:
        """Yield a recording's log-probabilities ``(U_i, V)`` in pieces, as the whole gives them.

        ``progress`` is called with the share of the work that was done since it was called last.

        Raises:
            AudioError: its features cannot be computed again, or find no room.
        """


class Source(Protocol):
    """Where recordings come from: ``asr.recordings.Loader`` or a list."""

    def take(self, wait: bool = True) -> Recording | None:
        """Give the next recording, None if there is none or, without waiting, none yet."""


class ListSource:
    """Recordings that are there already.

    Args:
        recordings: in the order to take them.
    """

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self._waiting = deque(recordings)

    def take(self, wait: bool = True) -> Recording | None:
        """Give the next recording."""
        return self._waiting.popleft() if self._waiting else None


@dataclass(frozen=True)
class Encoded:
    """The next frames of a recording.

    Attributes:
        recording: whose.
        log_probs: ``(U, V)``, natural logarithms.
        last: whether no more follow.
        error: why the recording cannot be encoded any further, or None.
        seconds_spent: its share of the time that encoding took.
    """

    recording: Recording
    log_probs: LogProbs
    last: bool
    error: str | None = None
    seconds_spent: float = 0.0


class Encoding:
    """Encodes recordings as they come, in batches across recordings and windows.

    Args:
        model: encodes them.
        source: gives the recordings.
        chunking: how long recordings are cut.
        batch_seconds: seconds of audio that are encoded together, at least one window.
        progress: called with the seconds of audio of each batch once they are encoded.
    """

    def __init__(
        self,
        model: AcousticModel,
        source: Source,
        *,
        chunking: Chunking | None = None,
        batch_seconds: float = 120.0,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self._model = model
        self._source = source
        self._chunking = chunking or asr.windows.DEFAULT_CHUNKING
        self._nothing = np.empty((0, model.vocabulary_size), np.float32)
        self._most_frames = batch_seconds * model.sample_rate / model.features.hop
        self._progress = progress or (lambda _: None)
        self._active: deque[_Reading] = deque()
        self._long: deque[Recording] = deque()

    def __iter__(self) -> Iterator[Encoded]:
        """Yield frames of recordings, each recording's in their order."""
        while (tasks := self._next_tasks()) or self._long:
            yield from self._failures(tasks)
            waiting = sorted(
                (task for task in tasks if task.window is not None),
                key=lambda task: len(task.features),
                reverse=True,
            )
            for batch in _batches(waiting, self._most_frames):
                self._run(batch)
            for task in tasks:
                if task.window is not None:
                    joined = task.reading.join(task.window, task.log_probs)
                    last = task.window is task.reading.last
                    yield Encoded(
                        task.reading.recording, joined, last, seconds_spent=task.seconds_spent
                    )
            while self._long:
                yield from self._encode_long(self._long.popleft())

    def _encode_long(self, recording: Recording) -> Iterator[Encoded]:
        seconds = recording.frames * self._model.features.hop / self._model.sample_rate
        pieces = self._model.encode_long(
            recording, self._chunking, lambda share: self._progress(share * seconds)
        )
        started = time.perf_counter()
        held = self._nothing
        try:
            for log_probs in pieces:
                now = time.perf_counter()
                yield Encoded(recording, held, last=False, seconds_spent=now - started)
                held, started = log_probs, time.perf_counter()
            yield Encoded(recording, held, last=True)
        except AudioError as error:
            yield Encoded(recording, self._nothing, last=True, error=_named(recording, error))

    def _failures(self, tasks: "Sequence[_Task]") -> Iterator[Encoded]:
        for task in tasks:
            if task.window is None:
                recording = task.reading.recording
                yield Encoded(recording, self._nothing, last=True, error=task.error)

    def _next_tasks(self) -> "list[_Task]":
        """Take windows: what is under way first, then new recordings as far as they are there."""
        tasks: list[_Task] = []
        frames = 0
        under_way = list(self._active)
        self._active.clear()
        most = _BATCHES_AHEAD * self._most_frames
        while frames < most:
            if under_way:
                reading = under_way.pop(0)
            else:
                recording = self._source.take(wait=frames < self._most_frames)
                if recording is None:
                    break
                if self._is_long(recording):
                    self._long.append(recording)
                    break
                reading = _Reading(recording, self._model, self._chunking)
            for task in reading.tasks():
                tasks.append(task)
                frames += len(task.features)
                if frames >= most or reading.carries:
                    break
            if not reading.finished:
                self._active.append(reading)
        self._active.extend(under_way)
        return tasks

    def _is_long(self, recording: Recording) -> bool:
        size = self._chunking.encoder_frames(self._model) * self._model.subsampling_factor
        return self._model.sweeps(self._chunking) and 0 < size < recording.frames

    def _run(self, batch: "Sequence[_Task]") -> None:
        started = time.perf_counter()
        try:
            self._classify(batch)
        except MemoryError as error:
            if len(batch) == 1:
                raise AsrError(
                    f"{len(batch[0].features)} feature frames do not fit the device's memory; "
                    "expected a window to: give a smaller --chunk-length, or --device cpu"
                ) from error
            half = len(batch) // 2
            self._run(batch[:half])
            self._run(batch[half:])
            return
        spent = time.perf_counter() - started
        kept = sum(task.kept_frames for task in batch)
        for task in batch:
            task.seconds_spent = spent * task.kept_frames / kept
        self._progress(kept * encoder_frame_seconds(self._model))

    def _classify(self, batch: "Sequence[_Task]") -> None:
        features = [task.features for task in batch]
        if (carrier := self._model.carrier) is not None:
            states = [task.reading.state for task in batch]
            kept = [task.kept for task in batch]
            found, states = carrier.classify_next(features, kept, states)
            for task, state in zip(batch, states, strict=True):
                task.reading.state = state
        else:
            found = self._model.classify(features)
        for task, log_probs in zip(batch, found, strict=True):
            task.log_probs = log_probs


class _Reading:
    """A recording under way: its next windows, what joins them, and the encoder's state."""

    def __init__(self, recording: Recording, model: AcousticModel, chunking: Chunking) -> None:
        self.recording = recording
        self.carries = model.carrier is not None
        self.finished = False
        self.last: Window | None = None
        cut = cut_stretches if self.carries else cut_windows
        self._windows = cut(recording.index, recording.frames, model, chunking)
        self._next = next(self._windows, None)
        self._cutter = FeatureCutter(recording)
        self._joiner = Joiner()
        self.state = None if model.carrier is None else model.carrier.start()

    def tasks(self) -> "Iterator[_Task]":
        """Yield the next windows with their features; a failure or an end without any."""
        if self.recording.error is not None or self._next is None:
            self.finished = True
            yield _Task(self, None, (), error=self.recording.error)
            return
        while self._next is not None:
            window = self._next
            try:
                features = self._cutter.cut(window)
            except AudioError as error:
                self.finished = True
                yield _Task(self, None, (), error=_named(self.recording, error))
                return
            self._next = next(self._windows, None)
            if self._next is None:
                self.finished, self.last = True, window
            yield _Task(self, window, features)

    def join(self, window: Window, log_probs: LogProbs) -> LogProbs:
        """Give the frames that are certain once a window is encoded."""
        if self.carries:
            return log_probs
        joined = self._joiner.add(log_probs, window.shared)
        if window is not self.last:
            return joined
        return np.concatenate([joined, self._joiner.finish()])


@dataclass(eq=False)
class _Task:
    # A window (None: there is nothing to encode) and its features (T, F).
    reading: _Reading
    window: Window | None
    features: Features
    log_probs: LogProbs = field(default_factory=lambda: np.empty((0, 0), np.float32))
    error: str | None = None
    seconds_spent: float = 0.0

    @property
    def kept(self) -> slice:
        assert self.window is not None
        return slice(self.window.first, self.window.last)

    @property
    def kept_frames(self) -> int:
        return int(self.kept.stop - self.kept.start)


def _named(recording: Recording, error: AudioError) -> str:
    sentence = str(error)
    return sentence if recording.path in sentence else f"{recording.path}: {sentence}"


def _batches(tasks: Sequence[_Task], most_frames: float) -> Iterator[list[_Task]]:
    # Windows come longest first, so the first of a batch is what the others are padded to.
    batch: list[_Task] = []
    for task in tasks:
        if batch and len(batch[0].features) * (len(batch) + 1) > most_frames:
            yield batch
            batch = []
        batch.append(task)
    if batch:
        yield batch
