"""Your own recordings: any tree of audio, with the transcripts beside the audio or in one table.

Beside the audio: the same name with ``.txt``, ``.lab`` or ``.trans`` in place of the suffix, which
holds nothing but the text. In one table, given as ``--transcripts FILE``:

    .tsv, .csv   with a header: path (or audio_filepath, audio, file, filename) and text (or
                 sentence, transcript, transcription), if wanted id and speaker (or client_id)
                 without a header: path, text, id, speaker in this order, the last two if wanted
    .jsonl       one object a line with such keys: NeMo's manifests, Common Voice's tables and our
                 own manifests are read as they are

Paths in a table count from the root, or else from the table's own folder. Utterances without an id
are called by their path below the root, without the suffix.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asr.corpora.corpus import AUDIO_SUFFIXES, Corpus, CorpusItem, ReadOptions, Refusal
from asr.errors import CorpusError, UsageError

WHOLE = "all"
TRANSCRIPT_SUFFIXES = (".txt", ".lab", ".trans")
NO_TRANSCRIPTS = ("readme", "license", "licence", "copying", "changelog", "requirements")
# The keys of the tables met in the wild, ours first.
KEYS = {
    "path": ("path", "audio_filepath", "audio", "file", "filename", "file_name", "wav"),
    "text": ("text", "sentence", "transcript", "transcription"),
    "id": ("id", "utt_id", "utterance_id"),
    "speaker": ("speaker", "speaker_id", "client_id"),
}

_Row = tuple[int, dict[str, str]]


def find_folder_splits(root: Path) -> list[str]:
    """Give the one split that a folder has unless sub-folders are named with ``--splits``.

    Args:
        root: the tree of audio.
    """
    return [WHOLE] if root.is_dir() else []


def read_folder(
    root: Path, split: str = WHOLE, options: ReadOptions | None = None
) -> Iterator[CorpusItem | Refusal]:
    """Read a tree of audio.

    Args:
        root: the tree; all of it belongs to the split "all".
        split: "all" or a sub-folder.
        options: the table of transcripts and where speakers are named.

    Yields:
        Items in the order of their paths or of the table's lines; a ``Refusal`` for each audio
        without transcript, transcript without audio, and broken line.

    Raises:
        CorpusError: no audio, no table, or a table of an unknown kind.
        UsageError: ``speaker_from`` is no regular expression with a group.
    """
    options = options or ReadOptions()
    folder = root if split == WHOLE else root / split
    if not folder.is_dir():
        raise CorpusError(f"there is no folder {folder}; expected a tree of audio files")
    pattern = _speaker_pattern(options.speaker_from)
    if options.transcripts is None:
        yield from _read_beside(root, folder, pattern)
    elif split != WHOLE:
        raise UsageError(
            f"split '{split}' and a table of transcripts exclude each other; run once a table"
        )
    else:
        yield from _read_table(root, options.transcripts, pattern)


def _speaker_pattern(speaker_from: str) -> re.Pattern[str] | None:
    if not speaker_from:
        return None
    if speaker_from == "parent":
        return re.compile(r"([^/]+)/[^/]*$")
    try:
        pattern = re.compile(speaker_from)
    except re.error as error:
        raise UsageError(
            f"--speaker-from '{speaker_from}' is no regular expression ({error}); expected "
            r"'parent' or one with a group, such as '(\w+)_[0-9]+\.wav'"
        ) from error
    if not pattern.groups:
        raise UsageError(
            f"--speaker-from '{speaker_from}' has no group; put the speaker's part into ( )"
        )
    return pattern


def _speaker(path: Path, root: Path, pattern: re.Pattern[str] | None) -> str:
    match = pattern.search(_below(path, root).as_posix()) if pattern else None
    return (match[1] or "") if match else ""


def _below(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def _read_beside(
    root: Path, folder: Path, pattern: re.Pattern[str] | None
) -> Iterator[CorpusItem | Refusal]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    audio = [path for path in files if path.suffix.lower() in AUDIO_SUFFIXES]
    if not audio:
        raise CorpusError(
            f"{folder} holds no audio file; expected names that end in {' '.join(AUDIO_SUFFIXES)}"
        )
    texts = {path for path in files if path.suffix.lower() in TRANSCRIPT_SUFFIXES}
    used: set[Path] = set()
    for path in audio:
        identity = _below(path, root).with_suffix("").as_posix()
        beside = [
            path.with_suffix(suffix)
            for suffix in TRANSCRIPT_SUFFIXES
            if path.with_suffix(suffix) in texts
        ]
        if not beside:
            yield Refusal(
                identity, str(path), f"no transcript beside it ({' '.join(TRANSCRIPT_SUFFIXES)})"
            )
            continue
        used.update(beside)
        try:
            text = beside[0].read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            yield Refusal(identity, str(beside[0]), f"the transcript cannot be read: {error}")
            continue
        yield CorpusItem(identity, path, text, _speaker(path, root, pattern))
    # Other texts live in such trees too; a transcript is one that lies among transcripts.
    folders = {path.parent for path in used}
    for path in sorted(texts - used):
        if path.parent in folders and path.stem.lower() not in NO_TRANSCRIPTS:
            identity = _below(path, root).with_suffix("").as_posix()
            yield Refusal(identity, str(path), "transcript without audio")


def _read_table(
    root: Path, table: Path, pattern: re.Pattern[str] | None
) -> Iterator[CorpusItem | Refusal]:
    for number, row in _rows(table):
        place = f"{table}, line {number}"
        if "path" not in row or "text" not in row:
            missing = "path" if "path" not in row else "text"
            yield Refusal(row.get("id", ""), place, row.get("error", f"the line has no {missing}"))
            continue
        path = next(
            (base / row["path"] for base in (root, table.parent) if (base / row["path"]).is_file()),
            None,
        )
        if path is None:
            identity = row.get("id") or row["path"]
            yield Refusal(identity, place, f"transcript without audio: no file {row['path']}")
            continue
        identity = row.get("id") or _below(path, root).with_suffix("").as_posix()
        speaker = row.get("speaker") or _speaker(path, root, pattern)
        yield CorpusItem(identity, path, row["text"], speaker)


def _rows(table: Path) -> Iterator[_Row]:
    """Yield line numbers and rows with our keys; a broken row holds "error" alone."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"the table {table} cannot be read: {error}") from error
    kind = table.suffix.lower()
    if kind in (".jsonl", ".json", ".ndjson"):
        return _json_rows(text)
    if kind in (".tsv", ".csv", ".txt"):
        return _cell_rows(text, kind)
    raise CorpusError(f"the table {table} ends in '{kind}'; expected .tsv, .csv or .jsonl")


