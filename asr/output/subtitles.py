"""Subtitles: SubRip and WebVTT."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from asr.segments import MAX_SECONDS, Segment, Shape, wrap_words

if TYPE_CHECKING:
    from asr.transcript import Transcript

# What readers can follow and what the eye needs to find the line, as broadcasters ask for
# (Netflix, Timed Text Style Guide: 17 characters a second, 5/6 of a second, two frames between).
CHARACTERS_PER_SECOND = 17.0
MIN_SECONDS = 5 / 6
GAP_SECONDS = 0.08


def format_srt(transcript: "Transcript", shape: Shape) -> str:
    """Write SubRip: numbered cues; of separate channels, each begins with its number in brackets.

    Args:
        transcript: what to write.
        shape: how wide lines may be.
    """
    cues = []
    for number, (segment, end) in enumerate(_cues(transcript), start=1):
        label = f"[{segment.channel}] " if transcript.channel == "split" else ""
        times = f"{_clock(segment.start, ',')} --> {_clock(end, ',')}"
        cues.append(f"{number}\n{times}\n{label}{_lines(segment, shape)}\n")
    return "\n".join(cues)


def format_vtt(transcript: "Transcript", shape: Shape) -> str:
    """Write WebVTT; separate channels are its voices.

    Args:
        transcript: what to write.
        shape: how wide lines may be.
    """
    cues = ["WEBVTT\n"]
    for segment, end in _cues(transcript):
        voice = f"<v channel {segment.channel}>" if transcript.channel == "split" else ""
        text = _lines(segment, shape)
        for sign, escape in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            text = text.replace(sign, escape)
        cues.append(f"{_clock(segment.start, '.')} --> {_clock(end, '.')}\n{voice}{text}\n")
    return "\n".join(cues)


def _cues(transcript: "Transcript") -> Iterator[tuple[Segment, float]]:
    """Yield each segment and until when it is shown: into the pause behind it, to be read."""
    following: dict[str, float] = {}
    ends = []
    for segment in reversed(transcript.segments):
        latest = following.get(segment.channel, float("inf")) - GAP_SECONDS
        wanted = max(MIN_SECONDS, len(segment.text) / CHARACTERS_PER_SECOND)
        shown = segment.start + min(wanted, MAX_SECONDS)
        ends.append(max(segment.end, min(shown, latest)))
        following[segment.channel] = segment.start
    yield from zip(transcript.segments, reversed(ends), strict=True)


def _lines(segment: Segment, shape: Shape) -> str:
    return "\n".join(wrap_words([word.text for word in segment.words], shape.max_line_width))


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    rest, milliseconds = divmod(milliseconds, 1000)
    return f"{hours:02d}:{minutes:02d}:{rest:02d}{point}{milliseconds:03d}"
