"""A calibration tells whether words recognised with 80 % confidence are right 80 % of the time."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from asr.scoring.alignment import Alignment

_BINS = 10
# The logarithm of nothing is not finite; sclite keeps the same distance from 0 and 1.
_MARGIN = 1e-7


@dataclass(frozen=True)
class Bin:
    """Recognised words of about the same confidence.

    Attributes:
        low: least confidence in the bin.
        high: where the next bin begins; the last holds 1 as well.
        words: recognised words in it.
        correct: how many of them were said.
        confidence: mean confidence of them.
    """

    low: float
    high: float
    words: int
    correct: int
    confidence: float


@dataclass(frozen=True)
class Calibration:
    """How confidences agree with what was right.

    Attributes:
        bins: from low to high confidence, without those that hold no word.
        words: recognised words with a confidence.
        expected_error: mean distance between confidence and share of correct words, over bins
            weighted by their words (Guo et al. 2017, equation 3).
        normalized_cross_entropy: 1 for perfect confidences, 0 for those that say no more than the
            overall share of correct words, negative for worse (NIST, Siu et al. 1997); None where
            all words are right or all wrong.
        left_out: utterances whose confidences are not one a word within 0 and 1.
    """

    bins: tuple[Bin, ...]
    words: int
    expected_error: float
    normalized_cross_entropy: float | None
    left_out: int


def calibrate(pairs: Iterable[tuple[Alignment, Sequence[float]]]) -> Calibration | None:
    """Compare confidences with what turned out right.

    Args:
        pairs: alignments with one confidence for each of their hypothesis' words; pairs that do
            not fit, as when a normaliser joined words, are counted and left out.

    Returns:
        The calibration, or None where no word has a confidence.
    """
    judged: list[tuple[float, bool]] = []
    left_out = 0
    for alignment, confidences in pairs:
        right = [kind == "C" for kind, _, _ in alignment.operations if kind != "D"]
        if len(right) != len(confidences) or not all(0 <= value <= 1 for value in confidences):
            left_out += 1
            continue
        judged += zip(confidences, right, strict=True)
    if not judged:
        return None
    bins = tuple(_fill_bins(judged))
    return Calibration(
        bins=bins,
        words=len(judged),
        expected_error=math.fsum(
            abs(each.words * each.confidence - each.correct) / len(judged) for each in bins
        ),
        normalized_cross_entropy=_normalized_cross_entropy(judged),
        left_out=left_out,
    )


def area_under_roc(judged: Sequence[tuple[float, bool]]) -> float | None:
    """Tell how well confidences separate wrong words from right ones.

    Args:
        judged: confidence of each word, and whether it is right.

    Returns:
        The chance that a right word has more confidence than a wrong one, ties counted half: 1 is
        perfect, 0.5 is chance; None where all words are right or all wrong.

    Source:
        Fawcett 2006, "An introduction to ROC analysis", section 7: the area equals the statistic
        of Mann and Whitney.
    """
    right = sorted(value for value, correct in judged if correct)
    wrong = [value for value, correct in judged if not correct]
    if not right or not wrong:
        return None
    above = sum(
        len(right) - (bisect_left(right, value) + bisect_right(right, value)) / 2 for value in wrong
    )
    return above / (len(right) * len(wrong))


def _fill_bins(judged: Sequence[tuple[float, bool]]) -> Iterable[Bin]:
    members: list[list[tuple[float, bool]]] = [[] for _ in range(_BINS)]
    for value, right in judged:
        members[min(int(value * _BINS), _BINS - 1)].append((value, right))
    for number, inside in enumerate(members):
        if inside:
            yield Bin(
                low=number / _BINS,
                high=(number + 1) / _BINS,
                words=len(inside),
                correct=sum(right for _, right in inside),
                confidence=math.fsum(value for value, _ in inside) / len(inside),
            )


def _normalized_cross_entropy(judged: Sequence[tuple[float, bool]]) -> float | None:
    words, correct = len(judged), sum(right for _, right in judged)
    if correct in (0, words):
        return None
    share = correct / words
    entropy = -(correct * math.log(share) + (words - correct) * math.log(1 - share))
    likelihood = math.fsum(
        math.log(max(value if right else 1 - value, _MARGIN)) for value, right in judged
    )
    return (entropy + likelihood) / entropy
