"""Files come over HTTP whole or not at all, and an interrupted one goes on where it stopped."""

import fcntl
import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from asr.checksum import Checksum, file_digest
from asr.errors import DownloadError, UsageError
from asr.files import atomic_write

BLOCK_BYTES = 1 << 20
AGENT = "asr (https://pypi.org/project/asr)"
# The server is busy or restarting: the same request may succeed a moment later.
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_PAUSE_SECONDS = 60.0
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")


@dataclass(frozen=True)
class Patience:
    """How long to bear with a server.

    Attributes:
        retries: attempts after the first that brought nothing new, before a mirror is given up.
        pause_seconds: before the first of them; each further one waits twice as long.
        timeout_seconds: of silence before a connection counts as lost.
    """

    retries: int = 5
    pause_seconds: float = 1.0
    timeout_seconds: float = 60.0


@dataclass(frozen=True)
class _State:
    # What is known of a half-received file: ``validator`` changes when the server's copy does.
    url: str
    validator: str
    total_bytes: int


class _LostError(Exception):
    """A connection ended too early, or the server is busy; worth another attempt."""

    def __init__(self, reason: str, wait_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


class _RefusedError(Exception):
    """This mirror will not give the file."""


def fetch(
    urls: Sequence[str],
    path: Path,
    checksum: Checksum | None = None,
    patience: Patience | None = None,
) -> str:
    """Bring a file onto the disk.

    Received bytes lie beside the file until all are there and the checksum is right; another call
    goes on behind them where the server can give a range, and begins anew where it cannot.

    Args:
        urls: places of the same file, tried in this order.
        path: where it goes; parent folders are made.
        checksum: what it must hash to, if that is known.
        patience: with slow and failing servers.

    Returns:
        The URL it came from.

    Raises:
        UsageError: a URL that is not http or https.
        DownloadError: no place gives it, its bytes are wrong everywhere, the disk is full, or
            another process is fetching it; what was received stays for the next call.
    """
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise UsageError(f"'{url}' is no place to download from; expected http:// or https://")
    path.parent.mkdir(parents=True, exist_ok=True)
    failures: list[str] = []
    with _alone(path), _Receiver(path, patience or Patience()) as receiver:
        for url in urls:
            try:
                receiver.receive(url, resume_across=checksum is not None)
                if checksum and not receiver.matches(checksum):
                    # The bytes may be those of two different copies, one after the other.
                    if receiver.resumed:
                        receiver.discard()
                        receiver.receive(url, resume_across=False)
                    if not receiver.matches(checksum):
                        receiver.discard()
                        raise _RefusedError(
                            f"its {checksum.algorithm} is not {checksum.digest} ({checksum.source})"
                        )
                receiver.finish()
                return url
            except _RefusedError as refusal:
                failures.append(f"{url}: {refusal}")
    raise DownloadError(
        f"{path.name} cannot be had: {'; '.join(failures)}. Run again to go on, or put it at {path}"
    )


def read_text(url: str, patience: Patience | None = None) -> str | None:
    """Read a small text, such as a list of checksums.

    Args:
        url: its place.
        patience: only its timeout is looked at; there is one attempt.

    Returns:
        The text; None where there is none to be had.
    """
    patience = patience or Patience()
    try:
        request = urllib.request.Request(url, headers={"User-Agent": AGENT})
        with urllib.request.urlopen(request, timeout=patience.timeout_seconds) as reply:
            return bytes(reply.read(BLOCK_BYTES)).decode("utf-8")
    except (OSError, http.client.HTTPException, UnicodeDecodeError):
        return None


class _Receiver:
    """The half-received file and what is known about it."""

    def __init__(self, path: Path, patience: Patience) -> None:
        self.path = path
        self.patience = patience
        self.part = path.with_name(f".{path.name}.part")
        self.notes = path.with_name(f".{path.name}.part.json")
        self.resumed = False
        self._most = 0
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> "_Receiver":
        return self

    def __exit__(self, *reason: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def receive(self, url: str, resume_across: bool) -> None:
        """Receive the rest of the file from one place, over several connections if need be."""
        failed = 0
        self._most = max(self._most, self._have())
        while True:
            try:
                self._attempt(url, resume_across)
                return
            except _LostError as loss:
                # A connection that brings something new costs no patience.
                failed = 1 if self._have() > self._most else failed + 1
                self._most = max(self._most, self._have())
                if failed > self.patience.retries:
                    raise _RefusedError(f"{loss}, {failed} times in a row") from loss
                pause = self.patience.pause_seconds * 2 ** (failed - 1)
                time.sleep(min(max(pause, loss.wait_seconds), LONGEST_PAUSE_SECONDS))

    def matches(self, checksum: Checksum) -> bool:
        return file_digest(self.part, checksum.algorithm) == checksum.digest

    def discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)

    def finish(self) -> None:
        self.part.replace(self.path)
        self.notes.unlink(missing_ok=True)

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _state(self) -> _State | None:
        try:
            return _State(**json.loads(self.notes.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def _attempt(self, url: str, resume_across: bool) -> None:
        headers = {"User-Agent": AGENT, "Accept-Encoding": "identity"}
        have, state = self._have(), self._state()
        if have and state and (state.url == url or resume_across):
            headers["Range"] = f"bytes={have}-"
            if state.url == url and state.validator:
                headers["If-Range"] = state.validator
        try:
            request = urllib.request.Request(url, headers=headers)
            with urllib.request.urlopen(request, timeout=self.patience.timeout_seconds) as reply:
                self._read(url, reply, have if "Range" in headers else 0)
        except urllib.error.HTTPError as error:
            with error:
                self._explain(error, have)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise _LostError(f"the connection failed ({reason})") from error

    def _explain(self, error: urllib.error.HTTPError, have: int) -> None:
        """Return if the file is whole already; else say what the server means."""
        if error.code == 416:
            match = _CONTENT_RANGE.match(error.headers.get("Content-Range", ""))
            if match and match[2] == str(have):
                return
            self.discard()
            raise _LostError("what was received does not fit the file there") from error
        if error.code in TRANSIENT:
            wait = error.headers.get("Retry-After", "")
            seconds = float(wait) if wait.isdigit() else 0.0
            raise _LostError(f"the server answers {error.code} {error.reason}", seconds) from error
        raise _RefusedError(f"the server answers {error.code} {error.reason}") from error

    def _read(self, url: str, reply: Any, asked: int) -> None:
        start, total = _span(reply)
        state = self._state()
        if reply.status != 206:
            start = 0
        elif start != asked or (state and state.total_bytes not in (0, total)):
            self.discard()
            raise _LostError("the server holds another file than the one that was begun")
        self.resumed = self.resumed or start > 0
        validator = reply.headers.get("ETag", "")
        if not validator or validator.startswith("W/"):
            validator = reply.headers.get("Last-Modified", "")
        self._check_room(total - start)
        with _disk(self.path), atomic_write(self.notes) as stream:
            json.dump(asdict(_State(url, validator, total)), stream)
        self._show(start, total)
        received = start + self._copy(reply, start)
        if total and received != total:
            raise _LostError(f"the connection ended after {received} of {total} bytes")

    def _copy(self, reply: Any, start: int) -> int:
        count = 0
        with _disk(self.path):
            stream = self.part.open("r+b" if start else "wb")
        with stream:
            stream.seek(start)
            # Blocks as they come: a broken connection then loses nothing that had arrived.
            while block := reply.read1(BLOCK_BYTES):
                with _disk(self.path):
                    stream.write(block)
                    stream.flush()
                count += len(block)
                if self._bar is not None:
                    self._bar.update(len(block))
            with _disk(self.path):
                os.fsync(stream.fileno())
        return count

    def _check_room(self, wanted: int) -> None:
        free = shutil.disk_usage(self.path.parent).free
        if wanted > free:
            raise DownloadError(
                f"{self.path.name} needs {wanted / 1e9:.2f} GB more, but the disk of "
                f"{self.path.parent} has {free / 1e9:.2f} GB left; make room and run again"
            )

    def _show(self, start: int, total: int) -> None:
        if self._bar is None:
            self._bar = _bar(self.path.name, total)
        self._bar.total = total or None
        self._bar.n = start
        self._bar.refresh()


def _span(reply: Any) -> tuple[int, int]:
    """Give the first byte that a reply holds, and the size of the whole file, 0 if unsaid."""
    match = _CONTENT_RANGE.match(reply.headers.get("Content-Range", ""))
    if reply.status == 206 and match and match[1]:
        return int(match[1]), int(match[2]) if match[2] != "*" else 0
    return 0, int(reply.headers.get("Content-Length") or 0)


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Tell failures of the disk from those of the network, which are errors of the same kind."""
    try:
        yield
    except OSError as error:
        raise DownloadError(
            f"{path} cannot be written: {error.strerror}; make room, or choose another place, and "
            "run again: what was received is kept"
        ) from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep a second process from writing the same file."""
    lock = path.with_name(f".{path.name}.lock")
    with _disk(path):
        stream = lock.open("w")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DownloadError(
                f"another process is fetching {path}; wait for it, or stop it"
            ) from error
        yield


def _bar(title: str, total: int) -> "tqdm[Any]":
    # Shown only where it takes more than a moment.
    return tqdm(desc=title, total=total or None, unit="B", unit_scale=True, delay=1.0, disable=None)
