"""Timed transcripts: NIST's segments (stm) and words with times (ctm), joined by time.

    stm  FILE CHANNEL SPEAKER START END [<LABEL,...>] TEXT
    ctm  FILE CHANNEL START DURATION WORD [CONFIDENCE]

Times are in seconds; lines that begin with ``;;`` are comments. As with sclite, a word of a ctm
belongs to the first segment of its file and channel that ends after the middle of the word, and
after the last segment's end to that: words between segments are insertions in the next one.
Segments whose text is ``IGNORE_TIME_SEGMENT_IN_SCORING`` are not scored, nor are their words.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from asr.errors import ScoringError
from asr.scoring.details import Details
from asr.scoring.score import shorten_ids
from asr.scoring.transcripts import Collector, Segment, Transcripts, read_lines

IGNORED = "ignore_time_segment_in_scoring"
COMMENT = ";;"


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A recognised word and when it was said; times in seconds."""

    start: float
    duration: float
    text: str
    confidence: float | None

    @property
    def middle(self) -> float:
        """Between start and end, in seconds."""
        return self.start + self.duration / 2


def read_stm(path: Path) -> Transcripts:
    """Read segments and their words.

    Args:
        path: an stm file.

    Returns:
        Transcripts with the id ``FILE_CHANNEL_START_END`` (times with three decimals), speakers,
        durations, and segments, those to be ignored included; these have no text.

    Raises:
        ScoringError: a line is broken, a segment stands twice, or words have alternatives.
    """
    collected = Collector(path)
    speakers: dict[str, str] = {}
    durations: dict[str, float] = {}
    segments: dict[str, Segment] = {}
    for number, line in read_lines(path):
        if not line.strip() or line.lstrip().startswith(COMMENT):
            continue
        where = f"{path}, line {number}"
        fields = line.split(None, 5)
        if len(fields) < 5:
            raise ScoringError(
                f"{where} has {len(fields)} fields; expected FILE CHANNEL SPEAKER START END TEXT"
            )
        file, channel, speaker = fields[:3]
        start, end = (_seconds(field, where) for field in fields[3:5])
        if end < start:
            raise ScoringError(f"{where}: the segment ends at {end} before it starts at {start}")
        text = fields[5].strip() if len(fields) > 5 else ""
        if text.startswith("<"):
            text = text.partition(">")[2].strip()
        refuse_alternatives(text, where)
        identity = f"{file}_{channel}_{start:.3f}_{end:.3f}"
        ignored = text.lower() == IGNORED
        segments[identity] = Segment(file, channel, start, end, ignored)
        if not ignored:
            collected.add(identity, text, number)
            speakers[identity] = speaker
            durations[identity] = end - start
    return Transcripts(
        collected.texts, "stm", Details(speakers=speakers, durations=durations), segments=segments
    )


def read_ctm(path: Path, segments: Mapping[str, Segment]) -> Transcripts:
    """Read words with times and join them to utterances.

    Args:
        path: a ctm file; words in any order.
        segments: of the references, by utterance id; when empty, every FILE is one utterance.

    Returns:
        Transcripts with confidences, where every word of an utterance has one. A segment of which
        the ctm has neither file nor channel is missing; one without a word is empty.

    Raises:
        ScoringError: a line is broken, words have alternatives, or their file and channel are in
            no segment.
    """
    words = _read_words(path)
    notes: tuple[str, ...] = ()
    if segments:
        groups, notes = _join(words, segments, path)
    else:
        groups = {}
        for file, channel in words:
            if file in groups:
                raise ScoringError(
                    f"{path} has several channels of '{file}', '{channel}' among them, and no "
                    "segments tell them apart; give references as stm"
                )
            groups[file] = words[file, channel]
    texts, confidences = {}, {}
    for identity, group in groups.items():
        texts[identity] = " ".join(word.text for word in group)
        known = tuple(word.confidence for word in group if word.confidence is not None)
        if group and len(known) == len(group):
            confidences[identity] = known
    times = {
        identity: tuple((word.start, word.duration) for word in group)
        for identity, group in groups.items()
    }
    return Transcripts(
        texts, "ctm", Details(confidences=confidences), word_times=times, notes=notes
    )


