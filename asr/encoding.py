"""Windows of many recordings are encoded together, and each recording's frames given back."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

import asr.windows
from asr.errors import AsrError, AudioError, UsageError
from asr.layerwise import encode_layerwise
from asr.model import CTCModel
from asr.padding import pad_sequences
from asr.recordings import FeatureCutter, Recording, cut_features
from asr.windows import (
    Chunking,
    Joiner,
    Window,
    cut_stretches,
    cut_windows,
    encoder_frame_seconds,
)

# Windows of similar length are batched out of so many batches' worth of them.
_BATCHES_AHEAD = 8
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


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
        log_probs: ``(U, V)`` float32 on the CPU, natural logarithms.
        last: whether no more follow.
        error: why the recording cannot be encoded any further, or None.
        seconds_spent: its share of the time that encoding took.
    """

    recording: Recording
    log_probs: Tensor
    last: bool
    error: str | None = None
    seconds_spent: float = 0.0


class Encoding:
    """Encodes recordings as they come, in batches across recordings and windows.

    Args:
        model: in evaluation mode.
        source: gives the recordings.
        chunking: how long recordings are cut.
        batch_seconds: seconds of audio that are encoded together, at least one window.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``: of the matrix products.
        progress: called with the seconds of audio of each batch once they are encoded.
    """

    def __init__(
        self,
        model: CTCModel,
        source: Source,
        *,
        chunking: Chunking | None = None,
        batch_seconds: float = 120.0,
        precision: str = "fp32",
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self._model = model
        self._source = source
        self._chunking = chunking
        self._most_frames = batch_seconds * model.sample_rate / model.features.hop
        self._dtype = PRECISIONS[check_precision(precision)]
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
                yield from self._encode_layerwise(self._long.popleft())

    def _encode_layerwise(self, recording: Recording) -> Iterator[Encoded]:
        """Encode a recording of several chunks whose states are carried on both ways."""
        stretches = list(
            cut_stretches(recording.index, recording.frames, self._model, self._chunking)
        )
        seconds = recording.frames * self._model.features.hop / self._model.sample_rate
        pieces = encode_layerwise(
            self._model,
            stretches,
            cut_features(stretches, recording),
            lambda share: self._progress(share * seconds),
            self._dtype,
        )
        started = time.perf_counter()
        try:
            for number, log_probs in enumerate(pieces, start=1):
                now = time.perf_counter()
                last = number == len(stretches)
                yield Encoded(recording, log_probs, last, seconds_spent=now - started)
                started = time.perf_counter()
        except AudioError as error:
            nothing = torch.empty(0, self._model.head.out_features)
            yield Encoded(recording, nothing, last=True, error=_named(recording, error))

    def _failures(self, tasks: "Sequence[_Task]") -> Iterator[Encoded]:
        nothing = torch.empty(0, self._model.head.out_features)
        for task in tasks:
            if task.window is None:
                recording = task.reading.recording
                yield Encoded(recording, nothing, last=True, error=task.error)

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
        chunking = self._chunking or asr.windows.DEFAULT_CHUNKING
        size = chunking.encoder_frames(self._model) * self._model.encoder.subsampling_factor
        carries = self._model.encoder.bidirectional and chunking.overlap_seconds is None
        return carries and 0 < size < recording.frames

    def _run(self, batch: "Sequence[_Task]") -> None:
        started = time.perf_counter()
        try:
            self._classify(batch)
        except torch.OutOfMemoryError as error:
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

    @torch.inference_mode()
    def _classify(self, batch: "Sequence[_Task]") -> None:
        features, lengths = pad_sequences([task.features for task in batch])
        lengths = lengths.to(features.device)
        autocast = torch.autocast(
            features.device.type, dtype=self._dtype, enabled=self._dtype is not None
        )
        with autocast:
            if batch[0].reading.carries:
                states = torch.cat([task.reading.state for task in batch], dim=1)
                kept = [task.kept for task in batch]
                rows, counts, states = self._model.classify_next(features, lengths, kept, states)
                for task, state in zip(batch, torch.split(states, 1, dim=1), strict=True):
                    task.reading.state = state.clone()
            else:
                rows, counts = self._model.classify(features, lengths)
        for task, row, count in zip(batch, rows.cpu(), counts.tolist(), strict=True):
            # A copy: a slice would keep the padded batch in memory.
            task.log_probs = row[:count].clone()


class _Reading:
    """A recording under way: its next windows, what joins them, and the encoder's state."""

    def __init__(self, recording: Recording, model: CTCModel, chunking: Chunking | None) -> None:
        self.recording = recording
        self.carries = not model.encoder.bidirectional
        self.finished = False
        self.last: Window | None = None
        cut = cut_stretches if self.carries else cut_windows
        self._windows = cut(recording.index, recording.frames, model, chunking)
        self._next = next(self._windows, None)
        self._cutter = FeatureCutter(recording)
        self._joiner = Joiner()
        parameter = next(model.parameters())
        self.state = torch.zeros(
            len(model.encoder.layers), 1, model.encoder.width, device=parameter.device
        )

    def tasks(self) -> "Iterator[_Task]":
        """Yield the next windows with their features; a failure or an end without any."""
        if self.recording.error is not None or self._next is None:
            self.finished = True
            yield _Task(self, None, torch.empty(0), error=self.recording.error)
            return
        while self._next is not None:
            window = self._next
            try:
                features = self._cutter.cut(window)
            except AudioError as error:
                self.finished = True
                yield _Task(self, None, torch.empty(0), error=_named(self.recording, error))
                return
            self._next = next(self._windows, None)
            if self._next is None:
                self.finished, self.last = True, window
            yield _Task(self, window, features)

    def join(self, window: Window, log_probs: Tensor) -> Tensor:
        """Give the frames that are certain once a window is encoded."""
        if self.carries:
            return log_probs
        joined = self._joiner.add(log_probs, window.shared)
        return torch.cat([joined, self._joiner.finish()]) if window is self.last else joined


@dataclass(eq=False)
class _Task:
    # A window (None: there is nothing to encode) and its features (T, F).
    reading: _Reading
    window: Window | None
    features: Tensor
    log_probs: Tensor = field(default_factory=lambda: torch.empty(0))
    error: str | None = None
    seconds_spent: float = 0.0

    @property
    def kept(self) -> slice:
        assert self.window is not None
        return slice(self.window.first, self.window.last)

    @property
    def kept_frames(self) -> int:
        return int(self.kept.stop - self.kept.start)


def encode(
    model: CTCModel,
    features: Sequence[Tensor],
    batch_seconds: float = 120.0,
    chunking: Chunking | None = None,
) -> list[Tensor]:
    """Compute log-probabilities of recordings whose features are there.

    Args:
        model: in evaluation mode.
        features: normalised features ``(T, F)`` of each, on the model's device.
        batch_seconds: as for ``Encoding``.
        chunking: as for ``Encoding``.

    Returns:
        ``(U, V)`` float32 on the CPU for each recording.
    """
    recordings = [
        Recording(index, "", frames=len(rows), features=rows) for index, rows in enumerate(features)
    ]
    nothing = torch.empty(0, model.head.out_features)
    found: list[list[Tensor]] = [[nothing] for _ in recordings]
    for part in Encoding(
        model, ListSource(recordings), chunking=chunking, batch_seconds=batch_seconds
    ):
        found[part.recording.index].append(part.log_probs)
    return [torch.cat(parts) for parts in found]


def check_precision(name: str) -> str:
    """Return a precision's name.

    Raises:
        UsageError: there is no such precision.
    """
    if name not in PRECISIONS:
        raise UsageError(f"no precision '{name}'; expected {', '.join(PRECISIONS)}")
    return name


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
