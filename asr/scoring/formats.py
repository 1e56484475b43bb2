"""Formats of transcripts: each has a name, and a file's format is found where it is not given.

    manifest     JSON objects, one a line; see ``manifests.py``
    text         Kaldi's: ID TEXT, separated by spaces or tabs; the text may be empty
    trn          sclite's: TEXT (ID)
    stm, ctm     NIST's segments and timed words; see ``timed.py``
    librispeech  a folder with *.trans.txt files in it, at any depth, each of the format text
    lines        plain texts, line by line, joined by line number; only by explicit request

A format is found by the suffix (.jsonl, .json, .trn, .stm, .ctm, .trans.txt, or such a name as a
whole), then by content: a first line that opens with ``{`` is a manifest's, lines that all end with
``(ID)`` are trn's; any other file is of the format text.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from asr.errors import ScoringError, UsageError
from asr.scoring.details import Details
from asr.scoring.manifests import read_hypotheses_of, read_references_of
from asr.scoring.score import shorten_ids
from asr.scoring.timed import COMMENT, read_ctm, read_stm, refuse_alternatives
from asr.scoring.transcripts import Collector, Segment, Transcripts, read_lines

FORMATS = ("manifest", "text", "trn", "stm", "ctm", "librispeech", "lines")
AUDIO_SUFFIXES = (".flac", ".wav", ".opus", ".ogg", ".mp3")

_FORMAT_OF_NAME = {"jsonl": "manifest", "json": "manifest", "trn": "trn"} | {
    name: name for name in ("stm", "ctm")
}
_TRN = re.compile(r"(?P<text>.*)\((?P<id>[^()\s]+)\)\s*")
_LIBRISPEECH_ID = re.compile(r"(?P<speaker>\d+)-\d+-\d{4,}")
# sclite's "spu_id": what stands before the first hyphen; without one, before the first underscore.
_TRN_SPEAKER = re.compile(r"(?P<speaker>[^-]+)-.*|(?P<name>[^-_]+)_[^-]*")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*[,.!?;:]?")
_SNIFFED_LINES = 20


def read_references(paths: Sequence[Path], form: str | None = None) -> Transcripts:
    """Read what was said.

    Args:
        paths: files or folders; several are the parts of a corpus.
        form: their format, one of ``FORMATS``; None finds it for each.

    Returns:
        The utterances of all, in order; ``details.parts`` names the file of each where there are
        several and they do not name parts themselves.

    Raises:
        ScoringError: a file cannot be read, holds nothing or is broken, or an id stands twice.
        UsageError: no format has that name.
    """
    return _merge(paths, [_read(path, form, _REFERENCES) for path in paths], parts=True)


def read_hypotheses(
    paths: Sequence[Path], form: str | None, references: Transcripts
) -> Transcripts:
    """Read what was recognised.

    Args:
        paths: files or folders.
        form: their format, one of ``FORMATS``; None finds it for each.
        references: what was said; a ctm is cut by their segments, and hypotheses that are named by
            an audio path are joined to the reference of that audio.

    Returns:
        The hypotheses of all files.

    Raises:
        ScoringError: as for ``read_references``; or plain lines, but not as many as references.
        UsageError: no format has that name.
    """
    readers = _HYPOTHESES | {"ctm": lambda path: read_ctm(path, references.segments)}
    found = _merge(paths, [_read(path, form, readers) for path in paths], parts=False)
    if "lines" in (found.form, references.form):
        _check_lines(found, references)
    return _join_by_audio(found, references)


def find_format(path: Path) -> str:
    """Tell a file's format by its name, then by its content.

    Args:
        path: a file or folder.

    Returns:
        One of ``FORMATS``, never ``lines``.

    Raises:
        UsageError: the name does not tell, and what is no regular file can be read only once.
    """
    if path.is_dir():
        return "librispeech"
    if path.name.endswith(".trans.txt"):
        return "text"
    named = _FORMAT_OF_NAME.get(path.name.lower().rsplit(".", 1)[-1])
    if named:
        return named
    if not path.is_file():
        raise UsageError(
            f"{path} is a pipe, which can be read only once; say its format with --ref-format or "
            "--hyp-format"
        )
    lines = []
    for _, line in read_lines(path):
        if line.strip() and not line.startswith(COMMENT):
            lines.append(line)
        if len(lines) == _SNIFFED_LINES:
            break
    if lines and lines[0].lstrip().startswith("{"):
        return "manifest"
    return "trn" if lines and all(map(_TRN.fullmatch, lines)) else "text"


def read_pairs(path: Path) -> Mapping[str, str]:
    """Read two-column text, such as Kaldi's ``text`` or ``utt2spk``.

    Args:
        path: a file of lines ``ID VALUE``; empty lines are skipped.

    Returns:
        Value by id, without spaces at its ends.

    Raises:
        ScoringError: the file cannot be read or an id stands twice.
    """
    collected = Collector(path)
    for number, line in read_lines(path):
        parts = line.split(None, 1)
        if parts:
            collected.add(parts[0], parts[1].strip() if len(parts) > 1 else "", number)
    return collected.texts


def _read(
    path: Path, form: str | None, readers: Mapping[str, Callable[[Path], Transcripts]]
) -> Transcripts:
    if form is not None and form not in FORMATS:
        raise UsageError(f"no format '{form}'; there are {', '.join(FORMATS)}")
    if not path.exists():
        raise ScoringError(f"there is no {path}; expected a file or folder of transcripts")
    form = form or find_format(path)
    if path.is_dir() and form != "librispeech":
        raise ScoringError(f"{path} is a folder; expected a file of the format {form}")
    transcripts = readers[form](path)
    if not transcripts.texts:
        raise ScoringError(f"{path}, read as {form}, holds no utterance; expected at least one")
    return transcripts


def _read_text(path: Path) -> Transcripts:
    texts = read_pairs(path)
    notes: tuple[str, ...] = ()
    # Single letters are what people call utterances in examples.
    if any(len(identity) > 1 for identity in texts) and all(map(_WORD.fullmatch, texts)):
        first = next(iter(texts))
        notes = (
            f"{path}: the first words of its lines, such as '{first}', were taken for utterance "
            "ids; if they are spoken words, give --format lines",
        )
    return Transcripts(texts, "text", Details(speakers=_speakers(texts)), notes=notes)


def _read_trn(path: Path) -> Transcripts:
    collected = Collector(path)
    for number, line in read_lines(path):
        if not line.strip() or line.startswith(COMMENT):
            continue
        match = _TRN.fullmatch(line)
        if match is None:
            raise ScoringError(
                f"{path}, line {number} does not end with an id in parentheses, as trn lines do: "
                f"'{line.strip()[-40:]}'"
            )
        refuse_alternatives(match["text"], f"{path}, line {number}")
        collected.add(match["id"], match["text"].strip(), number)
    # sclite's own rule for ids of the kind "spu_id".
    speakers = {
        identity: match["speaker"] or match["name"]
        for identity in collected.texts
        if (match := _TRN_SPEAKER.fullmatch(identity))
    }
    return Transcripts(collected.texts, "trn", Details(speakers=speakers))


def _read_librispeech(path: Path) -> Transcripts:
    texts: dict[str, str] = {}
    file_of: dict[str, Path] = {}
    for file in sorted(path.rglob("*.trans.txt")):
        for identity, text in read_pairs(file).items():
            if identity in texts:
                raise ScoringError(
                    f"id '{identity}' stands in {file_of[identity]} and again in {file}; every "
                    "utterance needs an id of its own"
                )
            texts[identity] = text
            file_of[identity] = file
    audio, parts = {}, {}
    for identity, file in file_of.items():
        # SPLIT/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt
        above = file.absolute().parents
        if file.name == f"{above[1].name}-{above[0].name}.trans.txt":
            parts[identity] = above[2].name
        for suffix in AUDIO_SUFFIXES:
            if (recording := file.with_name(identity + suffix)).is_file():
                audio[identity] = str(recording.absolute())
                break
    details = Details(speakers=_speakers(texts), audio=audio, parts=parts)
    return Transcripts(texts, "librispeech", details)


def _read_plain(path: Path) -> Transcripts:
    texts = {f"line-{number}": line.strip() for number, line in read_lines(path)}
    return Transcripts(texts, "lines")


def _speakers(ids: Mapping[str, str]) -> dict[str, str]:
    speakers = {}
    for identity in ids:
        match = _LIBRISPEECH_ID.fullmatch(identity)
        # One other id makes it another corpus, whose ids may mean other things.
        if match is None:
            return {}
        speakers[identity] = match["speaker"]
    return speakers


_REFERENCES: Mapping[str, Callable[[Path], Transcripts]] = {
    "manifest": read_references_of,
    "text": _read_text,
    "trn": _read_trn,
    "stm": read_stm,
    "ctm": lambda path: read_ctm(path, {}),
    "librispeech": _read_librispeech,
    "lines": _read_plain,
}
_HYPOTHESES = {**_REFERENCES, "manifest": read_hypotheses_of}


def _merge(paths: Sequence[Path], read: Sequence[Transcripts], *, parts: bool) -> Transcripts:
    if len(read) == 1:
        return read[0]
    texts: dict[str, str] = {}
    file_of: dict[str, Path] = {}
    segments: dict[str, Segment] = {}
    nbest: dict[str, tuple[str, ...]] = {}
    times: dict[str, tuple[tuple[float, float], ...]] = {}
    for path, one in zip(paths, read, strict=True):
        doubled = [identity for identity in one.texts if identity in texts]
        if doubled:
            raise ScoringError(
                f"{path} has ids that {file_of[doubled[0]]} has too: {shorten_ids(doubled)}; "
                "every utterance needs an id of its own"
            )
        texts |= one.texts
        file_of |= dict.fromkeys(one.texts, path)
        segments |= one.segments
        nbest |= one.nbest
        times |= one.word_times
    details = Details(
        **{
            field.name: {
                identity: value
                for one in read
                for identity, value in getattr(one.details, field.name).items()
            }
            for field in fields(Details)
        }
    )
    if parts and not details.parts:
        names = {identity: path.name for identity, path in file_of.items()}
        details = Details(**{**vars(details), "parts": names})
    notes = tuple(note for one in read for note in one.notes)
    return Transcripts(texts, read[0].form, details, nbest, segments, times, notes)


def _check_lines(found: Transcripts, references: Transcripts) -> None:
    if found.form != references.form:
        raise ScoringError(
            f"one side has plain lines and the other is of the format "
            f"{found.form if references.form == 'lines' else references.form}, with ids; lines "
            "can only be joined to lines"
        )
    if len(found.texts) != len(references.texts):
        raise ScoringError(
            f"there are {len(references.texts)} reference lines and {len(found.texts)} hypothesis "
            "lines; expected as many of both, an empty line where nothing was recognised"
        )


def _join_by_audio(found: Transcripts, references: Transcripts) -> Transcripts:
    unknown = [identity for identity in found.texts if identity not in references.texts]
    if not unknown or found.form != "manifest" or not references.details.audio:
        return found
    id_of = {audio: identity for identity, audio in references.details.audio.items()}
    audio = found.details.audio
    places = {name: audio.get(name) or str(Path(name).absolute()) for name in unknown}
    new = {name: id_of.get(places.get(name, ""), name) for name in found.texts}
    if len(set(new.values())) < len(new):
        return found
    return Transcripts(
        {new[name]: text for name, text in found.texts.items()},
        found.form,
        Details(confidences={new[n]: c for n, c in found.details.confidences.items()}),
        {new[name]: texts for name, texts in found.nbest.items() if name in new},
        notes=found.notes,
    )
