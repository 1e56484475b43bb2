"""A manifest lists utterances, one JSON object a line; its keys are those that NeMo reads."""

import io
import json
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, overload

import numpy as np

from asr.errors import ManifestError
from asr.files import atomic_write

# Lines that are parsed together.
_AT_ONCE = 4096
# A line break too, so that no string can go on in the next line.
_BETWEEN_LINES = ",\n"
# Stands in the path of audio that lies in a shard, see asr.shards.
_IN_SHARD = ".tar#offset="


@dataclass(frozen=True, slots=True)
class Utterance:
    """One stretch of speech and what was said in it.

    Attributes:
        id: unique within a manifest.
        audio_filepath: the audio file; absolute once read from a manifest.
        duration: length of the audio in seconds.
        text: the transcript, already normalised.
        speaker: who speaks; empty when unknown.
    """

    id: str
    audio_filepath: str
    duration: float
    text: str
    speaker: str = ""


class CompactUtterances(Sequence[Utterance]):
    """Utterances in a few large buffers instead of half a dozen objects each.

    Processes that read audio are forked; every object they only look at would soon be a copy of
    its own, since looking counts references. Here they share all of it.

    Args:
        utterances: what to hold, in this order.

    Attributes:
        ids: of the utterances.
        durations: in seconds, ``(utterances,)`` float64.
    """

    def __init__(self, utterances: Iterable[Utterance]) -> None:
        durations = array("d")
        self.ids = Strings()
        self._columns = (self.ids, Strings(), Strings(), Strings())
        for row in utterances:
            durations.append(row.duration)
            values = (row.id, row.audio_filepath, row.text, row.speaker)
            for column, value in zip(self._columns, values, strict=True):
                column.append(value)
        self.durations = np.array(durations)

    @classmethod
    def of(cls, utterances: Sequence[Utterance]) -> "CompactUtterances":
        """Give the utterances themselves where they are compact already."""
        return utterances if isinstance(utterances, cls) else cls(utterances)

    def __len__(self) -> int:
        return len(self.durations)

    @overload
    def __getitem__(self, index: int) -> Utterance: ...

    @overload
    def __getitem__(self, index: slice) -> list[Utterance]: ...

    def __getitem__(self, index: int | slice) -> Utterance | list[Utterance]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        identity, path, text, speaker = (column[place] for column in self._columns)
        return Utterance(identity, path, float(self.durations[place]), text, speaker)


