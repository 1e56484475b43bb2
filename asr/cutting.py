"""Windows are cut out of a recording's features as they come, in little memory."""

from collections.abc import Iterable, Iterator

from asr.errors import AudioError
from asr.recordings import Features, Recording
from asr.windows import Window


class FeatureCutter:
    """Cuts windows out of a recording's features, one after another, holding no more than it must.

    Args:
        recording: whose features.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._blocks = recording.blocks()
        self._buffer: Features | None = None
        self._start = 0

    def cut(self, window: Window) -> Features:
        """Give a window's features ``(T, F)``; it starts no earlier than the one before.

        Raises:
            AudioError: the file gives fewer features than it did when it was first read.
        """
        parts = [] if self._buffer is None else [self._buffer]
        stop = self._start + sum(map(len, parts))
        while stop < window.stop:
            block = next(self._blocks, None)
            if block is None:
                raise AudioError(
                    "it gave fewer samples when it was read again; expected the same: is it still "
                    "being written?"
                )
            parts.append(block)
            stop += len(block)
        buffer = parts[0]
        if len(parts) > 1:
            # Only what is computed again comes in several blocks.
            assert self._recording.stream is not None
            buffer = self._recording.stream.features.join(parts)
        self._buffer = buffer[window.start - self._start :]
        self._start = window.start
        return self._buffer[: window.frames]


def cut_features(windows: Iterable[Window], recording: Recording) -> Iterator[Features]:
    """Yield the features ``(T, F)`` of each of a recording's windows, which come in order."""
    cutter = FeatureCutter(recording)
    for window in windows:
        yield cutter.cut(window)
