"""Praat's TextGrid: tiers of words and segments that cover the whole recording."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from asr.segments import Shape

if TYPE_CHECKING:
    from asr.transcript import Transcript

Interval = tuple[float, float, str]
# Praat refuses an interval without length.
_SHORTEST_SECONDS = 0.001


def format_textgrid(transcript: "Transcript", shape: Shape) -> str:
    """Write a TextGrid in Praat's long format; of separate channels, two tiers each.

    Args:
        transcript: what to write.
        shape: unused, segments are written as they are.
    """
    split = transcript.channel == "split"
    tiers: list[tuple[str, list[Interval]]] = []
    channels = transcript.channels() or {"mix": ()}
    for channel, words in channels.items():
        ending = f" {channel}" if split else ""
        spoken = [(word.start, word.end, word.text) for word in words]
        segments = [
            (segment.start, segment.end, segment.text)
            for segment in transcript.segments
            if segment.channel == channel
        ]
        tiers += [(f"segments{ending}", segments), (f"words{ending}", spoken)]
    return format_tiers(tiers, transcript.duration_seconds)


def format_tiers(tiers: Sequence[tuple[str, Sequence[Interval]]], duration_seconds: float) -> str:
    """Write tiers in Praat's long format.

    Args:
        tiers: name of each, and its intervals ``(start, end, text)`` in order, in seconds.
        duration_seconds: of the recording; longer where an interval ends behind it.
    """
    apart = [(name, _apart(intervals)) for name, intervals in tiers]
    end = max([duration_seconds, *(tier[-1][1] for _, tier in apart if tier)])
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {end:.3f}",
        "tiers? <exists>",
        f"size = {len(apart)}",
        "item []:",
    ]
    for number, (name, intervals) in enumerate(apart, start=1):
        lines += _tier(number, name, intervals, end)
    return "\n".join(lines) + "\n"


def _apart(intervals: Iterable[Interval]) -> list[Interval]:
    """Round to milliseconds and give every interval some length, none reaching into the next."""
    apart: list[Interval] = []
    reached = 0.0
    for start, end, text in intervals:
        first = max(round(start, 3), reached)
        reached = round(max(round(end, 3), first + _SHORTEST_SECONDS), 3)
        apart.append((first, reached, text))
    return apart


def _tier(number: int, name: str, intervals: list[Interval], end: float) -> list[str]:
    covered: list[Interval] = []
    reached = 0.0
    for start, stop, text in intervals:
        if start > reached:
            covered.append((reached, start, ""))
        covered.append((start, stop, text))
        reached = stop
    if round(end, 3) > reached or not covered:
        covered.append((reached, end, ""))
    lines = [
        f"    item [{number}]:",
        '        class = "IntervalTier"',
        f'        name = "{name}"',
        "        xmin = 0",
        f"        xmax = {end:.3f}",
        f"        intervals: size = {len(covered)}",
    ]
    for index, (start, stop, text) in enumerate(covered, start=1):
        quoted = text.replace('"', '""')
        lines += [
            f"        intervals [{index}]:",
            f"            xmin = {start:.3f}",
            f"            xmax = {stop:.3f}",
            f'            text = "{quoted}"',
        ]
    return lines
