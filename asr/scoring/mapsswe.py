"""The matched-pair sentence-segment test tells whether two systems differ beyond chance."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from asr.errors import ScoringError
from asr.scoring.alignment import Alignment
from asr.scoring.score import Score

# Below so many segments the mean difference is not safely normal; a rule of thumb.
ENOUGH_SEGMENTS = 50


@dataclass(frozen=True)
class SegmentTest:
    """Whether two systems make the same number of errors, segment by segment.

    Attributes:
        segments: stretches in which one of the systems, or both, made errors.
        mean: errors of the first system less those of the second, per segment.
        deviation: standard deviation of that difference over the segments.
        z: ``mean`` in units of its standard error; 0 without any difference, infinite where
            every segment shows the same one.
        p_value: chance of a ``z`` as far from 0 when neither system is better; two-tailed.
    """

    segments: int
    mean: float
    deviation: float
    z: float
    p_value: float

    @property
    def reliable(self) -> bool:
        """Whether there are enough segments for the normal distribution to hold."""
        return self.segments >= ENOUGH_SEGMENTS


def segment_errors(
    first: Alignment, second: Alignment, boundary_words: int = 2
) -> list[tuple[int, int]]:
    """Count both systems' errors in each segment of an utterance.

    A segment ends where so many neighbouring words are correct in both systems, with nothing
    inserted between them, or where the utterance ends; stretches without any error are none.

    Args:
        first: the first system's words beside the reference.
        second: the second system's words beside the same reference.
        boundary_words: correct words that part two segments.

    Returns:
        Errors of the first and of the second system, one pair a segment.

    Raises:
        ScoringError: the references differ.
    """
    if first.reference != second.reference:
        raise ScoringError(
            f"two systems were aligned to different references, '{' '.join(first.reference)}' and "
            f"'{' '.join(second.reference)}'; score both against the same"
        )
    segments: list[tuple[int, int]] = []
    errors = (0, 0)
    good = 0
    for inserted, wrong in zip(
        zip(*map(_insertions, (first, second)), strict=True),
        zip(*map(_wrong_words, (first, second)), strict=True),
        strict=True,
    ):
        if any(inserted) or any(wrong):
            good = 0
            errors = (errors[0] + inserted[0] + wrong[0], errors[1] + inserted[1] + wrong[1])
        good += not any(wrong)
        if good == boundary_words and any(errors):
            segments.append(errors)
            errors = (0, 0)
    if any(errors):
        segments.append(errors)
    return segments


def _insertions(alignment: Alignment) -> list[int]:
    # How many words were inserted before each reference word, and at the end.
    before = [0] * (len(alignment.reference) + 1)
    at = 0
    for operation in alignment.operations:
        if operation.kind == "I":
            before[at] += 1
        else:
            at += 1
    return before


def _wrong_words(alignment: Alignment) -> list[int]:
    wrong = [int(step.kind != "C") for step in alignment.operations if step.kind != "I"]
    # Beside the insertions at the end there is no word; one error that is none keeps it even.
    return [*wrong, 0]


def segment_test(errors: Iterable[tuple[int, int]]) -> SegmentTest:
    """Test whether the errors of two systems differ, given those of each segment.

    Args:
        errors: errors of the first and of the second system, one pair a segment.

    Returns:
        The test of Gillick and Cox (1989), with the variance over n - 1 as in NIST's
        ``sc_stats``. Where all segments show the same difference there is no variance:
        ``sc_stats`` then reports no difference at all, and here the p-value is that of the sign
        test, 2 / 2**n.
    """
    differences = [first - second for first, second in errors]
    n = len(differences)
    if not any(differences):
        return SegmentTest(n, 0.0, 0.0, 0.0, 1.0)
    mean = sum(differences) / n
    squares = math.fsum((difference - mean) ** 2 for difference in differences)
    if len(set(differences)) == 1:
        return SegmentTest(n, mean, 0.0, math.copysign(math.inf, mean), 2.0 ** (1 - n))
    deviation = math.sqrt(squares / (n - 1))
    z = mean / (deviation / math.sqrt(n))
    return SegmentTest(n, mean, deviation, z, math.erfc(abs(z) / math.sqrt(2)))


def mapsswe(first: Score, second: Score, boundary_words: int = 2) -> SegmentTest:
    """Run the matched-pair sentence-segment word error test over two systems' scores.

    Errors that lie close together in an utterance hang together, so that single words are no
    independent trials; segments between stretches correct in both systems nearly are (Gillick and
    Cox 1989, "Some statistical issues in the comparison of speech recognition algorithms"; Pallett
    et al. 1990, "Tools for the analysis of benchmark speech recognition tests"). Segments are those
    of NIST's ``sc_stats -t mapsswe``, where words are aligned as sclite does.

    Args:
        first: score of the first system.
        second: score of the second, of the same utterances and references in the same order.
        boundary_words: correct words that part two segments; NIST's default is 2.

    Returns:
        The test.

    Raises:
        ScoringError: the scores are not of the same references.
    """
    check_same_references(first, second)
    errors: list[tuple[int, int]] = []
    for one, other in zip(first.utterances, second.utterances, strict=True):
        if one.words.errors or other.words.errors:
            errors += segment_errors(one.align(), other.align(), boundary_words)
    return segment_test(errors)


def check_same_references(*scores: Score) -> None:
    """Make sure that scores belong to the same utterances and references, in the same order.

    Args:
        scores: two or more.

    Raises:
        ScoringError: another number of utterances, another id or another reference.
    """
    first = scores[0].utterances
    for score in scores[1:]:
        if len(score.utterances) != len(first):
            raise ScoringError(
                f"one score is of {len(first)} utterances and another of {len(score.utterances)}; "
                "compare systems on the same utterances"
            )
        for one, other in zip(first, score.utterances, strict=True):
            if one.id != other.id or not _same_words(one.reference, other.reference):
                raise ScoringError(
                    f"utterance '{one.id}' with the reference '{one.reference}' stands where "
                    f"another score has '{other.id}' with '{other.reference}'; compare systems on "
                    "the same references"
                )


def _same_words(reference: str, other: str) -> bool:
    return reference == other or reference.split() == other.split()
