"""Whole files or none: everything is written beside its place and then renamed into it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic_write(path: Path | str, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file that appears at ``path`` only when the block ends without an error.

    Args:
        path: where the finished file goes; parent folders are made.
        mode: ``"w"`` for UTF-8 text with ``\\n`` line ends, ``"wb"`` for bytes.

    Raises:
        OSError: no space, no permission; the half-written file is removed first.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    text = "b" not in mode
    try:
        with beside.open(
            mode, encoding="utf-8" if text else None, newline="\n" if text else None
        ) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Fill a folder that replaces ``path`` only when the block ends without an error.

    Args:
        path: where the finished folder goes; an existing folder there is replaced.

    Raises:
        OSError: no space, no permission; the half-filled folder is removed first.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        if target.exists():
            old = target.with_name(f".{target.name}.{os.getpid()}.old")
            target.replace(old)
            beside.replace(target)
            shutil.rmtree(old)
        else:
            beside.replace(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
