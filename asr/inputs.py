"""What a user names, be it files, folders, patterns, lists or manifests, as recordings."""

import glob
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from asr.errors import UsageError
from asr.output.names import Named, distinct_names

STANDARD_INPUT = "-"
MANIFEST_SUFFIXES = (".jsonl", ".json")
# In a folder, these are taken by their ending, other files where they begin like a recording.
MEDIA_SUFFIXES = frozenset(
    f".{ending}"
    for line in (
        "wav wave rf64 w64 flac aif aiff aifc au snd caf sph mp3 mp2 ogg oga opus spx m4a m4b aac",
        "ac3 eac3 amr ape wv tta voc gsm wma asf wmv mp4 m4v mov 3gp 3g2 webm mkv mka avi flv mpg",
        "mpeg ts mts",
    )
    for ending in line.split()
)
_MAGIC = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM", b"NIST_1A", b".snd", b"caff")
_MAGIC_BYTES = 16


@dataclass(frozen=True)
class Input:
    """One recording to transcribe.

    Attributes:
        path: the file to open; bytes of its name that are not text stand as ``os.fsdecode`` has
            them.
        shown: what the user calls it.
        name: what its outputs are called, without ending; may hold folders.
    """

    path: str
    shown: str
    name: str


@dataclass(frozen=True)
class Inputs:
    """All that was named on a command line.

    Attributes:
        recordings: each file once, in the order in which they were named.
        problems: what was named and cannot be used, with a sentence for each.
        notes: what a user should know besides.
    """

    recordings: tuple[Input, ...]
    problems: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


@dataclass
class _Collected:
    files: list[Named] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    shown: dict[str, str] = field(default_factory=dict)


def find_inputs(words: Iterable[str], stack: ExitStack) -> Inputs:
    """Find the recordings that the words of a command line name.

    Args:
        words: each a file, whatever its ending; a folder, which is searched with all below it; a
            pattern, where no file has that very name; ``-``, standard input; ``@FILE``, a list of
            such words, a line each; a JSONL manifest.
        stack: closes, and so deletes, the copy of standard input.

    Returns:
        The recordings, and what is wrong with other words.

    Raises:
        UsageError: standard input is named twice.
    """
    collected = _Collected()
    for word in words:
        _take(word, collected, stack, listed=False)
    once: dict[str, Named] = {}
    for named in collected.files:
        real = os.path.realpath(named.path)
        if real in once:
            collected.notes.append(f"{named.path} is named twice and transcribed once")
        else:
            once[real] = named
    names, renamed = distinct_names(list(once.values()))
    recordings = tuple(
        Input(named.path, collected.shown.get(named.path, named.path), name)
        for named, name in zip(once.values(), names, strict=True)
    )
    return Inputs(recordings, tuple(collected.problems), (*collected.notes, *renamed))


def _take(word: str, collected: _Collected, stack: ExitStack, listed: bool) -> None:
    path = Path(word)
    if word == STANDARD_INPUT and not listed:
        _take_standard_input(collected, stack)
    elif word.startswith("@") and not listed and not path.exists():
        _take_list(word[1:], collected, stack)
    elif path.is_dir():
        _take_folder(path, collected)
    elif glob.has_magic(word) and not os.path.lexists(word):
        _take_pattern(word, collected)
    elif path.suffix.lower() in MANIFEST_SUFFIXES and path.is_file():
        _take_manifest(path, collected)
    else:
        collected.files.append(Named(word, path.name))


def _take_standard_input(collected: _Collected, stack: ExitStack) -> None:
    if STANDARD_INPUT in collected.shown.values():
        raise UsageError("standard input, '-', is named twice; it can be read once only")
    # Containers are read back and forth, which a pipe does not allow.
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="asr-stdin-"))
    copy = Path(folder, "stdin")
    with copy.open("wb") as stream:
        shutil.copyfileobj(sys.stdin.buffer, stream)
    collected.shown[str(copy)] = STANDARD_INPUT
    collected.files.append(Named(str(copy), "stdin", whole=True))


