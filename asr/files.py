"""Whole files or none: everything is written beside its place and then renamed into it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    except OSError as error:
        # A failed write, of all errors, does not say which file it was.
        if error.filename is None and error.errno is not None:
            error.filename = str(target)
        raise
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path | str) -> Iterator[Path]:
    """Fill a folder that replaces ``path`` only when the block ends without an error.

    Args:
        path: where the finished folder goes; an existing folder there is replaced.

    Raises:
        OSError: no space, no permission, or a file that is no folder stands at ``path``; the
            half-filled folder is removed first.
    """
    target = Path(path)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    with reserved_folder(target.parent):
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        try:
            yield beside
            _swap_folder(beside, target)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def reserved_folder(path: Path | str | None) -> Iterator[None]:
    """Make a folder before long work that will write into it, so that it is known to be possible.

    Args:
        path: the folder, with its parents; None: no folder.

    Raises:
        OSError: it cannot be made. If the block ends by an error, what was made and is still empty
            is removed again.
    """
    made: list[Path] = []
    if path is not None:
        target = Path(path)
        made = [each for each in (target, *target.parents) if not each.exists()]
        target.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for each in made:
                each.rmdir()
        raise


def _swap_folder(new: Path, target: Path) -> None:
    if target.is_symlink() or not target.exists():
        # A link is replaced as a file is; what it points to stays.
        target.unlink(missing_ok=True)
        new.replace(target)
        return
    if not target.is_dir():
        raise NotADirectoryError(f"{target} is a file; expected a folder or nothing there")
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    target.replace(old)
    try:
        new.replace(target)
    except OSError:
        old.replace(target)
        raise
    shutil.rmtree(old)
