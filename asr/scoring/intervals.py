"""An interval says how far a rate may lie from what other speakers or sentences would show."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from asr.errors import UsageError
from asr.scoring.mapsswe import check_same_references
from asr.scoring.score import Score

Unit = Literal["speakers", "utterances"]
Floats = npt.NDArray[np.float64]

# Fewer units make so few different draws that their quantiles are erratic.
_FEW = 10
# Numbers drawn at once: 8 MiB an array, near enough to the cache.
_BLOCK = 2**20
# A binomial draw takes about as long as so many draws of an index.
_BINOMIAL_COST = 8
# What rounding leaves of a variance that is none.
_NOTHING = 1e-12
# Beyond so many degrees of freedom Student's distribution is taken as normal.
_NORMAL_FREEDOM = 300


@dataclass(frozen=True)
class Interval:
    """Where a rate, or the difference of two, is expected to lie.

    Attributes:
        low: lower end, a fraction like ``ErrorCounts.rate``.
        high: upper end; infinite where a single unit gives nothing to go by.
        level: how often such an interval holds the true value, such as 0.95.
        unit: what was drawn anew: ``speakers``, or ``utterances`` where speakers are not known.
        replications: how often all of them were drawn; 0 where they, or the errors, are too few to
            draw from and the interval is that of a formula.
    """

    low: float
    high: float
    level: float
    unit: Unit
    replications: int

    @property
    def method(self) -> str:
        """How the interval was found, for reports."""
        if self.replications:
            return f"bootstrap over {self.unit}, {self.replications} replications"
        return f"a formula over {self.unit}, too few of them or of errors for a bootstrap"


def bootstrap_interval(
    score: Score,
    speakers: Mapping[str, str],
    *,
    replications: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Give the confidence interval of a word error rate.

    Errors of one speaker hang together, so whole speakers are drawn with replacement (Bisani and
    Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance evaluation"), or
    utterances where fewer than two speakers are known. Percentiles of the drawn rates make an
    interval too short for few speakers (of intervals for 10 speakers of unlike rates, 88 in 100
    hold the true one); the quantiles are therefore those of the studentised logarithm of the rate
    (bootstrap-t: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", section 12.5;
    standard error of a ratio by linearisation), which is 93 in 100 there and 94 for 40 speakers.
    Of fewer than 10 units, or where hardly any has errors, Student's distribution stands in for
    the bootstrap's (92 in 100 for 4 to 8 speakers); without any error the upper end is
    ``-log(1 - level)`` errors ("rule of three", Hanley and Lippman-Hand 1983).

    Args:
        score: the utterances.
        speakers: utterance id to speaker. Where two or more are known, an utterance without one
            counts as a speaker of its own.
        replications: how often to draw, 100 or more.
        seed: the same seed gives the same interval.
        level: how often the interval is to hold the true value, between 0 and 1.

    Returns:
        The interval; from 0 to infinity where there is one unit or no reference word.

    Raises:
        UsageError: the level is no fraction, the seed is negative or there are too few
            replications.
    """
    _check(replications, seed, level)
    errors, words, unit = _sums_by_unit(
        score, [utterance.words.errors for utterance in score.utterances], speakers
    )
    total_errors, total_words = int(errors.sum()), int(words.sum())
    if total_words == 0 or len(words) < 2:
        return Interval(0.0, math.inf, level, unit, 0)
    if total_errors == 0:
        return Interval(0.0, -math.log(1 - level) / total_words, level, unit, 0)
    settings = _Settings(replications, seed, level, logarithmic=True)
    low, high, drawn = _studentised(errors, words, settings)
    return Interval(low, high, level, unit, drawn)


