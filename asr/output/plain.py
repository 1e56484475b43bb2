"""Plain text, and tables of segments as whisper writes them."""

from typing import TYPE_CHECKING

from asr.segments import Shape

if TYPE_CHECKING:
    from asr.transcript import Transcript


def format_txt(transcript: "Transcript", shape: Shape) -> str:
    """Write the words in one line; of separate channels, a line each that begins with its number.

    Args:
        transcript: what to write.
        shape: unused, a line is not broken.
    """
    if transcript.channel != "split":
        return f"{transcript.text}\n"
    lines = transcript.text.split("\n")
    return "".join(f"channel {number}: {line}\n" for number, line in enumerate(lines, start=1))


def format_tsv(transcript: "Transcript", shape: Shape) -> str:
    """Write a segment a line: start and end in milliseconds, text, and the channel where split.

    Args:
        transcript: what to write.
        shape: unused, segments are written as they are.
    """
    split = transcript.channel == "split"
    lines = ["start\tend\ttext" + ("\tchannel" if split else "")]
    for segment in transcript.segments:
        start, end = round(segment.start * 1000), round(segment.end * 1000)
        channel = f"\t{segment.channel}" if split else ""
        lines.append(f"{start}\t{end}\t{segment.text}{channel}")
    return "\n".join(lines) + "\n"