def _take_list(name: str, collected: _Collected, stack: ExitStack) -> None:
    try:
        lines = Path(name).read_bytes().split(b"\n")
    except OSError as error:
        collected.problems.append((f"@{name}", f"the list {name} cannot be read: {error.strerror}"))
        return
    words = [os.fsdecode(line.rstrip(b"\r")) for line in lines]
    for word in words:
        if word.strip():
            _take(word, collected, stack, listed=True)


def _take_pattern(pattern: str, collected: _Collected) -> None:
    # Path.glob takes no absolute pattern.
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
    if not found:
        collected.problems.append((pattern, f"no file is named {pattern}, and nothing matches it"))
    fixed = []
    for part in Path(pattern).parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    root = Path(*fixed) if fixed else Path()
    for name in found:
        if Path(name).is_dir():
            # Of `**` every folder is a match itself; its files are matches too.
            if not pattern.endswith("**"):
                _take_folder(Path(name), collected, root)
        else:
            collected.files.append(Named(name, os.path.relpath(name, root)))


def _take_folder(folder: Path, collected: _Collected, root: Path | None = None) -> None:
    left_out: Counter[str] = Counter()
    found = 0
    for path in _walk(folder, collected):
        if not path.name.startswith(".") and (
            path.suffix.lower() in MEDIA_SUFFIXES or _begins_like_media(path)
        ):
            found += 1
            collected.files.append(Named(str(path), os.path.relpath(path, root or folder)))
        else:
            left_out["hidden" if path.name.startswith(".") else path.suffix or "no ending"] += 1
    if left_out:
        kinds = ", ".join(f"{kind} {count}" for kind, count in left_out.most_common(5))
        collected.notes.append(
            f"{folder}: files that are no recordings by ending and first bytes: "
            f"{left_out.total()} ({kinds})"
        )
    if not found:
        collected.problems.append((str(folder), f"the folder {folder} holds no audio or video"))


def _walk(folder: Path, collected: _Collected) -> Iterator[Path]:
    def refused(error: OSError) -> None:
        name = str(error.filename)
        collected.problems.append((name, f"the folder {name} cannot be read: {error.strerror}"))

    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, onerror=refused, followlinks=True):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            collected.notes.append(f"{place} leads back to a folder that was searched already")
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(files))


def _begins_like_media(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            start = stream.read(_MAGIC_BYTES)
    except OSError:
        return False
    # MPEG-4 has its mark behind a length; Matroska and WebM, and ASF, have binary ones.
    return (
        start.startswith((*_MAGIC, b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"))
        or start[4:8] == b"ftyp"
    )


def _take_manifest(manifest: Path, collected: _Collected) -> None:
    try:
        lines = manifest.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        collected.problems.append((str(manifest), f"manifest {manifest} cannot be read: {error}"))
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{manifest}, line {number}"
        try:
            collected.files.append(_of_line(line, manifest.parent))
        except ValueError as error:
            collected.problems.append((where, f"{where}: {error}"))


def _of_line(line: str, folder: Path) -> Named:
    """Read a line of a manifest; ours and NeMo's have these keys.

    Raises:
        ValueError: with a sentence, where it cannot be used.
    """
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON ({error.msg} at column {error.colno})") from error
    path = entry.get("audio_filepath") if isinstance(entry, dict) else None
    if not isinstance(path, str) or not path:
        raise ValueError('expected an object such as {"id": "a", "audio_filepath": "a.flac"}')
    if entry.get("offset"):
        raise ValueError(
            f"it wants a part of {path} from {entry['offset']} s; parts cannot be transcribed, cut "
            "the file"
        )
    identity = entry.get("id")
    absolute = folder / path
    if isinstance(identity, str) and identity:
        return Named(str(absolute), identity, whole=True)
    return Named(str(absolute), absolute.name)