def difference_interval(
    first: Score,
    second: Score,
    speakers: Mapping[str, str],
    *,
    replications: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Give the confidence interval of the second word error rate less the first.

    The bootstrap is paired: both systems are drawn with the same speakers or utterances, so that
    what is hard for both does not widen the interval (Bisani and Ney 2004). Otherwise as
    ``bootstrap_interval``, without the logarithm.

    Args:
        first: score of the first system.
        second: score of the second, of the same utterances and references in the same order.
        speakers: utterance id to speaker.
        replications: how often to draw, 100 or more.
        seed: the same seed gives the same interval.
        level: how often the interval is to hold the true value, between 0 and 1.

    Returns:
        The interval: below 0 where the second is better; from 0 to 0 where no unit differs; without
        bounds where there is one unit or no reference word.

    Raises:
        ScoringError: the scores are not of the same references.
        UsageError: the level is no fraction, the seed is negative or there are too few
            replications.
    """
    _check(replications, seed, level)
    check_same_references(first, second)
    differences, words, unit = _sums_by_unit(
        second,
        [
            other.words.errors - one.words.errors
            for one, other in zip(first.utterances, second.utterances, strict=True)
        ],
        speakers,
    )
    if words.sum() == 0 or len(words) < 2:
        return Interval(-math.inf, math.inf, level, unit, 0)
    settings = _Settings(replications, seed, level, logarithmic=False)
    low, high, drawn = _studentised(differences, words, settings)
    return Interval(low, high, level, unit, drawn)


def _check(replications: int, seed: int, level: float) -> None:
    if not 0 < level < 1:
        raise UsageError(f"the confidence level is {level}; expected a fraction such as 0.95")
    if replications < 100:
        raise UsageError(f"{replications} replications are too few; expected 100 or more")
    if seed < 0:
        raise UsageError(f"the seed is {seed}; expected 0 or more")


def _sums_by_unit(
    score: Score, values: Sequence[int], speakers: Mapping[str, str]
) -> tuple[Floats, Floats, Unit]:
    words = [utterance.words.words for utterance in score.utterances]
    names = [speakers.get(utterance.id, "") for utterance in score.utterances]
    if len({name for name in names if name}) < 2:
        return np.array(values, np.float64), np.array(words, np.float64), "utterances"
    number_of: dict[str | int, int] = {}
    # An utterance of nobody known goes by its place, which no name equals.
    places = [
        number_of.setdefault(name or place, len(number_of)) for place, name in enumerate(names)
    ]
    return (
        np.bincount(places, weights=values).astype(np.float64),
        np.bincount(places, weights=words).astype(np.float64),
        "speakers",
    )


class _Settings(NamedTuple):
    replications: int
    seed: int
    level: float
    logarithmic: bool


def _studentised(values: Floats, words: Floats, settings: _Settings) -> tuple[float, float, int]:
    # The ends of the interval, and how often units were drawn for it.
    units = len(values)
    rate = float(values.sum() / words.sum())
    residuals = values - rate * words
    error = math.sqrt(units / (units - 1) * (residuals**2).sum()) / float(words.sum())
    if error == 0:
        return rate, rate, 0
    drawn = 0
    if units >= _FEW:
        lowest, highest = _bootstrap_quantiles(values, words, rate, settings)
        drawn = settings.replications if math.isfinite(highest - lowest) else 0
    if not drawn:
        highest = student_quantile((1 + settings.level) / 2, units - 1)
        lowest = -highest
    if settings.logarithmic:
        with np.errstate(over="ignore"):
            ends = rate * np.exp(np.array([-highest, -lowest]) * error / rate)
        return float(ends[0]), float(ends[1]), drawn
    return rate - highest * error, rate - lowest * error, drawn


def _bootstrap_quantiles(
    values: Floats, words: Floats, rate: float, settings: _Settings
) -> tuple[float, float]:
    # Quantiles of (drawn rate - rate) / standard error within the draw.
    drawn = _draw_sums(values, words, rate, settings.replications, settings.seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Around the drawn rate, which is rate + shift, residuals are residuals - shift * words.
        shift = drawn[:, 0] / drawn[:, 1]
        squares = drawn[:, 2] - 2 * shift * drawn[:, 3] + shift**2 * drawn[:, 4]
        errors = np.sqrt(np.where(squares > _NOTHING * drawn[:, 2], squares, 0)) / drawn[:, 1]
        errors *= math.sqrt(len(values) / (len(values) - 1))
        if settings.logarithmic:
            errors /= rate + shift
            shift = np.log1p(shift / rate)
        # A draw of equal units has no standard error: as far off as can be.
        studentised = np.where(errors > 0, shift / errors, np.sign(shift) * np.inf)
    ordered = np.sort(np.nan_to_num(studentised, posinf=np.inf, neginf=-np.inf))
    below = max(0, int((len(ordered) + 1) * (1 - settings.level) / 2) - 1)
    return float(ordered[below]), float(ordered[-1 - below])


def _draw_sums(values: Floats, words: Floats, rate: float, replications: int, seed: int) -> Floats:
    # Sums over each draw: of residuals, words, squared residuals, residuals x words, squared words.
    draw = np.random.default_rng(seed)
    units = len(values)
    # Short utterances come in few kinds; how often each kind is drawn is multinomial.
    kinds, repeats = np.unique(words + 1j * values, return_counts=True)
    in_kinds = units > _BINOMIAL_COST * len(kinds)
    if in_kinds:
        words, values = kinds.real, kinds.imag
    residuals = values - rate * words
    features = np.stack([residuals, words, residuals**2, residuals * words, words**2], axis=1)
    sums = np.empty((replications, features.shape[1]))
    rows = max(1, _BLOCK // len(features))
    for start in range(0, replications, rows):
        block = sums[start : start + rows]
        size = (len(block), len(features))
        if in_kinds:
            times = draw.multinomial(units, repeats / units, len(block))
        else:
            chosen = draw.integers(0, units, size)
            chosen += units * np.arange(len(block))[:, None]
            times = np.bincount(chosen.ravel(), minlength=chosen.size).reshape(size)
        block[:] = times.astype(np.float64) @ features
    return sums


def student_quantile(probability: float, freedom: int) -> float:
    """Give the value that a variable of Student's distribution stays below so often.

    Args:
        probability: how often, above 0.5 and below 1.
        freedom: degrees of freedom, 1 or more; beyond 300 the normal distribution's value is given.

    Returns:
        The value t, from bisection of the distribution function that Abramowitz and Stegun (1964),
        26.7.3 and 26.7.4, give as a sum over powers of the cosine of atan(t / sqrt(freedom)).
    """
    if freedom > _NORMAL_FREEDOM:
        return NormalDist().inv_cdf(probability)
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        if _student_within(angle, freedom) < 2 * probability - 1:
            low = angle
        else:
            high = angle
    return math.sqrt(freedom) * math.tan(low)


def _student_within(angle: float, freedom: int) -> float:
    # The probability of |t| <= sqrt(freedom) * tan(angle).
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for power in range(2 + odd, freedom + 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (power - 1) / power
    if odd:
        return 2 / math.pi * (angle + math.sin(angle) * total)
    return math.sin(angle) * total
