"""Words become segments: cut at pauses, and short enough to be read as a subtitle."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asr.errors import UsageError

if TYPE_CHECKING:
    from asr.decoding.words import Word

# A subtitle that stands longer than this is read twice.
MAX_SECONDS = 7.0
# A pause of a tenth of a second is worth as much as a segment wholly out of balance.
_PAUSE_WEIGHT = 10.0


@dataclass(frozen=True)
class Shape:
    """How large segments may become.

    Attributes:
        max_line_width: characters of a line; a longer word has a line of its own and is not cut.
        max_line_count: lines of a segment.
        max_pause_seconds: a pause between words as long as this ends a segment.

    Raises:
        UsageError: a number that leaves no room.
    """

    max_line_width: int = 42
    max_line_count: int = 2
    max_pause_seconds: float = 0.8

    def __post_init__(self) -> None:
        if min(self.max_line_width, self.max_line_count) < 1:
            raise UsageError(
                f"subtitles of {self.max_line_count} lines of {self.max_line_width} characters; "
                "expected 1 or more of each"
            )
        if not self.max_pause_seconds > 0:
            raise UsageError(
                f"segments end at pauses of {self.max_pause_seconds} s; expected more than 0"
            )


DEFAULT_SHAPE = Shape()


@dataclass(frozen=True)
class Segment:
    """Words that are spoken and read together.

    Attributes:
        words: one or more, in order.
        channel: ``"mix"`` or the channel's number from 1.
    """

    words: tuple["Word", ...]
    channel: str = "mix"

    @property
    def start(self) -> float:
        """Where the first word begins, in seconds."""
        return self.words[0].start

    @property
    def end(self) -> float:
        """Where the last word ends, in seconds."""
        return self.words[-1].end

    @property
    def text(self) -> str:
        """The words, separated by spaces."""
        return " ".join(word.text for word in self.words)


def make_segments(
    words: Sequence["Word"], channel: str = "mix", shape: Shape = DEFAULT_SHAPE
) -> tuple[Segment, ...]:
    """Cut a row of words into segments.

    A pause always ends a segment. What is still too long is cut where the words pause the longest
    and the parts come out alike.

    Args:
        words: in order of time.
        channel: of all of them.
        shape: how large segments may become.

    Returns:
        The segments, which hold all words in their order.
    """
    segments: list[Segment] = []
    start = 0
    for position in range(1, len(words) + 1):
        ends = position == len(words)
        if ends or words[position].start - words[position - 1].end >= shape.max_pause_seconds:
            segments += _cut(words[start:position], channel, shape)
            start = position
    return tuple(segments)


def _cut(words: Sequence["Word"], channel: str, shape: Shape) -> list[Segment]:
    segments = []
    rest = words
    while rest:
        fitting = _fitting(rest, shape)
        count = fitting if fitting == len(rest) else _best_cut(rest, fitting)
        segments.append(Segment(tuple(rest[:count]), channel))
        rest = rest[count:]
    return segments


def _fitting(words: Sequence["Word"], shape: Shape) -> int:
    """Count the first words that fit into one segment, at least one."""
    lines, width = 1, len(words[0].text)
    for count, word in enumerate(words[1:], start=1):
        if width + 1 + len(word.text) <= shape.max_line_width:
            width += 1 + len(word.text)
        else:
            lines, width = lines + 1, len(word.text)
        if lines > shape.max_line_count or word.end - words[0].start > MAX_SECONDS:
            return count
    return len(words)


def _best_cut(words: Sequence["Word"], fitting: int) -> int:
    """Choose how many of the fitting words to take; more than fit are there."""
    characters = sum(len(word.text) + 1 for word in words[: 2 * fitting])
    full = sum(len(word.text) + 1 for word in words[:fitting])
    # The last two segments share what is left; before them each is as full as can be.
    target = characters / 2 if len(words) <= 2 * fitting and characters < 2 * full else full
    best, best_score = fitting, float("-inf")
    taken = 0
    for count in range(1, fitting + 1):
        taken += len(words[count - 1].text) + 1
        pause = words[count].start - words[count - 1].end
        score = _PAUSE_WEIGHT * pause - abs(taken - target) / target
        if score >= best_score:
            best, best_score = count, score
    return best


def wrap_words(words: Sequence[str], width: int) -> list[str]:
    """Break words into as few lines as possible, and these as even as possible.

    Args:
        words: in order; none is cut.
        width: characters of a line; only a word that is longer itself exceeds it.

    Returns:
        The lines.
    """
    fewest = len(_fill(words, width))
    even = -(-sum(len(word) + 1 for word in words) // max(1, fewest)) - 1
    for narrower in range(max(1, even), width):
        lines = _fill(words, narrower)
        if len(lines) <= fewest:
            return lines
    return _fill(words, width)


def _fill(words: Sequence[str], width: int) -> list[str]:
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
