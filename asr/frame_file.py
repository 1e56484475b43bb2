"""Encoder frames of long recordings, which wait in a temporary file."""

import os
import tempfile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from asr.errors import AudioError

_FLOAT_BYTES = 4


class FrameFile:
    """Encoder frames in a temporary file, which costs no memory and vanishes when it is closed.

    Args:
        width: numbers of a frame.
    """

    def __init__(self, width: int) -> None:
        self._frame_bytes = width * _FLOAT_BYTES
        self._width = width
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="asr-frames-")  # noqa: SIM115  # close()

    def write(self, start: int, frames: NDArray[np.float32]) -> None:
        """Put frames ``(U, width)`` at their place, the first of them at ``start``.

        Raises:
            AudioError: the temporary folder is full.
        """
        values: Any = np.ascontiguousarray(frames, np.float32)
        content = memoryview(values).cast("B")
        place = start * self._frame_bytes
        while len(content):
            try:
                written = os.pwrite(self._file.fileno(), content, place)
            except OSError as error:
                raise AudioError(
                    f"the temporary folder {tempfile.gettempdir()} holds no more than "
                    f"{place / 1e6:.0f} MB of a long recording's frames ({error.strerror}); let "
                    "TMPDIR name one with more room, or give --chunk-overlap 5, which needs none"
                ) from error
            content, place = content[written:], place + written

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Read the frames from ``start`` up to ``stop``, ``(U, width)``."""
        size = (stop - start) * self._frame_bytes
        content = bytearray(os.pread(self._file.fileno(), size, start * self._frame_bytes))
        return np.frombuffer(content, np.float32).reshape(-1, self._width)

    def close(self) -> None:
        """Close and remove the file."""
        self._file.close()
