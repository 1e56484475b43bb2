"""A download server on loopback that fails on request, and archives in LibriSpeech's layout."""

import gzip
import hashlib
import io
import re
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from asr.corpora import CORPORA, Corpus, Part, Release
from asr.lm.ngram_training import NGramOptions, train_ngram


@dataclass
class Fault:
    """What goes wrong with one request.

    Attributes:
        status: answer with this instead of the file.
        cut_after: bytes of the body after which the connection breaks.
        retry_after: a header beside the status.
    """

    status: int = 0
    cut_after: int = -1
    retry_after: str = ""


@dataclass
class Mirror:
    """A running server.

    Attributes:
        url: its root.
        files: bodies by path.
        faults: for each path, what goes wrong with its next requests; afterwards all is well.
        ranges: whether it knows ranges.
        requests: path and range of every request.
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    ranges: bool = True
    requests: list[tuple[str, str]] = field(default_factory=list)

    def ranges_of(self, path: str) -> list[str]:
        return [ranged for asked, ranged in self.requests if asked == path]


@contextmanager
def serve(files: dict[str, bytes] | None = None, ranges: bool = True) -> Iterator[Mirror]:
    """Serve files on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            ranged = self.headers.get("Range", "")
            mirror.requests.append((self.path, ranged))
            waiting = mirror.faults.get(self.path, [])
            fault = waiting.pop(0) if waiting else Fault()
            body = mirror.files.get(self.path)
            if fault.status or body is None:
                self.send_response(fault.status or 404)
                self.send_header("Content-Length", "0")
                if fault.retry_after:
                    self.send_header("Retry-After", fault.retry_after)
                self.end_headers()
                return
            self._send(body, ranged, fault)

        def _send(self, body: bytes, ranged: str, fault: Fault) -> None:
            match = re.match(r"bytes=(\d+)-(\d*)", ranged) if mirror.ranges else None
            # Bytes remember their hash, so that large files are not read again for each range.
            etag = f'"{hash(body):x}"'
            if match and self.headers.get("If-Range", etag) != etag:
                match = None
            start = int(match[1]) if match else 0
            stop = min(int(match[2]) + 1, len(body)) if match and match[2] else len(body)
            if match and start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if match else 200)
            if match:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(body)}")
            if mirror.ranges:
                self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", etag)
            self.send_header("Content-Length", str(stop - start))
            self.end_headers()
            if self.command == "HEAD":
                return
            if fault.cut_after >= 0:
                self.wfile.write(body[start : start + fault.cut_after])
                self.close_connection = True
                return
            self.wfile.write(body[start:stop])

        def log_message(self, *words: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *words: Any) -> None:
            # A client that hangs up is no news.
            pass

    server = Server(("127.0.0.1", 0), Handler)
    mirror = Mirror(f"http://127.0.0.1:{server.server_port}", dict(files or {}), ranges=ranges)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield mirror
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def pack(corpus: Path, split: str, top: str = "LibriSpeech") -> bytes:
    """Pack one split as the official archives are: the top folder, its texts, and the split."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in ("SPEAKERS.TXT", split):
            archive.add(corpus / name, f"{top}/{name}")
    return packed.getvalue()


def make_archives(corpus: Path) -> dict[str, bytes]:
    """Pack the spoken corpus and a text for language models, by their paths on a mirror."""
    return {
        "/12/dev-clean.tar.gz": pack(corpus, "dev-clean"),
        "/31/train-clean-5.tar.gz": pack(corpus, "train-clean-5"),
        "/11/lm.txt.gz": gzip.compress(b"THE CAT SAT\n" * 1000),
        "/11/3-gram.tiny.arpa.gz": gzip.compress(make_arpa(corpus)),
    }


def make_arpa(corpus: Path) -> bytes:
    """Train a small language model on the corpus' own texts, as an ARPA file."""
    lines = sorted(line for path in corpus.rglob("*.trans.txt") for line in path.open())
    with tempfile.TemporaryDirectory() as place:
        text, arpa = Path(place) / "text.txt", Path(place) / "lm.arpa"
        text.write_text("".join(line.partition(" ")[2] for line in lines))
        options = NGramOptions(order=2, fallback=(0.5, 1.0, 1.5), memory_bytes=1 << 26)
        train_ngram([text], Path(place) / "lm.bin", options, arpa=arpa)
        return arpa.read_bytes()


def corpus_of(
    archives: dict[str, bytes], *mirrors: str, utterances: int = 8, sha256: str = ""
) -> Corpus:
    """Describe a LibriSpeech whose official archives are those of the test."""
    known = hashlib.sha256(archives["/12/dev-clean.tar.gz"]).hexdigest()
    release = Release(
        mirrors=mirrors,
        top="LibriSpeech",
        parts=(
            Part(
                *("dev-clean", "12/dev-clean.tar.gz", 0.1, sha256 or known, utterances),
                split="dev-clean",
                hours=0.02,
            ),
            Part("train-clean-5", "31/train-clean-5.tar.gz", 0.1, split="train-clean-5"),
            Part("lm", "11/lm.txt.gz", 0.1, folder="lm"),
            Part("lm-tiny", "11/3-gram.tiny.arpa.gz", 0.1, folder="lm"),
        ),
        sha256_source="this test",
    )
    return replace(CORPORA["librispeech"], release=release)
