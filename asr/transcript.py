"""A transcript: the words of one recording, with times, in segments, and how they were found."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from asr.errors import UsageError
from asr.files import atomic_write
from asr.output import FORMATS, format_named
from asr.segments import DEFAULT_SHAPE, Segment, Shape, make_segments
from asr.text import readable

if TYPE_CHECKING:
    from asr.decoding.words import Word


@dataclass(frozen=True)
class Candidate:
    """What may have been said in a stretch of a recording.

    Attributes:
        text: the words.
        log_prob: natural logarithm of the probability that the model gives the text.
        score: the same with what language models and phrases add; candidates are ranked by it.
    """

    text: str
    log_prob: float
    score: float


@dataclass(frozen=True)
class Candidates:
    """The n-best list of a stretch that was decoded at once.

    Attributes:
        start: where the stretch begins, in seconds.
        end: where it ends.
        channel: as for segments.
        candidates: the best first.
    """

    start: float
    end: float
    channel: str
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Transcript:
    """What was said in one recording.

    Attributes:
        path: the audio file, or empty for a waveform.
        text: the words; a line for each channel where channels are transcribed separately.
        duration_seconds: length that the file declares, or the decoded length if it declares none.
        decoded_seconds: length that could be decoded and was transcribed.
        log_prob: natural logarithm of the probability of what the decoder chose.
        warnings: what was off with the audio, in sentences.
        error: why there is no text, or None.
        segments: the words in order of time, in pieces to be read at once.
        channel: ``"mix"``, ``"split"``, or the number of the one that was transcribed, from 1.
        declared_seconds: length that the file's header gives; None if it gives none.
        id: what output formats call the recording; empty: the file's name without its ending.
        model: the model folder.
        decoder: how the text was found.
        nbest: what else may have been said, where several hypotheses were asked for.
        processing_seconds: spent on reading it, on its share of the encoder's batches and on
            decoding; what ran side by side counts in full.
    """

    path: str
    text: str
    duration_seconds: float
    decoded_seconds: float
    log_prob: float = 0.0
    warnings: tuple[str, ...] = ()
    error: str | None = None
    segments: tuple[Segment, ...] = ()
    channel: str = "mix"
    declared_seconds: float | None = None
    id: str = ""
    model: str = ""
    decoder: str = "greedy"
    nbest: tuple[Candidates, ...] = ()
    processing_seconds: float = field(default=0.0, compare=False)

    @property
    def words(self) -> tuple["Word", ...]:
        """The words with start, end and probability, in the order of the segments."""
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def name(self) -> str:
        """What output formats call the recording."""
        return readable(self.id or Path(self.path).stem) or "recording"

    def channels(self) -> dict[str, tuple["Word", ...]]:
        """Give the words of each channel that has any."""
        found: dict[str, list[Word]] = {}
        for segment in self.segments:
            found.setdefault(segment.channel, []).extend(segment.words)
        return {channel: tuple(found[channel]) for channel in sorted(found, key=_number)}

    def shaped(self, shape: Shape) -> "Transcript":
        """Cut the words into other segments.

        Args:
            shape: how large they may become.
        """
        segments = [
            segment
            for channel, words in self.channels().items()
            for segment in make_segments(words, channel, shape)
        ]
        return replace(self, segments=in_time(segments))

    def save(self, path: Path | str, form: str | None = None, shape: Shape | None = None) -> None:
        """Write the transcript, whole or not at all.

        Args:
            path: the file to make or replace.
            form: a name out of ``asr.output.FORMATS``; None: the file's ending says it.
            shape: segments of this shape instead of those that are there.

        Raises:
            UsageError: the format is not known, or there is no transcript but an error.
            OSError: the file cannot be written; an older one stays as it was.
        """
        if self.error is not None:
            raise UsageError(f"there is no transcript to save in {path}: {self.error}")
        name = form or Path(path).suffix[1:].lower()
        if name not in FORMATS:
            raise UsageError(f"no output format '{name}' for {path}; expected {', '.join(FORMATS)}")
        chosen = shape or DEFAULT_SHAPE
        transcript = self.shaped(shape) if shape else self
        content = format_named(name, transcript, chosen)
        with atomic_write(path) as stream:
            stream.write(content)


def in_time(segments: list[Segment]) -> tuple[Segment, ...]:
    """Put the segments of several channels in order of time."""
    return tuple(sorted(segments, key=lambda each: (each.start, _number(each.channel))))


def _number(channel: str) -> int:
    return int(channel) if channel.isdigit() else 0