class Strings(Sequence[str]):
    """Strings one behind the other in UTF-8."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("q", [0])

    def append(self, string: str) -> None:
        """Add a string at the end."""
        self._bytes += string.encode()
        self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return self._bytes[self._ends[place] : self._ends[place + 1]].decode()


def read_manifest(path: Path | str) -> list[Utterance]:
    """Read a manifest whole.

    Args:
        path: a JSONL file, or its URL; relative audio paths in it count from its own folder.

    Returns:
        The utterances in the file's order.

    Raises:
        ManifestError: no such file, no utterance in it, or a line that is not a JSON object, lacks
            a key, holds a value of the wrong type or repeats an id; names file and line.
    """
    far = "://" in str(path)
    manifest = path if far else Path(path)
    folder = str(path).rpartition("/")[0] if far else str(Path(path).absolute().parent)
    utterances: list[Utterance] = []
    numbers: list[int] = []
    try:
        with _open(path, far) as stream:
            # Editors on Windows put a byte order mark first.
            plain = chain([stream.readline().removeprefix("\ufeff")], stream)
            lines = ((number, line) for number, line in enumerate(plain, 1) if line.strip())
            # A block at a time, so that the text never lies in memory as a whole.
            while block := list(islice(lines, _AT_ONCE)):
                utterances += _parse_sound(block, folder) or [
                    _parse_line(line, f"{manifest}, line {number}", folder)
                    for number, line in block
                ]
                numbers += [number for number, _ in block]
    except (OSError, ValueError, ImportError) as error:
        reason = getattr(error, "strerror", None) or error
        hint = "; `asr prepare` writes it" if isinstance(error, FileNotFoundError) else ""
        raise ManifestError(f"manifest {manifest} cannot be read: {reason}{hint}") from error
    if not utterances:
        raise ManifestError(f"manifest {manifest} holds no utterance; was `asr prepare` run?")
    _check_ids(manifest, utterances, numbers)
    return utterances


def _open(path: Path | str, far: bool) -> IO[str]:
    if not far:
        return Path(path).open(encoding="utf-8", newline="\n")
    # Only who keeps a corpus elsewhere needs it.
    from fsspec.core import url_to_fs

    system, place = url_to_fs(str(path))
    return io.TextIOWrapper(io.BytesIO(system.cat_file(place)), "utf-8", newline="\n")


def _check_ids(manifest: Path | str, utterances: list[Utterance], numbers: list[int]) -> None:
    line_of: dict[str, int] = {}
    for utterance, number in zip(utterances, numbers, strict=True):
        if line_of.setdefault(utterance.id, number) != number:
            raise ManifestError(
                f"{manifest}, line {number}: id '{utterance.id}' already stands in line "
                f"{line_of[utterance.id]}; give every utterance an id of its own"
            )


def _parse_sound(block: list[tuple[int, str]], folder: str) -> list[Utterance]:
    """Parse lines of which none is broken, several times as fast as one by one; else give none."""
    try:
        entries = json.loads(f"[{_BETWEEN_LINES.join(line for _, line in block)}]")
    except json.JSONDecodeError:
        return []
    found: list[Utterance] = []
    for entry in entries:
        if type(entry) is not dict:
            return []
        path, text = entry.get("audio_filepath"), entry.get("text")
        identity, speaker = entry.get("id", path), entry.get("speaker", "")
        duration = entry.get("duration")
        if not (type(path) is type(text) is type(identity) is type(speaker) is str):
            return []
        if _IN_SHARD in path and path[:1] != "/" and "://" not in path:
            path = f"{folder}/{path}"
        # Other paths that are not absolute, and numbers that are no seconds, go the slower way.
        if (
            (path[:1] != "/" and _IN_SHARD not in path)
            or not identity
            or type(duration) is not float
            or not 0 <= duration < 1e9
        ):
            return []
        found.append(Utterance(identity, path, duration, text, sys.intern(speaker)))
    return found if len(found) == len(block) else []


def _parse_line(line: str, where: str, folder: str) -> Utterance:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise ManifestError(
            f"{where} is not JSON ({error.msg} at column {error.colno}); expected an object "
            'such as {"id": "a", "audio_filepath": "a.flac", "duration": 1.5, "text": "HELLO"}'
        ) from error
    if not isinstance(entry, dict):
        raise ManifestError(f"{where} is JSON but not an object; expected {{...}}")
    audio_filepath = _value(entry, "audio_filepath", str, where)
    if _IN_SHARD in audio_filepath or "://" in folder:
        if not audio_filepath.startswith("/") and "://" not in audio_filepath:
            audio_filepath = f"{folder}/{audio_filepath}"
    elif not audio_filepath.startswith("/"):
        audio_filepath = str(Path(folder, audio_filepath))
    # NeMo's own manifests carry no id: the path is then what tells utterances apart.
    identity = _value(entry, "id", str, where) if "id" in entry else audio_filepath
    duration = float(_value(entry, "duration", (int, float), where))
    if not 0 <= duration < float("inf"):
        raise ManifestError(f"{where}: duration is {duration}; expected seconds, 0 or more")
    text = _value(entry, "text", str, where)
    speaker = _value(entry, "speaker", str, where) if "speaker" in entry else ""
    return Utterance(identity, audio_filepath, duration, text, speaker)


def _value(entry: dict[str, Any], key: str, kind: type | tuple[type, ...], where: str) -> Any:
    if key not in entry:
        raise ManifestError(f"{where} lacks the key '{key}'; it has {sorted(entry)}")
    value = entry[key]
    if value == "" and key in ("id", "audio_filepath"):
        raise ManifestError(
            f"{where}: '{key}' is empty; give the utterance one or leave the line out"
        )
    if not isinstance(value, kind) or isinstance(value, bool):
        expected = "a string" if kind is str else "a number"
        raise ManifestError(f"{where}: '{key}' is {value!r}; expected {expected}")
    return value


def write_manifest(path: Path | str, utterances: Iterable[Utterance]) -> None:
    """Write a manifest whole or not at all.

    Args:
        path: the JSONL file to make or replace.
        utterances: what to list, in this order.

    Raises:
        OSError: the file cannot be written; an older one stays as it was.
    """
    with atomic_write(path) as stream:
        for utterance in utterances:
            stream.write(json.dumps(asdict(utterance), ensure_ascii=False) + "\n")
