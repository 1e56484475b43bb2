"""Fits what makes confidences honest and times true: one temperature and one offset for a model."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from asr.decoding.hypothesis import Hypothesis
from asr.decoding.words import Word, WordCalibration, time_words
from asr.encoding import LogProbs
from asr.scoring.alignment import align
from asr.tokenizer import Tokenizer

# Temperatures tried, as natural logarithms: a twelfth to thirty.
_COLDEST, _WARMEST = -2.5, 3.5
_STEPS = 24
_MARGIN = 1e-7
# Reaches tried, in seconds.
REACHES = (0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12)


@dataclass(frozen=True)
class Judged:
    """A hypothesis and which of its words were said.

    Attributes:
        log_probs: ``(U, V)``, in which it was found.
        hypothesis: the tokens and their frames.
        correct: for each word whether it was said.
    """

    log_probs: LogProbs
    hypothesis: Hypothesis
    correct: tuple[bool, ...]

    def words(
        self, tokenizer: Tokenizer, frame_seconds: float, calibration: WordCalibration
    ) -> tuple[Word, ...]:
        """Give the words with times and confidences."""
        return time_words(
            self.log_probs,
            self.hypothesis.tokens,
            self.hypothesis.frames,
            tokenizer,
            frame_seconds,
            calibration,
        )


def judge(
    log_probs: LogProbs, hypothesis: Hypothesis, text: str, reference: Sequence[str]
) -> Judged:
    """Tell which words of a hypothesis were said.

    Args:
        log_probs: ``(U, V)``.
        hypothesis: of these.
        text: its words as they are scored.
        reference: what was said, as it is scored.
    """
    operations = align(reference, text.split()).operations
    correct = tuple(kind == "C" for kind, _, _ in operations if kind != "D")
    return Judged(log_probs, hypothesis, correct)


def confidences(
    judged: Sequence[Judged], tokenizer: Tokenizer, temperature: float
) -> list[tuple[float, bool]]:
    """Pair the confidence of every word with whether it is right.

    Args:
        judged: hypotheses with one truth for each of their words.
        tokenizer: joins tokens to words.
        temperature: see ``WordCalibration``.

    Returns:
        The pairs, without those of utterances of which a normaliser changed the number of words.
    """
    pairs: list[tuple[float, bool]] = []
    for each in judged:
        words = each.words(tokenizer, 1.0, WordCalibration(temperature=temperature))
        if len(words) == len(each.correct):
            pairs += zip((word.probability for word in words), each.correct, strict=True)
    return pairs


def fit_temperature(judged: Sequence[Judged], tokenizer: Tokenizer) -> float:
    """Find the temperature at which confidences say the most of what is right.

    Args:
        judged: hypotheses of a development set.
        tokenizer: joins tokens to words.

    Returns:
        The temperature with the least cross-entropy; 1 where no word or only right or only wrong
        words tell nothing.

    Source:
        Guo et al. 2017, "On calibration of modern neural networks", section 4.2: one number,
        fitted by cross-entropy on held-out data, that leaves the order of confidences alone.
    """
    pairs = confidences(judged, tokenizer, 1.0)
    if len({right for _, right in pairs}) < 2:
        return 1.0

    def cost(logarithm: float) -> float:
        power = math.exp(-logarithm)
        return _cross_entropy([(value**power, right) for value, right in pairs])

    return math.exp(_golden_section(cost, _COLDEST, _WARMEST))


def _cross_entropy(pairs: Sequence[tuple[float, bool]]) -> float:
    return -math.fsum(
        math.log(max(value if right else 1 - value, _MARGIN)) for value, right in pairs
    ) / len(pairs)


def _golden_section(cost: Callable[[float], float], low: float, high: float) -> float:
    # Kiefer 1953: each step keeps the part that must hold the minimum and evaluates one point.
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = cost(left), cost(right)
    for _ in range(_STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = cost(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = cost(right)
    return (low + high) / 2


def fit_reach(errors: Callable[[float], Sequence[float]]) -> float:
    """Find how far words begin before their first peaks: what brings starts closest to the truth.

    Args:
        errors: gives the errors of starts, in seconds, of words with a reach and without an offset.

    Returns:
        Of ``REACHES`` the one with the least mean distance from the truth, in seconds, after the
        best offset.
    """

    def distance(reach: float) -> float:
        found = errors(reach)
        offset = fit_offset(found)
        return math.fsum(abs(error + offset) for error in found) / len(found)

    return min(REACHES, key=distance)


def fit_offset(errors: Sequence[float]) -> float:
    """Give the offset that makes the median error of starts zero.

    Args:
        errors: of the starts of words without an offset, in seconds; at least one.
    """
    return -median(errors)
