"""Long recordings are encoded in overlapping windows whose frames join to those of the whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from asr.errors import UsageError
from asr.tokenizer import BLANK

CONTEXT_FRAMES = 3
"""Encoder frames to either side that the widest first convolution of an encoder looks at."""


class Framing(Protocol):
    """How a model's frames lie in time; every model tells."""

    @property
    def sample_rate(self) -> int:
        """Samples a second."""

    @property
    def samples_per_frame(self) -> int:
        """Samples of an encoder frame."""

    @property
    def subsampling_factor(self) -> int:
        """Feature frames of an encoder frame."""


@dataclass(frozen=True)
class Chunking:
    """How long recordings are cut.

    Without an overlap the encoder's states are carried from chunk to chunk: by an encoder of one
    direction in passing, by a bidirectional one layer by layer. What comes out is what the whole
    recording at once would give, up to rounding.

    With an overlap a bidirectional encoder starts each chunk afresh and knows nothing of what lies
    outside. Of what two neighbours have both read, the half in the middle is where they may be
    joined, so that half an overlap of context is left on either side. It depends on the model which
    of the two reads long recordings better: one trained on short utterances may get lost in
    states that grow old.

    Attributes:
        length_seconds: length of a chunk; shorter recordings are encoded whole. 0: all are,
            however long.
        overlap_seconds: how far a chunk reaches over into each neighbour; None: states are carried.
            An encoder of one direction carries its state in any case.

    Raises:
        UsageError: the chunk has no room for its overlaps.
    """

    length_seconds: float = 40.0
    overlap_seconds: float | None = None

    def __post_init__(self) -> None:
        overlap = self.overlap_seconds or 0.0
        if self.length_seconds < 0 or overlap < 0:
            raise UsageError(
                f"chunks of {self.length_seconds:g} s with {overlap:g} s of overlap; expected no "
                "number below 0"
            )
        if 0 < self.length_seconds < 4 * overlap:
            raise UsageError(
                f"chunks of {self.length_seconds:g} s are too short for an overlap of "
                f"{overlap:g} s on either side; expected four times the overlap, "
                f"{4 * overlap:g} s, or more"
            )

    def encoder_frames(self, model: Framing) -> int:
        """Tell the length of a window in encoder frames; 0 where recordings are not cut."""
        if not self.length_seconds:
            return 0
        return max(1, int(self.length_seconds / encoder_frame_seconds(model)))


DEFAULT_CHUNKING = Chunking()
OVERLAP_SECONDS = 5.0


@dataclass(frozen=True)
class Window:
    """A stretch of a recording that is encoded at once.

    Attributes:
        recording: which recording.
        start: its first feature frame.
        stop: one behind its last feature frame.
        first: the first of its encoder frames that is kept, where windows are joined in the
            middle of what they share.
        last: one behind the last that is kept.
        shared: encoder frames at its start that the window before has as well.
    """

    recording: int
    start: int
    stop: int
    first: int
    last: int
    shared: int = 0

    @property
    def frames(self) -> int:
        """Feature frames in it."""
        return self.stop - self.start


