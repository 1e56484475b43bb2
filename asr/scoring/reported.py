"""What is reported of a score, gathered once for the page, the tables and sclite's files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from asr.scoring.alignment import Alignment
from asr.scoring.calibration import Calibration, calibrate
from asr.scoring.details import Details
from asr.scoring.score import Score
from asr.scoring.transcripts import Segment

if TYPE_CHECKING:
    from asr.scoring.breakdown import Group
    from asr.scoring.confusions import Confusions
    from asr.scoring.intervals import Interval


@dataclass(frozen=True)
class Reported:
    """A score with all that is said about it.

    Attributes:
        score: what is reported.
        details: what is known of the utterances beside their texts.
        title: what was scored.
        normalizer: name and version of the rule applied to both sides.
        interval: how sure the word error rate is, or None.
        confusions: the most frequent errors.
        groups: parts of the score by what they were grouped by.
        notes: what a reader must know of the figures, one sentence each.
        segments: where utterances lie in recordings, by id.
        word_times: start and duration of each word of the hypotheses in seconds, by id; counted
            from the beginning of the segment's recording, or of the utterance without segments.
    """

    score: Score
    details: Details
    title: str
    normalizer: str
    interval: "Interval | None"
    confusions: "Confusions"
    groups: "Mapping[str, tuple[Group, ...]]"
    notes: Sequence[str]
    segments: Mapping[str, Segment] = field(default_factory=dict)
    word_times: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)

    @cached_property
    def alignments(self) -> tuple[Alignment, ...]:
        """The utterances' alignments, in their order."""
        return tuple(utterance.align() for utterance in self.score.utterances)

    @cached_property
    def calibration(self) -> Calibration | None:
        """How confidences agree with what was right, where there are confidences."""
        known = self.details.confidences
        return calibrate(
            (alignment, known[utterance.id])
            for utterance, alignment in zip(self.score.utterances, self.alignments, strict=True)
            if utterance.id in known
        )