def _json_rows(text: str) -> Iterator[_Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            yield number, {"error": f"it is not JSON ({error.msg})"}
            continue
        if isinstance(entry, dict):
            yield number, _rename(entry)
        else:
            yield number, {"error": "it is JSON but not an object"}


def _cell_rows(text: str, kind: str) -> Iterator[_Row]:
    # Tab-separated tables of transcripts carry quotation marks as plain text.
    if kind == ".csv":
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    else:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    header: list[str] | None = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                names = [cell.strip().lower() for cell in cells]
                if _rename(dict.fromkeys(names, "x")).keys() >= {"path", "text"}:
                    header = names
                    continue
                header = list(KEYS)
            yield reader.line_num, _rename(dict(zip(header, cells, strict=False)))
    except csv.Error as error:
        yield reader.line_num, {"error": f"it is no CSV ({error}); the rest was not read"}


def _rename(entry: dict[str, Any]) -> dict[str, str]:
    row: dict[str, str] = {}
    for key, names in KEYS.items():
        value = next((entry[name] for name in names if entry.get(name) is not None), None)
        if isinstance(value, str | int):
            row[key] = str(value).strip()
    return row


FOLDER = Corpus(
    summary="your own audio, a transcript beside each file or one table (--transcripts)",
    splits=find_folder_splits,
    read=read_folder,
    normalizer="none",
)
