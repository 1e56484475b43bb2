"""What every reader of a corpus yields: items as they stand on disk, and what it must refuse."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from asr.corpora.release import Release

# What readers look for; the decoder goes by content, not by name.
AUDIO_SUFFIXES = (
    *(".flac", ".wav", ".mp3", ".ogg", ".opus", ".oga", ".sph", ".m4a", ".aac", ".mp4"),
    *(".webm", ".wma", ".aif", ".aiff", ".au", ".caf"),
)


@dataclass(frozen=True)
class RawAudio:
    """How to read a file that is nothing but samples.

    Attributes:
        sample_rate: in Hz.
        byte_order: of the 16-bit samples.
    """

    sample_rate: int
    byte_order: Literal["big", "little"]


@dataclass(frozen=True)
class CorpusItem:
    """An utterance as a corpus offers it, not yet verified.

    Attributes:
        id: as the corpus names it.
        audio: path of the audio file.
        text: the transcript as written in the corpus.
        speaker: empty when unknown.
        raw: set for audio without a header.
    """

    id: str
    audio: Path
    text: str
    speaker: str = ""
    raw: RawAudio | None = None


@dataclass(frozen=True)
class Refusal:
    """An item that cannot be used, and why.

    Attributes:
        id: as the corpus names it.
        place: the file, or file and line, that is wrong.
        reason: one clause that says what is wrong.
        sound: whether nothing is broken and only a wish of the user rules it out.
    """

    id: str
    place: str
    reason: str
    sound: bool = False


@dataclass(frozen=True)
class ReadOptions:
    """What a user may tell a reader; only ``folder`` looks at it.

    Attributes:
        transcripts: one table of all transcripts.
        speaker_from: "parent", the name of the audio's folder; a regular expression whose first
            group is searched in the audio's path below the root; or "" for unknown.
    """

    transcripts: Path | None = None
    speaker_from: str = ""


Reader = Callable[[Path, str, ReadOptions], Iterator[CorpusItem | Refusal]]


@dataclass(frozen=True)
class Corpus:
    """How to prepare one corpus.

    Attributes:
        summary: one line for ``asr prepare --help``.
        splits: from the root to the names of the splits that are present.
        read: from root, split and options to the items of that split.
        normalizer: the rule its transcripts need, a key of ``asr.text.NORMALIZERS``.
        characters: all that its normalised transcripts are made of; empty if that is not known.
        valid_utterances: how many training utterances to hold out unless told otherwise, because
            the corpus has no official validation set.
        generate: makes the corpus below the root when there is none; None for recorded corpora.
        release: what can be downloaded of it; None where `asr download` cannot help.
    """

    summary: str
    splits: Callable[[Path], list[str]]
    read: Reader
    normalizer: str
    characters: str = ""
    valid_utterances: int = 0
    generate: Callable[[Path], object] | None = None
    release: Release | None = None