def cut_windows(
    recording: int, frames: int, model: Framing, chunking: Chunking | None = None
) -> Iterator[Window]:
    """Cut a recording into windows whose kept frames follow each other without gap or overlap.

    Windows start at whole encoder frames, so that their frames fall where the whole's would.

    Args:
        recording: its number.
        frames: its feature frames T.
        model: tells how long a frame is.
        chunking: how long windows are and how far they overlap, ``OVERLAP_SECONDS`` where it does
            not say; None: ``DEFAULT_CHUNKING``.

    Yields:
        The windows in order.
    """
    chunking = chunking or DEFAULT_CHUNKING
    factor = model.subsampling_factor
    total = -(-frames // factor)
    size = chunking.encoder_frames(model) or total
    seconds = chunking.overlap_seconds
    if seconds is None:
        seconds = min(OVERLAP_SECONDS, chunking.length_seconds / 4)
    overlap = int(seconds / encoder_frame_seconds(model))
    start = kept = behind = 0
    while kept < total:
        stop = min(start + size, total)
        last = total if stop == total else stop - overlap
        end = min(stop * factor, frames)
        shared = max(0, behind - start)
        yield Window(recording, start * factor, end, kept - start, last - start, shared)
        kept, behind = last, stop
        start = kept - overlap


def cut_stretches(
    recording: int, frames: int, model: Framing, chunking: Chunking | None = None
) -> Iterator[Window]:
    """Cut a recording into what an encoder reads one after another, its states carried on.

    The convolutions alone need to see a little more: so each stretch has ``CONTEXT_FRAMES`` more at
    either end, which are not kept.

    Args:
        recording: its number.
        frames: its feature frames T.
        model: tells how long a frame is.
        chunking: how long stretches are; they do not overlap. None: ``DEFAULT_CHUNKING``.

    Yields:
        The stretches in order.
    """
    chunking = chunking or DEFAULT_CHUNKING
    factor = model.subsampling_factor
    total = -(-frames // factor)
    size = chunking.encoder_frames(model) or max(1, total)
    for kept in range(0, total, size):
        stop = min(kept + size, total)
        first = max(0, kept - CONTEXT_FRAMES)
        end = min((stop + CONTEXT_FRAMES) * factor, frames)
        yield Window(recording, first * factor, end, kept - first, stop - first)


def encoder_frame_seconds(model: Framing) -> float:
    """Tell the distance of a model's encoder frames in seconds."""
    return model.samples_per_frame / model.sample_rate


class Joiner:
    """Joins the log-probabilities of a recording's windows where both of two hear nothing.

    In what two windows share, the frames up to the middle of the longest stretch of blanks are
    taken from the first window and the others from the second. So no token is cut, doubled or
    lost, as long as both windows agree that there is a blank.
    """

    def __init__(self) -> None:
        self._held: NDArray[Any] | None = None

    def add(self, log_probs: ArrayLike, shared: int) -> NDArray[Any]:
        """Take the next window.

        Args:
            log_probs: all its frames ``(U, V)``.
            shared: how many of its first frames the window before has as well.

        Returns:
            The frames before the place of joining that were not returned yet, ``(U, V)``.
        """
        log_probs = np.asarray(log_probs)
        if self._held is None:
            self._held = log_probs
            return log_probs[:0]
        before = self._held
        edge = shared // 4
        first = len(before) - shared + edge
        pause = find_pause(before[first : len(before) - edge], log_probs[edge : shared - edge])
        self._held = log_probs[edge + pause :]
        return before[: first + pause]

    def finish(self) -> NDArray[Any]:
        """Return the frames of the last window that were not returned yet."""
        assert self._held is not None
        return self._held


def find_pause(before: ArrayLike, behind: ArrayLike) -> int:
    """Find the middle of the longest stretch in which two windows hear nothing.

    Args:
        before: log-probabilities ``(U, V)`` of some frames by the one window.
        behind: of the same frames by the other.

    Returns:
        The frame from which on to follow the second window, 0 to U. Of several stretches of one
        length the one nearest to the middle; where there is no blank, the frame most like one.
    """
    before, behind = np.asarray(before), np.asarray(behind)
    if not len(before):
        return 0
    blank = ((before.argmax(-1) == BLANK) & (behind.argmax(-1) == BLANK)).tolist()
    best, best_length, start = 0, 0, 0
    middle = len(blank) / 2
    for frame, quiet in enumerate([*blank, False]):
        if quiet:
            continue
        length, centre = frame - start, (start + frame) // 2
        nearer = abs(centre - middle) < abs(best - middle)
        if length > best_length or (length == best_length and length and nearer):
            best, best_length = centre, length
        start = frame + 1
    if best_length:
        return best
    return int(np.argmax(before[:, BLANK] + behind[:, BLANK]))
