"""Archives are unpacked file by file, each whole or not at all, and never outside their folder."""

import gzip
import os
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from tqdm import tqdm

from asr.errors import DownloadError

BLOCK_BYTES = 1 << 20
_BROKEN = (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error)


@dataclass(frozen=True)
class Extraction:
    """What unpacking did.

    Attributes:
        written: files that were missing or different.
        kept: files that had the archive's very bytes already.
    """

    written: int
    kept: int


def extract_tar(archive: Path, target: Path, top: str) -> Extraction:
    """Unpack a gzipped tar archive to its last byte.

    A second call after an interruption compares what is there with the archive and writes the rest.

    Args:
        archive: the ``.tar.gz`` file.
        target: what becomes of the archive's top folder.
        top: the name of that folder, inside which all members must lie.

    Returns:
        How many files were written.

    Raises:
        DownloadError: the archive is damaged or cut, a member is neither file nor folder or points
            outside of ``top``, or the disk is full; what was unpacked so far stays.
    """
    written = kept = 0
    last = "the first file"
    try:
        with _unzipped(archive) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as members:
                for member in members:
                    place = target / _inside(archive, member, top)
                    if member.isdir():
                        _make_folder(place)
                        continue
                    content = members.extractfile(member)
                    assert content is not None
                    if _unpack(content, place, member.size):
                        written += 1
                    else:
                        kept += 1
                    last = member.name
            # The checksum of gzip stands behind the last byte.
            while stream.read(BLOCK_BYTES):
                pass
    except _BROKEN as error:
        raise DownloadError(
            f"{archive} is damaged or was cut; it can be read up to {last} "
            f"({written + kept} files): {error}"
        ) from error
    # Names of files must not reach the disk after a record that says they are there.
    os.sync()
    return Extraction(written, kept)


def check_gzip(path: Path) -> None:
    """Read a gzipped file to its end, where its length and checksum stand.

    Args:
        path: the file.

    Raises:
        DownloadError: it is damaged or was cut.
    """
    try:
        with _unzipped(path) as stream:
            while stream.read(BLOCK_BYTES):
                pass
    except _BROKEN as error:
        raise DownloadError(f"{path} is damaged or was cut: {error}") from error


@contextmanager
def _unzipped(path: Path) -> Iterator[gzip.GzipFile]:
    """Open a gzipped file with a progress bar over its compressed bytes."""
    with (
        path.open("rb") as raw,
        tqdm.wrapattr(
            raw,
            "read",
            total=path.stat().st_size,
            desc=f"unpacking {path.name}",
            delay=1.0,
            disable=None,
        ) as counted,
        gzip.GzipFile(fileobj=cast(IO[bytes], counted)) as stream,
    ):
        yield stream


def _inside(archive: Path, member: tarfile.TarInfo, top: str) -> PurePosixPath:
    """Give a member's path below the top folder."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or path.parts[:1] != (top,):
        raise DownloadError(
            f"{archive} holds '{member.name}', which lies outside of {top}/; it is not the "
            "official archive, nothing of that member was written"
        )
    if not (member.isdir() or member.isreg()):
        raise DownloadError(
            f"{archive} holds '{member.name}', which is a link or a device; expected files and "
            "folders only, nothing of that member was written"
        )
    return path.relative_to(top)


def _make_folder(place: Path) -> None:
    with _disk(place):
        place.mkdir(parents=True, exist_ok=True)


def _unpack(content: IO[bytes], place: Path, size: int) -> bool:
    """Write one file unless it is there; tell whether that was needed."""
    same = 0
    if place.is_file() and place.stat().st_size == size:
        # Sizes survive a power failure that contents do not.
        with place.open("rb") as old:
            while block := content.read(BLOCK_BYTES):
                if old.read(len(block)) != block:
                    break
                same += len(block)
            else:
                return False
        return _write(place, same, block, content)
    return _write(place, 0, b"", content)


def _write(place: Path, same: int, block: bytes, rest: IO[bytes]) -> bool:
    """Write a file of which the first bytes stand in the old one and the others come."""
    beside = place.with_name(f".{place.name}.part")
    with _disk(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        stream = beside.open("wb")
    try:
        with stream:
            if same:
                with place.open("rb") as old:
                    stream.write(old.read(same))
            while True:
                with _disk(place):
                    stream.write(block)
                if not (block := rest.read(BLOCK_BYTES)):
                    break
        with _disk(place):
            beside.replace(place)
    finally:
        beside.unlink(missing_ok=True)
    return True


@contextmanager
def _disk(place: Path) -> Iterator[Any]:
    try:
        yield
    except OSError as error:
        raise DownloadError(
            f"{place} cannot be written: {error.strerror}; make room and run again, which goes on"
        ) from error
