"""A comparison sets two systems' errors on the same utterances against each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from asr.errors import ScoringError, UsageError
from asr.scoring.alignment import ErrorCounts
from asr.scoring.intervals import Interval, difference_interval
from asr.scoring.mapsswe import SegmentTest, mapsswe
from asr.scoring.score import Score, UtteranceScore


@dataclass(frozen=True)
class Change:
    """One utterance as two systems recognised it.

    Attributes:
        first: the first system's.
        second: the second system's.
    """

    first: UtteranceScore
    second: UtteranceScore

    @property
    def errors(self) -> int:
        """How many more errors the second system makes; negative where it makes fewer."""
        return self.second.words.errors - self.first.words.errors


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same utterances.

    Attributes:
        first: name of the first system.
        second: name of the second system.
        first_words: errors of the first, counted by words.
        second_words: errors of the second.
        interval: where the difference of their word error rates is expected to lie, the second
            less the first.
        test: the matched-pair sentence-segment word error test.
        better: how many utterances have fewer errors in the second system.
        worse: how many have more.
        most_improved: utterances that gain most from the second system, the greatest first.
        most_worsened: utterances that lose most.
    """

    first: str
    second: str
    first_words: ErrorCounts
    second_words: ErrorCounts
    interval: Interval
    test: SegmentTest
    better: int
    worse: int
    most_improved: tuple[Change, ...]
    most_worsened: tuple[Change, ...]

    @property
    def difference(self) -> float:
        """The second word error rate less the first: negative where the second is better."""
        if not self.first_words.words:
            # Two infinite rates have no difference.
            return 0.0
        return (self.second_words.errors - self.first_words.errors) / self.first_words.words

    @property
    def relative_difference(self) -> float:
        """The difference over the first word error rate; 0 where the first makes no error."""
        errors = self.first_words.errors
        return (self.second_words.errors - errors) / errors if errors else 0.0


def compare(
    first: Score,
    second: Score,
    speakers: Mapping[str, str],
    *,
    names: tuple[str, str] = ("first", "second"),
    most: int = 10,
    replications: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Comparison:
    """Compare two systems on the same utterances.

    Args:
        first: score of the first system, the one compared with.
        second: score of the second, of the same utterances and references in the same order.
        speakers: utterance id to speaker, for the interval.
        names: what the systems are called.
        most: how many changed utterances to list in each direction.
        replications: draws of the bootstrap.
        seed: of the bootstrap.
        level: how often the interval is to hold the true difference.

    Returns:
        The comparison.

    Raises:
        ScoringError: the scores are not of the same references.
        UsageError: the level is no fraction, or the seed, ``most`` or the number of replications
            is too small.
    """
    if most < 0:
        raise UsageError(f"{most} utterances cannot be listed; expected 0 or more")
    interval = difference_interval(
        first, second, speakers, replications=replications, seed=seed, level=level
    )
    changes = [
        Change(one, other)
        for one, other in zip(first.utterances, second.utterances, strict=True)
        if one.words.errors != other.words.errors
    ]
    improved = [change for change in changes if change.errors < 0]
    worsened = [change for change in changes if change.errors > 0]
    return Comparison(
        *names,
        first_words=first.words,
        second_words=second.words,
        interval=interval,
        test=mapsswe(first, second),
        better=len(improved),
        worse=len(worsened),
        # Sorting keeps the utterances' order among equals.
        most_improved=tuple(sorted(improved, key=lambda change: change.errors)[:most]),
        most_worsened=tuple(sorted(worsened, key=lambda change: -change.errors)[:most]),
    )


def compare_all(
    scores: Mapping[str, Score],
    speakers: Mapping[str, str],
    *,
    most: int = 10,
    replications: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[Comparison, ...]:
    """Compare each system with each one after it.

    Args:
        scores: score by the system's name, two or more, of the same utterances and references.
        speakers: utterance id to speaker, for the intervals.
        most: how many changed utterances to list in each direction.
        replications: draws of the bootstrap.
        seed: of the bootstrap; all pairs are drawn alike.
        level: how often an interval is to hold the true difference.

    Returns:
        One comparison a pair, in the order of the names.

    Raises:
        ScoringError: there are fewer than two systems or the scores are not of the same
            references.
        UsageError: the level is no fraction, or the seed, ``most`` or the number of replications
            is too small.
    """
    if len(scores) < 2:
        raise ScoringError(f"there are {len(scores)} systems to compare; expected two or more")
    return tuple(
        compare(
            scores[first],
            scores[second],
            speakers,
            names=(first, second),
            most=most,
            replications=replications,
            seed=seed,
            level=level,
        )
        for first, second in combinations(scores, 2)
    )


def adjust_for_many(p_values: Sequence[float]) -> tuple[float, ...]:
    """Raise p-values so that testing many pairs finds no more by chance than testing one.

    Args:
        p_values: of all tests that were made.

    Returns:
        The values of Holm (1979), "A simple sequentially rejective multiple test procedure", in
        the same order.
    """
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return tuple(adjusted)
