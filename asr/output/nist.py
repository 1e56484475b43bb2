"""NIST's formats, which sclite and `asr score` read: words with times, segments, utterances."""

from typing import TYPE_CHECKING

from asr.segments import Shape
from asr.text import one_word

if TYPE_CHECKING:
    from asr.transcript import Transcript


def format_ctm(transcript: "Transcript", shape: Shape) -> str:
    """Write a word a line: ``FILE CHANNEL START DURATION WORD CONFIDENCE``, seconds.

    Args:
        transcript: what to write.
        shape: unused.
    """
    file = one_word(transcript.name)
    lines = []
    for channel, words in transcript.channels().items():
        for word in words:
            # Rounded apart, start and duration could add up to more than the next word's start.
            start, end = round(word.start, 3), round(word.end, 3)
            lines.append(
                f"{file} {_channel(channel)} {start:.3f} {end - start:.3f} {word.text} "
                f"{word.probability:.4f}\n"
            )
    return "".join(lines)


def format_stm(transcript: "Transcript", shape: Shape) -> str:
    """Write a segment a line: ``FILE CHANNEL SPEAKER START END TEXT``, the speaker unknown.

    Args:
        transcript: what to write.
        shape: unused, segments are written as they are.
    """
    file = one_word(transcript.name)
    return "".join(
        f"{file} {_channel(segment.channel)} unknown {segment.start:.3f} {segment.end:.3f} "
        f"{segment.text}\n"
        for segment in transcript.segments
    )


def format_trn(transcript: "Transcript", shape: Shape) -> str:
    """Write the words and the recording's name: ``TEXT (ID)``; of channels, a line each.

    Args:
        transcript: what to write.
        shape: unused.
    """
    # Brackets within a name would end it too early.
    name = one_word(transcript.name).replace("(", "%28").replace(")", "%29")
    if transcript.channel != "split":
        return f"{transcript.text} ({name})\n".lstrip()
    lines = transcript.text.split("\n")
    return "".join(
        f"{line} ({name}-{number})\n".lstrip() for number, line in enumerate(lines, start=1)
    )


def _channel(channel: str) -> str:
    return channel if channel.isdigit() else "1"
