"""Manifests as transcripts: JSON objects, one a line, with the keys that NeMo and ours write.

    id              the utterance; where no line has one, audio_filepath (or path) tells them apart
    text            what was said; of a hypothesis file without pred_text, what was recognised
    pred_text       what was recognised
    nbest           further hypotheses, best first: strings, or objects with "text"
    confidences     one number for each recognised word; or words: objects with "confidence"
    words           objects with "start" and "end" in seconds, one for each recognised word
    speaker, duration (seconds), audio_filepath, split (part of the corpus)
    error           a recording that could not be transcribed, as `asr transcribe` says it

Other keys are not looked at.
"""

import json
from pathlib import Path
from typing import Any

from asr.errors import ScoringError
from asr.scoring.details import Details
from asr.scoring.transcripts import Collector, Transcripts, read_lines

FORM = "manifest"


def read_references_of(path: Path) -> Transcripts:
    """Read what was said.

    Args:
        path: a JSONL manifest.

    Raises:
        ScoringError: a line is no JSON object, lacks a key, has a value of another type, or an id
            stands twice.
    """
    return _read(path, _entries(path), "text")


def read_hypotheses_of(path: Path) -> Transcripts:
    """Read what was recognised.

    Args:
        path: a JSONL manifest; where one line has ``pred_text``, every line must.

    Raises:
        ScoringError: as for ``read_references_of``.
    """
    entries = _entries(path)
    key = "pred_text" if any("pred_text" in entry for _, entry in entries) else "text"
    if key == "text" and not any("text" in entry for _, entry in entries):
        key = "nbest"
    return _read(path, entries, key)


def _entries(path: Path) -> list[tuple[int, dict[str, Any]]]:
    entries = []
    for number, line in read_lines(path):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise ScoringError(
                f"{path}, line {number} is not JSON ({error.msg} at column {error.colno}); "
                'expected an object such as {"id": "a", "text": "HELLO"}'
            ) from error
        if not isinstance(entry, dict):
            raise ScoringError(f"{path}, line {number} is JSON but not an object; expected {{...}}")
        entries.append((number, entry))
    return entries


def _read(path: Path, entries: list[tuple[int, dict[str, Any]]], key: str) -> Transcripts:
    collected = Collector(path)
    mappings: dict[str, dict[str, Any]] = {
        name: {} for name in ("speaker", "duration", "audio_filepath", "split", "confidences")
    }
    nbest: dict[str, tuple[str, ...]] = {}
    times: dict[str, tuple[tuple[float, float], ...]] = {}
    notes = []
    identity_key = _identity_key(entries)
    for number, entry in entries:
        where = f"{path}, line {number}"
        identity = _value(entry, identity_key, str, where)
        if not identity:
            raise ScoringError(f"{where}: '{identity_key}' is empty; give the utterance one")
        if entry.get("error") is not None:
            notes.append(f"{where}: no hypothesis of '{identity}', {entry['error']}")
            continue
        if "nbest" in entry:
            nbest[identity] = _nbest(entry, where)
        text = nbest[identity][0] if key == "nbest" else _value(entry, key, str, where)
        collected.add(identity, text, number)
        for name in ("speaker", "audio_filepath", "split"):
            if entry.get(name):
                mappings[name][identity] = _value(entry, name, str, where)
        if entry.get("duration") is not None:
            mappings["duration"][identity] = float(_value(entry, "duration", (int, float), where))
        confidences = _confidences(entry, where)
        if _has_times(entry):
            times[identity] = tuple(
                (float(word["start"]), float(word["end"]) - float(word["start"]))
                for word in entry["words"]
            )
        if confidences:
            mappings["confidences"][identity] = confidences
    details = Details(
        speakers=mappings["speaker"],
        durations=mappings["duration"],
        audio={
            identity: str(Path(path.absolute().parent, audio))
            for identity, audio in mappings["audio_filepath"].items()
        },
        parts=mappings["split"],
        confidences=mappings["confidences"],
    )
    return Transcripts(collected.texts, FORM, details, nbest, {}, times, tuple(notes))


def _identity_key(entries: list[tuple[int, dict[str, Any]]]) -> str:
    for key in ("id", "audio_filepath", "path"):
        if any(key in entry for _, entry in entries):
            return key
    return "id"


def _nbest(entry: dict[str, Any], where: str) -> tuple[str, ...]:
    listed = _value(entry, "nbest", list, where)
    texts: list[Any] = [item.get("text") if isinstance(item, dict) else item for item in listed]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ScoringError(
            f"{where}: 'nbest' is {listed!r:.80}; expected at least one string, or objects with a "
            "'text' each"
        )
    return tuple(texts)


def _has_times(entry: dict[str, Any]) -> bool:
    words = entry.get("words")
    return isinstance(words, list) and all(
        isinstance(word, dict)
        and all(isinstance(word.get(key), int | float) for key in ("start", "end"))
        for word in words
    )


def _confidences(entry: dict[str, Any], where: str) -> tuple[float, ...]:
    values = entry.get("confidences")
    if values is None and isinstance(entry.get("words"), list):
        values = [word.get("confidence") for word in entry["words"] if isinstance(word, dict)]
        if None in values:
            return ()
    if values is None:
        return ()
    if not isinstance(values, list) or not all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    ):
        raise ScoringError(f"{where}: 'confidences' is {values!r:.80}; expected numbers")
    return tuple(float(value) for value in values)


def _value(entry: dict[str, Any], key: str, kind: type | tuple[type, ...], where: str) -> Any:
    if key not in entry:
        raise ScoringError(f"{where} lacks the key '{key}'; it has {sorted(entry)}")
    value = entry[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ScoringError(f"{where}: '{key}' is {value!r:.80}, which is of the wrong type")
    return value
