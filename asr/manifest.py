"""A manifest lists utterances, one JSON object a line; its keys are those that NeMo reads."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asr.errors import ManifestError
from asr.files import atomic_write


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


def read_manifest(path: Path | str) -> list[Utterance]:
    """Read a manifest whole.

    Args:
        path: a JSONL file; relative audio paths in it count from its own folder.

    Returns:
        The utterances in the file's order.

    Raises:
        ManifestError: no such file, no utterance in it, or a line that is not a JSON object, lacks
            a key, holds a value of the wrong type or repeats an id; names file and line.
    """
    manifest = Path(path)
    try:
        # Editors on Windows put a byte order mark first.
        lines = manifest.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"manifest {manifest} cannot be read: {error}") from error
    utterances: list[Utterance] = []
    line_of: dict[str, int] = {}
    folder = str(manifest.absolute().parent)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        utterance = _parse_line(line, f"{manifest}, line {number}", folder)
        if utterance.id in line_of:
            raise ManifestError(
                f"{manifest}, line {number}: id '{utterance.id}' already stands in line "
                f"{line_of[utterance.id]}; give every utterance an id of its own"
            )
        line_of[utterance.id] = number
        utterances.append(utterance)
    if not utterances:
        raise ManifestError(f"manifest {manifest} holds no utterance; was `asr prepare` run?")
    return utterances


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
    if not audio_filepath.startswith("/"):
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
