"""Large arrays in memory, or in files of a temporary folder where they would not fit."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]


class Workspace:
    """A place for arrays that a computation needs and then forgets.

    Args:
        memory_bytes: roughly what a computation may hold in memory at a time.
        folder: where the temporary folder is made; None: the system's place for them.
    """

    def __init__(self, memory_bytes: int, folder: Path | str | None = None) -> None:
        self.memory_bytes = memory_bytes
        self.on_disk = False
        self._parent = folder
        self._folder: Path | None = None
        self._files = 0

    def __enter__(self) -> "Workspace":
        self._folder = Path(tempfile.mkdtemp(prefix="asr-lm-", dir=self._parent))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._folder
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def chunk(self) -> int:
        """Items that one step of a computation over a large array should look at."""
        return max(1 << 10, self.memory_bytes // 128)

    def spans(self, length: int) -> Iterator[slice]:
        """Cut a large array's indices into chunks."""
        for start in range(0, length, self.chunk):
            yield slice(start, min(length, start + self.chunk))

    def array(self, length: int, dtype: DTypeLike) -> Array:
        """Make an array whose values are not set yet."""
        if not self.on_disk or not length:
            return np.empty(length, dtype)
        return np.memmap(self._path(), dtype, "w+", shape=(length,))

    def column(self, dtype: DTypeLike) -> "Column":
        """Begin an array whose length is not known yet."""
        return Column(np.dtype(dtype), self._path() if self.on_disk else None)

    def file_column(self, dtype: DTypeLike) -> "Column":
        """Begin an array of unknown length that grows in a file in any case."""
        return Column(np.dtype(dtype), self._path())

    def _path(self) -> Path:
        assert self._folder, "a workspace is entered before it is used"
        self._files += 1
        return self._folder / f"{self._files}.bin"


class Column:
    """An array that grows at its end.

    Args:
        dtype: of its items.
        path: the file that it grows in, or None for memory.
    """

    def __init__(self, dtype: np.dtype[Any], path: Path | None) -> None:
        self.dtype = dtype
        self.length = 0
        self._path = path
        self._parts: list[Array] = []
        self._stream = path.open("wb") if path else None

    def append(self, part: Array) -> None:
        """Add items at the end."""
        self.length += len(part)
        part = np.ascontiguousarray(part, self.dtype)
        if self._stream:
            part.tofile(self._stream)
        else:
            self._parts.append(part)

    def finish(self) -> Array:
        """Give the whole array."""
        if self._stream is None:
            parts, self._parts = self._parts, []
            return (
                parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, self.dtype), *parts])
            )
        self._stream.close()
        assert self._path
        if not self.length:
            return np.empty(0, self.dtype)
        return np.memmap(self._path, self.dtype, "r+")