def refuse_alternatives(text: str, where: str) -> None:
    """Refuse words of which a reader may choose, as sclite's ``{ a / b / @ }``.

    Args:
        text: a reference or hypothesis.
        where: file and line, for the error.

    Raises:
        ScoringError: there are such words; scored as plain words they would all be errors.
    """
    if "{" in text and "/" in text and "}" in text:
        raise ScoringError(
            f"{where} offers alternatives, '{text[text.index('{') : text.index('}') + 1]}', which "
            "are not supported; write one of them, or score with sclite"
        )


def _read_words(path: Path) -> dict[tuple[str, str], list[TimedWord]]:
    words: dict[tuple[str, str], list[TimedWord]] = defaultdict(list)
    for number, line in read_lines(path):
        if not line.strip() or line.lstrip().startswith(COMMENT):
            continue
        where = f"{path}, line {number}"
        fields = line.split()
        if len(fields) < 5:
            raise ScoringError(
                f"{where} has {len(fields)} fields; expected FILE CHANNEL START DURATION WORD"
            )
        if fields[4].upper().startswith("<ALT"):
            raise ScoringError(
                f"{where} offers alternatives, '{fields[4]}', which are not supported; write one "
                "of them, or score with sclite"
            )
        confidence = None
        if len(fields) > 5 and fields[5].upper() != "NA":
            confidence = _seconds(fields[5], where)
        start, duration = (_seconds(field, where) for field in fields[2:4])
        words[fields[0], fields[1]].append(TimedWord(start, duration, fields[4], confidence))
    for group in words.values():
        group.sort(key=lambda word: word.start)
    return words


def _seconds(field: str, where: str) -> float:
    try:
        value = float(field)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise ScoringError(f"{where}: '{field}' stands where a number is expected")
    return value


def _join(
    words: Mapping[tuple[str, str], Sequence[TimedWord]],
    segments: Mapping[str, Segment],
    path: Path,
) -> tuple[dict[str, list[TimedWord]], tuple[str, ...]]:
    channels: dict[tuple[str, str], list[tuple[Segment, str]]] = defaultdict(list)
    for identity, segment in segments.items():
        channels[segment.file, segment.channel].append((segment, identity))
    unknown = [f"{file} {channel}" for file, channel in words if (file, channel) not in channels]
    if unknown:
        raise ScoringError(
            f"{path} has words of a file and channel that no reference segment has: "
            f"{shorten_ids(unknown)}; are these the references of the same recordings?"
        )
    groups: dict[str, list[TimedWord]] = {}
    outside = ignored = 0
    for place, said in words.items():
        channel = _Channel(channels[place])
        groups |= {identity: [] for segment, identity in channels[place] if not segment.ignored}
        for word in said:
            segment, identity = channel.find(word.middle)
            outside += not segment.start <= word.middle < segment.end
            if segment.ignored:
                ignored += 1
            else:
                groups[identity].append(word)
    notes = []
    if outside:
        notes.append(f"{path}: {outside} words lie in no segment and count in the next one")
    if ignored:
        notes.append(f"{path}: {ignored} words lie in segments that are not to be scored")
    return groups, tuple(notes)


class _Channel:
    # Finds the segment of a time.
    def __init__(self, segments: Sequence[tuple[Segment, str]]) -> None:
        self.segments = sorted(segments, key=lambda entry: (entry[0].start, entry[0].end))
        # Ends in increasing order even where a segment lies within another.
        self.reach = list(accumulate((segment.end for segment, _ in self.segments), max))

    def find(self, time: float) -> tuple[Segment, str]:
        return self.segments[min(bisect_right(self.reach, time), len(self.segments) - 1)]
