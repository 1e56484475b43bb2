"""Transcripts are the texts of many utterances by id, read from the lines of a file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from asr.errors import ScoringError
from asr.scoring.details import Details


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording that is one utterance.

    Attributes:
        file: the recording.
        channel: one of its channels.
        start: in seconds.
        end: in seconds.
        ignored: True where nobody may be scored.
    """

    file: str
    channel: str
    start: float
    end: float
    ignored: bool = False


@dataclass(frozen=True)
class Transcripts:
    """What is said in utterances, by id, with all that their file tells of them.

    Attributes:
        texts: the words, as they stand in the file.
        form: the format they were read in, such as ``trn``.
        details: speakers, durations, audio, parts and confidences, as far as the file tells them.
        nbest: further hypotheses, best first, with the one of ``texts`` among them.
        segments: where utterances lie in recordings, if they were cut by times.
        word_times: start and duration of every word, in seconds, where they are known.
        notes: what a user should know of the file, in sentences.
    """

    texts: Mapping[str, str]
    form: str
    details: Details = field(default_factory=Details)
    nbest: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    segments: Mapping[str, Segment] = field(default_factory=dict)
    word_times: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Collector:
    """Collects one value for each utterance id of a file and refuses an id that stands twice.

    Args:
        path: the file, for errors.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.texts: dict[str, str] = {}
        self._lines: list[int] = []  # of the texts, in their order

    def add(self, identity: str, text: str, number: int) -> None:
        """Take one utterance.

        Args:
            identity: its id.
            text: its words.
            number: its line, counted from 1.

        Raises:
            ScoringError: another line had this id.
        """
        if identity in self.texts:
            line = self._lines[list(self.texts).index(identity)]
            raise ScoringError(
                f"{self.path}, line {number}: id '{identity}' already stands in line {line}; "
                "every utterance needs an id of its own (lines without ids are read with "
                "--format lines)"
            )
        self._lines.append(number)
        self.texts[identity] = text


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Read a text file line by line, whatever system it comes from.

    A byte order mark and the carriage returns of Windows are no part of a line. Lines end at line
    feeds only: other characters that Unicode calls line ends are spaces within a text.

    Args:
        path: a file in UTF-8.

    Yields:
        Line number from 1, and the line; empty ones too, but none after the last line feed.

    Raises:
        ScoringError: the file cannot be read or is not UTF-8.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ScoringError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        place = error.object[: error.start].count(b"\n") + 1
        raise ScoringError(
            f"{path}, line {place}: byte 0x{error.object[error.start]:02x} is not UTF-8; convert "
            "the file, for instance with iconv"
        ) from error
    lines = text.split("\n")
    if not lines[-1]:
        del lines[-1]
    for number, line in enumerate(lines, start=1):
        yield number, line.removesuffix("\r")
