"""The run log: what became of every input, a line each, so that a broken-off run can go on."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUN_LOG = "asr-run.jsonl"
OK = "ok"
FAILED = "failed"
_HASHED_BYTES = 1 << 20


@dataclass(frozen=True)
class Entry:
    """What became of one input.

    Attributes:
        input: what the user calls it.
        status: ``"ok"`` or ``"failed"``.
        error: why it failed, or None.
        warnings: what was off with the audio.
        declared_seconds: length by the file's header, None if it has none.
        decoded_seconds: length that was decoded and transcribed.
        processing_seconds: spent on reading it, on its share of the encoder's batches and on
            decoding; what ran side by side counts in full.
        real_time_factor: processing seconds a second of audio; None without audio.
        words: how many were heard.
        outputs: the files written, relative to the run log.
        fingerprint: of model, options and input; see ``fingerprint``.
        finished: when, ISO 8601 in UTC.
    """

    input: str
    status: str
    error: str | None
    warnings: tuple[str, ...]
    declared_seconds: float | None
    decoded_seconds: float
    processing_seconds: float
    real_time_factor: float | None
    words: int
    outputs: tuple[str, ...]
    fingerprint: str
    finished: str


class RunLog:
    """The run log of an output folder.

    Every line is appended by one system call and forced to disk once the outputs it tells of are
    there; so several runs may share a folder, and a run that was killed leaves at most a torn last
    line, which counts for nothing.

    Args:
        folder: the output folder; made if needed.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.path = folder / RUN_LOG
        self._last: dict[str, dict[str, Any]] = {}
        for entry in self._read():
            self._last[str(entry.get("input"))] = entry

    def _read(self) -> list[dict[str, Any]]:
        try:
            lines = self.path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        entries = []
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                entries.append(entry)
        return entries

    def is_done(self, name: str, mark: str, outputs: Sequence[str]) -> bool:
        """Tell whether the outputs of an input are there and were made in this very way.

        Args:
            name: the input, as the user calls it.
            mark: its fingerprint now.
            outputs: the files that it shall have, relative to the folder.
        """
        entry = self._last.get(name, {})
        return (
            entry.get("status") == OK
            and entry.get("fingerprint") == mark
            and set(outputs) <= set(entry.get("outputs", ()))
            and all((self._folder / output).is_file() for output in outputs)
        )

    def add(self, entry: Entry) -> None:
        """Append what became of an input.

        Args:
            entry: the line.

        Raises:
            OSError: the log cannot be written.
        """
        # ASCII keeps names whose bytes are no text: they come back as they were.
        line = json.dumps(vars(entry)).encode("ascii") + b"\n"
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line
            written = os.write(descriptor, line)
            if written != len(line):
                raise OSError(28, os.strerror(28), str(self.path))
            os.fsync(descriptor)
        except OSError as error:
            if error.filename is None:
                error.filename = str(self.path)
            raise
        finally:
            os.close(descriptor)


def fingerprint(model: str, options: Mapping[str, Any], path: str, by_content: bool = False) -> str:
    """Sum up what an output depends on.

    Args:
        model: digest of the model folder.
        options: every option that can change an output.
        path: the input; its size and time of change stand for its content.
        by_content: take the content itself, for input whose time says nothing.

    Returns:
        32 hexadecimal digits.
    """
    try:
        status = Path(path).stat()
        state: list[Any] = [status.st_size, status.st_mtime_ns]
        if by_content:
            state = [file_digest(Path(path))]
    except OSError:
        state = ["missing"]
    whole = json.dumps([model, options, state], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:32]


def file_digest(path: Path) -> str:
    """Give the SHA-256 of a file's content in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_HASHED_BYTES):
            digest.update(block)
    return digest.hexdigest()
