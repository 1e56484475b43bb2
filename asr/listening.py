"""Listening decodes a file to its end, and remembers what came of it while the file is the same."""

import json
import threading
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import soundfile

from asr.audio import AudioStream
from asr.errors import AudioError
from asr.files import atomic_write
from asr.media import media_installed

MEMORY_NAME = ".audio.jsonl"
FORMAT = 1


@dataclass(frozen=True)
class AudioFacts:
    """What decoding a file to its end told.

    Attributes:
        seconds: as decoded; 0 where nothing could be.
        sample_rate: the file's own, in Hz.
        fault: why it cannot be used; empty for sound audio.
    """

    seconds: float
    sample_rate: int
    fault: str


def listen(path: Path) -> AudioFacts:
    """Decode a file to its end.

    Args:
        path: the file.

    Returns:
        What it holds; what is wrong with it is told and not raised.
    """
    try:
        stream = AudioStream(path, None, None)
        loudest = max(float(np.abs(block).max(initial=0)) for block in stream)
    except AudioError as error:
        return AudioFacts(0.0, 0, str(error))
    fault = ""
    if stream.damaged:
        fault = "; ".join(stream.warnings)
    elif loudest == 0:
        fault = "the audio is digital silence from end to end"
    return AudioFacts(stream.decoded_seconds, stream.sample_rate, fault)


class AudioMemory:
    """Facts of files that were decoded before, kept in a folder and valid for unchanged files only.

    A file is unchanged if its size and both its times (of content and of status) are. Every fact is
    on the disk as soon as it is known, so that an interrupted preparation goes on behind it.

    Args:
        folder: where they are kept, as ``.audio.jsonl``.
        forget: begin with none.

    Attributes:
        decoded: files that had to be decoded.
        remembered: files that were known.
    """

    def __init__(self, folder: Path, forget: bool = False) -> None:
        self.path = folder / MEMORY_NAME
        self.decoded = self.remembered = 0
        # Other decoders may hear other things.
        self._decoder = f"{soundfile.__libsndfile_version__}, media {media_installed()}"
        self._known: dict[str, list[Any]] = {} if forget else self._read()
        self._used: set[str] = set()
        self._lock = threading.Lock()
        self._stream: IO[str] | None = None

    def __enter__(self) -> "AudioMemory":
        self._rewrite()
        self._stream = self.path.open("a", encoding="utf-8", newline="\n")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._stream
        self._stream.close()
        self._stream = None
        if kind is None:
            self._rewrite(self._used)

    def facts(self, path: Path) -> AudioFacts:
        """Give the facts of a file, from memory if it is unchanged.

        Args:
            path: the file, absolute.
        """
        try:
            state = _state(path)
        except OSError:
            # What is wrong with it, the reader of audio says best.
            return listen(path)
        known = self._known.get(str(path))
        if known and known[:3] == state:
            with self._lock:
                self.remembered += 1
                self._used.add(str(path))
            return AudioFacts(*known[3:])
        facts = listen(path)
        with self._lock:
            self.decoded += 1
            self._used.add(str(path))
            self._known[str(path)] = [*state, *astuple(facts)]
            if self._stream:
                self._stream.write(self._line(str(path)))
                self._stream.flush()
        return facts

    def _line(self, path: str) -> str:
        return json.dumps([path, *self._known[path]], ensure_ascii=False) + "\n"

    def _read(self) -> dict[str, list[Any]]:
        try:
            lines = self.path.read_text(encoding="utf-8").split("\n")
            if json.loads(lines[0]) != [FORMAT, self._decoder]:
                return {}
        except (OSError, ValueError):
            return {}
        known: dict[str, list[Any]] = {}
        for line in lines[1:]:
            try:
                path, *rest = json.loads(line)
            except ValueError:
                # The last line of a run that was killed.
                continue
            known[path] = rest
        return known

    def _rewrite(self, paths: set[str] | None = None) -> None:
        """Write what is known, or of that what was used."""
        kept = sorted(self._known if paths is None else self._known.keys() & paths)
        text = json.dumps([FORMAT, self._decoder]) + "\n" + "".join(map(self._line, kept))
        if not self.path.is_file() or self.path.read_text(encoding="utf-8") != text:
            with atomic_write(self.path) as stream:
                stream.write(text)


def _state(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
